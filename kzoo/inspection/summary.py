"""The table of layers: name, type, output shape, parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from kzoo.models._block import Block, opened_blocks
from kzoo.models._players import networks_of
from kzoo.models._registry import create_model, model_info, model_spec
from kzoo.models._styles import input_shape_of, inputs_of, style_of


@dataclass(frozen=True)
class Row:
    name: str
    kind: str
    output_shape: tuple[int | None, ...] | None
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Summary:
    """One row a layer, in order, and the totals. `str(summary)` is the table."""

    name: str
    style: str
    rows: tuple[Row, ...]
    parameters: int
    trainable: int

    def __str__(self) -> str:
        wide = max(24, *(len(row.name) + 2 for row in self.rows))
        kinds = max(20, *(len(row.kind) + 2 for row in self.rows))
        lines = [f"{'layer':{wide}}{'type':{kinds}}{'output':>18}{'parameters':>14}"]
        for row in self.rows:
            shape = "x".join("?" if n is None else str(n) for n in row.output_shape[1:]) if row.output_shape else ""
            lines.append(f"{row.name:{wide}}{row.kind:{kinds}}{shape:>18}{row.parameters:>14,}")
        lines.append(f"{self.name}, {self.style}: {self.parameters:,} parameters, {self.trainable:,} trainable")
        return "\n".join(lines)


def summary(model: keras.Model | str, **arguments: Any) -> Summary:
    """The layers of a model, or of `create_model(model, **arguments)`.

    A layer of a subclass model has an output shape once the model has been called on a tensor with one.

    >>> print(summary("perceptron"))
    layer                   type                            output    parameters
    output                  Dense                                1             3
    perceptron, functional: 3 parameters, 3 trainable
    """
    if isinstance(model, str):
        model = create_model(model, **arguments)
    shapes = _shapes(model)
    order = {name: k for k, name in enumerate(shapes)}  # of the graph: the same in every style
    layers = sorted(_layers(model), key=lambda layer: order.get(layer.name, len(order)))
    rows = tuple(
        Row(layer.name, type(layer).__name__, shapes.get(layer.name), layer.count_params() if layer.built else 0,
            sum(math.prod(v.shape) for v in layer.trainable_variables))
        for layer in layers
    )  # fmt: skip
    trainable = sum(math.prod(v.shape) for v in model.trainable_variables)
    return Summary(model.name, style_of(model), rows, model.count_params(), trainable)


def _layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The layers inside, Blocks and inner models opened, each once, without inputs."""
    for child in layer._flatten_layers(include_self=False, recursive=False):
        if isinstance(child, Block | keras.Model):
            yield from _layers(child)
        elif not isinstance(child, keras.layers.InputLayer):
            yield child


def _shapes(model: keras.Model) -> dict[str, tuple[int | None, ...]]:
    """{layer name: output shape}, by one symbolic pass in which every Block is open."""
    networks = networks_of(model)
    if networks != [model]:
        return {name: shape for network in networks for name, shape in _shapes(network).items()}
    graph, stages = model, getattr(model, "stages", None)
    if isinstance(model, keras.Sequential):
        stages = model.layers
    if stages is not None:
        x = inputs = _inputs(model)
        with opened_blocks():
            for stage in stages:
                x = stage(x)
        graph = keras.Model(inputs, x)
    shapes = {}
    for layer in graph.layers:
        if getattr(layer, "_inbound_nodes", None):
            output = layer._inbound_nodes[-1].output_tensors
            shapes[layer.name] = tuple(output[0].shape)
    return shapes


def _inputs(model: keras.Model) -> Any:
    info = model_info(model)
    if info is None or not isinstance(model_spec(info.model).input_shape, Mapping):
        dtype = model_spec(info.model).input_dtype if info else None
        return keras.Input(input_shape_of(model), dtype=dtype)
    return inputs_of(model_spec(info.model), info.arguments["input_shape"])
