"""Augmentations: batches of float32 images in 0 to 255 to the same, by a stateless seed. XLA accepts each.

Each image of a batch is drawn its own numbers; the same seed gives the same images. Whole numbers are drawn, by a named
generator (Philox): left to choose, TensorFlow takes another one under XLA, and floats differ there even by this one.
"""

from __future__ import annotations

import tensorflow as tf


def _shifted(images: tf.Tensor, seed: tf.Tensor, pixels: int) -> tf.Tensor:
    """Every image moved by up to `pixels` in both directions; zeros come in."""
    batch, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    padded = tf.pad(images, [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]])
    corner = tf.random.stateless_uniform([batch, 2], seed, 0, 2 * pixels + 1, dtype=tf.int32, alg="philox")
    rows = corner[:, :1] + tf.range(height)
    columns = corner[:, 1:] + tf.range(width)
    rows_first = tf.gather(padded, rows, batch_dims=1)  # [batch, height, padded width, channels]
    return tf.transpose(tf.gather(tf.transpose(rows_first, [0, 2, 1, 3]), columns, batch_dims=1), [0, 2, 1, 3])


def shift(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Moved by up to 2 pixels: enough for digits, which must not be mirrored."""
    return _shifted(images, seed, 2)


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Half of the images mirrored left to right."""
    coin = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], seed, 0, 2, dtype=tf.int32, alg="philox")
    return tf.where(coin == 1, images[:, :, ::-1], images)


def crop_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """4 pixels of zeros on each side, a random crop of the old size, half mirrored (He et al. 2015, section 4.2)."""
    return flip(_shifted(images, seed, 4), seed + [104_729, 0])


AUGMENTATIONS = {"shift": shift, "flip": flip, "crop-flip": crop_flip}
