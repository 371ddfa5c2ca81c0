"""Prose to windows of character ids, and back: training, prompts and exports alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.inputs.windows import Windows
from kzoo.records.characters import RESERVED, CharacterInputs


class Characters(Windows):
    def __init__(self, spec: CharacterInputs) -> None:
        super().__init__(spec)
        known = list(spec.vocabulary[len(RESERVED) :]) or ["?"]
        self.lookup = keras.layers.StringLookup(vocabulary=known, mask_token="")  # an export tracks it
        self.tokens = tf.constant(spec.vocabulary or RESERVED)

    def learn(self, data: Any) -> CharacterInputs:
        """With the characters of the training split, in the order of Unicode."""
        if self.spec.known:
            return self.spec
        found = set("".join(text.decode() for text, *_ in data.train.as_numpy_iterator()))
        return replace(self.spec, vocabulary=(*RESERVED, *sorted(found - {"\0"})))  # NumPy takes NUL for an end

    def ids(self, strings: tf.Tensor) -> tf.RaggedTensor:
        return tf.cast(self.lookup(tf.strings.unicode_split(strings, "UTF-8", errors="replace")), tf.int32)

    def text(self, ids: tf.Tensor) -> tf.Tensor:
        """Unknown characters are a replacement mark."""
        characters = tf.where(tf.equal(ids, 1), "\ufffd", tf.gather(self.tokens, ids))
        return tf.strings.reduce_join(characters, axis=1)

    def spelling(self, ids: np.ndarray, text: str) -> int:
        return len(text)

    def said_of(self, ids: np.ndarray) -> list[str]:
        unknown = int((ids == 1).sum())
        return [f"{unknown:,} of {len(ids):,} characters are unknown to the vocabulary"] * bool(unknown)


READER = Characters
