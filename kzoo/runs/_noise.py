"""Noise in, pixels out: what a generator is given, and what its images are to people."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kzoo.spec import NoisePreprocess


def noise_of(count: int, width: int, seed: int) -> np.ndarray:
    """float32 [count, width], uniform in -1 to 1."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, width)).astype("float32")


def to_pixels(images: tf.Tensor, preprocess: NoisePreprocess) -> tf.Tensor:
    """A network's images, as `preprocess` prepares real ones, to uint8."""
    spec = preprocess.image
    pixels = (tf.cast(images, tf.float32) * spec.std + spec.mean) / spec.scale
    return tf.cast(tf.round(tf.clip_by_value(pixels, 0.0, 255.0)), tf.uint8)
