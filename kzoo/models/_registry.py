"""Names to models: the registry, `create_model`, the builders and `list_models`.

`index.json` holds what can be said of a model without Keras; `list_models` and the command line read only that. It is
generated from the registry (`python -m kzoo.models.index`), and a test holds it true.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import json
import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError, unknown, whole_number
from kzoo.spec import STYLES, TASKS, ModelInfo, ModelSpec
from kzoo.weights.table import PUBLISHED

# Files of this folder, in the order in which a course meets them.
FAMILIES = (
    "perceptron",
    "mlp",
    "lenet",
    "alexnet",
    "vgg",
    "googlenet",
    "inception",
    "resnet",
    "lstm",
    "seq2seq",
    "transformer",
    "gan",
)
INDEX = Path(__file__).with_name("index.json")
_specs: dict[str, ModelSpec] = {}


@lru_cache(maxsize=1)
def index() -> dict[str, dict[str, Any]]:
    """{name: what is known without Keras} of every model that comes with kzoo."""
    return json.loads(INDEX.read_text(encoding="utf-8"))


def register_model(spec: ModelSpec) -> ModelSpec:
    """Make a variant known by its name. A name can be taken once.

    Raises:
        KzooError: The name is taken.
    """
    if spec.name in _specs:
        raise KzooError(
            f"a model named {spec.name!r} is registered already, by {_specs[spec.name].definition.__module__}"
        )
    _specs[spec.name] = spec
    return spec


def import_families() -> None:
    """Import every family: its models are registered and its classes are known to Keras."""
    for family in FAMILIES:
        importlib.import_module(f"kzoo.models.{family}")


def model_spec(name: str) -> ModelSpec:
    """The row of `name`; its family's file is imported on first use."""
    if name not in _specs:
        if name not in index():
            raise unknown("model", name, list_models(), "See kzoo list")
        importlib.import_module(f"kzoo.models.{index()[name]['family']}")
    return _specs[name]


def row_of(name: str) -> dict[str, Any]:
    """The row of the index, or of a model that was registered at run time."""
    return index()[name] if name in index() else described(_specs[name])


def described(spec: ModelSpec) -> dict[str, Any]:
    """A row of the index; the model is built once, in the functional style, to count it."""
    model = create_model(spec.name)
    return {
        "family": spec.family,
        "task": spec.task,
        "summary": spec.summary,
        "input_shape": _plain(spec.input_shape),
        "classes": spec.classes,
        "classifier_activation": spec.classifier_activation,
        "overrides": overrides_of(spec),
        "parameters": model.count_params(),
        "trainable": sum(math.prod(v.shape) for v in model.trainable_variables),
        "weights": [row.tag for row in PUBLISHED if row.model == spec.name],
        "paper": spec.paper,
        "hidden": spec.hidden,
    }


def _plain(shape: Any) -> Any:
    return {name: list(s) for name, s in shape.items()} if isinstance(shape, Mapping) else list(shape)


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
        KzooError: Unknown task.

    >>> list_models("lenet*", weights=True)
    ['lenet5']
    """
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    rows = dict(index())
    for name, spec in _specs.items():  # registered by the user
        rows.setdefault(name, {"task": spec.task, "weights": [], "hidden": spec.hidden})
    return [
        name
        for name, row in rows.items()
        if fnmatch.fnmatchcase(name, pattern)
        and (task is None or row["task"] == task)
        and (weights is None or bool(row["weights"]) == weights)
        and (hidden or not row["hidden"])
    ]


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
        KzooError: An unknown name, style or argument, or a value that cannot hold; one line each.

    >>> create_model("lenet5", style="sequential").count_params()
    61706
    """
    return _build(model_spec(model), style=style, **arguments)


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
        return _build(
            model_spec(build.__name__),
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            style=style,
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


def model_info(model: Any) -> ModelInfo | None:
    """What a kzoo builder noted on the model; None for any other Keras model."""
    return getattr(model, "_kzoo_info", None)


def attach_info(model: Any, info: ModelInfo) -> Any:
    model._kzoo_info = info
    return model


def define_arguments(spec: ModelSpec, info: ModelInfo) -> dict[str, Any]:
    """What the model's `define` was called with."""
    accepted = inspect.signature(spec.definition.define).parameters
    return {**spec.config, **{k: v for k, v in info.arguments.items() if k in accepted}}


def auxiliary_outputs(model: Any) -> tuple[str, ...]:
    """Names of the outputs of a model that was built with `aux=True`, the one that stays first; () of any other.

    Each learns from the same labels, with the recipe's weight.
    """
    info = model_info(model)
    if info is None or not info.arguments.get("aux") or not info.arguments.get("include_top", True):
        return ()
    return tuple(model_spec(info.model).recipe.loss_weights)


def without_auxiliaries(model: Any) -> Any:
    """The model that predicts: of one with auxiliary outputs its twin without them, with its weights by name."""
    if not auxiliary_outputs(model):
        return model
    from kzoo.weights.store import weights_by_name

    info = model_info(model)
    arguments = {key: value for key, value in info.arguments.items() if key != "aux"}
    twin = create_model(info.model, info.style, **arguments)
    theirs = weights_by_name(model)
    for key, variable in weights_by_name(twin).items():
        variable.assign(theirs[key].value)
    return attach_info(twin, replace(info, arguments=arguments))


# Arguments every builder takes that are not `define`'s own.
_DEFINE_COMMON = ("include_top", "pooling", "classes", "classifier_activation")


def overrides_of(spec: ModelSpec) -> list[str]:
    """The names of `define`'s arguments beyond keras.applications' own."""
    known = (*_DEFINE_COMMON, "image_shape")  # of a generator, its input_shape
    return [n for n in inspect.signature(spec.definition.define).parameters if n not in known]


def _build(
    spec: ModelSpec,
    *,
    style: str,
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "default",
    name: str | None = None,
    **overrides: Any,
) -> Any:
    """Check every argument, then build. Nothing is built, read or downloaded before the arguments hold."""
    from kzoo.models._styles import inputs_of

    if style not in STYLES:
        raise unknown("style", style, STYLES)
    allowed = overrides_of(spec)
    for argument in overrides:
        if argument not in allowed:
            raise unknown(f"argument of {spec.name}", argument, [*allowed, *_BUILDER_ARGUMENTS])
    accepted = inspect.signature(spec.definition.define).parameters
    for argument, value in overrides.items():
        _check_override(argument, value, accepted[argument].annotation)
    if not isinstance(include_top, bool):
        raise KzooError(f"include_top must be True or False; received {include_top!r}")
    if input_tensor is not None:
        if not hasattr(input_tensor, "_keras_history"):
            raise KzooError(f"input_tensor must be a keras.Input; received {type(input_tensor).__name__}")
        if style != "functional":
            raise KzooError(f"input_tensor goes with style='functional' only; received style={style!r}")
        if input_shape is not None and tuple(input_shape) != tuple(input_tensor.shape[1:]):
            raise KzooError(
                f"input_shape {tuple(input_shape)} and input_tensor {tuple(input_tensor.shape[1:])} differ; give one"
            )
        input_shape = tuple(input_tensor.shape[1:])
    from kzoo.weights.sources import resolve

    source = None if weights is None else resolve(spec.name, weights)
    head = "load" if classes is None else "fit"  # of a file: a fresh head only for who asked for another one
    channels = classes is not None or input_shape is not None  # likewise
    if classes is None:
        classes = len(source.classes) if source is not None and source.classes else spec.classes
    if spec.classes or classes:
        classes = whole_number("classes", classes)
    if spec.fixed_classes and classes != spec.classes:
        raise KzooError(
            f"{spec.name} has exactly {spec.classes} classes; received classes={classes}; use another model"
        )
    if pooling not in (None, "avg", "max"):
        raise KzooError(f"pooling must be None, 'avg' or 'max'; received {pooling!r}")
    if pooling is not None and include_top:
        raise KzooError(f"pooling={pooling!r} goes with include_top=False only")
    input_shape = _shape(spec, input_shape)
    as_it_is = not set(overrides) - _SAME_SIZES  # others may change how often an image is halved: Keras will say
    if as_it_is and len(input_shape) == 3 and any(n is not None and n < spec.minimum for n in input_shape[:2]):
        raise KzooError(
            f"input_shape={input_shape} is too small for {spec.name}, which halves the image until nothing is left;"
            f" it reads {spec.minimum}x{spec.minimum} pixels or more"
        )
    if spec.fixed_input and input_shape != spec.input_shape:
        raise KzooError(f"{spec.name} reads {spec.input_shape} and nothing else; received input_shape={input_shape}")
    if classifier_activation == "default":
        classifier_activation = spec.classifier_activation

    _check_override("classifier_activation", classifier_activation, "")
    config: dict[str, Any] = {**spec.config, **overrides}
    for argument, value, default in (
        ("include_top", include_top, True),
        ("pooling", pooling, None),
        ("classes", classes, spec.classes),
        ("classifier_activation", classifier_activation, spec.classifier_activation),
    ):
        if argument in accepted:
            config[argument] = value
        elif value != default:
            raise KzooError(f"{spec.name} does not take {argument}={value!r}: it is fixed to {default!r}")
    path = None if source is None else source.path()  # fetched now, when all arguments hold
    try:
        model = spec.definition.assemble(
            config,
            style,
            name=name or spec.name,
            inputs=inputs_of(spec, input_shape) if input_tensor is None else input_tensor,
        )
    except (ValueError, TypeError, ArithmeticError) as error:
        if isinstance(error, KzooError):
            raise
        if include_top and len(input_shape) == 3 and None in input_shape:
            raise KzooError(
                f"input_shape={input_shape}: the dense layers of {spec.name} need every number, such as"
                f" {spec.input_shape}; give them, or include_top=False"
            ) from error
        raise KzooError(
            f"{spec.name} cannot be built with input_shape={input_shape}{''.join(f', {k}={v!r}' for k, v in overrides.items())}:"
            f" {_reason(error)}"
            f" (its own input_shape is {spec.input_shape})"
        ) from error
    preprocess = spec.preprocess.for_model(input_shape, config) if spec.preprocess else None
    arguments = {"input_shape": input_shape, "include_top": include_top, "classes": classes, **overrides}
    if pooling:
        arguments["pooling"] = pooling
    if classifier_activation != spec.classifier_activation:
        arguments["classifier_activation"] = classifier_activation
    attach_info(model, ModelInfo(spec.name, style, arguments, spec.task, preprocess))
    if source is not None:
        from kzoo.weights.store import load_source

        load_source(model, source, path, head, channels=channels)
    return model


_SAME_SIZES = {
    "activation",
    "dropout_rate",
    "dense",
    "bias",
    "batch_norm",
    "width",
}  # overrides that no size depends on
_BUILDER_ARGUMENTS = (
    *_DEFINE_COMMON,
    "weights",
    "input_tensor",
    "input_shape",
    "name",
    "style",
)


# Of overrides that are numbers: what holds, and its test.
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "dropout_rate": ("a number from 0 to below 1", lambda v: 0 <= v < 1),
    "survival": ("a probability above 0 and up to 1", lambda v: 0 < v <= 1),
    "width": ("a number above 0 and up to 16", lambda v: 0 < v <= 16),
}


def _check_override(name: str, value: Any, annotation: str) -> None:
    """By the annotation of `define`'s argument, so that no family has to say it again."""
    if annotation == "bool" and not isinstance(value, bool):
        raise KzooError(f"{name} must be True or False; received {value!r}")
    if annotation == "int":
        whole_number(name, value)
    if annotation == "Sequence[int]":
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise KzooError(f"{name} must be whole numbers such as (3, 4, 6, 3); received {value!r}")
        for number in value:
            whole_number(f"each number of {name}", number)
        if name == "depths" and not list(value):
            raise KzooError(f"{name} must be whole numbers such as (3, 4, 6, 3); received none")
    if annotation == "float":
        said, holds = _RANGES.get(name, ("a number", lambda v: True))
        number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not holds(value):
            raise KzooError(f"{name} must be {said}; received {value!r}")
    if name.endswith("activation"):
        import keras

        try:
            keras.activations.get(value)
        except (ValueError, TypeError) as error:
            raise KzooError(
                f"{name} must be a name of keras.activations, such as 'relu'; received {value!r}"
            ) from error


def _reason(error: Exception) -> str:
    """The line of a Keras error that says what is wrong."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()
    said = [line for line in lines if line.strip() and not line.startswith("Exception encountered")]
    return said[0] if said else type(error).__name__


def _shape(spec: ModelSpec, shape: Any) -> tuple[int | None, ...]:
    if shape is None:
        return spec.input_shape
    if isinstance(spec.input_shape, Mapping):
        same = isinstance(shape, Mapping) and {k: tuple(v) for k, v in shape.items()} == spec.input_shape
        if not same:
            raise KzooError(f"{spec.name} reads {dict(spec.input_shape)} and nothing else; received {shape}")
        return spec.input_shape
    shape = tuple(shape) if hasattr(shape, "__iter__") else (shape,)
    if len(shape) != len(spec.input_shape):
        raise KzooError(
            f"input_shape of {spec.name} has {len(spec.input_shape)} numbers, such as {spec.input_shape}; received {shape}"
        )
    for size in shape:
        if size is not None:
            whole_number("each number of input_shape", size)
    return shape
