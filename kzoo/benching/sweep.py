"""How the time of a training step grows: with the batch, the image, the text, or over replicas."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kzoo.engine import most_replicas, strategy
from kzoo.errors import KzooError
from kzoo.files import atomic
from kzoo.models import input_shape_of
from kzoo.records import Printed, Timing
from kzoo.report import pictures
from kzoo.zoo import model_spec

BATCHES = (8, 16, 32, 64, 128, 256)
TOKENS = (16, 32, 64, 128, 256)
SIDES = (0.5, 1, 1.5, 2)  # of the network's own size


@dataclass(frozen=True)
class Point:
    """Milliseconds of a step at one value: the median of the rounds, the least and the most; and the first step's
    seconds.
    """

    value: int
    median: float
    least: float
    most: float
    first: float


@dataclass(frozen=True)
class Sweep(Printed):
    """How a step of training grows.

    Attributes:
        over: batch, size, tokens or replicas.
        batch_size: Of each step, where it is not what grows.
    """

    model: str
    over: str
    batch_size: int
    points: tuple[Point, ...]

    def to_config(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        rows = [f"{self.over:>8} {'ms a step':>10} {'least':>8} {'most':>8} {'examples/s':>11} {'first step':>11}"]
        for p in self.points:
            examples = p.value if self.over == "batch" else self.batch_size
            rate = 1e3 * examples / p.median
            rows.append(f"{p.value:8} {p.median:10.2f} {p.least:8.2f} {p.most:8.2f} {rate:11,.0f} {p.first:9.1f} s")
        head = self.model if self.over == "batch" else f"{self.model}, batch {self.batch_size}"
        return "\n".join([head, *rows])

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """A picture: milliseconds over what grows, beside what is in proportion to the first. Returns its path."""
        path = Path(path)
        values = [p.value for p in self.points]
        figure = Figure(figsize=(6, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(values, [p.least for p in self.points], [p.most for p in self.points], alpha=0.2)
        axes.plot(values, [p.median for p in self.points], marker="o", color=pictures.BLUE, label="a step")
        first = self.points[0]
        axes.plot(values, [first.median * v / first.value for v in values], color=pictures.GREY, linestyle=":",
                  label="in proportion to the first")  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(values, [str(v) for v in values])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel({"batch": "examples in a batch", "size": "pixels a side"}.get(self.over, self.over))
        axes.set_ylabel("milliseconds")
        axes.grid(alpha=0.3)
        axes.legend()
        with atomic(path) as beside:
            pictures.save(figure, self.model, beside)
        return path


def values_of(model: Any, options: Timing) -> Sequence[int]:
    """What is tried.

    Raises:
        KzooError: It cannot grow, of this model.
    """
    if options.sweep == "batch":
        return BATCHES
    if options.sweep == "replicas":
        if options.strategy != "auto" or options.devices is not None:
            raise KzooError("sweep='replicas' has strategies and devices of its own; leave strategy and devices out")
        many = most_replicas()
        strategy("mirrored", many)  # which cuts a CPU into as many devices
        return [2**k for k in range(many.bit_length())]
    spec = model_spec(model) if isinstance(model, str) else None
    shape = input_shape_of(model) if spec is None else spec.input_shape
    name = model.name if spec is None else spec.name
    if options.sweep == "tokens":
        most = spec.inputs.most_tokens if spec is not None and spec.inputs is not None else None
        if spec is None and shape is not None and len(shape) == 1 and shape[0] is None:
            most = max(TOKENS)
        if most is None:
            raise KzooError(f"{name!r} reads no texts of different lengths; sweep the batch")
        return [n for n in TOKENS if n < most] + [most] * (most <= max(TOKENS))
    if spec is None or not isinstance(shape, tuple) or len(shape) != 3:
        raise KzooError(f"sweep='size' builds a network of images at several sizes, by its name; received {name!r}")
    return [int(shape[0] * side) for side in SIDES]
