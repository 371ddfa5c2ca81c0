"""Prose to windows of character ids, and back: training, prompts and exports alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.inputs.batches import Batches
from kzoo.inputs.reader import Reader
from kzoo.inputs.text import check_ids, check_texts, texts_of
from kzoo.records.characters import RESERVED, CharacterInputs


class Characters(Reader):
    """A window is `length` characters that are read, and for each the one that comes next, which is learned."""

    unit, reads, as_given = "windows", "prose", False

    def __init__(self, spec: CharacterInputs) -> None:
        super().__init__(spec)
        known = list(spec.vocabulary[len(RESERVED) :]) or ["?"]
        self.lookup = keras.layers.StringLookup(vocabulary=known, mask_token="")  # an export tracks it
        self.tokens = tf.constant(spec.vocabulary or RESERVED)

    def check(self, name: str, data: Any) -> None:
        check_texts(name, data, 1, self.reads)

    def check_fed(self, name: str, data: Any) -> None:
        check_ids(name, data)

    def learn(self, data: Any) -> CharacterInputs:
        """With the characters of the training split, in the order of Unicode."""
        if self.spec.known:
            return self.spec
        found = sorted(set("".join(text.decode() for text, *_ in data.train.as_numpy_iterator())))
        return replace(self.spec, vocabulary=(*RESERVED, *found))

    def ids(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Strings [n] to int32 [n, (characters)]."""
        return tf.cast(self.lookup(tf.strings.unicode_split(strings, "UTF-8", errors="replace")), tf.int32)

    def prepare(self, raw: tf.Tensor) -> tf.Tensor:
        """Strings [n] to int32 [n, longest], padded with zeros."""
        return self.ids(raw).to_tensor()

    def text(self, ids: tf.Tensor) -> tf.Tensor:
        """int [n, time] to strings [n]; padding is nothing, unknown characters are a replacement mark."""
        characters = tf.where(tf.equal(ids, 1), "\ufffd", tf.gather(self.tokens, ids))
        return tf.strings.reduce_join(characters, axis=1)

    def batches(self, split: tf.data.Dataset, batch_size: int | None, **options: Any) -> Batches:
        """Windows one behind the other through the whole split; the last one is padded, which is not learned."""
        passages = [self.ids(texts).flat_values.numpy() for texts, *_ in split.batch(4096)]
        ids = np.concatenate([*passages, np.zeros(0, np.int32)])
        length = self.spec.length
        count = max(-(-(len(ids) - 1) // length), 1)
        padded = np.zeros(count * length + 1, np.int32)
        padded[: len(ids)] = ids
        windows = padded[:-1].reshape(count, length), padded[1:].reshape(count, length)
        made = Batches(tf.data.Dataset.from_tensor_slices(windows), batch_size, Reader(), **options)
        if unknown := int((ids == 1).sum()):
            made.notes.append(f"{unknown:,} of {len(ids):,} characters are unknown to the vocabulary")
        return made

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        texts = texts_of(given)
        for i in range(0, len(texts), batch_size):
            yield texts[i : i + batch_size], self.prepare(tf.constant(texts[i : i + batch_size]))


READER = Characters
