"""The table of layers: shapes, parameters, multiply-accumulates, activations, receptive fields; text, CSV or a plot."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kzoo.errors import KzooError, cell, listed
from kzoo.keras_internals import children_of
from kzoo.models import Block, style_of
from kzoo.records import Printed
from kzoo.report.cost import Cost, costs_of
from kzoo.report.receptive import size_of
from kzoo.zoo import create_model, model_spec

BYTES = 4  # of a float32


@dataclass(frozen=True)
class Row:
    """One layer. What is not known, or not defined, is None.

    Attributes:
        parameters: All of them; `biases` are those of variables named so, `trainable` those that are trained.
        macs: Multiply-accumulates of one example: the multiplications of kernels, and of attention, each with its
            addition. Biases, activations, pooling, normalisation and products place by place are not counted.
        values: Activations: numbers that the layer's output holds for one example. A layer whose output is its input in
            another shape (Flatten), or at inference its input itself (Dropout), holds none of its own; an activation
            function inside a layer (`Conv2D(activation="relu")`) is not a second output.
        receptive_field: How many places of the input, along each of its axes, can change one value of the output;
            "all": the whole input. It may exceed the input; then kernels also reach padding. None where no size
            describes it: recurrence, attention.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...] | None
    parameters: int
    trainable: int
    biases: int = 0
    macs: int | None = None
    values: int | None = None
    receptive_field: tuple[int, ...] | str | None = None

    @property
    def memory(self) -> int | None:
        """Bytes of the activations of one example in float32."""
        return None if self.values is None else BYTES * self.values


@dataclass(frozen=True)
class Summary(Printed):
    """One row a layer, in the order of the graph, and the totals. `str(summary)` is the table.

    Attributes:
        inputs: A row for each input.
        outside: Multiply-accumulates of operations outside of layers; `unknown` are those which nothing is known of.
    """

    name: str
    style: str
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    inputs: tuple[Row, ...] = ()
    outside: int = 0
    unknown: tuple[str, ...] = ()

    @property
    def biases(self) -> int:
        return sum(row.biases for row in self.rows)

    @property
    def macs(self) -> int:
        """Of all that could be counted; `uncounted` names the rest."""
        return self.outside + sum(row.macs or 0 for row in self.rows)

    @property
    def values(self) -> int:
        """Activations of one example with its input, as far as sizes are known."""
        return sum(row.values or 0 for row in (*self.inputs, *self.rows))

    @property
    def memory(self) -> int:
        """Bytes of `values` in float32."""
        return BYTES * self.values

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Layers whose multiply-accumulates or activations are not known."""
        return tuple(row.name for row in self.rows if None in (row.macs, row.values)) + self.unknown

    def __str__(self) -> str:
        head = ("layer", "type", "output", "parameters", "biases", "MACs", "activations", "memory", "receptive field")
        table = [head, *(_cells(row) for row in (*self.inputs, *self.rows))]
        if len(self.rows) > 1:
            table.append(_cells(self._total()))
        used = [k for k in range(len(head)) if k < 4 or any(line[k] not in ("", "0") for line in table[1:])]
        wide = {k: max(len(line[k]) for line in table) for k in used}
        lines = ["  ".join(f"{line[k]:{'<' if k < 2 else '>'}{wide[k]}}" for k in used).rstrip() for line in table]
        lines.append(f"{self.name}, {self.style}: {self.parameters:,} parameters, {self.trainable:,} trainable")
        if self.outside:
            lines.append(f"{self.outside:,} of the MACs are of operations outside of layers")
        if self.uncounted:
            lines.append(f"MACs or activations not known, and not in the totals: {listed(self.uncounted, 6)}")
        if any(None in row.output_shape[1:] for row in self.inputs):
            lines.append("any size (?) is taken: give an input_shape for the numbers at one")
        return "\n".join(lines)

    def to_csv(self, path: str | Path | None = None) -> str:
        """The table as CSV, inputs first and a line of totals last; written to `path` if one is given."""
        columns = ("layer", "type", "output", "parameters", "trainable", "biases", "macs", "activations", "bytes",
                   "receptive_field")  # fmt: skip
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in (*self.inputs, *self.rows, self._total()):
            numbers = (row.parameters, row.trainable, row.biases, row.macs, row.values, row.memory)
            writer.writerow(
                [cell(row.name), row.kind, _shape(row), *("" if n is None else n for n in numbers), _field(row)]
            )
        if path is not None:
            writable(path, ".csv").write_text(text.getvalue(), encoding="utf-8")
        return text.getvalue()

    def plot(self, path: str | Path) -> None:
        """A bar a layer for parameters, multiply-accumulates, activations and receptive field, as PNG."""
        from kzoo.report.bars import layer_bars

        layer_bars(self, writable(path, ".png"))

    def to_config(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        plain = lambda row: {**row.__dict__, "memory": row.memory}
        total = plain(self._total())
        kept = {k: total[k] for k in ("parameters", "trainable", "biases", "macs", "values", "memory")}
        rows = {"inputs": [plain(row) for row in self.inputs], "rows": [plain(row) for row in self.rows]}
        return {"style": self.style, **rows, "total": {**kept, "uncounted": self.uncounted}}

    def _total(self) -> Row:
        left = f"without {len(self.uncounted)}" if self.uncounted else ""
        known = lambda total, name: total if total or all(getattr(row, name) is not None for row in self.rows) else None
        macs, values = known(self.macs, "macs"), known(self.values, "values")
        return Row("total", left, None, self.parameters, self.trainable, self.biases, macs, values)


def summary(model: keras.Model | str, *, input_shape: Any = None, **arguments: Any) -> Summary:
    """The layers of a model, or of `create_model(model, **arguments)`, with what each costs and sees.

    Blocks and inner models are opened. What holds for one example is computed without running the model; see `Row` for
    what counts. Of a subclass model this needs a `call` in plain Keras code, and that the model was called before.

    Args:
        model: Any Keras model, or a name from `list_models`.
        input_shape: Of one example. A model given by its name is built for it; another one is summed up at this shape,
            which gives numbers where a model takes any size. For several inputs a dict, or one shape for all.
        **arguments: Those of `create_model`.

    Raises:
        KzooError: The model does not run on `input_shape`; arguments beside a model that is built already.

    >>> print(summary("perceptron"))
    layer   type   output  parameters  biases  MACs  activations  memory  receptive field
    input   Input       2           0                          2     8 B
    output  Dense       1           3       1     2            1     4 B              all
    perceptron, functional: 3 parameters, 3 trainable
    """
    if isinstance(model, str):
        built_for_it = input_shape is not None and not isinstance(model_spec(model).input_shape, Mapping)
        model = create_model(model, **arguments, **({"input_shape": input_shape} if built_for_it else {}))
        input_shape = None if built_for_it else input_shape
    elif arguments:
        raise KzooError(f"{', '.join(arguments)}: arguments of create_model, but {model.name!r} is built already")
    if not isinstance(model, keras.Model):
        raise KzooError(f"summary takes a Keras model, or a name from kzoo list; received {model!r}")
    costs = costs_of(model, input_shape)
    order = {layer: k for k, layer in enumerate(costs.layers)}  # of the graph: the same in every style
    layers = sorted(_layers(model), key=lambda layer: order.get(id(layer), len(order)))
    return Summary(
        model.name, style_of(model), tuple(_row(layer, costs.layers.get(id(layer))) for layer in layers),
        _count(model.weights), _count(model.trainable_variables),
        tuple(
            Row(name, "Input", cost.output_shape, 0, 0, 0, None, cost.values, size_of(cost.seen))
            for name, cost in costs.inputs.items()
        ),
        costs.outside, tuple(costs.unknown),
    )  # fmt: skip


def writable(path: str | Path, suffix: str) -> Path:
    """`path`, where a file of that kind can be written.

    Raises:
        KzooError: It is a folder, has another suffix, or lies in no folder.
    """
    path = Path(path)
    if path.is_dir():
        raise KzooError(f"{str(path)!r} is a folder; give the name of a {suffix} file")
    if path.suffix != suffix:
        raise KzooError(f"the file must end in {suffix}; received {str(path)!r}")
    if not path.absolute().parent.is_dir():
        raise KzooError(f"no folder {str(path.parent)!r} to write {path.name} into")
    return path


def _row(layer: keras.layers.Layer, cost: Cost | None) -> Row:
    biases = [v for v in layer.weights if v.name == "bias" or v.name.endswith("_bias")]
    row = (layer.name, type(layer).__name__, cost and cost.output_shape, _count(layer.weights))
    numbers = (_count(layer.trainable_variables), _count(biases))
    return Row(*row, *numbers) if cost is None else Row(*row, *numbers, cost.macs, cost.values, size_of(cost.seen))


def _layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The layers inside, Blocks and inner models opened, each once, without inputs."""
    for child in children_of(layer):
        if isinstance(child, Block | keras.Model):
            yield from _layers(child)
        elif not isinstance(child, keras.layers.InputLayer):
            yield child


def _count(variables: Any) -> int:
    return sum(math.prod(v.shape) for v in variables)


def _cells(row: Row) -> tuple[str, ...]:
    number = lambda n: "" if n is None else f"{n:,}"
    biases = "" if row.kind == "Input" else number(row.biases)
    return (
        row.name, row.kind, _shape(row), number(row.parameters), biases, number(row.macs), number(row.values),
        _memory(row), _field(row),
    )  # fmt: skip


def _memory(row: Row) -> str:
    if row.memory is None:
        return ""
    scale, unit = next(
        ((10**k, unit) for k, unit in ((9, "GB"), (6, "MB"), (3, "kB")) if row.memory >= 10**k), (1, "B")
    )
    return f"{row.memory / scale:.1f} {unit}" if scale > 1 else f"{row.memory} B"


def _shape(row: Row) -> str:
    return "x".join("?" if n is None else str(n) for n in row.output_shape[1:]) if row.output_shape else ""


def _field(row: Row) -> str:
    field = row.receptive_field
    return "x".join(map(str, field)) if isinstance(field, tuple) else field or ""
