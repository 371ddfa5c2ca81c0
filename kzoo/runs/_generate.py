"""generate: translations of texts, or images out of noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError, whole_number
from kzoo.runs._load import Loaded, check_checkpoint, load
from kzoo.runs._noise import noise_of, to_pixels
from kzoo.runs._predict import texts_of
from kzoo.runs._translate import translate
from kzoo.spec import BEAMS, LENGTH_PENALTY, NoisePreprocess
from kzoo.training.step import compiled


def generate(
    model: Any,
    inputs: Any = None,
    *,
    beams: int = BEAMS,
    length_penalty: float = LENGTH_PENALTY,
    count: int = 16,
    seed: int = 0,
    checkpoint: str = "last",
    batch_size: int = 64,
) -> Any:
    """What a model makes: a translator a text of each text, a generator images of noise.

    Args:
        model: As for `evaluate`.
        inputs: For a translator: texts, or the path of a .txt file with one a line. For a generator: noise, float32
            [n, noise], or nothing.
        beams, length_penalty: Of the beam search; with one beam it is greedy. An export has its own inside.
        count, seed: Of the noise, where none is given.
        checkpoint: Of a run: `"last"` or `"best"`.
        batch_size: Texts or images at once.

    Returns:
        A Translation a text, in order; or images, uint8 [n, height, width, channels].

    Raises:
        KzooError: A model of another task, an empty text, one longer than the model reads.
    """
    check_checkpoint(checkpoint)
    whole_number("batch_size", batch_size)
    loaded = load(model, checkpoint=checkpoint)
    if loaded.task == "translation":
        if inputs is None:
            raise KzooError(f"{loaded.name} translates; give it texts")
        texts = texts_of(inputs)
        return translate(loaded, texts, beams=beams, length_penalty=length_penalty, batch_size=batch_size)
    if isinstance(loaded.preprocess, NoisePreprocess):
        return images_of(loaded, inputs, whole_number("count", count), seed, batch_size)
    raise KzooError(f"{loaded.name} does not generate (its task is {loaded.task or 'not known'}); use kzoo predict")


def images_of(loaded: Loaded, noise: Any, count: int, seed: int, batch_size: int) -> np.ndarray:
    width = loaded.preprocess.noise
    if noise is None:
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or seed < 0:
            raise KzooError(f"seed must be a whole number of at least 0; received {seed!r}")
        noise = noise_of(count, width, seed)
    noise = np.asarray(noise)
    if noise.dtype.kind not in "uif" or noise.ndim != 2 or noise.shape[1] != width or not len(noise):
        raise KzooError(
            f"{loaded.name} makes images out of noise [n, {width}], or of count and seed; received {noise.dtype}"
            f" {list(noise.shape)}"
        )
    noise = noise.astype("float32")
    forward = compiled(lambda z: to_pixels(loaded.model(z, training=False), loaded.preprocess))
    parts = [forward(tf.constant(noise[i : i + batch_size])).numpy() for i in range(0, len(noise), batch_size)]
    return np.concatenate(parts)
