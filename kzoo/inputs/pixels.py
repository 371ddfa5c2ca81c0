"""What the numbers of an array of images are: one decision for a whole set, or an error where they can be anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError

NEAR = 1e-3  # beyond an end, by rounding
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
    if array.dtype == np.uint8:
        return Range(0, 255, "u1")
    return Range(float(array.min()), float(array.max()), array.dtype.kind)


def to_bytes_of(ranges: Iterable[Range], what: str) -> tuple[Callable[[Any], Any] | None, str]:
    """(what makes them numbers in 0 to 255, what it is called); None and "" where they are.

    Raises:
        KzooError: They could be anything: numbers that are no numbers, or of a network's own scale.
    """
    ranges = list(ranges)
    low, high = min(r.low for r in ranges), max(r.high for r in ranges)
    kinds = {r.kind for r in ranges}
    number = lambda x: tf.cast(x, tf.float32)
    if not np.isfinite([r.low + r.high for r in ranges]).all():
        raise KzooError(f"{what} hold nan or infinite numbers; give pixels in 0 to 255")
    if kinds == {"b"}:
        return lambda x: tf.cast(x, tf.uint8) * 255, "pixels false and true are taken for 0 and 255"
    if kinds <= {"u1", "u", "i", "b"}:
        if low >= 0 and high <= 255:
            return None, ""
        if low >= 0 and FAINT <= high <= 65535 and "u1" not in kinds:
            return lambda x: number(x) / 257, "pixels of 16 bits are divided by 257"
    elif "u1" not in kinds and low >= -NEAR and high <= 1 + NEAR and high > 0:
        return lambda x: tf.clip_by_value(number(x) * 255, 0.0, 255.0), "pixels of 0 to 1 are rescaled to 0 to 255"
    elif "u1" not in kinds and -1 - NEAR <= low < 0 and high <= 1 + NEAR:
        scale = lambda x: tf.clip_by_value((number(x) + 1) * 127.5, 0.0, 255.0)
        return scale, "pixels of -1 to 1 are rescaled to 0 to 255"
    elif low >= -NEAR and high <= 255 + NEAR:
        return None, ""
    raise KzooError(
        f"{what} reach from {low:g} to {high:g}: give pixels in 0 to 255 (or 0 to 1, or -1 to 1), not standardised;"
        " what a model of your own reads as it is goes in as arrays, (x, y)"
    )
