"""Features from inside a model: at the names of stages and layers, and at the levels of a convolutional network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from kzoo.errors import KzooError, unknown
from kzoo.keras_internals import times_used
from kzoo.models.block import flat, tensors
from kzoo.models.networks import networks_of
from kzoo.models.styles import Definition, input_shape_of, model_info, style_of


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
    if input_shape_of(model) is None or networks_of(model) != [model]:
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
        trunk = Trunk(stages[: max(places.values()) + 1], None if single else places, name)
        trunk(tensors(model.first_inputs))
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
    stage, functional = taps_of(model).get(name, name), style_of(model) == "functional"
    if stage not in names:  # the functional style has a Block's layers in its place, the last one makes its output
        opened = [layer for layer in names if layer.startswith(f"{stage}_")] if functional else []
        if not opened:
            raise _not_there(model, "layer" if functional else "stage", name, names)
        stage = opened[-1]
    layer = model.get_layer(stage)
    if functional and times_used(layer) > 1:
        raise KzooError(f"the layer {stage!r} of {model.name!r} is used {times_used(layer)} times: no single output")
    return layer.output


def _head(model: keras.Model, names: list[str]) -> str:
    info = model_info(model)
    if info is None or info.spec.head not in names:
        why = "is none of kzoo's models" if info is None else "has no classifier at its end"
        raise KzooError(f"{model.name!r} {why}: name the layers whose outputs you want")
    return info.spec.head


def taps_of(model: keras.Model) -> dict[str, str]:
    """{"P2": the stage that ends there, …} of one of kzoo's convolutional networks; {} of any other model."""
    info = model_info(model)
    return info.spec.definition.taps(info.settings) if info is not None else {}


def _not_there(model: keras.Model, what: str, name: str, names: list[str]) -> KzooError:
    there = {tap: stage for tap, stage in taps_of(model).items() if stage in names or what == "layer"}
    inner = "" if what == "layer" else "; inner layers are named in the functional style only"
    remedy = f"It has {', '.join(there)}; " if there else ""
    return unknown(what, name, [*there, *names], f"{remedy}kzoo.summary lists its layers{inner}")


class Trunk(keras.Model):
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
