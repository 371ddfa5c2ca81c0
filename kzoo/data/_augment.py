"""Augmentations: batches of float32 images in 0 to 255 to the same, by a stateless seed. XLA accepts each.

Each image of a batch is drawn its own numbers; the same seed gives the same images on whichever worker they are: the
numbers are drawn for the whole global batch. Whole numbers are drawn, by a named generator (Philox): left to choose,
TensorFlow takes another one under XLA, and floats differ there even by this one. For the same reason pixels that must
be mixed are mixed in whole numbers, 1/64 of a grey level each: XLA rounds sums of floats in other places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError

UNIT = 64  # parts of a grey level
FRACTION = 7  # bits of a place between two pixels; the weights of four pixels make 2 ** 14
WHITE = 255 * UNIT


class Draw(NamedTuple):
    """Random numbers for some rows of a global batch.

    Attributes:
        seed: int32 [2].
        start, total: The first of the rows, and how many the global batch has; under XLA a Python number.
    """

    seed: tf.Tensor
    start: tf.Tensor | int
    total: tf.Tensor | int

    def integers(self, rows: tf.Tensor, shape: list[int], limit: int) -> tf.Tensor:
        """int32 [rows, *shape] in 0 to `limit` - 1."""
        drawn = tf.random.stateless_uniform([self.total, *shape], self.seed, 0, limit, dtype=tf.int32, alg="philox")
        return tf.slice(drawn, [self.start] + [0] * len(shape), [rows, *shape])

    def uniform(self, rows: tf.Tensor, shape: list[int]) -> tf.Tensor:
        """float32 [rows, *shape] in -1 to 1."""
        return tf.cast(self.integers(rows, shape, 2**24), tf.float32) / 2**23 - 1

    def other(self, number: int) -> Draw:
        """Other numbers for the same rows."""
        return self._replace(seed=self.seed + [number, 0])


def _shifted(images: tf.Tensor, draw: Draw, pixels: int) -> tf.Tensor:
    """Every image moved by up to `pixels` in both directions; zeros come in."""
    height, width = images.shape[1], images.shape[2]
    padded = tf.pad(images, [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]])
    corner = draw.integers(tf.shape(images)[0], [2], 2 * pixels + 1)
    rows = corner[:, :1] + tf.range(height)
    columns = corner[:, 1:] + tf.range(width)
    rows_first = tf.gather(padded, rows, batch_dims=1)  # [batch, height, padded width, channels]
    return tf.transpose(tf.gather(tf.transpose(rows_first, [0, 2, 1, 3]), columns, batch_dims=1), [0, 2, 1, 3])


def shift(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Moved by up to 2 pixels: enough for digits, which must not be mirrored."""
    return _shifted(images, draw, 2)


def flip(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Half of the images mirrored left to right."""
    coin = draw.integers(tf.shape(images)[0], [1, 1, 1], 2)
    return tf.where(coin == 1, images[:, :, ::-1], images)


def flip_vertical(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Half of the images mirrored top to bottom: surfaces and slides have no up."""
    coin = draw.integers(tf.shape(images)[0], [1, 1, 1], 2)
    return tf.where(coin == 1, images[:, ::-1], images)


def flips(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Half of the images mirrored left to right, half of all top to bottom."""
    return flip_vertical(flip(images, draw), draw.other(104_729))


def crop_flip(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """4 pixels of zeros on each side, a random crop of the old size, half mirrored (He et al. 2015, section 4.2)."""
    return flip(_shifted(images, draw, 4), draw.other(104_729))


def rotate90(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Turned by 0, 1, 2 or 3 quarters, each as often: with "flip" all eight symmetries of a square."""
    quarters = draw.integers(tf.shape(images)[0], [1, 1, 1], 4)
    turned = tf.transpose(images, [0, 2, 1, 3])
    half = images[:, ::-1, ::-1]
    return tf.where(
        quarters == 0,
        images,
        tf.where(quarters == 1, turned[:, ::-1], tf.where(quarters == 2, half, turned[:, :, ::-1])),
    )


def rotate(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Turned about the centre by up to 15 degrees either way, a quarter a step; the border is mirrored outwards."""
    height, width = images.shape[1], images.shape[2]
    angles = np.radians(np.arange(-60, 61) / 4)
    one = 1 << 12
    which = draw.integers(tf.shape(images)[0], [1], len(angles))
    cos = tf.gather(tf.constant(np.round(np.cos(angles) * one), tf.int32), which)
    sin = tf.gather(tf.constant(np.round(np.sin(angles) * one), tf.int32), which)
    # Twice the distance from the centre, [1, height * width], so that it is whole for even sizes as well.
    down = tf.reshape(tf.repeat(2 * tf.range(height) - (height - 1), width), [1, -1])
    right = tf.reshape(tf.tile(2 * tf.range(width) - (width - 1), [height]), [1, -1])
    shift = 12 + 1 - FRACTION  # from doubled places in 1 / one to places with FRACTION bits
    y = tf.bitwise.right_shift(cos * down - sin * right + (height - 1) * one, shift)
    x = tf.bitwise.right_shift(sin * down + cos * right + (width - 1) * one, shift)
    return _sampled(images, y, x, mirror=True)


def zoom(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """A random part with 80 to 100 % of each side, enlarged to the whole; as Szegedy et al. 2014, section 6, milder."""
    height, width = images.shape[1], images.shape[2]
    rows = tf.shape(images)[0]
    side = 1024 - draw.integers(rows, [1], 206)  # of 1024
    where = draw.other(104_729).integers(rows, [2], 1025)

    def places(size: int, part: tf.Tensor) -> tf.Tensor:
        """[batch, size], with FRACTION bits: pixel i of the whole has its centre at (i + 1/2) * side - 1/2."""
        corner = tf.bitwise.right_shift(size * (1024 - side) * part, 10)
        doubled = 2 * corner + (2 * tf.range(size)[None] + 1) * side - 1024
        return tf.bitwise.right_shift(doubled, 10 + 1 - FRACTION)

    y = tf.repeat(places(height, where[:, :1]), width, axis=1)
    x = tf.tile(places(width, where[:, 1:]), [1, height])
    return _sampled(images, y, x, mirror=False)


def _sampled(images: tf.Tensor, y: tf.Tensor, x: tf.Tensor, mirror: bool) -> tf.Tensor:
    """Between four pixels each (bilinear), at int32 places [batch, height * width] with FRACTION bits."""
    height, width, channels = images.shape[1:]
    pixels = tf.reshape(_whole(images), [-1, height * width, channels])

    def inside(index: tf.Tensor, size: int) -> tf.Tensor:
        if mirror:
            index = tf.abs(index)
            index = tf.where(index >= size, 2 * (size - 1) - index, index)
        return tf.clip_by_value(index, 0, size - 1)

    one = 1 << FRACTION
    top, left = tf.bitwise.right_shift(y, FRACTION), tf.bitwise.right_shift(x, FRACTION)
    low, far = y - top * one, x - left * one  # 0 to one - 1
    total = tf.zeros_like(pixels)
    for down, weight_y in ((0, one - low), (1, low)):
        for right, weight_x in ((0, one - far), (1, far)):
            place = inside(top + down, height) * width + inside(left + right, width)
            total += tf.gather(pixels, place, batch_dims=1) * (weight_y * weight_x)[..., None]
    return tf.reshape(tf.cast(total, tf.float32) / (UNIT * one * one), tf.shape(images))


def color(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Brightness, contrast and, of RGB, saturation, each changed by up to 20 %; as Howard 2013, section 2.2, milder."""
    factors = [draw.other(104_729 * k).integers(tf.shape(images)[0], [1, 1, 1], 103) + 205 for k in range(3)]  # of 256
    pixels = tf.clip_by_value(_whole(images), 0, WHITE)
    pixels = _blended(pixels, tf.zeros_like(pixels), factors[0])
    mean = tf.reduce_sum(_grey(pixels), axis=2, keepdims=True) // images.shape[2]
    mean = tf.reduce_sum(mean, axis=1, keepdims=True) // images.shape[1]  # twice, lest the sum be too large for int32
    pixels = _blended(pixels, mean, factors[1])
    if images.shape[3] == 3:
        pixels = _blended(pixels, _grey(pixels), factors[2])
    return tf.cast(pixels, tf.float32) / UNIT


def _grey(pixels: tf.Tensor) -> tf.Tensor:
    """[batch, height, width, 1], by the luma of ITU-R BT.601."""
    if pixels.shape[3] != 3:
        return pixels
    return tf.reduce_sum(pixels * [77, 150, 29], axis=3, keepdims=True) // 256


def _blended(pixels: tf.Tensor, other: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Away from `other` with factors above 256, towards it below."""
    moved = tf.bitwise.right_shift((pixels - other) * factor + 128, 8)
    return tf.clip_by_value(other + moved, 0, WHITE)


def _whole(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(images * UNIT), tf.int32)


def cutout(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """A square of half the shorter side greyed at a random place, partly outside as well (DeVries and Taylor 2017)."""
    height, width = images.shape[1], images.shape[2]
    half = max(min(height, width) // 4, 1)
    rows = tf.shape(images)[0]
    y = draw.integers(rows, [1, 1, 1], height)
    x = draw.other(104_729).integers(rows, [1, 1, 1], width)
    down, right = tf.range(height)[None, :, None, None], tf.range(width)[None, None, :, None]
    hidden = (down >= y - half) & (down < y + half) & (right >= x - half) & (right < x + half)
    return tf.where(hidden, tf.fill(tf.shape(images), 127.5), images)


def check_size(names: Sequence[str], size: Sequence[int]) -> None:
    """Raises KzooError where an augmentation cannot be had at that (height, width)."""
    if "rotate90" in names and size[0] != size[1]:
        raise KzooError(
            f"augment='rotate90' turns square images; the network reads {size[0]}x{size[1]}; use rotate or flips"
        )


AUGMENTATIONS = {
    "shift": shift,
    "flip": flip,
    "flip-vertical": flip_vertical,
    "flips": flips,
    "crop-flip": crop_flip,
    "rotate90": rotate90,
    "rotate": rotate,
    "zoom": zoom,
    "color": color,
    "cutout": cutout,
}
