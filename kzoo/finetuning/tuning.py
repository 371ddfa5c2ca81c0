"""The stages of a fine-tuning, one after the other, from wherever its folder has got to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kzoo.data import Data
from kzoo.engine import (
    Place,
    TrainingProgress,
    numbers,
    optimizer_of,
    recipe_loss,
    recipe_metrics,
    set_trainable,
    state_of,
)
from kzoo.files import atomic
from kzoo.finetuning import low_rank
from kzoo.finetuning.features import LIMIT, features, give_back, size_of, split_at
from kzoo.finetuning.origin import Origin
from kzoo.finetuning.stages import Stage
from kzoo.inputs import mix, told
from kzoo.keras_internals import is_seed
from kzoo.models import model_info
from kzoo.records import FineTuning, Fit, Plan, options_of
from kzoo.report import pictures
from kzoo.runs import NOT_METRICS, Run, RunFolder, config_of_model, load_weights
from kzoo.tasks import Evaluated
from kzoo.verbs import Feed, evaluate, find_learning_rate, fit
from kzoo.weights import LoadReport, numpy_of, read_tensors, save_weights, weights_by_name

STATE, BEST = "stages.json", "best.safetensors"
# Of each stage the tuning decides these; the other options of a fit are passed on to it.
DECIDED = ("epochs", "learning_rate", "optimizer", "patience", "freeze", "style", "set")


def passed_on(options: FineTuning) -> dict[str, Any]:
    """Options of the fine-tuning that are those of each stage's `fit`."""
    return {k: v for k, v in options.given().items() if k in options_of(Fit) and k not in DECIDED}


@dataclass
class Tuned(Run):
    """A fine-tuned model's run.

    Attributes:
        before, after: {accuracy, baseline, baseline_class, examples, split} of the network as it came and as it is.
        stages: A row a stage: its epochs, its best one and that one's scores.
        learning_rate: Of the head.
    """

    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    learning_rate: float = 0.0

    def to_config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("before", "after", "stages", "learning_rate")}
        return {"run": str(self.path), "seconds": self.seconds, **own, "history": self.history}

    def __str__(self) -> str:
        before, after = self.before, self.after
        chose = ", which also chose the epoch" if after["split"] == "validation" else ""
        rows = [
            ("run", str(self.path)),
            ("time", f"{self.seconds:.1f} s"),
            ("baseline", f"{after['baseline']:.4f} (always {after['baseline_class']!r}, {after['split']})"),
            ("before", f"{before['accuracy']:.4f}"),
            ("after", f"{after['accuracy']:.4f} ({after['split']}{chose})"),
            *((path.stem.split("-")[0], str(path)) for path in sorted(self.path.glob("*.png"))),
        ]
        return "\n".join(f"{label:13} {text}" for label, text in rows)


@dataclass
class Tuning:
    """One fine-tuning: the stages on the network, from the state that the folder has.

    Attributes:
        feed: What reads the data for the network, and what it says of that.
        worker: Number of this process among several.
        kept: stages.json: `before`, `learning_rate`, the stages that are `done`, the `rows` of metrics.csv, the `plan`
            of the last stage, `seconds`, `after`.
    """

    model: keras.Model
    data: Data
    origin: Origin
    report: LoadReport
    stages: list[Stage]
    options: FineTuning
    feed: Feed
    folder: RunFolder
    worker: int
    verbose: bool

    def __post_init__(self) -> None:
        self.kept = {"done": [], "rows": []}
        if (self.folder / STATE).is_file():
            self.kept = self.folder.read_json(STATE)
        self.progress = TrainingProgress(0, verbose=self.verbose)
        self.split = "test" if "test" in self.data.splits else "validation"

    def run(self) -> Run:
        kept, started = self.kept, time.perf_counter()
        best = self.folder / BEST
        self._restore(best if best.is_file() else self.folder / "start.safetensors")
        if "before" not in kept:
            kept["before"] = self._figures(evaluate(self.model, self.data, split=self.split))
            if not self.report.reinitialised:  # it can be the best there will be
                start = kept["before"]["accuracy"]
                if self.split != "validation":
                    start = evaluate(self.model, self.data, split="validation").accuracy
                kept["done"].append({"stage": "as it came", "epochs": 0, "best": 0, "val_accuracy": start})
                self._keep()
            kept["learning_rate"] = self._rate()
            self._save()
        if "after" in kept:
            self.progress.say(f"nothing to do: {self.folder.path} is finished")
        for label, text in self.lines() if "after" not in kept else ():
            self.progress.say(f"{label:10} {text}")
        finished = sum(row["epochs"] > 0 for row in kept["done"])
        for k, stage in enumerate(self.stages[finished:], start=finished):
            self.progress.say(f"\nstage {k + 1} of {len(self.stages)}: {stage.name}")
            row = self._train(k, stage)
            if not kept["done"] or self._rank(row) > max(map(self._rank, kept["done"])):
                self._keep()
            else:
                self._restore(best)
            kept["done"].append(row)
            kept["seconds"] = kept.get("seconds", 0.0) + time.perf_counter() - started
            started = time.perf_counter()
            self._save()
        return self._finish()

    def _rank(self, row: Mapping[str, float]) -> tuple[float, float]:
        return self.feed.task.score.rank(row)

    def _save(self) -> None:
        self.folder.write_json(STATE, self.kept)

    def _keep(self) -> None:
        """The network as it is now is the best so far."""
        with self.folder.manifest.writing(BEST) as beside:
            save_weights(self.model, beside)

    def _restore(self, path: Path) -> None:
        """Weights by name; of this very network, so that every one is there."""
        values = read_tensors(path)
        for key, variable in weights_by_name(self.model).items():
            variable.assign(values[key])
        set_trainable(self.model, ())

    def _rate(self) -> float:
        if self.options.learning_rate != "find":
            return self.options.learning_rate
        stage, passed = self.stages[0], passed_on(self.options)
        found = find_learning_rate(
            self.model, self.data, freeze=stage.frozen or None, rates=stage.rates or None,
            optimizer=self.options.optimizer,
            **{k: v for k, v in passed.items() if k not in ("schedule", "limit_validation_batches")},
        )  # fmt: skip
        self.kept["found"] = found.note()
        found.plot(self.folder / "learning_rate.png")
        return float(found.suggestion) / stage.rate

    # --- one stage ------------------------------------------------------------------------------------------------

    def _train(self, k: int, stage: Stage) -> dict[str, Any]:
        """Leaves the stage's best epoch in the model."""
        (self.folder / "stages").mkdir(exist_ok=True)
        place = self.folder / "stages" / f"{k + 1}-{stage.name.split(' ')[0]}"
        options = {
            **passed_on(self.options), "epochs": stage.epochs, "learning_rate": stage.rate * self.kept["learning_rate"],
            "warmup": self._warmup(stage), "patience": self.options.patience, "optimizer": self.options.optimizer,
            "verbose": self.verbose and "epochs", "resume" if place.is_dir() else "run_dir": place,
        }  # fmt: skip
        _reseed(self.model, self.options.seed, k)
        set_trainable(self.model, stage.frozen)
        parts = self._parts() if k == 0 else None
        if parts is None:
            run = fit(self.model, self.data, freeze=stage.frozen or None, rates=stage.rates or None, **options)
        else:
            info, (trunk, head) = model_info(self.model), parts
            self.progress.say("what the frozen part gives is computed once, and the head trains on that")
            _reseed(head, self.options.seed, k)
            kept = features(trunk, self.feed.reading.reader, self.data, 2 * self.options.batch_size)
            options |= {"loss": recipe_loss(info), "metrics": recipe_metrics(info)}
            run = fit(head, kept, **{k: v for k, v in options.items() if k != "sync_batch_norm"})
        folder = RunFolder(run.path)  # of a worker that is not the first, a temporary one
        load_weights(folder, folder.checkpoints.find("best"), run.model)
        if parts is not None:
            give_back(run.model, self.model)
        rows = folder.read_metrics()
        before, epochs = self.kept["rows"], len(self.kept["rows"])
        seconds = before[-1]["seconds"] if before else 0.0
        self.kept["rows"] = before + [
            {**row, "epoch": epochs + n, "seconds": seconds + row["seconds"], "stage": k + 1}
            for n, row in enumerate(rows, start=1)
        ]
        self.kept["plan"] = run.plan.to_config()
        best = max(rows, key=self._rank)
        return {"stage": stage.name, "epochs": len(rows), "best": epochs + best["epoch"], **_scores(best)}

    def _warmup(self, stage: Stage) -> int | None:
        """Steps of a tenth of the stage, over which its rates rise (Howard and Ruder 2018, section 3.2: cut_frac).

        Adam's first steps are as long as its rate allows, however small the gradients are: without a rise they undo
        what was learned before.
        """
        steps = stage.epochs * (self.feed.train.steps or 0)
        return max(steps // 10, 1) if steps > 1 and self.options.schedule != "constant" else None

    def _parts(self) -> tuple[keras.Model, keras.Model] | None:
        """Frozen part and head, where the head trains on features that are computed once."""
        options, fresh = self.options, self.report.reinitialised
        if options.cache is False or (options.augment and not options.cache):
            return None
        why = ""
        if self.feed.train.order(0) is not None:
            why = "texts are read anew"
        elif not fresh:
            why = "the head is not new"
        elif options.limit_train_batches is not None or options.limit_validation_batches is not None:
            why = "only some batches are read"
        parts = None if why else split_at(self.model, fresh)
        if not why and parts is None:
            why = "something is dropped from the first layer on"
        size = size_of(parts[0], self.data) if parts is not None else 0
        if size is None:
            why = "how many images there are is not known"
        elif size > LIMIT and not options.cache:
            why = f"they would take {size >> 20:,} MiB (cache=True keeps them)"
        if why:
            self.progress.say(f"features are not kept: {why}")
            return None
        return parts

    # --- what is said and written ---------------------------------------------------------------------------------

    def lines(self) -> list[tuple[str, str]]:
        """(label, text): the plan of all stages."""
        before, rate, options = self.kept["before"], self.kept["learning_rate"], self.options
        frozen = options.batch_norm == "frozen"
        weighed = ", classes weighed" if options.class_weight is not None else ""
        schedule = options.schedule + ("" if options.schedule == "constant" else " after a tenth of warm-up")
        rows = [
            ("transfer", f"{self.origin.described}, {model_info(self.model).style}"),
            ("weights", str(self.report)),
            ("data", self.data.info.describe()),
            ("input", self.feed.reading.line),
            ("augment", ", ".join(map(told, options.augment or ())) or "none"),
            *(("note", note) for note in self.feed.notes),
            ("optimizer", f"{options.optimizer}, {schedule}; batch {options.batch_size}{weighed}"),
            (
                "stopping",
                f"a stage ends {options.patience} epochs after its best: by validation accuracy, then loss",
            ),
            *([("rate", self.kept["found"])] if "found" in self.kept else []),
            (
                "before",
                f"accuracy {before['accuracy']:.4f} on {self.split}; always {before['baseline_class']!r}:"
                f" {before['baseline']:.4f}",
            ),
            ("batch norm", "in inference mode below the head" if frozen else "thawed with its group"),
        ]
        for k, stage in enumerate(self.stages, start=1):
            rates = {"head": rate * stage.rate, **{n: rate * stage.rate * f for n, f in stage.rates.items()}}
            shown = ", ".join(f"{n} {r:.2g}" for n, r in rates.items())
            epochs = f"at most {stage.epochs} epoch{'s' * (stage.epochs > 1)}"
            text = f"{stage.name}: {stage.parameters:,} parameters learn, {epochs}"
            rows.append((f"stage {k}", f"{text}; learning rates: {shown}"))
        return rows

    @staticmethod
    def _figures(found: Evaluated) -> dict[str, Any]:
        return {key: getattr(found, key) for key in ("accuracy", "baseline", "baseline_class", "examples", "split")}

    def _finish(self) -> Tuned:
        """The run folder: model, checkpoints, metrics, pictures, card."""
        folder, kept = self.folder, self.kept
        self._restore(folder / BEST)
        if self.options.lora is not None:
            low_rank.save(self.model, folder / low_rank.ADAPTERS)
            self.model = low_rank.merged(self.model)
        _reseed(self.model, self.options.seed, len(self.stages))  # whatever this process has drawn
        info, rows = model_info(self.model), kept["rows"]
        recipe = info.spec.recipe  # an optimizer of its own: the stages' know only what learned in them
        self.model.compile(optimizer_of(recipe.optimizer), recipe_loss(info), recipe_metrics(info))
        self.model.optimizer.build(self.model.trainable_variables)  # as Keras does when it reads the file
        whole = {
            "model": info.model, "style": info.style, "parameters": self.model.count_params(),
            "trainable": self.stages[-1].parameters, "data": self.data.info.describe(),
        }  # fmt: skip
        folder.write_json("plan.json", {**kept["plan"], **whole, "stages": [asdict(stage) for stage in self.stages]})
        folder.write_rows("metrics.csv", rows)
        folder.save_model(self.model)
        state = {key: numpy_of(variable) for key, variable in state_of(self.model).items()}
        folder.checkpoints.save(Place(len(rows), 0, 0, {}), state, {}, best=True)
        told = config_of_model(self.model, self.feed.task.name, info.inputs, info.targets, info.labels)
        folder.update_config(**told, stopped="")
        history = {n: [row.get(n, np.nan) for row in rows] for n in rows[0] if n not in NOT_METRICS}
        ends = np.cumsum([row["epochs"] for row in kept["done"] if row["epochs"]])[:-1].tolist()
        with atomic(folder / "curves.png") as beside:
            found = max(kept["done"], key=self._rank)
            best = found["best"] if found["epochs"] else None
            pictures.curves(history, beside, folder.path.name, stages=ends, best=best)
        kept["after"] = self._figures(evaluate(self.model, self.data, split=self.split, output_dir=folder.path))
        self._save()
        with atomic(folder / "card.md") as beside:
            beside.write_text(self._card(), encoding="utf-8")
        folder.update_config(finished=True)
        self.progress.say("\n" + "\n".join(self._result()))
        return Tuned(
            self.model, folder.path, history, Plan.from_config({**kept["plan"], **whole}), kept.get("seconds", 0.0),
            self.worker, before=kept["before"], after=kept["after"], stages=kept["done"],
            learning_rate=kept["learning_rate"],
        )  # fmt: skip

    def _result(self) -> list[str]:
        """The figures, and what they are of."""
        before, after, rows = self.kept["before"], self.kept["after"], self.kept["rows"]
        chose = ", which also chose the epoch" if self.split == "validation" else ""
        best = max(self.kept["done"], key=self._rank)
        which = f"epoch {best['best']} of {len(rows)}" if best["epochs"] else "the start: no epoch was better"
        return [
            f"accuracy   {before['accuracy']:.4f} before, {after['accuracy']:.4f} after, on {after['examples']:,} of"
            f" {self.split}{chose}",
            f"baseline   {after['baseline']:.4f}, always {after['baseline_class']!r}",
            f"weights    of {which}: {numbers(_scores(best))}",
        ]

    def _card(self) -> str:
        lines = [f"# {self.folder.path.name}", "", *(f"- {label}: {text}" for label, text in self.lines())]
        lines += ["", "## Result", "", *(f"- {' '.join(line.split())}" for line in self._result())]
        lines += [f"- {len(self.kept['rows'])} epochs in {self.kept['rows'][-1]['seconds']:.0f} s", ""]
        lines += [
            "| stage | epochs | best epoch | validation accuracy | validation loss |",
            "|---|---:|---:|---:|---:|",
        ]
        for row in self.kept["done"]:
            scores = [f"{row[n]:.4f}" if n in row else "" for n in ("val_accuracy", "val_loss")]
            lines.append(f"| {row['stage']} | {row['epochs']} | {row['best'] or ''} | {' | '.join(scores)} |")
        return "\n".join(lines) + "\n"


def _reseed(model: keras.Model, seed: int, stage: int) -> None:
    """Random layers begin each stage from numbers that depend on it alone, so that a resumed run draws the same."""
    states = [v for v in model.variables if is_seed(v)]
    for k, variable in enumerate(states):
        variable.assign(np.array([mix(seed, stage), k], "uint32"))


def _scores(row: Mapping[str, float]) -> dict[str, float]:
    return {n: row[n] for n in ("val_accuracy", "val_loss", "accuracy", "loss") if n in row}
