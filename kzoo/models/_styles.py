"""The three faces of one definition: keras.Sequential, a functional keras.Model, a keras.Model subclass."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from kzoo.errors import KzooError, unknown
from kzoo.models._block import flat, opened_blocks, shape_and_dtype, tensors
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
        return {"inputs": self._first_inputs} if hasattr(self, "_first_inputs") else super().get_build_config()

    def build_from_config(self, config: dict[str, Any] | None) -> None:
        if config and "inputs" in config:
            self(tensors(config["inputs"]))
        else:
            super().build_from_config(config)

    def call(self, x: Any, training: bool | None = None) -> Any:
        # Keras hands `training` on to the stages through its call context, and only if `call` names it here: without
        # it, `fit` would run batch norm and dropout in inference mode, silently.
        for stage in self.stages:
            x = stage(x)
        return x

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
            x = inputs
            for stage in definition.define(**config):
                x = stage(x)
        return keras.Model(inputs, x, name=name)
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


def feature_extractor(model: keras.Model, layer: str) -> keras.Model:
    """A model from the same input to what `layer` reads, sharing the weights of `model`.

    In the functional style any layer will do; in the sequential and subclass styles the boundaries of stages.
    """
    if input_shape_of(model) is None or hasattr(model, "players"):
        raise KzooError(f"{model.name!r} has several networks or inputs; give one of its networks, with one input")
    if isinstance(model, Definition | keras.Sequential):
        stages = list(flat(model.stages)) if isinstance(model, Definition) else model.layers
        names = [stage.name for stage in stages]
        if layer not in names:
            raise unknown("stage", layer, names)
        before = stages[: names.index(layer)]
        if isinstance(model, Definition):
            return _Trunk(before, name=f"{model.name}_features")
        return keras.Sequential([keras.Input(model.input_shape[1:], name=model.inputs[0].name), *before])
    names = [inner.name for inner in model.layers]
    if layer not in names:
        raise unknown("layer", layer, names)
    (inputs,) = model.inputs
    return keras.Model(inputs, model.get_layer(layer).input, name=f"{model.name}_features")


class _Trunk(keras.Model):
    """The first stages of a subclass model."""

    def __init__(self, stages: list[keras.layers.Layer], name: str) -> None:
        super().__init__(name=name)
        self.stages = stages

    def call(self, x: Any, training: bool | None = None) -> Any:
        for stage in self.stages:
            x = stage(x)
        return x
