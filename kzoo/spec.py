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


INTERPOLATIONS = ("bilinear", "bicubic", "lanczos3")


@dataclass(frozen=True)
class Preprocess:
    """From a raw image (uint8 or float in 0 to 255) to what the network reads; the order is the order of the fields.

    Attributes:
        size: Height and width in pixels the image is resized to (antialiased); unchanged where it fits.
        channels: 1 (grey) or 3 (RGB); converted where the image has another number.
        pad: Pixels of zeros added on each side after resizing (LeNet-5 sees 28x28 digits in a 32x32 field).
        scale: Factor on the pixel values.
        order: "RGB", or "BGR" as OpenCV and Caffe read images; `mean` and `std` are in this order.
        mean, std: Taken from and divided into the scaled values; one number, or one a channel.
        crop: None: the whole image is resized to `size`, whatever its shape. Else its centre is kept: the image is
            resized, in its shape, to cover `size` / crop, and `size` is cut out of the middle (0.875: 224 of 256).
        interpolation: Of the resizing, one of INTERPOLATIONS.
    """

    size: tuple[int, int]
    channels: int
    pad: int = 0
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "RGB"
    crop: float | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}")
        if self.crop is not None and not 0 < self.crop <= 1:
            raise ValueError(f"crop must be above 0 and up to 1; received {self.crop!r}")

    @property
    def cover(self) -> tuple[int, int]:
        """Height and width that the image is resized to cover before `size` is cut out of its middle."""
        height, width = (int(n / self.crop + 1e-3) if self.crop else n for n in self.size)
        return height, width

    @property
    def output_shape(self) -> tuple[int, int, int]:
        height, width = self.size
        return (height + 2 * self.pad, width + 2 * self.pad, self.channels)

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> Preprocess:
        """The same for a network built with another `input_shape` (height, width, channels).

        Of other channels than the means are for, each takes the average of the means.
        """
        height, width, channels = input_shape
        same = self
        if channels != self.channels:
            average = lambda values: (sum(values) / len(values),)
            same = replace(self, channels=channels, order="RGB", mean=average(self.mean), std=average(self.std))
        if (height, width) == self.output_shape[:2] or height is None or width is None:
            return same
        return replace(same, size=(height - 2 * self.pad, width - 2 * self.pad))

    def changes(self, shape: tuple[int | None, ...]) -> list[str]:
        """What must be said of raw images of that shape (height, width, channels) becoming inputs."""
        said = []
        height, width, channels = shape
        before = f"{height}x{width}" if height else "their own sizes"
        size = f"{self.size[0]}x{self.size[1]}"
        if self.crop is not None:
            cover = f"{self.cover[0]}x{self.cover[1]}"
            said.append(f"images are resized from {before} to cover {cover}, and cut to {size} in the middle")
        elif (height, width) != tuple(self.size):
            said.append(f"images are resized from {before} to {size}")
        if channels != self.channels:
            names = {1: "grey", 3: "RGB", 4: "RGBA"}
            to = names.get(self.channels, f"{self.channels} channels")
            said.append(f"images are converted from {names.get(channels, f'{channels} channels')} to {to}")
        return said

    def describe(self) -> str:
        """One line for plans and cards."""
        height, width = self.size
        parts = [f"{height}x{width}x{self.channels}"]
        if self.crop is not None:
            parts.append(f"the middle of {self.cover[0]}x{self.cover[1]}")
        if self.interpolation != "bilinear":
            parts.append(self.interpolation)
        if self.pad:
            parts.append(f"{self.pad} pixels of padding a side")
        parts.append("/ 255" if self.scale == 1 / 255 else f"* {self.scale:g}")
        if self.order != "RGB":
            parts.append(self.order)
        if self.mean != (0.0,) or self.std != (1.0,):
            parts.append(f"mean {_numbers(self.mean)}, std {_numbers(self.std)}")
        return ", ".join(parts)


# Ids that every vocabulary begins with: padding, unknown tokens, and where sequences are framed their marks.
PADDING, UNKNOWN, START, END = 0, 1, 2, 3
RESERVED, FRAMED = ("", "[UNK]"), ("", "[UNK]", "[start]", "[end]")
UNITS = ("words", "characters")
BEAMS, LENGTH_PENALTY = 4, 0.6  # of beam search: Vaswani et al. 2017, section 6.1


@dataclass(frozen=True)
class TextPreprocess:
    """From a raw string to token ids: lower case, then words and punctuation marks, or characters.

    Attributes:
        unit: One of UNITS.
        length: Tokens at most, the marks not counted.
        size: Entries of the vocabulary at most, the reserved ones counted.
        framed: Whether `[start]` and `[end]` stand around the tokens.
        vocabulary: The tokens in the order of their ids, the reserved ones first; empty until it has been taken from
            training data.
    """

    unit: str = "words"
    length: int = 256
    size: int = 20_000
    framed: bool = False
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit {self.unit!r} is not one of {', '.join(UNITS)}")

    @property
    def known(self) -> bool:
        """Whether it has its vocabulary."""
        return bool(self.vocabulary)

    @property
    def reserved(self) -> tuple[str, ...]:
        return FRAMED if self.framed else RESERVED

    @property
    def arguments(self) -> dict[str, int]:
        """What the network that reads such ids is built with."""
        return {"vocabulary": len(self.vocabulary)}

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> TextPreprocess:
        """For a network with room for another number of tokens, or of another fixed length."""
        length = input_shape[0] if input_shape[0] is not None else self.length
        return replace(self, size=arguments.get("vocabulary", self.size), length=length)

    def describe(self) -> str:
        """One line for plans and cards."""
        known = f"a vocabulary of {len(self.vocabulary):,}" if self.vocabulary else "no vocabulary yet"
        return f"{self.unit} in lower case, at most {self.length}, {known}"


@dataclass(frozen=True)
class PairPreprocess:
    """From a raw sentence and its translation to token ids.

    Attributes:
        joint: Whether both languages share one vocabulary (and the model one embedding).
    """

    source: TextPreprocess
    target: TextPreprocess
    joint: bool = False

    @property
    def known(self) -> bool:
        return self.source.known and self.target.known

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "source_vocabulary": len(self.source.vocabulary),
            "target_vocabulary": len(self.target.vocabulary),
            "joint": self.joint,
        }

    def for_model(self, input_shape: Any, arguments: Mapping[str, Any]) -> PairPreprocess:
        longest = arguments.get("length", math.inf) - 2  # of a table of positions; the marks take two
        sides = (
            replace(side, size=arguments.get(f"{name}_vocabulary", side.size), length=int(min(side.length, longest)))
            for name, side in (("source", self.source), ("target", self.target))
        )
        return PairPreprocess(*sides, joint=arguments.get("joint", self.joint))

    def describe(self) -> str:
        if self.joint:
            return f"both sides: {self.target.describe()}"
        return f"source: {self.source.describe()}; target: {self.target.describe()}"


@dataclass(frozen=True)
class NoisePreprocess:
    """For networks that make images of noise: the images they learn from, and the noise.

    Attributes:
        noise: Length of a noise vector, uniform in -1 to 1.
    """

    image: Preprocess
    noise: int

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> NoisePreprocess:
        return NoisePreprocess(self.image.for_model(input_shape, arguments), arguments.get("noise", self.noise))

    def changes(self, shape: tuple[int | None, ...]) -> list[str]:
        return self.image.changes(shape)

    def describe(self) -> str:
        return f"images {self.image.describe()}; {self.noise} numbers of noise, uniform in -1 to 1"


AnyPreprocess = Preprocess | TextPreprocess | PairPreprocess | NoisePreprocess
_KINDS = {kind.__name__: kind for kind in (Preprocess, TextPreprocess, PairPreprocess, NoisePreprocess)}


def preprocess_config(preprocess: AnyPreprocess | None) -> dict[str, Any] | None:
    """As JSON holds it."""
    return None if preprocess is None else {"kind": type(preprocess).__name__, **asdict(preprocess)}


def preprocess_from_config(config: Mapping[str, Any] | None) -> AnyPreprocess | None:
    """What `preprocess_config` wrote; without a kind, of images."""
    if not config:
        return None
    kind = _KINDS[config.get("kind", "Preprocess")]
    inner = {"source": TextPreprocess, "target": TextPreprocess, "image": Preprocess}
    values = {}
    for key, value in config.items():
        if key in inner:
            values[key] = inner[key](**_tuples(value))
        elif key != "kind":
            values[key] = value
    return kind(**_tuples(values))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


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
    """How a model is trained when the caller does not say otherwise; `source` says where the choice comes from.

    `loss_weights` is for models with several outputs, by name: each is trained on the same labels by the same loss, and
    the first one is measured.
    """

    loss: str
    metrics: tuple[str, ...]
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    batch_size: int = 32
    epochs: int = 10
    label_smoothing: float = 0.0
    warmup: int | None = None
    loss_weights: Mapping[str, float] | None = None
    source: str = "the model's recipe"


@dataclass(frozen=True)
class ModelSpec:
    """One variant: a row of its family's table.

    Attributes:
        name: The public name (`lenet5`).
        family: The file it lives in (`lenet`).
        task: One of TASKS.
        definition: The Definition subclass; its `define(**config)` gives the stages.
        input_shape: Without the batch; of several inputs {name: shape}. Default of the builder's argument of that name.
        config: Arguments of `define` that make this variant.
        classes: Units of the output layer; 0 where there are no classes. Fixed when `fixed_classes`, as the input is
            when `fixed_input`.
        head: Name of the last layer; what it reads are the model's features.
        paper: Authors, year, title and link.
        preprocess: From raw example to input; None where the input is neither image nor text.
        minimum: Smallest height and width of an image that the network can read.
        hidden: Left out of `list_models` unless asked for.
    """

    name: str
    family: str
    task: str
    definition: type
    input_shape: tuple[int | None, ...] | Mapping[str, tuple[int | None, ...]]
    recipe: Recipe
    paper: str
    summary: str
    classes: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    fixed_classes: bool = False
    fixed_input: bool = False
    classifier_activation: str | None = "softmax"
    input_name: str = "image"
    input_dtype: str = "float32"
    head: str = "output"
    preprocess: AnyPreprocess | None = None
    minimum: int = 1
    hidden: bool = False

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"{self.name}: task {self.task!r} is not one of {', '.join(TASKS)}")


@dataclass(frozen=True)
class WeightSpec:
    """One set of weights that a model can be built with, and everything needed to use it and to believe it.

    Attributes:
        model, tag: `lenet5@mnist`.
        checksum: `"sha256:<digits>"` or `"md5:<digits>"`, as its source publishes it: whole, or the first digits. It is
            checked before the file is used. None: the sha256 that the source's server names is.
        size: In bytes; of what is fetched as its source publishes it, rounded there, or None.
        classes: Their names, in the order of the outputs.
        preprocess: How its images are prepared.
        metrics: Measured by `command`, or reported by the authors.
        data: What it was trained on: a name that `load_data` knows.
        source: Who made it, and where its numbers stand.
        file: Its name among the files that come with kzoo; or
        url: where it is fetched from, by `https://` or `hf://`.
        parameters: Of the whole model; None of what is fetched.
    """

    model: str
    tag: str
    checksum: str | None
    size: int | None
    classes: tuple[str, ...]
    preprocess: Preprocess
    metrics: Mapping[str, float]
    data: str
    licence: str
    source: str
    file: str = ""
    url: str = ""
    parameters: int | None = None
    command: str = ""
    recipe: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """What a built model carries along: which variant, how it was built, how its images are prepared, its labels."""

    model: str
    style: str
    arguments: Mapping[str, Any]
    task: str
    preprocess: AnyPreprocess | None = None
    labels: tuple[str, ...] | None = None

    def to_config(self) -> dict[str, Any]:
        """Without the preprocessing, which runs and exports keep beside it."""
        return {k: v for k, v in asdict(self).items() if k != "preprocess"}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], preprocess: AnyPreprocess | None = None) -> ModelInfo:
        labels = config["labels"]
        known = {k: v for k, v in config.items() if k != "preprocess"}
        return cls(**{**known, "preprocess": preprocess, "labels": tuple(labels) if labels is not None else None})
