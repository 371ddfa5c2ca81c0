"""What a model, a set of weights and a preprocessing are: frozen records on the standard library alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

STYLES = ("sequential", "functional", "subclass")
TASKS = (
    "image-classification",
    "text-classification",
    "tabular-classification",
    "regression",
    "forecasting",
    "translation",
    "text-generation",
    "image-generation",
    "image-to-image",
)


@dataclass(frozen=True)
class Preprocess:
    """From a raw image (uint8 or float in 0 to 255) to what the network reads; the order is the order of the fields.

    Attributes:
        size: Height and width in pixels the image is resized to (bilinear, antialiased); unchanged where it fits.
        channels: 1 (grey) or 3 (RGB); converted where the image has another number.
        pad: Pixels of zeros added on each side after resizing (LeNet-5 sees 28x28 digits in a 32x32 field).
        scale: Factor on the pixel values.
        mean, std: Taken from and divided into the scaled values; one number, or one a channel.
    """

    size: tuple[int, int]
    channels: int
    pad: int = 0
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        height, width = self.size
        return (height + 2 * self.pad, width + 2 * self.pad, self.channels)

    def for_input(self, input_shape: tuple[int | None, ...]) -> Preprocess:
        """The same scaling and padding for a network built with another `input_shape` (height, width, channels)."""
        height, width, channels = input_shape
        if (height, width, channels) == self.output_shape or height is None or width is None:
            return replace(self, channels=channels)
        return replace(self, size=(height - 2 * self.pad, width - 2 * self.pad), channels=channels)

    def changes(self, shape: tuple[int | None, ...]) -> list[str]:
        """What must be said of raw images of that shape (height, width, channels) becoming inputs."""
        said = []
        height, width, channels = shape
        if (height, width) != tuple(self.size):
            before = f"{height}x{width}" if height else "their own sizes"
            said.append(f"images are resized from {before} to {self.size[0]}x{self.size[1]}")
        if channels != self.channels:
            names = {1: "grey", 3: "RGB", 4: "RGBA"}
            said.append(f"images are converted from {names.get(channels, channels)} to {names[self.channels]}")
        return said

    def describe(self) -> str:
        """One line for plans and cards."""
        height, width = self.size
        parts = [f"{height}x{width}x{self.channels}"]
        if self.pad:
            parts.append(f"{self.pad} pixels of padding a side")
        parts.append("/ 255" if self.scale == 1 / 255 else f"* {self.scale:g}")
        if self.mean != (0.0,) or self.std != (1.0,):
            parts.append(f"mean {_numbers(self.mean)}, std {_numbers(self.std)}")
        return ", ".join(parts)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocess:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})


def to_json(value: Any) -> str:
    """Indented JSON that every parser reads: arrays become lists, what is no finite number becomes null."""
    plain = lambda v: v.tolist() if hasattr(v, "tolist") else str(v)
    return json.dumps(_finite(json.loads(json.dumps(value, default=plain))), indent=1, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{v:.6g}" for v in values)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained when the caller does not say otherwise; `source` says where the choice comes from."""

    loss: str
    metrics: tuple[str, ...]
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    batch_size: int = 32
    epochs: int = 10
    source: str = "the model's recipe"


@dataclass(frozen=True)
class ModelSpec:
    """One variant: a row of its family's table.

    Attributes:
        name: The public name (`lenet5`).
        family: The file it lives in (`lenet`).
        task: One of TASKS.
        definition: The Definition subclass; its `define(**config)` gives the stages.
        input_shape: Without the batch. Default of the builder's argument of that name.
        config: Arguments of `define` that make this variant.
        classes: Units of the output layer; fixed when `fixed_classes`, as the input is when `fixed_input`.
        head: Name of the last layer; what it reads are the model's features.
        paper: Authors, year, title and link.
        preprocess: From raw image to input; None where the input is not an image.
        hidden: Left out of `list_models` unless asked for.
    """

    name: str
    family: str
    task: str
    definition: type
    input_shape: tuple[int | None, ...]
    recipe: Recipe
    paper: str
    summary: str
    classes: int
    config: Mapping[str, Any] = field(default_factory=dict)
    fixed_classes: bool = False
    fixed_input: bool = False
    classifier_activation: str | None = "softmax"
    input_name: str = "image"
    head: str = "output"
    preprocess: Preprocess | None = None
    hidden: bool = False

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"{self.name}: task {self.task!r} is not one of {', '.join(TASKS)}")


@dataclass(frozen=True)
class WeightSpec:
    """One published set of weights, with everything needed to use it and to believe it.

    `metrics` are as measured by `command`; `sha256` is checked before the file is used.
    """

    model: str
    tag: str
    file: str
    sha256: str
    parameters: int
    classes: tuple[str, ...]
    preprocess: Preprocess
    metrics: Mapping[str, float]
    data: str
    command: str
    recipe: str
    licence: str
    source: str


@dataclass(frozen=True)
class ModelInfo:
    """What a built model carries along: which variant, how it was built, how its images are prepared, its labels."""

    model: str
    style: str
    arguments: Mapping[str, Any]
    task: str
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None

    def to_config(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelInfo:
        preprocess, labels = config["preprocess"], config["labels"]
        return cls(
            **{
                **config,
                "preprocess": Preprocess.from_config(preprocess) if preprocess else None,
                "labels": tuple(labels) if labels is not None else None,
            }
        )
