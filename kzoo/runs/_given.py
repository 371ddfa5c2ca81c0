"""What fit is given: checked, and made into the model, the data and the input that it trains with.

Nothing here writes anything: a mistake is a KzooError before there is a run folder.
"""

from __future__ import annotations

import inspect
import math
import numbers
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data, DataInfo, load_data
from kzoo.data._pipeline import Batches
from kzoo.data._sources import load_for
from kzoo.data._texts import units_of
from kzoo.errors import KzooError, unknown, whole_number
from kzoo.models._registry import attach_info, create_model, model_info, model_spec
from kzoo.models._styles import input_shape_of
from kzoo.preprocess import NoiseLayer, layer_of
from kzoo.runs._folder import RunFolder
from kzoo.runs._load import read_keras
from kzoo.runs._scores import token_rows
from kzoo.spec import (
    STYLES,
    NoisePreprocess,
    PairPreprocess,
    Preprocess,
    TextPreprocess,
)
from kzoo.text import PairLayer, learn_vocabulary
from kzoo.training.objectives import Supervised
from kzoo.training.plan import check_xla
from kzoo.training.schedules import check_schedule, rate_setter


def check_options(options: dict[str, Any], style: str | None) -> None:
    for key in ("epochs", "batch_size", "warmup", "patience", "limit_train_batches", "limit_validation_batches"):
        value = options.get(key)
        if value is not None:
            whole_number(key, value)
    for key in ("kernels", "sync_batch_norm", "deterministic"):
        if options.get(key) not in (None, True, False):
            raise KzooError(f"{key} must be True or False; received {options[key]!r}")
    seed = options.get("seed", 0)
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= seed < 2**32:
        raise KzooError(f"seed must be a whole number from 0 to {2**32 - 1}; received {seed!r}")
    check_schedule(options.get("schedule"))
    check_xla(options.get("xla", "auto"))
    if style is not None and style not in STYLES:
        raise unknown("style", style, STYLES)


def check_number(name: str, value: Any) -> None:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if value is not None and (not number or not math.isfinite(value) or value <= 0):
        raise KzooError(f"{name} must be a number above 0; received {value!r}")


def check_rate(value: Any, resumed: bool) -> float | None:
    """A learning rate as it was given; None where there is none yet."""
    if value == "find":
        if resumed:
            raise KzooError("learning_rate='find' goes with a new run; a resumed one goes on at its own rate")
        return None
    if isinstance(value, str):
        raise KzooError(f"learning_rate must be a number above 0 or 'find'; received {value!r}")
    check_number("learning_rate", value)
    return None if value is None else float(value)


def check_no_setter(callbacks: list[keras.callbacks.Callback]) -> None:
    """Of a rate that is looked for."""
    if setter := rate_setter(callbacks):
        raise KzooError(f"learning_rate='find' and {setter} both set the learning rate; leave one of them out")


def check_patience(patience: int | None, model: keras.Model, validation: Batches | None) -> None:
    if patience is None:
        return
    if hasattr(model, "players"):
        raise KzooError(
            f"patience needs a score of epochs, which the players of {model.name!r} do not have; leave it out"
        )
    if validation is None:
        raise KzooError("patience needs a validation split to score epochs on; give one, or leave patience out")


def data_of(
    data: Any, config: Any, data_dir: Any, download: bool, languages: str | None, task: str, endless_ok: bool
) -> tuple[Data, str]:
    """(Data, "" for raw examples, "arrays" or "batches" for what is fed as it is)."""
    if languages is not None and not isinstance(data, str | os.PathLike):
        raise KzooError(f"languages={languages!r} goes with the name or path of data")
    if data is None and config is not None:
        if not config["data"]:
            raise KzooError("this run was trained on arrays or a dataset of your own; give data=… to resume it")
        arguments = dict(config["data"])
        return load_data(**({**arguments, "data_dir": data_dir} if data_dir else arguments)), ""
    if data is None:
        data = "digits"
    if isinstance(data, str | os.PathLike):
        return load_for(task, data, data_dir=data_dir, download=download, languages=languages), ""
    if isinstance(data, Data):
        return data, ""
    if isinstance(data, tf.data.Dataset):
        info = DataInfo(
            name="your dataset", task="", notes=("your dataset is fed as it is: batched and prepared by you",)
        )
        if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY and not endless_ok:
            raise KzooError("your dataset never ends; say how long an epoch is with limit_train_batches=…")
        return Data(data, info=info), "batches"
    if isinstance(data, tuple) and any(isinstance(part, tf.data.Dataset) for part in data):
        raise KzooError(
            "data has datasets in a tuple; give one batched tf.data.Dataset, or kzoo.Data(train, validation) of"
            " unbatched ones"
        )
    if isinstance(data, tuple) and len(data) in (2, 3):
        return Data(data), "arrays"
    raise KzooError(
        f"data must be a name, a path, kzoo.Data, arrays (x, y[, weight]) or a batched tf.data.Dataset;"
        f" received {type(data).__name__}"
    )


def task_of(model: Any) -> str:
    """Of a model by name or one of kzoo's; "" where it is not known."""
    if isinstance(model, str):
        return "" if model.endswith(".keras") else model_spec(model).task
    info = model_info(model)
    return info.task if info else ""


def model_of(
    model: Any, style: str | None, data: Data, folder: RunFolder | None, config: Any, fed_as_given: str
) -> keras.Model:
    if model is None:
        if style is not None and style != (config["model"] or {}).get("style"):
            raise KzooError(f"style={style!r} cannot be changed when a run is resumed; start a new one")
        if not (folder / "model.keras").is_file():
            raise KzooError(f"{folder.path} has no model.keras; give the model to resume it")
        return read_keras(folder / "model.keras")
    if isinstance(model, str) and model.endswith(".keras"):
        model = read_keras(Path(model))
    if isinstance(model, str):
        spec = model_spec(model)
        arguments = {}
        if data.info.classes and not spec.fixed_classes and spec.classes > 1:
            arguments["classes"] = len(data.info.classes)
        preprocess = spec.preprocess
        if isinstance(preprocess, TextPreprocess | PairPreprocess) and not fed_as_given:
            preprocess = with_vocabulary(preprocess, data, model)
            known = inspect.signature(spec.definition.define).parameters
            arguments |= {k: v for k, v in preprocess.arguments.items() if k in known}
        built = create_model(model, style=style or "functional", **arguments)
        if preprocess is not spec.preprocess:
            attach_info(built, replace(model_info(built), preprocess=preprocess))
        return built
    if not isinstance(model, keras.Model):
        raise KzooError(f"model must be a Keras model or a name from kzoo list; received {type(model).__name__}")
    if style is not None:
        raise KzooError(f"style={style!r} goes with a model given by name; {model.name!r} is built already")
    if not model.built:
        raise KzooError(f"{model.name!r} is not built; call it once on an input, or give it a keras.Input")
    return model


def check_train_step(model: keras.Model) -> None:
    if type(model).train_step is not keras.Model.train_step:
        raise KzooError(
            f"{type(model).__name__} has a train_step of its own, which kzoo's loop would not run; remove it"
            " (losses can be added in layers, or override compute_loss), or train it with Keras' fit"
        )


def check_classes(model: keras.Model, data: Data) -> None:
    """Labels beyond the model's outputs would train on nonsense without a word."""
    info = model_info(model)
    outputs = getattr(model, "outputs", None)  # a subclass of the user's does not say
    units = info.arguments["classes"] if info else outputs[0].shape[-1] if outputs and len(outputs) == 1 else None
    classes = len(data.info.classes)
    if not classes or units is None or not data.info.task.endswith("classification"):
        return
    if units == 1 and classes > 2:
        raise KzooError(
            f"{model.name} has one output, for two classes; {data.info.name} has {classes}"
            " (only=…, --only on the command line, keeps some)"
        )
    if 1 < units < classes:
        raise KzooError(f"the labels of {data.info.name} reach {classes - 1}, but {model.name} has classes={units}")


def class_weights_of(weights: Mapping[int, float] | None, data: Data, layer: Any) -> tuple[float, ...] | None:
    """The weight of each class, in the order of their numbers."""
    if weights is None:
        return None
    if isinstance(layer, PairLayer | NoiseLayer):
        raise KzooError("class_weight goes with classifiers; this model learns no classes")
    spec = data.train.element_spec
    if len(spec) == 3:
        raise KzooError("class_weight and weights in the data exclude each other; multiply them into the data's")
    if not isinstance(spec[1], tf.TensorSpec):
        raise KzooError("class_weight goes with a single output; weigh the examples of each output in the data instead")
    needed = max(len(data.info.classes), len(weights))
    if sorted(weights) != list(range(needed)):
        raise KzooError(f"class_weight must name each class from 0 to {needed - 1}; received {sorted(weights)}")
    return tuple(weights[k] for k in range(needed))


def check_weights(weights: Any) -> dict[int, float] | str:
    """`"balanced"`, or a weight for each class."""
    if isinstance(weights, str):
        if weights != "balanced":
            raise KzooError(f"class_weight must be 'balanced' or {{class number: weight}}; received {weights!r}")
        return weights
    return numbered(weights)


def numbered(weights: Mapping[Any, Any]) -> dict[int, float]:
    """Of NumPy's numbers too, and of config.json's, where the keys are text."""
    try:
        found = {int(k): float(v) for k, v in weights.items()}
    except (AttributeError, ValueError, TypeError):
        found = {}
    if not found or not all(math.isfinite(v) and v >= 0 for v in found.values()):
        raise KzooError(f"class_weight must be {{class number: weight of 0 or more}}; received {weights!r}")
    return found


def check_class_weights(weights: tuple[float, ...], data: Data, batch: Any, limit: int | None) -> int | None:
    """A weight for each class that the model or the labels have; returns the limit of the labels."""
    y = batch[1]
    if limit is None and y.shape.rank > 1 and y.shape[-1] > 1:  # one-hot
        classes, limit = y.shape[-1], None
    else:
        classes = limit or max(data.labels.get("train", (0, len(weights) - 1))[1] + 1, 2)
        limit = len(weights)
    if len(weights) != classes:
        raise KzooError(f"class_weight must name each class from 0 to {classes - 1}; received {len(weights)} classes")
    return limit


def check_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    found = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
    if not isinstance(found, list | tuple) or not all(isinstance(c, keras.callbacks.Callback) for c in found):
        raise KzooError(f"callbacks must be Keras callbacks, made by calling their class; received {callbacks!r}")
    return list(found)


def with_vocabulary(preprocess: Any, data: Data, name: str) -> Any:
    """A preprocessing of texts with the vocabulary of the training texts, where it had none."""
    pair = isinstance(preprocess, PairPreprocess)
    texts = [spec.dtype == tf.string for spec in data.train.element_spec[: 2 if pair else 1] if hasattr(spec, "dtype")]
    if texts != [True] * (2 if pair else 1):
        wanted = "pairs of texts" if pair else "texts"
        raise KzooError(f"{name} reads {wanted}, but {data.info.name} gives {_types(data.train.element_spec)}")
    sides = [preprocess.source, preprocess.target] if pair else [preprocess]
    if sides[0].vocabulary:
        return preprocess
    columns = [data.train.map(lambda *row, k=k: row[k]) for k in range(len(sides))]
    units = data.info.units or [
        units_of([t.decode() for t in column.take(1000).as_numpy_iterator()]) for column in columns
    ]
    sides = [replace(s, unit=u) for s, u in zip(sides, units, strict=True)]
    if pair:
        return learn_vocabulary(PairPreprocess(*sides, joint=preprocess.joint), columns)
    return learn_vocabulary(sides[0], columns[0])


def _dtypes(data: Data) -> Any:
    return tf.nest.map_structure(lambda spec: spec.dtype, data.train.element_spec)


def _types(spec: Any) -> str:
    return ", ".join(f"{s.dtype.name} {list(s.shape)}" for s in tf.nest.flatten(spec))


def input_of(model: keras.Model, data: Data, fed_as_given: str) -> tuple[Any, str, list[str]]:
    """What turns raw examples into inputs (see `layer_of`), the plan's line about it, and notes on what it changes."""
    spec = data.train.element_spec[0]
    if fed_as_given:
        if isinstance(getattr(model_info(model), "preprocess", None), NoisePreprocess) and fed_as_given == "arrays":
            raise KzooError(
                f"{model.name} learns from images and noise that kzoo draws; give kzoo.Data((images, labels)), a name"
                " or a folder, not bare arrays"
            )
        kind = getattr(model_info(model), "preprocess", None)
        if isinstance(kind, TextPreprocess | PairPreprocess) and tf.string in tf.nest.flatten(_dtypes(data)):
            raise KzooError(
                f"{model.name} reads token ids, and what you give is fed as it is; give kzoo.Data((texts, …)), whose"
                " texts kzoo tokenises"
            )
        return None, "as given, neither resized nor scaled", []
    info = model_info(model)
    preprocess = info.preprocess if info else None
    if isinstance(preprocess, TextPreprocess | PairPreprocess):
        if not preprocess.known and getattr(model, "optimizer", None) is not None and int(model.optimizer.iterations):
            raise KzooError(
                f"{model.name} was trained on a vocabulary that its file does not carry; give its run (kzoo.load_model)"
            )
        preprocess = with_vocabulary(preprocess, data, model.name)
        rows = token_rows(model)
        largest = max(v for name, v in preprocess.arguments.items() if name != "joint")
        if rows and largest > max(rows):
            raise KzooError(f"{model.name} has room for {max(rows):,} tokens, but the vocabulary has {largest:,}")
        built = {**model_spec(info.model).config, **info.arguments}
        for name, size in preprocess.arguments.items():
            if name != "joint" and name in built and size > built[name]:
                raise KzooError(f"{model.name} was built with {name}={built[name]:,}, but the vocabulary has {size:,}")
        if isinstance(preprocess, PairPreprocess) and info.preprocess.joint != preprocess.joint:
            raise KzooError(
                f"{model.name} has one vocabulary for both languages, but {data.info.name} needs two"
                f" ({' and '.join(data.info.units)}); build it with joint=False"
            )
        return layer_of(preprocess), preprocess.describe(), []
    expected = input_shape_of(model)
    own = isinstance(spec, tf.TensorSpec) and spec.shape.rank == 3 and spec.shape[-1] == (expected or (None,))[-1]
    if expected is not None and len(expected) == 3 and expected[2] not in (1, 3) and not own:
        raise KzooError(
            f"{model.name} reads {expected[2]} channels; kzoo prepares images with 1 or 3: give arrays instead"
        )
    image = isinstance(spec, tf.TensorSpec) and spec.shape.rank == 3
    source = "the model's"
    if preprocess is None and image and expected is not None and len(expected) == 3:
        size = expected[:2] if None not in expected[:2] else tuple(spec.shape[:2])
        if None in size:
            raise KzooError(
                f"{model.name} takes images of any size and {data.info.name} has many; give it an input_shape"
            )
        preprocess = Preprocess(size=size, channels=expected[2])
        source = "kzoo's default for images"
    if isinstance(spec, tf.TensorSpec) and spec.dtype == tf.string:
        reads = getattr(model, "inputs", None)
        if preprocess is not None or (reads and len(reads) == 1 and reads[0].dtype != "string"):
            what = "images" if preprocess is not None else f"{reads[0].dtype} {list(expected or ())}"
            raise KzooError(
                f"{model.name} reads {what}, but {data.info.name} gives texts; a model of your own takes them with"
                " keras.layers.TextVectorization as its first layer"
            )
        return None, "texts, as the data gives them", []
    if preprocess is None:
        if expected is not None and isinstance(spec, tf.TensorSpec) and not spec.shape.is_compatible_with(expected):
            raise KzooError(f"{model.name} reads {expected}, but {data.info.name} gives {tuple(spec.shape)}")
        return None, "as the data gives it", []
    if not image:
        raise KzooError(f"{model.name} reads images, but {data.info.name} gives {tuple(spec.shape)}")
    notes = preprocess.changes(tuple(spec.shape))
    return layer_of(preprocess), f"{preprocess.describe()} ({source} preprocessing)", notes


def try_batch(objective: Supervised, train: Batches) -> Any:
    """The first batch, seen once in inference mode: what does not fit together shows before anything is written."""
    batch = next(iter(train.epoch(0)), None)
    if batch is None:
        raise KzooError("the train split gives no batch")
    try:
        objective.prepare(batch)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        text = re.sub(r"\x1b\[\d*m|\{\{.*?\}\} ?| ?\[Op:.*|\.\s+Label values:.*", "", str(error).strip())
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        useful = [line for line in lines if not line.startswith("Exception encountered")]
        raise KzooError(
            f"cannot train {objective.model.name!r}: {(useful or lines or [type(error).__name__])[0]}"
        ) from error
    return batch


def checksum(batch: Any) -> float:
    """Of a batch's numbers, which every worker must read in the same order: each takes its own part of it."""
    arrays = [np.asarray(t) for t in tf.nest.flatten(batch)]
    numbers = [a.astype("float64").ravel() for a in arrays if a.dtype.kind in "uifb"]
    return float(sum((a * np.linspace(1, 2, len(a))).sum() for a in numbers))


def check_labels(data: Data, limit: int | None) -> None:
    """Labels in arrays, before anything is written; those of a tf.data.Dataset are checked batch by batch."""
    for split, (low, high) in data.labels.items():
        if limit is not None and (low < 0 or high >= limit):
            raise KzooError(f"the {split} labels reach from {low} to {high}, but the model has classes={limit}")
