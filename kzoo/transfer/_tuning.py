"""The work of a fine-tuning: stage after stage, each from the best epoch so far, and the run folder that comes of it.

transfer.json          what was given, the stages that are done, the figures before and after
start.safetensors      the weights it began with
best.safetensors       those of the best epoch so far
stages/1-head/ …       a run folder a stage
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.inspection import pictures
from kzoo.models._registry import model_info, model_spec
from kzoo.preprocess import layer_of
from kzoo.runs._evaluate import Evaluation, evaluate
from kzoo.runs._find_rate import find_learning_rate
from kzoo.runs._fit import _config, fit
from kzoo.runs._folder import Run, RunFolder, atomic
from kzoo.training.freezing import set_trainable
from kzoo.training.optimizers import optimizer_of
from kzoo.training.plan import Plan, recipe_loss, recipe_of
from kzoo.training.progress import TrainingProgress, numbers
from kzoo.transfer._features import LIMIT, features, give_back, size_of, split_at
from kzoo.transfer._origin import Origin
from kzoo.transfer._stages import Stage
from kzoo.weights.store import LoadReport, read_tensors, save_weights, weights_by_name

# Options of a fine-tuning that are those of each stage's `fit`.
OF_FIT = ("schedule", "augment", "class_weight", "batch_size", "precision", "xla", "kernels", "strategy", "devices",
          "seed", "deterministic", "limit_train_batches", "limit_validation_batches")  # fmt: skip


@dataclass
class Tuning:
    """One fine-tuning: the stages on the network, from the state that the folder has."""

    model: keras.Model
    data: Data
    origin: Origin
    report: LoadReport
    stages: list[Stage]
    options: dict[str, Any]
    verbose: bool

    def __post_init__(self) -> None:
        self.progress = TrainingProgress(0, verbose=self.verbose)
        self.split = next(s for s in ("test", "validation", "train") if s in self.data.splits)

    def run(self, folder: RunFolder, kept: dict[str, Any]) -> Run:
        started = time.perf_counter()
        self._restore(folder / ("best.safetensors" if kept["done"] else "start.safetensors"))
        if "before" not in kept:
            kept["before"] = self._figures(evaluate(self.model, self.data, split=self.split))
            kept["learning_rate"] = self._rate()
            folder.write_json("transfer.json", kept)
        for label, text in self.lines(kept):
            self.progress.say(f"{label:10} {text}")
        plan: Plan | None = None
        for k, stage in enumerate(self.stages[len(kept["done"]) :], start=len(kept["done"])):
            self.progress.say(f"\nstage {k + 1} of {len(self.stages)}: {stage.name}")
            plan, row = self._train(folder, k, stage, stage.rate * kept["learning_rate"])
            best = max(kept["done"], key=_rank, default=None)
            if best is None or _rank(row) > _rank(best):
                save_weights(self.model, folder / "best.safetensors")
            else:
                self._restore(folder / "best.safetensors")
            kept["done"].append(row)
            kept["seconds"] = kept.get("seconds", 0.0) + time.perf_counter() - started
            started = time.perf_counter()
            folder.write_json("transfer.json", kept)
        return self._finish(folder, kept, plan)

    def _restore(self, path: Path) -> None:
        """Weights by name; of this very network, so that every one is there."""
        values = read_tensors(path)
        for key, variable in weights_by_name(self.model).items():
            variable.assign(values[key])
        set_trainable(self.model, ())

    def _rate(self) -> float:
        if self.options["learning_rate"] != "find":
            return self.options["learning_rate"]
        found = find_learning_rate(
            self.model, self.data, freeze=self.stages[0].frozen, seed=self.options["seed"],
            batch_size=self.options["batch_size"], optimizer=self.options["optimizer"],
        )  # fmt: skip
        return float(found.suggestion) / self.stages[0].rate

    # --- one stage ------------------------------------------------------------------------------------------------

    def _train(self, folder: RunFolder, k: int, stage: Stage, rate: float) -> tuple[Plan, dict[str, Any]]:
        """Leaves the stage's best epoch in the model; (its plan, its row)."""
        (folder / "stages").mkdir(exist_ok=True)
        place = folder / "stages" / f"{k + 1}-{stage.name.split(' ')[0]}"
        if place.is_dir() and not (place / "checkpoints" / "last.safetensors").is_file():
            shutil.rmtree(place)  # cut off before it began
        whole = {"run_dir": place} if not place.is_dir() else {"resume": place}
        common = {
            "epochs": stage.epochs, "learning_rate": rate, "patience": self.options["patience"],
            "verbose": self.verbose and "epochs", **whole,
            **{key: self.options[key] for key in OF_FIT if key in self.options},
        }  # fmt: skip
        optimizer = self.options["optimizer"]
        parts = self._parts() if k == 0 else None
        set_trainable(self.model, stage.frozen)
        if parts is None:
            run = fit(
                self.model, self.data, freeze=stage.frozen or None, rates=stage.rates or None, optimizer=optimizer,
                **common,
            )  # fmt: skip
            trained = self.model
        else:
            trunk, trained = parts
            info = model_info(self.model)
            recipe = recipe_of(info)
            self.progress.say("what the frozen part gives is computed once, and the head trains on that")
            run = fit(
                trained, features(trunk, self.model, self.data, 2 * self.options["batch_size"]), optimizer=optimizer,
                loss=recipe_loss(recipe, info), metrics=list(recipe.metrics), **common,
            )  # fmt: skip
        RunFolder(run.path).load_checkpoint("best", trained, optimizer=False)
        if parts is not None:
            give_back(trained, self.model)
        rows = RunFolder(run.path).read_metrics()
        best = max(rows, key=_rank)
        return run.plan, {"stage": stage.name, "epochs": len(rows), "best": best["epoch"], **_scores(best)}

    def _parts(self) -> tuple[keras.Model, keras.Model] | None:
        """Frozen part and head, where the head trains on features that are computed once."""
        wanted = self.options["cache"]
        images = model_spec(self.origin.name).task == "image-classification"
        if wanted is False or self.options["augment"] or not images or not self.report.reinitialised:
            return None
        parts = split_at(self.model, self.report.reinitialised)
        if parts is None or wanted or (size := size_of(parts[0], self.data)) <= LIMIT:
            return parts
        self.progress.say(f"the features would take {size >> 20:,} MiB and are not kept (cache=True keeps them)")
        return None

    # --- what is said and written ---------------------------------------------------------------------------------

    def lines(self, kept: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(label, text): the plan of all stages."""
        report, before = self.report, kept["before"]
        rows = [
            ("transfer", f"{self.origin.described}, {self.model._kzoo_info.style}"),
            ("weights", str(report)),
            ("data", self.data.info.describe()),
            *(("note", note) for note in self.data.info.notes),
            ("before", f"accuracy {before['accuracy']:.4f} on {self.split}; always {before['baseline_class']!r}:"
             f" {before['baseline']:.4f}"),
            ("batch norm", "in inference mode below the head" if self.options["batch_norm"] == "frozen" else
             "thawed with its group"),
        ]  # fmt: skip
        rate = kept["learning_rate"]
        for k, stage in enumerate(self.stages, start=1):
            rates = {"head": rate * stage.rate, **{n: rate * stage.rate * f for n, f in stage.rates.items()}}
            shown = ", ".join(f"{n} {r:.2g}" for n, r in rates.items())
            rows.append(
                (f"stage {k}", f"{stage.name}: {stage.parameters:,} parameters learn, at most {stage.epochs} epochs;"
                 f" learning rates: {shown}")
            )  # fmt: skip
        return rows

    @staticmethod
    def _figures(found: Evaluation) -> dict[str, Any]:
        return {key: getattr(found, key) for key in ("accuracy", "baseline", "baseline_class", "examples", "split")}

    def _finish(self, folder: RunFolder, kept: dict[str, Any], plan: Plan | None) -> Run:
        """The run folder: model, checkpoints, metrics, pictures, card."""
        self._restore(folder / "best.safetensors")
        info = model_info(self.model)
        recipe = recipe_of(info)  # an optimizer of its own: the stages' know only what learned in them
        self.model.compile(optimizer_of(recipe.optimizer), recipe_loss(recipe, info), list(recipe.metrics))
        self.model.optimizer.build(self.model.trainable_variables)  # as Keras does when it reads the file
        rows = self._rows(folder)
        best = max(range(len(rows)), key=lambda k: (_rank(rows[k]), -k))
        last = RunFolder(sorted((folder / "stages").iterdir(), key=lambda p: int(p.name.split("-")[0]))[-1])
        config = self._config(kept)
        folder.write_json("config.json", config)
        folder.write_json("plan.json", {**last.read_json("plan.json"), "stages": [asdict(s) for s in self.stages]})
        folder.write_metrics(rows)
        folder.save_model(self.model)
        for kind in ("best", "last"):
            folder.save_checkpoint(kind, self.model, epoch=len(rows))
        names = [n for n in rows[0] if n not in ("epoch", "seconds", "learning_rate", "stage")]
        history = {n: [row.get(n, np.nan) for row in rows] for n in names}
        ends = np.cumsum([row["epochs"] for row in kept["done"]])[:-1].tolist()
        with atomic(folder / "curves.png") as beside:
            pictures.curves(history, beside, folder.path.name, stages=ends)
        after = evaluate(self.model, self.data, split=self.split, output_dir=folder.path)
        kept["after"] = self._figures(after)
        folder.write_json("transfer.json", kept)
        with atomic(folder / "card.md") as beside:
            beside.write_text(self._card(folder, kept, rows, best), encoding="utf-8")
        held = f" ({self.split}: it also chose the epoch)" if self.split == "validation" else f" ({self.split})"
        self.progress.say(
            f"\naccuracy   {kept['before']['accuracy']:.4f} before, {after.accuracy:.4f} after{held};"
            f" always {after.baseline_class!r}: {after.baseline:.4f}\n"
            f"weights    of epoch {rows[best]['epoch']} of {len(rows)}: {numbers(_scores(rows[best]))}"
        )
        if plan is None:
            plan = Plan(**{k: v for k, v in last.read_json("plan.json").items()})
        return Run(self.model, folder.path, history, plan, kept.get("seconds", 0.0), 0)

    def _rows(self, folder: RunFolder) -> list[dict[str, float]]:
        """metrics.csv of all stages, the epochs counted through."""
        rows: list[dict[str, float]] = []
        for k, path in enumerate(sorted((folder / "stages").iterdir(), key=lambda p: int(p.name.split("-")[0]))):
            before = rows[-1]["seconds"] if rows else 0.0
            for row in RunFolder(path).read_metrics():
                rows.append({**row, "epoch": len(rows) + 1, "seconds": before + row["seconds"], "stage": k + 1})
        return rows

    def _config(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        info = model_info(self.model)
        options = {**plain(self.options), "transfer": {k: kept[k] for k in ("model", "weights")}}
        return _config(self.model, self.data, layer_of(info.preprocess), info.labels, options)

    def _card(self, folder: RunFolder, kept: Mapping[str, Any], rows: Sequence[Mapping[str, float]], best: int) -> str:
        before, after = kept["before"], kept["after"]
        lines = [f"# {folder.path.name}", "", *(f"- {label}: {text}" for label, text in self.lines(kept))]
        lines += ["", "## Result", "", f"On {after['split']}, {after['examples']:,} examples:", ""]
        lines += [
            f"- accuracy: {before['accuracy']:.4f} before, {after['accuracy']:.4f} after",
            f"- always {after['baseline_class']!r}: {after['baseline']:.4f}",
            f"- weights of epoch {rows[best]['epoch']}: {numbers(_scores(rows[best]))}",
            f"- {len(rows)} epochs in {rows[-1]['seconds']:.0f} s",
        ]
        lines += [
            "",
            "| stage | epochs | best epoch | validation accuracy | validation loss |",
            "|---|---:|---:|---:|---:|",
        ]
        for row in kept["done"]:
            scores = [f"{row[n]:.4f}" if n in row else "" for n in ("val_accuracy", "val_loss")]
            lines.append(f"| {row['stage']} | {row['epochs']} | {row['best']} | {' | '.join(scores)} |")
        return "\n".join(lines) + "\n"


def _scores(row: Mapping[str, float]) -> dict[str, float]:
    return {n: row[n] for n in ("val_accuracy", "val_loss", "accuracy", "loss") if n in row}


def _rank(row: Mapping[str, float]) -> tuple[float, float]:
    """Accuracy on validation, and of equal ones the lower loss; without a validation split, on train."""
    accuracy = row.get("val_accuracy", row.get("accuracy", 0.0))
    loss = row.get("val_loss", row.get("loss", np.inf))
    return (accuracy, -loss) if np.isfinite(loss) else (-1.0, -np.inf)


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a file can hold."""
    return {k: v for k, v in options.items() if not isinstance(v, tf.distribute.Strategy | keras.optimizers.Optimizer)}
