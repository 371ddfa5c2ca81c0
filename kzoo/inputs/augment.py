"""Augmentations: batches of float32 images in 0 to 255 to the same, by a stateless seed.

Each image of a batch is drawn its own numbers; the same seed gives the same images on whichever worker they are: the
numbers are drawn for the whole global batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kzoo.errors import KzooError

TURN = 15.0  # degrees either way
SMALLEST = 0.8  # part of a side that is enlarged to the whole
# ITU-R BT.601 luma, as Pillow converts to "L"; the weights sum to one, so that a grey RGB image keeps its values.
LUMA = (0.299, 0.587, 0.114)
CHANGE = 0.2  # of brightness, contrast and saturation


class Draw(NamedTuple):
    """Random numbers for some rows of a global batch.

    Attributes:
        seed: int32 [2].
        start, total: The first of the rows, and how many the global batch has.
    """

    seed: tf.Tensor
    start: tf.Tensor
    total: tf.Tensor

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
    """Turned about the centre by up to 15 degrees either way; the border is mirrored outwards."""
    height, width = images.shape[1], images.shape[2]
    angle = draw.uniform(tf.shape(images)[0], [1]) * (TURN * math.pi / 180)
    down = tf.repeat(tf.range(height, dtype=tf.float32) - (height - 1) / 2, width)[None]  # from the centre
    right = tf.tile(tf.range(width, dtype=tf.float32) - (width - 1) / 2, [height])[None]
    y = tf.cos(angle) * down - tf.sin(angle) * right + (height - 1) / 2
    x = tf.sin(angle) * down + tf.cos(angle) * right + (width - 1) / 2
    return _sampled(images, _mirrored(y, height), _mirrored(x, width))


def zoom(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """A random part with 80 to 100 % of each side, enlarged to the whole; as Szegedy et al. 2014, section 6, milder."""
    height, width = images.shape[1], images.shape[2]
    rows = tf.shape(images)[0]
    side = 1 - (1 - SMALLEST) / 2 * (1 + draw.uniform(rows, [1]))
    where = (1 + draw.other(104_729).uniform(rows, [2])) / 2

    def places(size: int, part: tf.Tensor) -> tf.Tensor:
        """[batch, size]: pixel i of the whole has its centre at (i + 1/2) * side - 1/2, from the part's corner on."""
        return part * (1 - side) * size + (tf.range(size, dtype=tf.float32)[None] + 0.5) * side - 0.5

    y = tf.repeat(places(height, where[:, :1]), width, axis=1)
    x = tf.tile(places(width, where[:, 1:]), [1, height])
    return _sampled(images, y, x)


def _mirrored(place: tf.Tensor, size: int) -> tf.Tensor:
    """Places beyond the border, as far inside."""
    return (size - 1) - tf.abs(tf.abs(place) - (size - 1))


def _sampled(images: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Between four pixels each (bilinear), at places [batch, height * width]; the border goes on outside."""
    height, width, channels = images.shape[1:]
    pixels = tf.reshape(images, [-1, height * width, channels])
    y, x = tf.clip_by_value(y, 0.0, height - 1.0), tf.clip_by_value(x, 0.0, width - 1.0)
    top, left = tf.floor(y), tf.floor(x)
    total = tf.zeros_like(pixels)
    for row, weight_y in ((top, 1 - (y - top)), (tf.minimum(top + 1, height - 1), y - top)):
        for column, weight_x in ((left, 1 - (x - left)), (tf.minimum(left + 1, width - 1), x - left)):
            place = tf.cast(row, tf.int32) * width + tf.cast(column, tf.int32)
            total += tf.gather(pixels, place, batch_dims=1) * (weight_y * weight_x)[..., None]
    return tf.reshape(tf.clip_by_value(total, 0.0, 255.0), tf.shape(images))  # weights add up to one but for rounding


def color(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Brightness, contrast and, of RGB, saturation, each changed by up to 20 %; as Howard 2013, section 2.2, milder."""
    factors = [1 + CHANGE * draw.other(104_729 * k).uniform(tf.shape(images)[0], [1, 1, 1]) for k in range(3)]
    pixels = _blended(tf.clip_by_value(images, 0.0, 255.0), 0.0, factors[0])
    pixels = _blended(pixels, tf.reduce_mean(_grey(pixels), [1, 2], keepdims=True), factors[1])
    return _blended(pixels, _grey(pixels), factors[2]) if images.shape[3] == 3 else pixels


def _grey(pixels: tf.Tensor) -> tf.Tensor:
    """[batch, height, width, 1], by the luma of ITU-R BT.601."""
    return tf.reduce_sum(pixels * LUMA, axis=3, keepdims=True) if pixels.shape[3] == 3 else pixels


def _blended(pixels: tf.Tensor, other: Any, factor: tf.Tensor) -> tf.Tensor:
    """Away from `other` with factors above 1, towards it below."""
    return tf.clip_by_value(other + (pixels - other) * factor, 0.0, 255.0)


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


def check_size(names: Sequence[Any], size: Sequence[int]) -> None:
    """Raises KzooError where an augmentation cannot be had at that (height, width, …)."""
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
