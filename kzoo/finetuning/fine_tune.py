"""fine_tune: a model that has learned elsewhere, and a user's data, to a run like any other."""

from __future__ import annotations

import inspect
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data, load_data
from kzoo.data.data import balanced_weights
from kzoo.inputs.batches import check_augment
from kzoo.data.load import load_for
from kzoo.errors import KzooError, unknown, whole_number
from kzoo.zoo import model_info, model_spec
from kzoo.runs.folder import Run, RunFolder, aside, check_free, temporary_folder
from kzoo.verbs.given import check_number, check_rate
from kzoo.verbs.prepare import checked, read
from kzoo.runs.record import plain_options
from kzoo.spec import to_json
from kzoo.engine.freezing import check_names, set_trainable
from kzoo.engine.optimizers import optimizer_of
from kzoo.engine.plan import recipe_of
from kzoo.engine.replicas import workers_of
from kzoo.engine.strategies import strategy as make_strategy
from kzoo.finetuning.origin import Origin, blank, fill, origin_of
from kzoo.finetuning.stages import DECAY, stages_of
from kzoo.finetuning.tuning import OF_FIT, Tuning
from kzoo.weights.store import save_weights

NORMS = ("frozen", "adapt")
EPOCHS, PATIENCE, RATE = 10, 5, 1e-3
REPEATED = ("depth", "head_epochs", "epochs", "learning_rate", "decay", "batch_norm", "freeze", "patience", "cache",
            "optimizer", "schedule", "augment", "class_weight", "batch_size", "input_shape", "style", "precision",
            "xla", "kernels", "strategy", "devices", "seed", "deterministic", "limit_train_batches",
            "limit_validation_batches")  # fmt: skip


LATER = ("head_epochs", "epochs", "patience")  # what a resumed run may be given anew


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
        schedule: Of each stage, after a tenth of it over which the rates rise; default `"cosine"`. `"constant"`: they
            never change; default of data of unknown length.
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
    folder = kept = None
    if resume is not None:
        if run_dir is not None:
            raise KzooError("give run_dir or resume, not both: a resumed run writes into its own folder")
        folder, kept = find_tuning(resume)
        model, weights, data, given, overrides = _resumed(folder, kept, model, weights, data, given, overrides)
    if model is None:
        raise KzooError("fine_tune needs a model: a name with weights=…, a run, or a .keras file")
    if run_dir is not None and not isinstance(run_dir, str | os.PathLike):
        raise KzooError(f"run_dir must be a path; received {run_dir!r}")
    for name in overrides.keys() & inspect.signature(load_data).parameters.keys():
        raise KzooError(f"{name} is for kzoo.load_data; give fine_tune(model, kzoo.load_data(…, {name}=…))")
    options = _checked(given)
    the_strategy = make_strategy(options.get("strategy", "auto"), options.get("devices"))
    worker = workers_of(the_strategy)[1]
    if run_dir is not None and worker == 0:
        check_free(Path(run_dir))
    origin = origin_of(model, weights)
    data = _data(origin, data, data_dir, download)
    if options.get("class_weight") == "balanced":
        options["class_weight"] = balanced_weights(data.info)
    keras.utils.set_random_seed(options["seed"])
    network = blank(origin, data, options.get("style"), options.get("input_shape"), overrides)
    options.setdefault("batch_size", default_batch_size(network, data))
    endless = data.info.counts.get("train", -1) < 1  # how many examples there are is not known
    if endless and options.get("schedule", "constant") != "constant":
        raise KzooError(f"schedule={options['schedule']!r} must know the length of the data; give schedule='constant'")
    options.setdefault("schedule", "constant" if endless else "cosine")
    planned = {key: options[key] for key in ("depth", "head_epochs", "epochs", "decay", "batch_norm", "freeze")}
    for stage in stages_of(network, [model_spec(origin.name).head], **planned):  # whatever else turns out to be new
        set_trainable(network, stage.frozen)
    set_trainable(network, ())
    feed = lambda: read(network, data, {**{k: options[k] for k in OF_FIT if k in options}, "epochs": 1}, the_strategy)
    if model_spec(origin.name).task == "image-classification":  # texts need the vocabulary of the weights first
        feed()
    report = fill(origin, network, data)
    stages = stages_of(network, report.reinitialised, **planned)

    if worker:
        folder, run_dir, verbose = aside(folder), temporary_folder() / "run", False
    if folder is None:
        folder = RunFolder.create(f"{origin.name}-{data.info.name}-tuned".replace("your data", "own-data"), run_dir)
        kept = {
            "model": origin.model,
            "weights": origin.weights,
            "data": data.info.arguments or None,
            "options": plain_options(given),
            "overrides": overrides,
            "done": [],
            "rows": [],
        }
        save_weights(network, folder / "start.safetensors")
    folder.write_json("transfer.json", kept)
    tuning = Tuning(network, data, origin, report, stages, options, feed(), folder, kept, worker, verbose)
    try:
        return tuning.run()
    except KeyboardInterrupt:
        tuning.progress.say(f"resume: kzoo fine-tune --resume {shlex.quote(str(folder.path))}")
        raise


def _resumed(
    folder: RunFolder, kept: dict[str, Any], model: Any, weights: Any, data: Any, given: dict[str, Any],
    overrides: dict[str, Any],
) -> tuple[Any, Any, Any, dict[str, Any], dict[str, Any]]:  # fmt: skip
    """(model, weights, data, options, overrides) of a run that goes on: what it was begun with."""
    for name, value, own in (("model", model, kept["model"]), ("data", data, kept["data"])):
        if own is None and value is None:
            raise KzooError(f"{folder.path} was given its {name} as an object, which a file cannot hold; give it again")
        if own is not None and value is not None and not isinstance(value, Data | keras.Model):
            raise KzooError(f"{folder.path} has its {name}; leave it out when a run is resumed, or start a new one")
    before = kept["options"]
    changed = lambda value, old: json.loads(to_json(value)) != json.loads(to_json(old))
    differ = [key for key, v in plain_options(given).items() if changed(v, before.get(key))]
    if differ and "after" in kept:
        raise KzooError(
            f"{folder.path} is finished; {', '.join(differ)} cannot be changed now: start another tuning from it"
        )
    other = [key for key in differ if key not in LATER]
    other += [key for key, v in overrides.items() if changed(v, kept["overrides"].get(key))]
    if weights is not None:
        other.append("weights")
    if other:
        raise KzooError(
            f"{', '.join(other)} cannot be changed when a run is resumed (only {', '.join(LATER)} can); start a new one"
        )
    kept["options"] = {**before, **plain_options(given)}
    model = kept["model"] if model is None else model
    data = kept["data"] if data is None else data
    return model, kept["weights"], data, {**before, **given}, kept["overrides"]


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """All options with their defaults."""
    options = {
        "depth": None, "head_epochs": EPOCHS, "epochs": EPOCHS, "learning_rate": RATE, "decay": DECAY,
        "batch_norm": "frozen", "freeze": (), "patience": PATIENCE, "cache": None, "optimizer": "adam",
        "seed": 0, **given,
    }  # fmt: skip
    for key in ("head_epochs", "epochs", "patience"):
        whole_number(key, options[key])
    depth = options["depth"]
    if depth is not None and (isinstance(depth, bool) or not hasattr(depth, "__index__") or depth < 0):
        raise KzooError(f"depth must be a whole number of groups, 0 for the head only; received {depth!r}")
    check_rate(options["learning_rate"], resumed=False)
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
    ours = {key: options[key] for key in OF_FIT if options.get(key) is not None}
    checked(ours, options.get("style"))
    if not isinstance(options["optimizer"], str):
        raise KzooError(
            f"optimizer must be a name, since each stage needs a new one; received {options['optimizer']!r}"
            " (settings go behind the name: 'sgd:momentum=0.9')"
        )
    optimizer_of(options["optimizer"])
    if "learning_rate=" in options["optimizer"]:
        raise KzooError(f"optimizer={options['optimizer']!r} has a rate of its own; give it as learning_rate=…")
    return {**options, **ours}


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
        raise KzooError(f"fine_tune chooses by a validation split, and {found.info.name} has none; give validation=0.1")
    return found


def default_batch_size(model: keras.Model, data: Data) -> int:
    """The recipe's, where an epoch of the data has at least eight such batches."""
    recipe, examples = recipe_of(model_info(model)), data.info.counts.get("train", -1)
    if examples < 1:  # of a stream
        return recipe.batch_size
    return max(1, min(recipe.batch_size, 2 ** int(np.log2(max(examples / 8, 1)))))


def find_tuning(run: Any) -> tuple[RunFolder, dict[str, Any]]:
    """(the folder of a fine-tuning, finished or not; its transfer.json), by path, number or `last`."""
    folder = RunFolder.find(run, "transfer.json")
    return folder, folder.read_json("transfer.json")
