"""Prose to windows of ids, and back: what language models learn from, whatever their tokens are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import say
from kzoo.inputs.batches import Batches
from kzoo.inputs.reader import Reader
from kzoo.inputs.text import SAID, check_ids, check_texts, texts_of


class Windows(Reader):
    """A window is `length` tokens that are read, and for each the one that comes next, which is learned. A subclass
    says `ids`, `text` and `spelling`.

    The spec has the id that stands for padding, which ends a row: `padding`.
    """

    unit, reads, as_given = "windows", "prose", False

    @property
    def half(self) -> int:
        """Tokens of a text that are read at most, where it is gone on with: as many more have room."""
        return self.spec.length // 2

    def check(self, name: str, data: Any) -> None:
        check_texts(name, data, 1, self.reads)

    def check_fed(self, name: str, data: Any) -> None:
        check_ids(name, data)

    def ids(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Strings [n] to int32 [n, (tokens)]."""
        raise NotImplementedError

    def text(self, ids: tf.Tensor) -> tf.Tensor:
        """int [n, time] to strings [n]; padding is nothing."""
        raise NotImplementedError

    def spelling(self, ids: np.ndarray, text: str) -> int:
        """How many of the ids [time] stand for a text that begins what they spell."""
        raise NotImplementedError

    def said_of(self, ids: np.ndarray) -> list[str]:
        """What must be said of the ids of a split, or of a text."""
        return []

    def prepare(self, raw: tf.Tensor) -> tf.Tensor:
        """Strings [n] to int32 [n, longest], padded at the end."""
        return self._padded(self.ids(raw))

    def _padded(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return ids.to_tensor(default_value=self.spec.padding)

    def batches(self, split: tf.data.Dataset, batch_size: int | None, **options: Any) -> Batches:
        """Windows one behind the other through the whole split; the last one is padded, which is not learned."""
        passages = [self.ids(texts).flat_values.numpy() for texts, *_ in split.batch(4096)]
        ids = np.concatenate([*passages, np.zeros(0, np.int32)])
        length = self.spec.length
        count = max(-(-(len(ids) - 1) // length), 1)
        padded = np.full(count * length + 1, self.spec.padding, np.int32)
        padded[: len(ids)] = ids
        windows = padded[:-1].reshape(count, length), padded[1:].reshape(count, length)
        made = Batches(tf.data.Dataset.from_tensor_slices(windows), batch_size, Reader(), **options)
        made.notes += self.said_of(ids)
        return made

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        texts = texts_of(given)
        for i in range(0, len(texts), batch_size):
            ids = self.ids(tf.constant(texts[i : i + batch_size]))
            for number, row in enumerate(ids[: max(SAID - i, 0)], i + 1):
                for line in self.said_of(row.numpy()):
                    say(f"text {number}: {line}")
                if len(row) > self.half:
                    say(f"text {number} has {len(row):,} {self.spec.unit}: only its last {self.half} are read")
            yield texts[i : i + batch_size], self._padded(ids)
