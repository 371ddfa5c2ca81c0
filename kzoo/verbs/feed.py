"""What is given, as a model and the batches that it reads. Nothing here writes anything."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data, DataInfo, balanced_weights, batches_of, held, held_by, is_batches, load_data
from kzoo.engine import recipe_of
from kzoo.errors import KzooError, in_a_line
from kzoo.inputs import Reader, reader_of, told
from kzoo.keras_internals import build_by_shapes, layers_in
from kzoo.models import attach_info, input_shape_of, model_info
from kzoo.records import DataOptions, Learning, options_of
from kzoo.runs import KERAS_FILES, Predictor, RunFolder, read_keras
from kzoo.tasks import Reading, Task, dtypes_in, find_task, images_for, note_dtypes, task_of
from kzoo.zoo import create_model, model_spec

DEFAULT_BATCH, DEFAULT_EPOCHS = 32, 10


@dataclass
class Feed:
    """A model and the batches that it reads.

    Attributes:
        options: With batch size and epochs; `sources` say where these come from.
        strategy: Trains it.
        reading: How the model reads the data.
        train, validation: Batches.
        class_weights: Of each class, in the order of their numbers.
        notes: What is done to the data.
    """

    model: keras.Model
    data: Data
    options: Any
    strategy: tf.distribute.Strategy
    task: Task
    reading: Reading
    train: Any
    validation: Any
    class_weights: tuple[float, ...] | None
    sources: dict[str, str]
    notes: list[str]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, of a classifier."""
        return self.task.labels(self.data)


def feed_of(
    model: Any,
    data: Any,
    options: Learning,
    strategy: tf.distribute.Strategy,
    reading: DataOptions | None = None,
    folder: RunFolder | None = None,
    validation: Any = None,
) -> Feed:
    """Load the data, make or take the model, cut batches.

    Args:
        folder: Of a run that is resumed, and has the model.
        validation: A split of the user's own, prepared as the training data is.

    Raises:
        KzooError: What is given cannot hold, or does not fit together.
    """
    endless = options.limit_train_batches is not None
    data, fed = data_of(data, reading or DataOptions(), holds_of(model), endless_ok=endless)
    fed_validation = fed
    if validation is not None:
        with in_a_line("the validation data failed"):
            again = held(validation, getattr(options, "limit_validation_batches", None))
            data, fed_validation = with_validation(data, fed, again)
    keras.utils.set_random_seed(options.seed)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    with placement(strategy):
        model = model_of(model, options, data, folder, fed)
        check_own_methods(model)
    task = task_of(model, data.info.holds)
    task.check(model, data)
    recipe, sources, found = recipe_of(model), {}, {}
    for key, default in (("batch_size", DEFAULT_BATCH), ("epochs", DEFAULT_EPOCHS)):
        if getattr(options, key, 0) is None:
            found[key] = getattr(recipe, key) if recipe else default
            sources[key] = recipe.source if recipe else "kzoo's default"
    options = replace(options, **found)
    replicas = strategy.num_replicas_in_sync
    if fed != "batches" and options.batch_size < replicas:
        raise KzooError(f"batch_size={options.batch_size} is less than the {replicas} replicas; give each one example")
    preprocess = getattr(options, "preprocess", None)
    how = _fed(model, data, fed) if fed else _reading(task, model, data, preprocess)
    for side, reader in (("reader", how.reader), ("targets", how.targets)) if not fed else ():
        if reader is not None:
            data = reader.raw(data)
            how = replace(how, **{side: reader.learning_from(data)})
    augment = tuple(options.augment or ())
    _check_images_asked(preprocess, augment, how.reader, data, fed)
    weights = options.class_weight
    weights = balanced_weights(data.info) if weights == "balanced" else weights
    weights = None if weights is None else task.class_weights(weights, data)
    common: dict[str, Any] = {"seed": options.seed, "keep": True}  # every epoch reads it
    common |= {"targets": how.targets} if how.targets is not None else {}

    def batches(split: tf.data.Dataset, fed: str, **more: Any) -> Any:
        if fed == "batches":  # by the user
            return how.reader.batches(split, None, ready=True, **more, **common)
        return how.reader.batches(split, options.batch_size, **more, **common)

    augmented = {"augment": augment} if augment else {}
    train = batches(
        data.train, fed, shuffle=True, limit=options.limit_train_batches, class_weights=weights, **augmented
    )
    validation, notes = None, [*data.info.notes, *how.notes]
    if data.validation is not None:
        limit = getattr(options, "limit_validation_batches", None)
        if limit is None and int(data.validation.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise KzooError("the validation data never ends; say how much of it with limit_validation_batches=…")
        validation = batches(data.validation, fed_validation, limit=limit)
    for split, made in (("train", train), ("validation", validation)):
        notes += [f"{split}: {note}" for note in getattr(made, "notes", ())]
    if not all(layer.built for layer in layers_in(model)):
        with placement(strategy):
            build_on(model, train)
        task = task_of(model, data.info.holds)  # which its outputs show
    if fed and not getattr(model, "inputs", None):
        note_dtypes(model, dtypes_in(data.train.element_spec[0]))
    if train.steps == 0:
        raise KzooError(f"the train split of {data.info.name} is empty")
    return Feed(model, data, options, strategy, task, how, train, validation, weights, sources, notes)


def _check_images_asked(preprocess: str | None, augment: tuple, reader: Reader, data: Data, fed: str) -> None:
    """What is asked of images needs images that kzoo reads itself.

    Raises:
        KzooError: They come ready, or are none.
    """
    if fed and preprocess is not None:
        raise KzooError(
            f"preprocess={preprocess!r} is for images that kzoo reads, by a path or in kzoo.Data; arrays and"
            " datasets of yours are fed as they are"
        )
    known = reader.augmentations
    if augment and not (known and {name for name in augment if isinstance(name, str)} <= set(known)):
        why = "this data is fed as given" if reader.as_given else f"{data.info.name} holds {data.info.holds}"
        raise KzooError(f"augment={[*map(told, augment)]} needs raw images that kzoo preprocesses; {why}")


def _reading(task: Task, model: keras.Model, data: Data, preprocess: str | None) -> Reading:
    if preprocess is None:
        return task.reading(model, data)
    if model_info(model) is not None:
        raise KzooError(f"preprocess={preprocess!r} is for models of your own; {model.name} knows what it reads")
    return task.reading_of_own(model, data, preprocess)


def _fed(model: keras.Model, data: Data, fed: str) -> Reading:
    """Of arrays and batches of the user's, which are the network's inputs already."""
    info = model_info(model)
    if info is not None:
        reader_of(info.inputs).check_fed(model.name, data)
    if fed == "batches":
        check_batched(model, data.train.element_spec[0])
    return Reading(Reader(), None, "as given, neither resized nor scaled", [])


def check_batched(model: keras.Model, given: Any) -> None:
    """
    Raises:
        KzooError: The examples of a dataset are single ones.
    """
    wanted = input_shape_of(model)
    if wanted is None or not isinstance(given, tf.TensorSpec) or given.shape.rank != len(wanted):
        return
    if wanted and given.shape[0] is not None and given.shape.is_compatible_with(wanted):
        raise KzooError(
            f"your dataset gives single examples {list(given.shape)}, and {model.name!r} takes batches: give it"
            " .batch(32), or kzoo.Data(dataset)"
        )


# ----------------------------------------------------------------------------------------------------------------------
# Data
# ----------------------------------------------------------------------------------------------------------------------


def data_of(data: Any, reading: DataOptions, holds: str | None, *, endless_ok: bool = False) -> tuple[Data, str]:
    """(Data, "" for raw examples, "arrays" or "batches" for what is fed as it is).

    Args:
        data: A name or path, `load_data`'s arguments, Data, arrays (x, y[, weight]), or a batched dataset.
        holds: What the model's task works on, for a path that could hold several things.
    """
    if isinstance(data, Mapping):
        if "name" not in data or not set(data) <= {"name", *options_of(DataOptions)}:
            raise KzooError(
                f"data is a dict of {', '.join(map(str, data))}; give (x, y[, weight]), where each may be a dict"
            )
        return load_data(**data), ""
    if isinstance(data, str | os.PathLike):
        return load_data(data, **{**held_by(data, holds), **reading.given()}), ""
    if given := reading.given():
        raise KzooError(f"{', '.join(given)} goes with the name or path of data")
    if isinstance(data, Data):
        for name, split in data.splits.items():
            if int(split.cardinality()) == tf.data.INFINITE_CARDINALITY:
                raise KzooError(f"the {name} split of {data.info.name} never ends; batch it, and give the batches")
        return data, ""
    if is_batches(data):
        notes = ("your dataset is fed as it is: batched and prepared by you",)
        if inspect.isgenerator(data) and not endless_ok:
            notes += ("an epoch of a generator lasts until it ends; limit_train_batches says how long else",)
        with in_a_line("the data's first batch failed"):
            data = batches_of(data)
        info = DataInfo("your dataset", "", notes=notes, batched=("train",))
        if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY and not endless_ok:
            raise KzooError("your dataset never ends; say how long an epoch is with limit_train_batches=…")
        return Data(data, info=info), "batches"
    if isinstance(data, tuple) and any(isinstance(part, tf.data.Dataset) for part in data):
        raise KzooError(
            "data has datasets in a tuple; give one batched tf.data.Dataset, or kzoo.Data(train, validation) of"
            " unbatched ones"
        )
    if isinstance(data, np.ndarray):
        data = (data,)
    if isinstance(data, tuple) and 1 <= len(data) <= 3:
        return Data(data), "arrays"
    received = "none" if data is None else type(data).__name__
    raise KzooError(
        "data must be a name such as 'digits', a path, kzoo.Data, arrays (x, y[, weight]), or batches: a"
        f" tf.data.Dataset, a keras.utils.PyDataset, a generator; received {received}"
    )


def reading_images(predictor: Predictor, preprocess: str | None, needed: bool) -> Predictor:
    """A model of the user's, of which no run tells what it reads, as one that reads images: where it is given some, or
    is said what it is given of them.

    Raises:
        KzooError: It takes no images, or nobody can see what it is given of them.
    """
    if preprocess is not None and not predictor.reader.as_given:
        raise KzooError(
            f"preprocess={preprocess!r} is for models of your own that no run has told of; {predictor.name} knows what"
            " it reads"
        )
    if not predictor.reader.as_given or not (needed or preprocess is not None):
        return predictor
    spec = images_for(predictor.model, predictor.name, preprocess)
    if spec is None and preprocess is not None:
        raise KzooError(f"preprocess={preprocess!r} goes with images of one size; {predictor.name} takes none")
    return predictor if spec is None else replace(predictor, reader=reader_of(spec))


def with_validation(data: Data, fed: str, validation: Any) -> tuple[Data, str]:
    """Data with a validation split of the user's own, and how that is fed: as the training data, or in batches.

    Raises:
        KzooError: It is neither batched nor single examples as the training data is.
    """
    if isinstance(validation, Data):
        validation = validation.train
    if is_batches(validation):
        validation = batches_of(validation)
    known, single = data.train.element_spec, None
    if isinstance(validation, tf.data.Dataset):
        ranks = [[spec.shape.rank for spec in tf.nest.flatten(s[0])] for s in (validation.element_spec, known)]
        deeper = 0 if None in ranks[0] + ranks[1] or len(ranks[0]) != len(ranks[1]) else ranks[0][0] - ranks[1][0]
        single = deeper == (-1 if fed == "batches" else 0)
    elif isinstance(validation, tuple | np.ndarray):
        validation, single = validation if isinstance(validation, tuple) else (validation,), True
    if single is None:
        raise KzooError(
            "validation must be (x, y[, weight]), a tf.data.Dataset as data takes it, or a share of named data;"
            f" received {type(validation).__name__}"
        )
    if not single and not fed:
        raise KzooError(
            "validation is batched, and data is not: kzoo prepares raw examples; give single ones, with unbatch()"
        )
    batched = data.info.batched if single else ("train", "validation")
    info = replace(data.info, arguments={}, batched=batched)  # no name reads all of it again
    given = Data(validation, info=info)
    whole = Data(**{**data.splits, "validation": given.train}, info=info)
    whole.labels = {**data.labels, **({"validation": given.labels["train"]} if given.labels else {})}
    return whole, "arrays" if single else "batches"


def holds_of(model: Any) -> str | None:
    """What the task of a model works on, where a folder could be read as several things."""
    if isinstance(model, Mapping):
        model = model["model"]
    if isinstance(model, str):
        if Path(model).suffix in KERAS_FILES:
            return None
        return find_task(model_spec(model).task).holds
    info = model_info(model)
    return find_task(info.task).holds if info is not None else None


# ----------------------------------------------------------------------------------------------------------------------
# The model
# ----------------------------------------------------------------------------------------------------------------------


def model_of(model: Any, options: Learning, data: Data, folder: RunFolder | None, fed: str) -> keras.Model:
    """Read, built for the data, or as it is given."""
    own = {name: value for name, value in (("style", options.style), ("set", options.set)) if value}
    if model is None and folder is not None:
        if not (folder / "model.keras").is_file():
            raise KzooError(
                f"{folder.path} has no model.keras, for its class has no get_config; give the model, built anew, to"
                " resume it"
            )
        return read_keras(folder / "model.keras")
    if isinstance(model, os.PathLike) or (isinstance(model, str) and Path(model).suffix in KERAS_FILES):
        model = read_keras(Path(model))
    if isinstance(model, str):
        return built(model, options.style or "functional", options.set or {}, data, fed)
    if isinstance(model, Mapping):  # of a config.json
        arguments = {**{k: v for k, v in model["arguments"].items() if v is not None}, **(options.set or {})}
        for name in ("classes", *(info_arguments(model["model"]))):
            if name not in (options.set or {}):
                arguments.pop(name, None)  # of the data, which may be another now
        return built(model["model"], options.style or model["style"], arguments, data, fed)
    if not isinstance(model, keras.Model):
        raise KzooError(f"model must be a Keras model or a name from kzoo list; received {type(model).__name__}")
    if own:
        (name, value), *_ = own.items()
        raise KzooError(f"{name}={value!r} goes with a model given by name; {model.name!r} is built already")
    return model


def build_on(model: keras.Model, train: Any) -> None:
    """A model that makes its weights when it is first called: as Keras' fit does, on the first batch.

    Raises:
        KzooError: It cannot be called on it.
    """
    with in_a_line("the data's first batch failed"):
        x, *_ = next(iter(train.epoch(0)), (None,))
    with in_a_line(f"cannot build {model.name!r} on the data"):
        if all(isinstance(part, tf.Tensor) for part in tf.nest.flatten(x)):
            build_by_shapes(model, x)
        else:  # sparse parts, of which there is nothing symbolic
            model(x)


def info_arguments(name: str) -> list[str]:
    """Arguments of a builder that the data's vocabulary decides."""
    inputs = model_spec(name).inputs
    return list(inputs.arguments) if inputs is not None else []


def built(name: str, style: str, arguments: Mapping[str, Any], data: Data, fed: str) -> keras.Model:
    """One of the registry's models, for the classes and the vocabulary of the data."""
    if "style" in arguments:
        raise KzooError(f"style is an option of its own, not of set; give style={arguments['style']!r}")
    spec = model_spec(name)
    decided, learned = find_task(spec.task).arguments(spec, data), None
    if spec.inputs is not None and not spec.inputs.known and not fed:
        wanted = spec.inputs
        if arguments:  # a vocabulary of that size, texts of that length
            wanted = wanted.for_model(arguments.get("input_shape", spec.input_shape), arguments)
        reader = reader_of(wanted)
        reader.check(name, data)
        learned = reader.learn(data)
        decided |= {k: v for k, v in learned.arguments.items() if k in spec.parameters}
    model = create_model(name, style, **{**decided, **arguments})
    return model if learned is None else attach_info(model, replace(model_info(model), inputs=learned))


# Methods of Keras' trainer that kzoo's loop stands in for, and what does the same in it.
REPLACED = {
    "train_step": "losses can be added in layers, or override compute_loss",
    "test_step": "losses can be added in layers, or override compute_loss",
    "compute_metrics": "give compile the metrics",
    "fit": "callbacks can act between epochs and batches",
    "make_train_function": "losses can be added in layers, or override compute_loss",
    "make_test_function": "losses can be added in layers, or override compute_loss",
}
INSTEAD = {"test_step": "evaluate", "evaluate": "evaluate", "make_test_function": "evaluate",
           "predict_step": "predict", "predict": "predict", "make_predict_function": "predict"}  # fmt: skip


def check_own_methods(model: keras.Model, names: Sequence[str] = tuple(REPLACED)) -> None:
    """
    Raises:
        KzooError: The model has a training, an evaluation or an answer of its own in part, which kzoo would leave out
            without a word.
    """
    for name in names:
        if name not in vars(model) and getattr(type(model), name) is getattr(keras.Model, name):
            continue
        who = f"{type(model).__name__} has a {name} of its own"
        if names != tuple(REPLACED):
            raise KzooError(f"{who}, which kzoo would not run; remove it, or use its own {INSTEAD[name]}")
        raise KzooError(
            f"{who}, which kzoo's loop would not run; remove it ({REPLACED[name]}), or train it with Keras' fit"
        )


def placement(strategy: tf.distribute.Strategy) -> contextlib.AbstractContextManager:
    """Where the model's own variables live: with one device, there; replicas have copies of them."""
    if isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return tf.device(strategy.extended.worker_devices[0])
    return contextlib.nullcontext()
