"""Receptive fields: how many places of the input can change one value, operation by operation.

A kernel of k reaches (k - 1) jumps further, where the jump is the distance, in the input, of two neighbours in the
tensor; a stride multiplies it, and upsampling divides it. Where branches meet, the largest counts. The field may exceed
the input: then kernels also reach padding. It is a matter of kernels and pooling: what normalisation takes over all
places does not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

ALL = "all"


@dataclass(frozen=True)
class Field:
    """What each value of a tensor sees.

    Attributes:
        size: Places of the input, along each of its axes; () for an input without places, a vector.
        jump: Places of the input between two neighbours in the tensor.
        first: The axis of the tensor where places begin; None where its axes are no longer the input's.
    """

    size: tuple[Fraction, ...]
    jump: tuple[Fraction, ...]
    first: int | None = 1

    @property
    def axes(self) -> set[int]:
        return set() if self.first is None else set(range(self.first, self.first + len(self.size)))


Seen = Field | str | None  # a Field; ALL, the whole input; None where no size describes it, or it is not known


def place(count: int) -> Field:
    """A value of the input sees itself, of `count` axes of places."""
    return Field((Fraction(1),) * count, (Fraction(1),) * count)


def size_of(seen: Seen) -> tuple[int, ...] | str | None:
    return (tuple(math.ceil(n) for n in seen.size) or None) if isinstance(seen, Field) else seen


def merged(parts: Sequence[Seen]) -> Seen:
    """Where branches meet: the largest. A vector beside a map leaves what is seen of the map."""
    if None in parts or not parts:
        return None
    if ALL in parts:
        return ALL
    maps = [part for part in parts if part.size] or parts[:1]
    if len({len(part.size) for part in maps}) > 1:
        return None
    largest = lambda values: tuple(max(axis) for axis in zip(*values, strict=True))
    firsts = {part.first for part in maps}
    return Field(
        largest([part.size for part in maps]), largest([part.jump for part in maps]),
        firsts.pop() if len(firsts) == 1 else None,
    )  # fmt: skip


def look(node: Any, seen: Mapping[Any, Seen]) -> Seen:
    """What the outputs of one operation see; `seen` has the tensors that depend on the input."""
    operation, name = node.operation, type(node.operation).__name__
    inputs = [x for x in node.input_tensors if x in seen]
    field = merged([seen[x] for x in inputs])
    if not isinstance(field, Field):
        return field
    x, out, args = inputs[0], node.output_tensors[0], node.arguments.args
    rank, count = len(x.shape), len(field.size)
    each = lambda value: tuple(value) if isinstance(value, tuple | list) else (value,) * count
    match name:
        case "Conv" | "DepthwiseConv" | "SeparableConv" | "ConvTranspose" if len(inputs) == 1:
            taps = [(k - 1) * d + 1 for k, d in zip(args[1].shape[:-2], each(operation.dilation_rate), strict=False)]
            strides = [Fraction(s) for s in each(operation.strides)]
            if name == "ConvTranspose":  # of k taps at stride s, an output meets k / s
                taps, strides = (
                    [math.ceil(k / s) for k, s in zip(taps, strides, strict=False)],
                    [1 / s for s in strides],
                )
            return _grown(field, taps, strides, operation)
        case "MaxPool" | "AveragePool":
            pool = each(operation.pool_size)
            return _grown(field, pool, each(operation.strides) if operation.strides else pool, operation)
        case "AdaptiveMaxPool" | "AdaptiveAveragePool":
            return ALL if all(out.shape[a] == 1 for a in field.axes) and field.axes else None
        case "Matmul" if len(inputs) == 1:
            return _mixed(field, {rank - 1 if args[0] is x else rank - 2}, rank)
        case "Einsum" if len(inputs) == 1:
            terms, made = subscripts(operation)
            term = terms[next(k for k, operand in enumerate(args) if operand is x)]
            left = _mixed(field, {k for k, label in enumerate(term) if label not in made}, rank)
            return _moved(left, [term.find(label) for label in made])
        case "Softmax" | "LogSoftmax" | "Normalize":
            return _mixed(field, _axes(operation.axis, rank), rank)
        case "Transpose":
            return _moved(field, [a % rank for a in operation.axes or range(rank)[::-1]])
        case "GetItem" if len(out.shape) == rank and _slices(args[1]):
            steps = [part.step or 1 for part in args[1]] + [1] * rank
            if any(step < 1 for step in steps):
                return None
            return (
                replace(field, jump=tuple(j * steps[a] for j, a in zip(field.jump, sorted(field.axes), strict=True)))
                if field.axes
                else field
            )
        case "Repeat" if isinstance(operation.repeats, int) and field.axes:
            times = [operation.repeats if a == operation.axis else 1 for a in sorted(field.axes)]
            return replace(field, jump=tuple(j / n for j, n in zip(field.jump, times, strict=True)))
        case "Take" | "OneHot" if not count and rank == 2 and len(out.shape) == 3:
            return place(1)  # ids: each has its place
        case "Concatenate" | "Split" | "ArraySplit" | "Pad" | "Cast":
            return field
        case "Reshape" | "Squeeze" | "ExpandDims" | "Ravel" | "GetItem" | "Stack" | "Unstack":
            kept = max(field.axes, default=0) + 1
            same = field.axes and tuple(out.shape[:kept]) == tuple(x.shape[:kept])
            return field if same else replace(field, first=None)
    if hasattr(operation, "keepdims") or name == "Moments":  # means, sums, maxima along axes
        return _mixed(field, _axes(getattr(operation, "axes", getattr(operation, "axis", None)), rank), rank)
    known = type(operation).__module__.startswith("keras.src.") and ".linalg" not in type(operation).__module__
    return field if known and name not in MIXING and _place_by_place(node) else None


# Never place by place, whatever the shape of their output: what is left of these has no rule above.
MIXING = {
    "Matmul", "Einsum", "Dot", "Tensordot", "Inner", "Outer", "DotProductAttention", "Conv", "DepthwiseConv",
    "SeparableConv", "ConvTranspose", "Cumsum", "Cumprod", "Nancumsum", "Nancumprod", "Sort", "Argsort", "Flip",
    "Fliplr", "Flipud", "Roll", "Rot90", "Tril", "Triu", "Resize", "TakeAlongAxis", "Cross", "Kron",
}  # fmt: skip


def subscripts(operation: Any) -> tuple[list[str], str]:
    """Of an Einsum: "abc,cd->abd" gives (["abc", "cd"], "abd")."""
    terms, _, made = operation.subscripts.replace(" ", "").partition("->")
    return terms.split(","), made


def _grown(field: Field, taps: Sequence[int], strides: Sequence[Any], operation: Any) -> Seen:
    if field.first is None or not len(taps) == len(strides) == len(field.size):
        return None
    size = tuple(s + (k - 1) * j for s, k, j in zip(field.size, taps, field.jump, strict=True))
    jump = tuple(j * s for j, s in zip(field.jump, strides, strict=True))
    return Field(size, jump, 2 if operation.data_format == "channels_first" else 1)


def _mixed(field: Field, axes: set[int], rank: int) -> Seen:
    """After a sum over `axes` of a tensor of `rank`: over features it sees the same, over all places everything."""
    axes = axes - {0}
    places = field.axes or set(range(1, max(rank - 1, 2)))  # without its places' axes: the last holds features, if two
    if not axes & places:
        return field
    return ALL if places <= axes else None


def _moved(seen: Seen, axes: Sequence[int]) -> Seen:
    """After axes were put into the order `axes`."""
    if not isinstance(seen, Field) or not seen.axes:
        return seen
    now = [axes.index(a) if a in axes else -1 for a in sorted(seen.axes)]
    return replace(seen, first=now[0]) if now == list(range(now[0], now[0] + len(now))) and now[0] > 0 else None


def _axes(axis: Any, rank: int) -> set[int]:
    if axis is None:
        return set(range(rank))
    return {a % rank for a in ([axis] if isinstance(axis, int) else axis)}


def _slices(key: Any) -> bool:
    return isinstance(key, tuple) and all(isinstance(part, slice) and isinstance(part.step, int | None) for part in key)


def _place_by_place(node: Any) -> bool:
    """Whether the output has the shape to which the inputs are broadcast."""
    shapes: Iterable[Any] = [tuple(x.shape) for x in node.input_tensors]
    longest = max(map(len, shapes))
    padded = [(1,) * (longest - len(shape)) + shape for shape in shapes]
    wide = tuple(next((n for n in axis if n != 1), 1) for axis in zip(*padded, strict=True))
    return all(tuple(x.shape) == wide for x in node.output_tensors)
