"""Names to models: the registry, `create_model`, the builders, `twin` and `list_models`.

A family is a file of kzoo/models with its variants in `VARIANTS`. `index.json` holds what can be said of each without
Keras; `list_models` and the command line read only that. It is generated (`python .ci/generate.py`), and a test holds
it true.
"""

from __future__ import annotations

import fnmatch
import importlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError, unknown
from kzoo.records import (
    COMMON,
    FLAG,
    STYLES,
    ModelInfo,
    ModelSpec,
    Whole,
    from_config,
    kinds_of,
    same_source,
    tuples,
)
from kzoo.weights import PUBLISHED, Source, resolve

INDEX = Path(__file__).with_name("index.json")
_specs: dict[str, ModelSpec] = {}


# ----------------------------------------------------------------------------------------------------------------------
# The registry
# ----------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _read_index() -> dict[str, Any]:
    return json.loads(INDEX.read_text(encoding="utf-8"))


def index() -> dict[str, dict[str, Any]]:
    """{name: what is known without Keras} of every model that comes with kzoo."""
    return _read_index()["models"]


def task_index() -> dict[str, dict[str, Any]]:
    """{name: {verb: its options}} of every task that comes with kzoo."""
    return _read_index()["tasks"]


def register_model(spec: ModelSpec) -> ModelSpec:
    """Make a variant known by its name. A name can be taken once; a module that is run again may register it anew.

    Raises:
        KzooError: The name is taken.
        TypeError: An argument of the definition's `define` has an annotation that says nothing of its values.
    """
    if not isinstance(spec, ModelSpec):
        raise KzooError(f"a model is registered by a kzoo.ModelSpec; received {spec!r}")
    taken = _specs.get(spec.name)
    if spec.name in index() and not spec.definition.__module__.startswith("kzoo.models."):
        raise KzooError(f"a model named {spec.name!r} comes with kzoo; give yours another name")
    if taken is not None and not same_source(taken.definition, spec.definition):
        raise KzooError(f"a model named {spec.name!r} is registered already, by {taken.definition.__module__}")
    kinds_of(spec.definition.define)
    _specs[spec.name] = spec
    return spec


def import_family(family: str) -> None:
    """Its variants are registered, and its classes are known to Keras."""
    for spec in importlib.import_module(f"kzoo.models.{family}").VARIANTS:
        register_model(spec)


def model_spec(name: str) -> ModelSpec:
    """The row of `name`; its family's file is imported on first use."""
    if name not in _specs:
        if name not in index():
            raise unknown("model", name, list_models(), "See kzoo list")
        import_family(index()[name]["family"])
    return _specs[name]


def row_of(name: str) -> dict[str, Any]:
    """The row of the index, or of a model that was registered at run time."""
    return index()[name] if name in index() else described(_specs[name])


def described(spec: ModelSpec) -> dict[str, Any]:
    """A row of the index; the model is built once, in the functional style, to count it."""
    model, shape = create_model(spec.name), spec.input_shape
    return {
        "family": spec.family,
        "task": spec.task,
        "summary": spec.summary,
        "input_shape": {n: list(s) for n, s in shape.items()} if isinstance(shape, Mapping) else list(shape),
        "recipe": spec.recipe.describe(),
        "classes": spec.classes,
        "classifier_activation": spec.classifier_activation,
        "overrides": spec.overrides,
        "parameters": model.count_params(),
        "trainable": sum(math.prod(v.shape) for v in model.trainable_variables),
        "weights": [row.tag for row in PUBLISHED if row.model == spec.name],
        "paper": spec.paper,
        "hidden": spec.hidden,
    }


def described_shape(shape: Any) -> str:
    """An input shape of the index as people write it: 28x28x1, source + target of any length."""
    if isinstance(shape, dict):
        return " + ".join(shape)
    return "tokens" if shape == [None] else "x".join("?" if n is None else str(n) for n in shape)


def list_models(
    pattern: str = "*", *, task: str | None = None, weights: bool | None = None, hidden: bool = False
) -> list[str]:
    """Names of the models, in the order of the families' tables.

    Args:
        pattern: A glob: `"lenet*"`.
        task: Only models for this task (`"image-classification"`).
        weights: True: only models with published weights; False: only those without.
        hidden: Also the tiny variants that exist for tests.

    Raises:
        KzooError: A task that no model is for.

    >>> list_models("lenet*", weights=True)
    ['lenet5']
    """
    rows = dict(index())
    for name, spec in _specs.items():  # registered by the user
        rows.setdefault(name, {"task": spec.task, "weights": [], "hidden": spec.hidden})
    tasks = dict.fromkeys(row["task"] for row in rows.values())
    if task is not None and task not in tasks:
        raise unknown("task", task, tasks)
    return [
        name
        for name, row in rows.items()
        if fnmatch.fnmatchcase(name, pattern)
        and (task is None or row["task"] == task)
        and (weights is None or bool(row["weights"]) == weights)
        and (hidden or not row["hidden"])
    ]


def info_of(config: Mapping[str, Any], inputs: Any = None, targets: Any = None) -> ModelInfo:
    """What `ModelInfo.to_config` wrote, with inputs and targets that stand there too, or beside it.

    Raises:
        KzooError: A model that is registered nowhere here.
    """
    labels, own = config["labels"], lambda key, given: given if given is not None else from_config(config.get(key))
    if config["model"] not in list_models(hidden=True):
        remedy = "a model of your own is imported first (kzoo --import FILE)"
        raise unknown("model", config["model"], list_models(), remedy)
    return ModelInfo(
        spec=model_spec(config["model"]),
        style=config["style"],
        arguments=tuples(config["arguments"]),
        inputs=own("inputs", inputs),
        targets=own("targets", targets),
        labels=tuple(labels) if labels is not None else None,
    )


# ----------------------------------------------------------------------------------------------------------------------
# Building
# ----------------------------------------------------------------------------------------------------------------------


def create_model(model: str, /, style: str = "functional", **arguments: Any) -> Any:
    """Build a model by its name.

    Args:
        model: A name from `list_models`.
        style: `"sequential"`, `"functional"` or `"subclass"`.
        **arguments: Those of the builders, see `kzoo.lenet5`: keras.applications' arguments (`classes`, `input_shape`,
            `weights`, …) and the overrides that the family's `define` takes.

    Returns:
        A built Keras model of that style.

    Raises:
        KzooError: An unknown name, style or argument, or a value that cannot hold; one line each. Nothing is built,
            read or downloaded before the arguments hold.

    >>> create_model("lenet5", style="sequential").count_params()
    61706
    """
    return _built(_checked(model_spec(model), style, **arguments))


def builder(name: str) -> Callable[..., Any]:
    """The builder function of one variant; `kzoo.<name>` is this."""

    def build(
        include_top: bool = True,
        weights: str | None = None,
        input_tensor: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: str | None = "default",
        name: str | None = None,
        *,
        style: str = "functional",
        **overrides: Any,
    ) -> Any:
        return create_model(
            build.__name__,
            style,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            **overrides,
        )

    row = row_of(name)
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""{row["summary"]}

    {row["paper"]}. {row["parameters"]:,} parameters; input {described_shape(row["input_shape"])}.

    Args:
        include_top: False leaves out the classifier.
        weights: None for random ones, the tag of published ones (here: {", ".join(row["weights"]) or "none yet"}), an
            address (`https://…#sha256=…`, `hf://owner/name`), or the path of a file: kzoo's .safetensors,
            keras.applications' .h5 or .weights.h5, or a state dict of torchvision or timm, .safetensors or .pth. With
            `classes`, a head of another size in the file is left out; with `input_shape`, what reads the image is
            adapted to its channels; both are said.
        input_tensor: A keras.Input to build on; functional style only.
        input_shape: Without the batch; default {described_shape(row["input_shape"])}.
        pooling: Without the top: `"avg"` or `"max"` over the positions, or None for the feature map.
        classes: Units of the classifier; default {row["classes"] or "none"}, or the weights' number.
        classifier_activation: Of the last layer; None gives logits. Default {row["classifier_activation"]!r}.
        name: Of the Keras model.
        style: `"sequential"`, `"functional"` or `"subclass"`.
        **overrides: {", ".join(row["overrides"]) or "none"}.

    Returns:
        A built model of that style.
    """
    return build


def twin(model: Any, style: str | None = None, **changes: Any) -> Any:
    """The same network once more, with other arguments or in another style, and with the weights of `model`, by name.

    Args:
        style: Default that of `model`.
        **changes: Arguments of the builder; None takes an argument back. What the twin has beyond the model keeps its
            fresh weights.
    """
    from kzoo.models import attach_info, model_info, policy
    from kzoo.weights import weights_by_name

    info = model_info(model)
    arguments = {key: value for key, value in {**info.arguments, **changes}.items() if value is not None}
    with policy(model.dtype_policy):
        made = create_model(info.model, style or info.style, **arguments)
    theirs = weights_by_name(model)
    for key, variable in weights_by_name(made).items():
        if key in theirs:
            variable.assign(theirs[key].value)
    own = model_info(made)
    kept = {"inputs": own.inputs.adopted(info.inputs) if own.inputs is not None else None, "labels": info.labels}
    return attach_info(made, replace(own, **kept))


def without_auxiliaries(model: Any) -> Any:
    """The model that predicts: of one with auxiliary outputs its twin without them."""
    from kzoo.models import model_info

    info = model_info(model)
    return model if info is None or not info.outputs else twin(model, aux=None)


# Arguments every builder takes that are not `define`'s own.
BUILDER_ARGUMENTS = (*COMMON, "weights", "input_tensor", "input_shape", "name", "style")
# Overrides that no size depends on.
SAME_SIZES = {"activation", "dropout", "dense", "bias", "batch_norm", "width"}


@dataclass(frozen=True)
class _Order:
    """What is to be built: every argument holds."""

    spec: ModelSpec
    style: str
    name: str
    config: dict[str, Any]
    input_shape: Any
    input_tensor: Any
    overrides: dict[str, Any]
    source: Source | None
    arguments: dict[str, Any]
    head: str
    channels: bool


def _checked(
    spec: ModelSpec,
    style: str,
    *,
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "default",
    name: str | None = None,
    **overrides: Any,
) -> _Order:
    """Every argument, one after the other; nothing is built, read or fetched."""
    if style not in STYLES:
        raise unknown("style", style, STYLES)
    kinds = kinds_of(spec.definition.define)
    for argument in overrides:
        if argument not in spec.overrides:
            raise unknown(f"argument of {spec.name}", argument, [*spec.overrides, *BUILDER_ARGUMENTS])
    overrides = {argument: kinds[argument].check(argument, value) for argument, value in overrides.items()}
    FLAG.check("include_top", include_top)
    if input_tensor is not None:
        input_shape = _of_tensor(input_tensor, input_shape, style)
    source = None if weights is None else resolve(spec.name, weights)
    given = {"classes": classes, "input_shape": input_shape}
    if classes is None:
        classes = len(source.classes) if source is not None and source.classes else spec.classes
    if spec.classes or classes:
        classes = Whole().check("classes", classes)
    if spec.fixed_classes and classes != spec.classes:
        raise KzooError(
            f"{spec.name} has exactly {spec.classes} classes; received classes={classes}; use another model"
        )
    if pooling not in (None, "avg", "max"):
        raise KzooError(f"pooling must be None, 'avg' or 'max'; received {pooling!r}")
    if pooling is not None and include_top:
        raise KzooError(f"pooling={pooling!r} goes with include_top=False only")
    input_shape = _shape(spec, input_shape, overrides)
    if classifier_activation == "default":
        classifier_activation = spec.classifier_activation
    config: dict[str, Any] = {**spec.config, **overrides}
    common = {
        "include_top": (include_top, True),
        "pooling": (pooling, None),
        "classes": (classes, spec.classes),
        "classifier_activation": (classifier_activation, spec.classifier_activation),
    }
    for argument, (value, default) in common.items():
        if argument in kinds:
            config[argument] = value if argument != "classifier_activation" else kinds[argument].check(argument, value)
        elif value != default:
            raise KzooError(f"{spec.name} does not take {argument}={value!r}: it is fixed to {default!r}")
    arguments = {"input_shape": input_shape, "include_top": include_top, "classes": classes, **overrides}
    arguments |= {"pooling": pooling} if pooling else {}
    if classifier_activation != spec.classifier_activation:
        arguments["classifier_activation"] = classifier_activation
    return _Order(
        spec, style, name or spec.name, config, input_shape, input_tensor, overrides, source, arguments,
        # Of a file: a fresh head, and adapted channels, only for who asked for others.
        head="load" if given["classes"] is None else "fit", channels=any(v is not None for v in given.values()),
    )  # fmt: skip


def _of_tensor(tensor: Any, shape: Any, style: str) -> tuple[int | None, ...]:
    """The input shape of an `input_tensor`."""
    if not hasattr(tensor, "_keras_history"):
        raise KzooError(f"input_tensor must be a keras.Input; received {type(tensor).__name__}")
    if style != "functional":
        raise KzooError(f"input_tensor goes with style='functional' only; received style={style!r}")
    if shape is not None and tuple(shape) != tuple(tensor.shape[1:]):
        raise KzooError(f"input_shape {tuple(shape)} and input_tensor {tuple(tensor.shape[1:])} differ; give one")
    return tuple(tensor.shape[1:])


def _shape(spec: ModelSpec, shape: Any, overrides: Mapping[str, Any]) -> Any:
    """The input shape, by default the variant's."""
    if shape is None:
        return spec.input_shape
    if isinstance(spec.input_shape, Mapping):
        same = isinstance(shape, Mapping) and {k: tuple(v) for k, v in shape.items()} == spec.input_shape
        if not same:
            raise KzooError(f"{spec.name} reads {dict(spec.input_shape)} and nothing else; received {shape}")
        return spec.input_shape
    shape = tuple(shape) if hasattr(shape, "__iter__") else (shape,)
    if len(shape) != len(spec.input_shape):
        own = spec.input_shape
        raise KzooError(f"input_shape of {spec.name} has {len(own)} numbers, such as {own}; received {shape}")
    shape = tuple(None if n is None else Whole().check("each number of input_shape", n) for n in shape)
    as_it_is = not set(overrides) - SAME_SIZES  # others may change how often an image is halved: Keras will say
    if as_it_is and len(shape) == 3 and any(n is not None and n < spec.minimum for n in shape[:2]):
        raise KzooError(
            f"input_shape={shape} is too small for {spec.name}, which halves the image until nothing is left;"
            f" it reads {spec.minimum}x{spec.minimum} pixels or more"
        )
    if spec.fixed_input and shape != spec.input_shape:
        raise KzooError(f"{spec.name} reads {spec.input_shape} and nothing else; received input_shape={shape}")
    return shape


def _built(order: _Order) -> Any:
    """The model, with its weights and what it carries along."""
    from kzoo.models import attach_info, inputs_of
    from kzoo.weights import load_source

    spec, source = order.spec, order.source
    path = None if source is None else source.path(spec.foreign)  # fetched now, when all arguments hold
    inputs = inputs_of(spec, order.input_shape) if order.input_tensor is None else order.input_tensor
    try:
        model = spec.definition.assemble(order.config, order.style, name=order.name, inputs=inputs)
    except KzooError:
        raise
    except (ValueError, TypeError, ArithmeticError) as error:
        raise _cannot(order, error) from error
    prepared = {
        key: record.for_model(order.input_shape, order.overrides) if record is not None else None
        for key, record in (("inputs", spec.inputs), ("targets", spec.targets))
    }
    attach_info(model, ModelInfo(spec, order.style, order.arguments, **prepared))
    if source is not None:
        load_source(model, source, path, order.head, channels=order.channels)
    return model


def _cannot(order: _Order, error: Exception) -> KzooError:
    """Keras' error in one line."""
    spec, shape = order.spec, order.input_shape
    if order.config.get("include_top", True) and len(shape) == 3 and None in shape:
        return KzooError(
            f"input_shape={shape}: the dense layers of {spec.name} need every number, such as {spec.input_shape};"
            " give them, or include_top=False"
        )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()
    said = [line for line in lines if line.strip() and not line.startswith("Exception encountered")]
    others = "".join(f", {k}={v!r}" for k, v in order.overrides.items())
    reason = said[0] if said else type(error).__name__
    return KzooError(
        f"{spec.name} cannot be built with input_shape={shape}{others}: {reason} (its own input_shape is"
        f" {spec.input_shape})"
    )
