"""What a network reads: frozen records on the standard library alone. `kzoo.inputs` carries them out.

Each kind of inputs is a class with a name of its own, by which files know it; `from_config` reads what `to_config`
wrote.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from kzoo.errors import KzooError
from kzoo.records.plain import same_source, tuples

KINDS: dict[str, type[Inputs]] = {}  # by the name that files have
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos3")


@dataclass(frozen=True)
class Inputs:
    """From a raw example to what a network reads. A subclass adds fields, which its `to_config` writes.

    Attributes:
        kind: The name of the kind, taken once; "" of a class that is none by itself.
    """

    kind: ClassVar[str] = ""
    equal: ClassVar[tuple[str, ...]] = ()  # of `arguments`, those that a network must have as they are

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        name = vars(cls).get("kind", "")
        if not name:
            return
        taken = KINDS.get(name)
        if taken is not None and not same_source(taken, cls):
            raise KzooError(f"inputs of the kind {name!r} are there already, {taken.__module__}.{taken.__qualname__}")
        KINDS[name] = cls

    @property
    def known(self) -> bool:
        """Whether it has what it learns of training data: a vocabulary."""
        return True

    @property
    def arguments(self) -> dict[str, Any]:
        """What the network that reads it is built with, once it is known."""
        return {}

    @property
    def most_tokens(self) -> int | None:
        """Of a text, where texts of any length up to that are read; None where there are none."""
        return None

    @property
    def meaning(self) -> str:
        """A checksum of what the numbers that a network reads mean: of a vocabulary. "" where they speak for
        themselves.
        """
        return ""

    def for_model(self, input_shape: Any, arguments: Mapping[str, Any]) -> Inputs:
        """The same for a network built with another `input_shape` and other arguments than its row's."""
        return self

    def adopted(self, theirs: Inputs) -> Inputs:
        """How raw examples are prepared for weights that were learned with `theirs`, at the size of this."""
        return self

    def changes(self, shape: tuple[int | None, ...]) -> list[str]:
        """What must be said of raw examples of that shape becoming inputs."""
        return []

    def describe(self) -> str:
        """One line for plans and cards."""
        return self.kind

    def to_config(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain = lambda value: value.to_config() if isinstance(value, Inputs) else value
        return {"kind": self.kind, **{field.name: plain(getattr(self, field.name)) for field in fields(self)}}


def from_config(config: Mapping[str, Any] | None) -> Inputs | None:
    """What `to_config` wrote; without a kind, of images, as the first files had it.

    Raises:
        KzooError: A kind that nothing here knows.
    """
    if not config:
        return None
    name = config.get("kind", ImageInputs.kind)
    if name not in KINDS and name.isidentifier() and importlib.util.find_spec(f"kzoo.records.{name}") is not None:
        importlib.import_module(f"kzoo.records.{name}")  # a kind may have a file of its own
    if name not in KINDS:
        raise KzooError(f"inputs of an unknown kind, {name!r}; import what defines them first (kzoo --import FILE)")
    known = {field.name for field in fields(KINDS[name])}
    read = lambda value: from_config(value) if isinstance(value, Mapping) else tuples(value)
    return KINDS[name](**{key: read(value) for key, value in config.items() if key in known})


@dataclass(frozen=True)
class ImageInputs(Inputs):
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
        numbers: What the arrays of images that it learned from were given in, where that was not 0 to 255: "0 to 1".
        ground: Of grey images, what is around the ink in those that it learned from: "dark", "light" or unknown, "".
    """

    kind: ClassVar[str] = "image"
    size: tuple[int, int]
    channels: int
    pad: int = 0
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "RGB"
    crop: float | None = None
    interpolation: str = "bilinear"
    numbers: str = ""
    ground: str = ""

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

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> ImageInputs:
        """For another height, width and channels. Of other channels than the means are for, each takes their
        average.
        """
        height, width, channels = input_shape
        same = self
        if channels != self.channels:
            average = lambda values: (sum(values) / len(values),)
            means = {"mean": average(self.mean), "std": average(self.std)}
            same = replace(self, channels=channels, order="RGB", ground="", **means)
        if (height, width) == self.output_shape[:2] or height is None or width is None:
            return same
        return replace(same, size=(height - 2 * self.pad, width - 2 * self.pad))

    def adopted(self, theirs: Inputs) -> Inputs:
        """Their scaling and means, at this size."""
        return theirs.for_model((*self.size, self.channels), {}) if isinstance(theirs, ImageInputs) else self

    def changes(self, shape: tuple[int | None, ...]) -> list[str]:
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
            numbers = lambda values: " ".join(f"{v:.6g}" for v in values)
            parts.append(f"mean {numbers(self.mean)}, std {numbers(self.std)}")
        return ", ".join(parts)


KINDS["Preprocess"] = ImageInputs  # what files of 0.1 called it

# The preprocessings of ImageNet's networks, at 224 pixels: Caffe's, BGR without the mean of ImageNet in 0 to 255;
# PyTorch's; and TensorFlow's, -1 to 1.
CAFFE = ImageInputs(size=(224, 224), channels=3, scale=1.0, mean=(103.939, 116.779, 123.68), order="BGR")
TORCH = ImageInputs(size=(224, 224), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TF = ImageInputs(size=(224, 224), channels=3, mean=(0.5,), std=(0.5,))
# What `preprocess=` says: as the images are, in 0 to 1, or those three.
UNIT = ImageInputs(size=(224, 224), channels=3)
PREPROCESSINGS = {"0-255": replace(UNIT, scale=1.0), "0-1": UNIT, "-1-1": TF, "torch": TORCH, "caffe": CAFFE}
# Channel means and standard deviations of CIFAR-10's 50,000 training images, in 0 to 1.
CIFAR10 = ImageInputs(
    size=(32, 32), channels=3, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
)  # fmt: skip


# Ids that every vocabulary begins with: padding, unknown tokens, and where sequences are framed their marks.
PADDING, UNKNOWN, START, END = 0, 1, 2, 3
RESERVED, FRAMED = ("", "[UNK]"), ("", "[UNK]", "[start]", "[end]")
UNITS = ("words", "characters", "subwords")
END_OF_WORD = "</w>"  # of subwords, behind the last piece of a word


@dataclass(frozen=True)
class TextInputs(Inputs):
    """From a raw string to token ids: lower case, then words and punctuation marks, pieces of these, or characters.

    Attributes:
        unit: One of UNITS.
        length: Tokens at most, the marks not counted.
        size: Entries of the vocabulary at most, the reserved ones counted.
        framed: Whether `[start]` and `[end]` stand around the tokens.
        starts: Whether the first of the two does. A source may do without it: what reads it knows where it begins.
        vocabulary: The tokens in the order of their ids, the reserved ones first; empty until it has been taken from
            training data.
        merges: Of subwords, the pairs that become one piece, "th e</w>", the first one first.
    """

    kind: ClassVar[str] = "text"
    unit: str = "words"
    length: int = 256
    size: int = 20_000
    framed: bool = False
    starts: bool = True
    vocabulary: tuple[str, ...] = ()
    merges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit {self.unit!r} is not one of {', '.join(UNITS)}")

    @property
    def known(self) -> bool:
        return bool(self.vocabulary)

    @property
    def most_tokens(self) -> int:
        return self.length

    @property
    def reserved(self) -> tuple[str, ...]:
        return FRAMED if self.framed else RESERVED

    @property
    def unknown(self) -> int:
        """The id of what the vocabulary does not have."""
        return UNKNOWN

    @property
    def marks(self) -> tuple[int, ...]:
        """Ids that stand for nothing in a text."""
        return tuple(range(len(self.reserved)))

    @property
    def arguments(self) -> dict[str, Any]:
        return {"vocabulary": len(self.vocabulary)}

    @property
    def meaning(self) -> str:
        return meaning_of([self.vocabulary, *([self.merges] if self.merges else [])])

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> TextInputs:
        """For a network with room for another number of tokens, or of another fixed length."""
        length = input_shape[0] if input_shape[0] is not None else self.length
        return replace(self, size=arguments.get("vocabulary", self.size), length=length)

    def adopted(self, theirs: Inputs) -> Inputs:
        """Theirs as it is: what the ids mean was learned with the weights."""
        return theirs if isinstance(theirs, TextInputs) else self

    def describe(self) -> str:
        known = f"a vocabulary of {len(self.vocabulary):,}" if self.vocabulary else "no vocabulary yet"
        return f"{self.unit} in lower case, at most {self.length}, {known}"


@dataclass(frozen=True)
class PairInputs(Inputs):
    """From a raw sentence and its translation to token ids.

    Attributes:
        joint: Whether both languages share one vocabulary (and the model one embedding).
    """

    kind: ClassVar[str] = "pairs"
    equal: ClassVar[tuple[str, ...]] = ("joint",)
    source: TextInputs
    target: TextInputs
    joint: bool = False

    @property
    def known(self) -> bool:
        return self.source.known and self.target.known

    @property
    def most_tokens(self) -> int:
        return min(self.source.length, self.target.length)

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "source_vocabulary": len(self.source.vocabulary),
            "target_vocabulary": len(self.target.vocabulary),
            "joint": self.joint,
        }

    @property
    def meaning(self) -> str:
        merges = [side.merges for side in (self.source, self.target) if side.merges]
        return meaning_of([self.source.vocabulary, self.target.vocabulary, *merges])

    def for_model(self, input_shape: Any, arguments: Mapping[str, Any]) -> PairInputs:
        places = arguments.get("length")  # of a table of positions, of which the marks take two
        sides = (
            replace(
                side,
                size=arguments.get(f"{name}_vocabulary", side.size),
                length=side.length if places is None else places - 2,
            )
            for name, side in (("source", self.source), ("target", self.target))
        )
        return PairInputs(*sides, joint=arguments.get("joint", self.joint))

    def adopted(self, theirs: Inputs) -> Inputs:
        return theirs if isinstance(theirs, PairInputs) else self

    def describe(self) -> str:
        if self.joint:
            return f"both sides: {self.target.describe()}"
        return f"source: {self.source.describe()}; target: {self.target.describe()}"


def meaning_of(vocabularies: list[tuple[str, ...]]) -> str:
    """The sha256 of tokens in the order of their ids; "" where there are none yet."""
    if not any(vocabularies):
        return ""
    return hashlib.sha256(json.dumps(vocabularies, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class NoiseInputs(Inputs):
    """For networks that make images of noise: the images they learn from, and the noise.

    Attributes:
        noise: Length of a noise vector, uniform in -1 to 1.
    """

    kind: ClassVar[str] = "noise"
    image: ImageInputs
    noise: int

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> NoiseInputs:
        return NoiseInputs(self.image.for_model(input_shape, arguments), arguments.get("noise", self.noise))

    def changes(self, shape: tuple[int | None, ...]) -> list[str]:
        return self.image.changes(shape)

    def describe(self) -> str:
        return f"images {self.image.describe()}; {self.noise} numbers of noise, uniform in -1 to 1"
