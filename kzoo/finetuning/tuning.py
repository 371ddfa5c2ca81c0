"""The work of a fine-tuning: stage after stage, each from the best epoch so far, and the run folder that comes of it.

transfer.json          what was given, the stages that are done, the figures before and after
start.safetensors      the weights it began with
best.safetensors       those of the best epoch so far
stages/1-head/ …       a run folder a stage
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kzoo.data import Data
from kzoo.inputs.batches import mix
from kzoo.report import pictures
from kzoo.zoo import model_info, model_spec
from kzoo.inputs.image import layer_of
from kzoo.verbs.evaluate import Evaluation, evaluate
from kzoo.verbs.find_rate import find_learning_rate
from kzoo.verbs.fit import fit
from kzoo.runs.folder import Run, RunFolder, atomic
from kzoo.verbs.prepare import Feed
from kzoo.runs.record import NOT_METRICS, epoch_rank, plain_options, run_config
from kzoo.engine.freezing import set_trainable
from kzoo.engine.optimizers import optimizer_of
from kzoo.engine.plan import Plan, recipe_loss, recipe_of
from kzoo.engine.progress import TrainingProgress, numbers
from kzoo.finetuning.features import LIMIT, features, give_back, size_of, split_at
from kzoo.finetuning.origin import Origin
from kzoo.finetuning.stages import Stage
from kzoo.weights.store import LoadReport, read_tensors, save_weights, weights_by_name

# Options of a fine-tuning that are those of each stage's `fit`.
OF_FIT = ("schedule", "augment", "class_weight", "batch_size", "precision", "xla", "kernels", "strategy", "devices",
          "seed", "deterministic", "limit_train_batches", "limit_validation_batches")  # fmt: skip


@dataclass
class Tuning:
    """One fine-tuning: the stages on the network, from the state that the folder has.

    Attributes:
        feed: What reads the data for the network, and what it says of that.
        kept: transfer.json: what was given, `before`, `learning_rate`, the stages that are `done`, the `rows` of
            metrics.csv, the `plan` of the last stage, `seconds`, `after`.
        worker: Number of this process among several.
    """

    model: keras.Model
    data: Data
    origin: Origin
    report: LoadReport
    stages: list[Stage]
    options: dict[str, Any]
    feed: Feed
    folder: RunFolder
    kept: dict[str, Any]
    worker: int
    verbose: bool

    def __post_init__(self) -> None:
        self.progress = TrainingProgress(0, verbose=self.verbose)
        self.split = "test" if "test" in self.data.splits else "validation"

    def run(self) -> Run:
        kept, started = self.kept, time.perf_counter()
        best = self.folder / "best.safetensors"
        self._restore(best if best.is_file() else self.folder / "start.safetensors")
        if "before" not in kept:
            kept["before"] = self._figures(evaluate(self.model, self.data, split=self.split))
            if not self.report.reinitialised:  # it can be the best there will be
                start = kept["before"]["accuracy"]
                if self.split != "validation":
                    start = evaluate(self.model, self.data, split="validation").accuracy
                kept["done"].append({"stage": "as it came", "epochs": 0, "best": 0, "val_accuracy": start})
                save_weights(self.model, best)
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
            if not kept["done"] or epoch_rank(row) > max(map(epoch_rank, kept["done"])):
                save_weights(self.model, best)
            else:
                self._restore(best)
            kept["done"].append(row)
            kept["seconds"] = kept.get("seconds", 0.0) + time.perf_counter() - started
            started = time.perf_counter()
            self._save()
        return self._finish()

    def _save(self) -> None:
        self.folder.write_json("transfer.json", self.kept)

    def _restore(self, path: Path) -> None:
        """Weights by name; of this very network, so that every one is there."""
        values = read_tensors(path)
        for key, variable in weights_by_name(self.model).items():
            variable.assign(values[key])
        set_trainable(self.model, ())

    def _rate(self) -> float:
        if self.options["learning_rate"] != "find":
            return self.options["learning_rate"]
        stage = self.stages[0]
        same = ("augment", "class_weight", "batch_size", "strategy", "devices", "xla", "precision", "kernels", "seed")
        found = find_learning_rate(
            self.model, self.data, freeze=stage.frozen or None, rates=stage.rates or None,
            optimizer=self.options["optimizer"], **{key: self.options[key] for key in same if key in self.options},
        )  # fmt: skip
        self.kept["found"] = found.note()
        found.plot(self.folder / "learning_rate.png")
        return float(found.suggestion) / stage.rate

    # --- one stage ------------------------------------------------------------------------------------------------

    def _train(self, k: int, stage: Stage) -> dict[str, Any]:
        """Leaves the stage's best epoch in the model."""
        (self.folder / "stages").mkdir(exist_ok=True)
        place = self.folder / "stages" / f"{k + 1}-{stage.name.split(' ')[0]}"
        if place.is_dir() and not (place / "plan.json").is_file():
            shutil.rmtree(place)  # cut off before it began
        options = {
            "epochs": stage.epochs, "learning_rate": stage.rate * self.kept["learning_rate"],
            "warmup": self._warmup(stage), "patience": self.options["patience"], "optimizer": self.options["optimizer"],
            "verbose": self.verbose and "epochs", "resume" if place.is_dir() else "run_dir": place,
            **{key: self.options[key] for key in OF_FIT if key in self.options},
        }  # fmt: skip
        _reseed(self.model, self.options["seed"], k)
        set_trainable(self.model, stage.frozen)
        parts = self._parts() if k == 0 else None
        if parts is None:
            run = fit(self.model, self.data, freeze=stage.frozen or None, rates=stage.rates or None, **options)
        else:
            info, (trunk, head) = model_info(self.model), parts
            recipe = recipe_of(info)
            self.progress.say("what the frozen part gives is computed once, and the head trains on that")
            _reseed(head, self.options["seed"], k)
            run = fit(
                head, features(trunk, self.model, self.data, 2 * self.options["batch_size"]),
                loss=recipe_loss(recipe, info), metrics=list(recipe.metrics), **options,
            )  # fmt: skip
        folder = RunFolder(run.path)  # of a worker that is not the first, a temporary one
        folder.load_checkpoint("best", run.model, optimizer=False)
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
        best = max(rows, key=epoch_rank)
        return {"stage": stage.name, "epochs": len(rows), "best": epochs + best["epoch"], **_scores(best)}

    def _warmup(self, stage: Stage) -> int | None:
        """Steps of a tenth of the stage, over which its rates rise (Howard and Ruder 2018, section 3.2: cut_frac).

        Adam's first steps are as long as its rate allows, however small the gradients are: without a rise they undo
        what was learned before.
        """
        steps = stage.epochs * (self.feed.train.steps or 0)
        return max(steps // 10, 1) if steps > 1 and self.options["schedule"] != "constant" else None

    def _parts(self) -> tuple[keras.Model, keras.Model] | None:
        """Frozen part and head, where the head trains on features that are computed once."""
        options, fresh = self.options, self.report.reinitialised
        why = ""
        if model_spec(self.origin.name).task != "image-classification":
            why = "texts are read anew"
        elif not fresh:
            why = "the head is not new"
        elif options["augment"]:
            why = "images are augmented"
        elif "limit_train_batches" in options or "limit_validation_batches" in options:
            why = "only some batches are read"
        if options["cache"] is False or (options["augment"] and not options["cache"]):
            return None
        parts = None if why else split_at(self.model, fresh)
        if not why and parts is None:
            why = "something is dropped from the first layer on"
        size = size_of(parts[0], self.data) if parts is not None else 0
        if size is None:
            why = "how many images there are is not known"
        elif size > LIMIT and not options["cache"]:
            why = f"they would take {size >> 20:,} MiB (cache=True keeps them)"
        if why:
            self.progress.say(f"features are not kept: {why}")
            return None
        return parts

    # --- what is said and written ---------------------------------------------------------------------------------

    def lines(self) -> list[tuple[str, str]]:
        """(label, text): the plan of all stages."""
        before, rate = self.kept["before"], self.kept["learning_rate"]
        frozen = self.options["batch_norm"] == "frozen"
        options = self.options
        weighed = ", classes weighed" if "class_weight" in options else ""
        schedule = options["schedule"] + ("" if options["schedule"] == "constant" else " after a tenth of warm-up")
        rows = [
            ("transfer", f"{self.origin.described}, {model_info(self.model).style}"),
            ("weights", str(self.report)),
            ("data", self.data.info.describe()),
            ("input", self.feed.input),
            ("augment", ", ".join(options["augment"]) or "none"),
            *(("note", note) for note in (*self.data.info.notes, *self.feed.notes)),
            ("optimizer", f"{options['optimizer']}, {schedule}; batch {options['batch_size']}{weighed}"),
            (
                "stopping",
                f"a stage ends {options['patience']} epochs after its best: by validation accuracy, then loss",
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
    def _figures(found: Evaluation) -> dict[str, Any]:
        return {key: getattr(found, key) for key in ("accuracy", "baseline", "baseline_class", "examples", "split")}

    def _finish(self) -> Run:
        """The run folder: model, checkpoints, metrics, pictures, card."""
        folder, kept = self.folder, self.kept
        self._restore(folder / "best.safetensors")
        info = model_info(self.model)
        recipe = recipe_of(info)  # an optimizer of its own: the stages' know only what learned in them
        self.model.compile(optimizer_of(recipe.optimizer), recipe_loss(recipe, info), list(recipe.metrics))
        self.model.optimizer.build(self.model.trainable_variables)  # as Keras does when it reads the file
        rows = kept["rows"]
        options = {**plain_options(self.options), "transfer": {key: kept[key] for key in ("model", "weights")}}
        config = run_config(self.model, self.data, layer_of(info.preprocess), info.labels, options)
        folder.write_json("config.json", config)
        whole = {
            "model": info.model, "style": info.style, "parameters": self.model.count_params(),
            "trainable": self.stages[-1].parameters, "data": self.data.info.describe(),
        }  # fmt: skip
        folder.write_json("plan.json", {**kept["plan"], **whole, "stages": [asdict(stage) for stage in self.stages]})
        folder.write_metrics(rows)
        folder.save_model(self.model)
        for kind in ("best", "last"):
            folder.save_checkpoint(kind, self.model, epoch=len(rows))
        history = {n: [row.get(n, np.nan) for row in rows] for n in rows[0] if n not in NOT_METRICS}
        ends = np.cumsum([row["epochs"] for row in kept["done"] if row["epochs"]])[:-1].tolist()
        with atomic(folder / "curves.png") as beside:
            pictures.curves(history, beside, folder.path.name, stages=ends)
        after = evaluate(self.model, self.data, split=self.split, output_dir=folder.path)
        kept["after"] = self._figures(after)
        self._save()
        with atomic(folder / "card.md") as beside:
            beside.write_text(self._card(), encoding="utf-8")
        self.progress.say("\n" + "\n".join(self._result()))
        plan = Plan.from_config({**kept["plan"], **whole})
        return Run(self.model, folder.path, history, plan, kept.get("seconds", 0.0), self.worker)

    def _result(self) -> list[str]:
        """The figures, and what they are of."""
        before, after, rows = self.kept["before"], self.kept["after"], self.kept["rows"]
        chose = ", which also chose the epoch" if self.split == "validation" else ""
        best = max(self.kept["done"], key=epoch_rank)
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
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    for k, variable in enumerate(states):
        variable.assign(np.array([mix(seed, stage), k], "uint32"))


def _scores(row: Mapping[str, float]) -> dict[str, float]:
    return {n: row[n] for n in ("val_accuracy", "val_loss", "accuracy", "loss") if n in row}
