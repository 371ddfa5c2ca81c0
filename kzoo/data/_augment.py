"""Augmentations: batches of float32 images in 0 to 255 to the same, by a stateless seed. XLA accepts each.

Each image of a batch is drawn its own numbers; the same seed gives the same images on whichever worker they are: the
numbers are drawn for the whole global batch. Whole numbers are drawn, by a named generator (Philox): left to choose,
TensorFlow takes another one under XLA, and floats differ there even by this one.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


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


def crop_flip(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """4 pixels of zeros on each side, a random crop of the old size, half mirrored (He et al. 2015, section 4.2)."""
    return flip(_shifted(images, draw, 4), draw.other(104_729))


AUGMENTATIONS = {"shift": shift, "flip": flip, "crop-flip": crop_flip}
