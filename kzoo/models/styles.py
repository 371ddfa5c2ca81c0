"""The three faces of one definition: keras.Sequential, a functional keras.Model, a keras.Model subclass."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from kzoo.errors import unknown
from kzoo.keras_internals import Functional, first_shapes
from kzoo.models.block import (
    flat,
    freeze_inside,
    fresh,
    frozen_inside,
    opened_blocks,
    shape_and_dtype,
    tensors,
    through,
)
from kzoo.records import STYLES, ModelInfo, ModelSpec


class Definition(keras.Model):
    """The subclass face, and the home of the only definition: `define(**config)` returns the stages.

    A subclass of this class is a model family. Its instances hold the stages and fold them in `call`; the other two
    styles take the same stages from `define`.
    """

    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: Any = None, **config: Any) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.config = config
        with policy(self.dtype_policy):  # stages are made under the policy this model was saved with
            self.stages = self.define(**config)

    @staticmethod
    def define(**config: Any) -> list[keras.layers.Layer]:
        raise TypeError("a Definition needs its own `define`")

    @classmethod
    def stages_of(cls, config: Mapping[str, Any], input_shape: Any) -> list[keras.layers.Layer]:
        """Fresh stages, not built: what a model of that configuration and input is made of."""
        return cls.define(**config)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.built:
            self.first_inputs = keras.tree.map_structure(shape_and_dtype, args[0])
        return super().__call__(*args, **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        """Shapes and dtypes of the first inputs: Keras' own has shapes, and would build on floats."""
        if not hasattr(self, "first_inputs"):
            return super().get_build_config()
        return {"inputs": self.first_inputs, **frozen_inside(self)}

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
        saved = keras.saving.serialize_keras_object(self.dtype_policy)
        return {"name": self.name, "trainable": self.trainable, "dtype": saved, **self.config}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Definition:
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects=custom_objects))


@contextlib.contextmanager
def policy(wanted: Any) -> Iterator[None]:
    """Layers made meanwhile compute and keep their weights by that dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(wanted)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


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
    return "functional" if isinstance(model, Functional) else "subclass"


def input_shape_of(model: keras.Model) -> tuple[int | None, ...] | None:
    """Of the one input of a built model, in any style, without the batch; None with several inputs or none known."""
    if getattr(model, "inputs", None):
        return tuple(model.inputs[0].shape[1:]) if len(model.inputs) == 1 else None
    shapes = first_shapes(model)  # of a subclass: what it was called on
    if len(shapes) != 1 or not all(n is None or isinstance(n, int) for n in shapes[0]):
        return None
    return tuple(shapes[0][1:])


# ----------------------------------------------------------------------------------------------------------------------
# What a built model carries along
# ----------------------------------------------------------------------------------------------------------------------


def model_info(model: Any) -> ModelInfo | None:
    """What a kzoo builder noted on the model; None for any other Keras model."""
    return getattr(model, "kzoo_info", None)


def attach_info(model: Any, info: ModelInfo) -> Any:
    """Note it; Keras' files of the model carry it from then on, beside what builds it."""
    known = model_info(model) is not None
    model.kzoo_info = info
    if not known:
        own = model.get_build_config
        model.get_build_config = lambda: {**(own() or {}), "kzoo": carried(model_info(model))}
    return model


def carried(info: ModelInfo) -> dict[str, Any]:
    """What a file carries of a model's info."""
    kept = {"inputs": info.inputs, "targets": info.targets}
    return {**info.to_config(), **{k: v.to_config() if v is not None else None for k, v in kept.items()}}
