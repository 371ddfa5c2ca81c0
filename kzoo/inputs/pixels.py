"""What the numbers of an array of images are: one decision for a whole set, or an error where they can be anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError

NEAR = 1e-3  # beyond an end, by rounding
DARK, LIGHT = 64, 191  # below and above which the border of an image is so
FAINT = 4096  # of 16 bits, numbers below this are of fewer


class Range(NamedTuple):
    """Of an array of images.

    Attributes:
        low, high: Smallest and largest number; nan where one is.
        kind: NumPy's kind of number, and "u1" of bytes.
    """

    low: float
    high: float
    kind: str


def range_of(images: Any) -> Range | None:
    """None of what is no array of images [n, height, width, channels]."""
    array = images.numpy() if tf.is_tensor(images) else images
    if not isinstance(array, np.ndarray) or array.ndim != 4 or array.dtype.kind not in "buif" or not array.size:
        return None
    kind = "u1" if array.dtype == np.uint8 else array.dtype.kind
    return Range(float(array.min()), float(array.max()), kind)


def grounds_of(images: np.ndarray) -> np.ndarray:
    """-1, 0 or 1 an image [n, height, width, channels] in 0 to 255: its border is dark, neither, light."""
    rim = np.concatenate(
        [images[:, [0, -1]].reshape(len(images), -1), images[:, :, [0, -1]].reshape(len(images), -1)], 1
    )
    middle = np.median(rim, axis=1)
    return (middle > LIGHT).astype(int) - (middle < DARK)


class Numbers(NamedTuple):
    """What pixels can be given in.

    Attributes:
        to_bytes: Makes them numbers in 0 to 255.
        said: What is told then.
        kinds: Of numbers, as Range has them.
        low, high: Between which they lie.
    """

    to_bytes: Callable[[Any], Any]
    said: str
    kinds: str
    low: float
    high: float

    def can_be(self, low: float, high: float, kinds: set[str]) -> bool:
        return kinds <= set(self.kinds) and low >= self.low - NEAR and high <= self.high + NEAR


_number = lambda x: tf.cast(x, tf.float32)
_clipped = lambda x: tf.clip_by_value(x, 0.0, 255.0)
NUMBERS = {
    "bits": Numbers(
        lambda x: tf.cast(x, tf.uint8) * 255, "pixels false and true are taken for 0 and 255", "b", 0, 1
    ),
    "16 bits": Numbers(lambda x: _number(x) / 257, "pixels of 16 bits are divided by 257", "ui", 0, 65535),
    "0 to 1": Numbers(lambda x: _clipped(_number(x) * 255), "pixels of 0 to 1 are rescaled to 0 to 255", "fui", 0, 1),
    "-1 to 1": Numbers(
        lambda x: _clipped((_number(x) + 1) * 127.5), "pixels of -1 to 1 are rescaled to 0 to 255", "f", -1, 1
    ),
}  # fmt: skip


def _check_alike(ranges: Iterable[Range], high: float, what: str) -> None:
    """
    Raises:
        KzooError: One part is in 0 to 1 and another is not, or whole numbers are 0 and 1 alone.
    """
    if high > 1 + NEAR and any(r.kind == "f" and 0 < r.high <= 1 + NEAR and r.low >= -1 - NEAR for r in ranges):
        raise KzooError(f"{what} reach to 1 in one part and to {high:g} in another; give all parts in one scale")
    if high == 1 and all(r.kind in ("u1", "u", "i") for r in ranges):
        raise KzooError(f"{what} are 0 and 1 alone, as whole numbers: give them as True and False, or times 255")


def numbers_of(ranges: Iterable[Range], what: str, before: str = "") -> str:
    """The name of what they are in NUMBERS, one for all of a set; "" of pixels in 0 to 255.

    Args:
        what: They are called, in errors.
        before: What the model learned from, which goes where they can be that: of -1 to 1, some may have no number
            below 0.

    Raises:
        KzooError: They could be anything: numbers that are no numbers, or of a network's own scale.
    """
    ranges = list(ranges)
    low, high = min(r.low for r in ranges), max(r.high for r in ranges)
    kinds = {"u" if r.kind == "u1" else r.kind for r in ranges}
    as_bytes = any(r.kind == "u1" for r in ranges)
    if not np.isfinite([r.low + r.high for r in ranges]).all():
        raise KzooError(f"{what} hold nan or infinite numbers; give pixels in 0 to 255")
    if kinds == {"b"}:
        return "bits"
    whole = "i" in kinds and before == "16 bits" and high <= 255  # whole numbers of no width
    if before and not as_bytes and not whole and NUMBERS[before].can_be(low, high, kinds):
        return before
    _check_alike(ranges, high, what)
    if kinds <= {"u", "i", "b"}:
        if low >= 0 and high <= 255:
            return ""
        if high >= FAINT and not as_bytes and NUMBERS["16 bits"].can_be(low, high, kinds):
            return "16 bits"
    elif not as_bytes and high > 0 and NUMBERS["0 to 1"].can_be(low, high, kinds):
        return "0 to 1"
    elif not as_bytes and low < 0 and NUMBERS["-1 to 1"].can_be(low, high, kinds):
        return "-1 to 1"
    elif low >= -NEAR and high <= 255 + NEAR:
        return ""
    raise KzooError(
        f"{what} reach from {low:g} to {high:g}: give pixels in 0 to 255 (or 0 to 1, or -1 to 1), not standardised;"
        " what a model of your own reads as it is goes in as arrays, (x, y)"
    )
