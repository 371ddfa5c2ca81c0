"""The three faces of one definition: keras.Sequential, a functional keras.Model, a keras.Model subclass."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from kzoo.errors import KzooError, unknown
from kzoo.models._block import (
    flat,
    freeze_inside,
    fresh,
    frozen_inside,
    opened_blocks,
    shape_and_dtype,
    tensors,
    through,
)
from kzoo.spec import STYLES, ModelSpec


class Definition(keras.Model):
    """The subclass face, and the home of the only definition: `define(**config)` returns the stages.

    A subclass of this class is a model family. Its instances hold the stages and fold them in `call`; the other two
    styles take the same stages from `define`.
    """

    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: Any = None, **config: Any) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.config = config
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.dtype_policy)  # stages are made under the policy this model was saved with
        try:
            self.stages = self.define(**config)
        finally:
            keras.config.set_dtype_policy(before)

    @staticmethod
    def define(**config: Any) -> list[keras.layers.Layer]:
        raise TypeError("a Definition needs its own `define`")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.built:
            self._first_inputs = keras.tree.map_structure(shape_and_dtype, args[0])
        return super().__call__(*args, **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        """Shapes and dtypes of the first inputs: Keras' own has shapes, and would build on floats."""
        if not hasattr(self, "_first_inputs"):
            return super().get_build_config()
        return {"inputs": self._first_inputs, **frozen_inside(self)}

    def build_from_config(self, config: dict[str, Any] | None) -> None:
        if config and "inputs" in config:
            self(tensors(config["inputs"]))
            freeze_inside(self, config)
        else:
            super().build_from_config(config)

    @staticmethod
    def taps(config: Mapping[str, Any]) -> dict[str, str]:
        """{"P4": name of the last stage whose feature map is a 2^4-th of the image's size, …} of a convolutional network."""
        return {}

    def call(self, x: Any, training: bool | None = None) -> Any:
        # Keras hands `training` on to the stages through its call context, and only if `call` names it here: without
        # it, `fit` would run batch norm and dropout in inference mode, silently.
        return through(self.stages, x)

    def compute_output_spec(self, x: Any, training: bool | None = None) -> Any:
        """As Block's: `call` on symbolic tensors."""
        return fresh(self.call(x, training=training))

    @classmethod
    def assemble(cls, config: dict[str, Any], style: str, *, name: str, inputs: Any) -> keras.Model:
        """Built in one style; see `assemble`."""
        return assemble(cls, config, style, name=name, inputs=inputs)

    def get_config(self) -> dict[str, Any]:
        policy = keras.saving.serialize_keras_object(self.dtype_policy)
        return {"name": self.name, "trainable": self.trainable, "dtype": policy, **self.config}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Definition:
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects=custom_objects))


@contextlib.contextmanager
def deep_graphs() -> Iterator[None]:
    """Keras walks a graph from its end by recursion, a few frames a layer: a thousand layers pass Python's limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 100_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@deep_graphs()
def assemble(
    definition: type[Definition],
    config: dict[str, Any],
    style: str,
    *,
    name: str,
    inputs: Any,
) -> keras.Model:
    """Build `definition` in one style on `inputs`: a keras.Input, or several in a dict."""
    if style == "subclass":
        model = definition(name=name, **config)
        model(inputs)  # builds every stage
        return model
    if style == "sequential":
        stages = list(flat(definition.define(**config)))
        if not isinstance(inputs, dict):
            return keras.Sequential([inputs, *stages], name=name)
        model = keras.Sequential(stages, name=name)
        model({k: keras.ops.zeros((1, *(n or 2 for n in t.shape[1:])), t.dtype) for k, t in inputs.items()})
        return model  # a symbolic call would leave layers outside of Blocks without weights
    if style == "functional":
        with opened_blocks():
            outputs = through(definition.define(**config), inputs)
        return keras.Model(inputs, outputs, name=name)
    raise unknown("style", style, STYLES)


def inputs_of(spec: ModelSpec, shape: Any) -> Any:
    """Fresh Inputs, one or a dict, for a variant's input shape."""
    if isinstance(shape, Mapping):
        return {name: keras.Input(s, dtype=spec.input_dtype, name=name) for name, s in shape.items()}
    return keras.Input(shape, dtype=spec.input_dtype, name=spec.input_name)


def style_of(model: keras.Model) -> str:
    """Which of STYLES a model is; a holder of several says so itself."""
    if hasattr(model, "style"):
        return model.style
    if isinstance(model, keras.Sequential):
        return "sequential"
    return "functional" if isinstance(model, keras.src.models.Functional) else "subclass"


def input_shape_of(model: keras.Model) -> tuple[int | None, ...] | None:
    """Of the one input of a built model, in any style, without the batch; None with several inputs or none known."""
    if getattr(model, "inputs", None):
        return tuple(model.inputs[0].shape[1:]) if len(model.inputs) == 1 else None
    shapes = list((getattr(model, "_build_shapes_dict", None) or {}).values())  # of a subclass: what it was called on
    if len(shapes) != 1 or not all(n is None or isinstance(n, int) for n in shapes[0]):
        return None
    return tuple(shapes[0][1:])


def feature_extractor(model: keras.Model, outputs: str | Sequence[str] | None = None) -> keras.Model:
    """A model from the same input to features inside `model`, sharing its weights.

    Args:
        outputs: A name gives that tensor, several give a dict of them. `"P2"` … `"P5"` are a convolutional network's
            feature maps at a quarter to a 32nd of the image's size, each the last of its size (`P0`, `P1` where there
            are any); or the name of a stage, in every style; in the functional style also of any layer. None: what the
            classifier reads.

    Raises:
        KzooError: No such name, or a model of several networks or inputs.

    >>> from kzoo import resnet50
    >>> extractor = feature_extractor(resnet50(input_shape=(64, 64, 3)), ["P3", "P5"])
    >>> {name: tensor.shape for name, tensor in extractor.output.items()}
    {'P3': (None, 8, 8, 512), 'P5': (None, 2, 2, 2048)}
    """
    if not isinstance(model, keras.Model):
        raise KzooError(f"feature_extractor takes a Keras model; received {model!r}")
    if input_shape_of(model) is None or hasattr(model, "players"):
        raise KzooError(f"{model.name!r} must be one network, built, with one input; its inputs are not known to be")
    if isinstance(outputs, str) or outputs is None:
        wanted = [outputs]
    elif isinstance(outputs, Iterable) and (names := list(outputs)) and all(isinstance(n, str) for n in names):
        wanted = names
    else:
        raise KzooError(f"outputs must be a name or several, such as ['P3', 'P5']; received {outputs!r}")
    single, name = outputs is None or isinstance(outputs, str), f"{model.name}_features"
    if isinstance(model, Definition):
        stages = list(flat(model.stages))
        places = {key: _stage(model, [stage.name for stage in stages], key) for key in wanted}
        trunk = _Trunk(stages[: max(places.values()) + 1], None if single else places, name)
        trunk(tensors(model._first_inputs))
        return trunk
    if style_of(model) == "subclass":
        raise KzooError(f"{model.name!r} is a class of your own: its inner layers have no graph to cut")
    made = {key: _tensor(model, key) for key in wanted}
    return keras.Model(model.inputs[0], made[wanted[0]] if single else made, name=name)


def _stage(model: keras.Model, names: list[str], name: str | None) -> int:
    """Where among a list of stages a tap or a stage is; None: the one before the head, -1 for the input."""
    if name is None:
        return names.index(_head(model, names)) - 1
    stage = taps_of(model).get(name, name)
    if stage not in names:
        raise _not_there(model, "stage", name, names)
    return names.index(stage)


def _tensor(model: keras.Model, name: str | None) -> Any:
    """What a tap, a stage or a layer of a graph gives; None: what the head reads."""
    names = [layer.name for layer in model.layers]
    if name is None:
        return model.get_layer(_head(model, names)).input
    stage = taps_of(model).get(name, name)
    if stage not in names:  # the functional style has a Block's layers in its place, the last one makes its output
        opened = [layer for layer in names if layer.startswith(f"{stage}_")] if style_of(model) == "functional" else []
        if not opened:
            raise _not_there(model, "layer" if style_of(model) == "functional" else "stage", name, names)
        stage = opened[-1]
    layer = model.get_layer(stage)
    if len(layer._inbound_nodes) > 1 and style_of(model) == "functional":
        raise KzooError(
            f"the layer {stage!r} of {model.name!r} is used {len(layer._inbound_nodes)} times: no single output"
        )
    return layer.output


def _head(model: keras.Model, names: list[str]) -> str:
    spec = _spec_of(model)
    if spec is None or spec.head not in names:
        why = "is none of kzoo's models" if spec is None else "has no classifier at its end"
        raise KzooError(f"{model.name!r} {why}: name the layers whose outputs you want")
    return spec.head


def taps_of(model: keras.Model) -> dict[str, str]:
    """{"P2": the stage that ends there, …} of one of kzoo's convolutional networks; {} of any other model."""
    spec = _spec_of(model)
    if spec is None:
        return {}
    defaults = {n: p.default for n, p in inspect.signature(spec.definition.define).parameters.items()}
    return spec.definition.taps({**defaults, **spec.config, **model._kzoo_info.arguments})


def _not_there(model: keras.Model, what: str, name: str, names: list[str]) -> KzooError:
    there = {tap: stage for tap, stage in taps_of(model).items() if stage in names or what == "layer"}
    inner = "" if what == "layer" else "; inner layers are named in the functional style only"
    remedy = f"It has {', '.join(there)}; " if there else ""
    return unknown(what, name, [*there, *names], f"{remedy}kzoo.summary lists its layers{inner}")


def _spec_of(model: keras.Model) -> ModelSpec | None:
    from kzoo.models._registry import model_info, model_spec

    info = model_info(model)
    return model_spec(info.model) if info else None


class _Trunk(keras.Model):
    """The first stages of a subclass model: the output of the last of them, or those of `places` by name."""

    def __init__(self, stages: list[keras.layers.Layer], places: Mapping[str, int] | None, name: str) -> None:
        super().__init__(name=name)
        self.stages, self.places = stages, places

    def call(self, x: Any, training: bool | None = None) -> Any:
        made = []
        for stage in self.stages:
            x = stage(x)
            made.append(x)
        return x if self.places is None else {name: made[k] for name, k in self.places.items()}
