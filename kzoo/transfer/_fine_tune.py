"""fine_tune: a model that has learned elsewhere, and a user's data, to a run like any other."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data, load_data
from kzoo.data._data import balanced_weights
from kzoo.data._pipeline import check_augment
from kzoo.data._sources import load_for
from kzoo.errors import KzooError, unknown, whole_number
from kzoo.inspection import pictures
from kzoo.models._registry import model_info, model_spec
from kzoo.runs._evaluate import Evaluation, evaluate
from kzoo.runs._fit import fit
from kzoo.runs._folder import Run, RunFolder, atomic, check_free
from kzoo.runs._given import check_number, check_weights
from kzoo.training.freezing import check_names, set_trainable
from kzoo.training.optimizers import optimizer_of
from kzoo.training.plan import Plan, recipe_loss, recipe_of
from kzoo.training.progress import TrainingProgress, numbers
from kzoo.training.replicas import workers_of
from kzoo.training.strategies import strategy as make_strategy
from kzoo.transfer._features import features, give_back, split_at
from kzoo.transfer._origin import Origin, build, origin_of
from kzoo.transfer._stages import DECAY, Stage, stages_of
from kzoo.weights.store import LoadReport, read_tensors, save_weights, weights_by_name

NORMS = ("frozen", "adapt")
EPOCHS, PATIENCE, RATE = 10, 5, 1e-3
REPEATED = ("depth", "head_epochs", "epochs", "learning_rate", "decay", "batch_norm", "freeze", "patience", "cache",
            "optimizer", "schedule", "augment", "class_weight", "batch_size", "input_shape", "style", "precision",
            "xla", "kernels", "strategy", "devices", "seed", "deterministic", "limit_train_batches",
            "limit_validation_batches")  # fmt: skip
OF_FIT = ("schedule", "augment", "class_weight", "batch_size", "precision", "xla", "kernels", "strategy", "devices",
          "seed", "deterministic", "limit_train_batches", "limit_validation_batches")  # fmt: skip


def fine_tune(
    model: Any = None,
    data: Data | str | os.PathLike[str] | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    style: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    depth: int | None = None,
    head_epochs: int | None = None,
    epochs: int | None = None,
    learning_rate: float | str | None = None,
    decay: float | None = None,
    batch_norm: str | None = None,
    freeze: Sequence[str] | str | None = None,
    patience: int | None = None,
    cache: bool | None = None,
    optimizer: Any = None,
    schedule: str | None = None,
    augment: str | Sequence[str] | None = None,
    class_weight: Mapping[int, float] | str | None = None,
    batch_size: int | None = None,
    strategy: str | tf.distribute.Strategy | None = None,
    devices: Sequence[str] | int | None = None,
    xla: bool | str | None = None,
    precision: str | None = None,
    kernels: bool | None = None,
    seed: int | None = None,
    deterministic: bool | None = None,
    limit_train_batches: int | None = None,
    limit_validation_batches: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    run_dir: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    verbose: bool = True,
    **overrides: Any,
) -> Run:
    """Tune a network that has learned elsewhere to your data: first its head, then more and more of what is below.

    A fresh head is made for the classes of the data. It trains alone at first, everything below frozen and its batch
    normalization in inference mode; then one group of layers more is thawed in each stage, with lower learning rates
    the further below it lies (Howard and Ruder 2018). Each stage goes on from the best epoch so far on the validation
    split, and ends early where that does not improve.

    Args:
        model: A name with `weights`, `"resnet20@cifar10"`, a run, a `.keras` file, a Run, or a Keras model of kzoo's
            builders.
        data: What `kzoo.load_data` takes, or Data. Raw examples with class names.
        weights: For a name: a tag, path or address, as the builders take it.
        style: Default that of the model given, else `"functional"`.
        input_shape: Another image size, or another number of channels; default the model's.
        depth: Groups of layers to thaw below the head; 0 trains the head only; default all.
        head_epochs, epochs: At most, of the first stage and of each later one; default 10.
        learning_rate: Of the head, once layers below it learn too; default 0.001. Alone, in the first stage, it has ten
            times that. `"find"`: what `kzoo.find_learning_rate` gives for the head alone is that.
        decay: Factor on the learning rate from a group to the one below it; default 1 / 2.6.
        batch_norm: `"frozen"` (default): batch normalization below the head keeps its statistics and its scale in
            every stage; `"adapt"`: it is thawed with its group.
        freeze: Layers whose names begin so never learn.
        patience: Epochs without a better validation score after which a stage ends; default 5.
        cache: Compute what the frozen part gives once, and train the head on that: the same numbers, many times
            faster; default where nothing is augmented. True with an augmentation is refused.
        optimizer: As `kzoo.fit` takes it, by name; default `"adam"`.
        schedule: Of each stage; default `"cosine"`.
        augment: As for `kzoo.fit`.
        class_weight: {class number: weight}, or `"balanced"`: each class counts the same.
        batch_size: Default the model's recipe, at most an eighth of the training examples.
        strategy, devices, xla, precision, kernels, seed, deterministic, limit_train_batches, limit_validation_batches,
        data_dir, download, run_dir, verbose: As for `kzoo.fit`.
        resume: A run that was interrupted: it goes on in its own folder, at its last whole epoch.
        **overrides: Of the builder: `dropout_rate=0.5`.

    Returns:
        Run: `kzoo.evaluate`, `predict` and `export` take it. Its model has the weights of the best epoch of all stages.

    Raises:
        KzooError: Arguments that cannot hold; nothing has been written or fetched then.
        KeyboardInterrupt: After the resuming command was printed.
    """
    given = {key: value for key, value in locals().items() if key in REPEATED and value is not None}
    folder = None
    if resume is not None:
        if run_dir is not None:
            raise KzooError("give run_dir or resume, not both: a resumed run writes into its own folder")
        folder, kept = find_tuning(resume)
        model = kept["model"] if model is None else model
        weights = kept["weights"] if weights is None else weights
        data = kept["data"] if data is None else data
        if model is None or data is None:
            what = "model" if model is None else "data"
            raise KzooError(f"{folder.path} was given its {what} as an object, which a file cannot hold; give it again")
        given, overrides = {**kept["options"], **given}, {**kept["overrides"], **overrides}
    if model is None:
        raise KzooError("fine_tune needs a model: a name with weights=…, a run, or a .keras file")
    options = _checked(given)
    worker = workers_of(make_strategy(options.get("strategy", "auto"), options.get("devices")))[1]
    if run_dir is not None and not isinstance(run_dir, str | os.PathLike):
        raise KzooError(f"run_dir must be a path; received {run_dir!r}")
    if run_dir is not None and worker == 0:
        check_free(Path(run_dir))
    origin = origin_of(model, weights)
    data_given = data
    data = _data(origin, data, data_dir, download)
    if options.get("class_weight") == "balanced":
        options["class_weight"] = balanced_weights(data.info)
    keras.utils.set_random_seed(options["seed"])
    network, report = build(origin, data, options.get("style"), options.get("input_shape"), overrides)
    stages = stages_of(
        network,
        report.reinitialised,
        **{key: options[key] for key in ("depth", "head_epochs", "epochs", "decay", "batch_norm", "freeze")},
    )
    options.setdefault("batch_size", _batch_size(network, data))

    if worker:
        from kzoo.runs._fit import _temporary

        folder, run_dir, verbose = None, _temporary() / "run", False
    tuning = Tuning(network, data, origin, report, stages, options, verbose)
    if folder is None:
        folder = RunFolder.create(f"{origin.name}-{data.info.name}-tuned".replace("your data", "own-data"), run_dir)
        kept = {
            "model": model if isinstance(model, str) else None,
            "weights": None if weights is None else os.fspath(weights),
            "data": os.fspath(data_given) if isinstance(data_given, str | os.PathLike) else data.info.arguments or None,
            "options": _plain(given),
            "overrides": overrides,
            "done": [],
        }
        folder.write_json("transfer.json", kept)
        save_weights(network, folder / "start.safetensors")
    try:
        return tuning.run(folder, kept)
    except KeyboardInterrupt:
        tuning.progress.say(f"resume: kzoo fine-tune --resume {shlex.quote(str(folder.path))}")
        raise


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
        from kzoo.runs._find_rate import find_learning_rate

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
            "verbose": self.verbose and "epochs", **{key: self.options[key] for key in OF_FIT if key in self.options}, **whole,
        }  # fmt: skip
        optimizer = self.options["optimizer"]
        parts = split_at(self.model, self.report.reinitialised) if self._caches(k) else None
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

    def _caches(self, k: int) -> bool:
        wanted = self.options["cache"]
        text = model_spec(self.origin.name).task != "image-classification"
        return (
            k == 0
            and not text
            and bool(self.report.reinitialised)
            and wanted is not False
            and not self.options.get("augment")
        )

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
        from kzoo.preprocess import layer_of
        from kzoo.runs._fit import _config

        info = model_info(self.model)
        options = {**_plain(self.options), "transfer": {k: kept[k] for k in ("model", "weights")}}
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


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """All options with their defaults."""
    options = {
        "depth": None, "head_epochs": EPOCHS, "epochs": EPOCHS, "learning_rate": RATE, "decay": DECAY,
        "batch_norm": "frozen", "freeze": (), "patience": PATIENCE, "cache": None, "optimizer": "adam",
        "schedule": "cosine", "seed": 0, **given,
    }  # fmt: skip
    for key in ("head_epochs", "epochs", "patience"):
        whole_number(key, options[key])
    depth = options["depth"]
    if depth is not None and (isinstance(depth, bool) or not hasattr(depth, "__index__") or depth < 0):
        raise KzooError(f"depth must be a whole number of groups, 0 for the head only; received {depth!r}")
    if options["learning_rate"] != "find":
        check_number("learning_rate", options["learning_rate"])
    check_number("decay", options["decay"])
    if options["decay"] > 1:
        raise KzooError(f"decay is a factor up to 1 from a group to the one below it; received {options['decay']!r}")
    if options["batch_norm"] not in NORMS:
        raise unknown("batch_norm", options["batch_norm"], NORMS)
    options["freeze"] = tuple(check_names(options["freeze"]))
    if options["cache"] not in (None, True, False):
        raise KzooError(f"cache must be True or False; received {options['cache']!r}")
    options["augment"] = check_augment(options.get("augment"))
    if options["cache"] and options["augment"]:
        raise KzooError(
            f"cache=True computes the features once, and augment={list(options['augment'])} changes the images each"
            " epoch; leave one of them out"
        )
    if "class_weight" in options:
        options["class_weight"] = check_weights(options["class_weight"])
    return options


def _data(origin: Origin, data: Any, data_dir: Any, download: bool) -> Data:
    if isinstance(data, Mapping):  # of a resumed run: load_data's arguments
        return load_data(**({**data, "data_dir": data_dir} if data_dir else data))
    if isinstance(data, str | os.PathLike):
        found = load_for(model_spec(origin.name).task, data, data_dir=data_dir, download=download)
    elif isinstance(data, Data):
        found = data
    elif data is None:
        raise KzooError("fine_tune needs data: the name or path of a data set, or kzoo.Data")
    else:
        raise KzooError(f"data must be a name, a path or kzoo.Data; received {type(data).__name__}")
    if not found.info.classes:
        raise KzooError(f"fine_tune makes a head for the classes of the data, and {found.info.name} names none")
    if found.validation is None:
        raise KzooError(f"fine_tune chooses by a validation split, and {found.info.name} has none")
    return found


def _batch_size(model: keras.Model, data: Data) -> int:
    """The recipe's, where an epoch of the data has at least eight such batches."""
    recipe, examples = recipe_of(model_info(model)), max(data.info.counts.get("train", 0), 1)
    return max(1, min(recipe.batch_size, 2 ** int(np.log2(max(examples / 8, 1)))))


def find_tuning(run: Any) -> tuple[RunFolder, dict[str, Any]]:
    """(the folder of a fine-tuning, finished or not; its transfer.json), by path, number or `last`."""
    path = Path(os.fspath(run) if isinstance(run, os.PathLike) else str(run))
    folder = RunFolder(path) if (path / "transfer.json").is_file() else RunFolder.find(run)
    if not (folder / "transfer.json").is_file():
        raise KzooError(f"{folder.path} was not fine-tuned; resume it with kzoo fit --resume")
    return folder, folder.read_json("transfer.json")


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a file can hold."""
    return {k: v for k, v in options.items() if not isinstance(v, tf.distribute.Strategy | keras.optimizers.Optimizer)}
