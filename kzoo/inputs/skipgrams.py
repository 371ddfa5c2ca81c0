"""Words and what stands around them, with words that do not: what word2vec learns from.

Mikolov, Sutskever, Chen, Corrado, Dean 2013, https://arxiv.org/abs/1310.4546: of the commonest words places are left
out (equation 5), and for each word that stands there others are drawn by how common they are, to the power of 3/4
(section 2.2). As in the authors' word2vec.c, places are left out before windows are cut, words that the vocabulary
lacks too, and of each word's window a part is drawn. Which places stay is drawn once, by the seed; windows and other
words anew in each epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.inputs.batches import mix
from kzoo.inputs.sequences import BATCH, Rows, Sequences
from kzoo.inputs.text import Texts, check_passages
from kzoo.records import UNKNOWN
from kzoo.tensorflow_internals import quiet

POWER = 0.75


class SkipGrams(Texts):
    reads = "texts"

    def check(self, name: str, data: Any) -> None:
        """Labels, where there are some, are not looked at."""
        check_passages(name, data)

    def batches(self, split: tf.data.Dataset, batch_size: int | None, **options: Any) -> SkipGramSequences:
        return SkipGramSequences(split, batch_size, self, [self], **options)


@dataclass
class SkipGramSequences(Sequences):
    """Batches are `({"word": [n, 1], "context": [n, pairs]}, 1.0 where they stand together [n, pairs, 1], weights)`:
    pairs beyond the part of the window that was drawn, or the end of the text, weigh nothing.
    """

    def _read(self) -> None:
        """The places of the text that stay."""
        spec, reader = self.reader.spec, self.reader
        reader.needs_vocabulary()
        tokenised = quiet(tf.function(reader.ids, autograph=False, reduce_retracing=True))
        found, rows, count = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], 0
        for texts, *_ in self.split.batch(BATCH):
            ids = tokenised(texts)
            found.append(ids.flat_values.numpy())
            rows.append(ids.value_rowids().numpy() + count)
            count += int(ids.nrows())
        ids, rows = np.concatenate(found), np.concatenate(rows)
        known = ids > UNKNOWN
        if not known.any():
            raise KzooError("the split holds no words of the vocabulary")
        if (unknown := 1 - known.mean()) > 0.005:
            self.notes.append(f"{unknown:.1%} of the words are unknown to the vocabulary: left out")
        ids, rows = ids[known], rows[known]
        counts = np.bincount(ids, minlength=len(spec.vocabulary))
        stays = np.minimum(1.0, np.sqrt(spec.sample * len(ids) / np.maximum(counts, 1)))[ids]
        kept = np.random.default_rng(mix(self.seed, -1)).random(len(ids)) < stays
        kept |= not kept.any()  # of a text of few words all
        if (dropped := 1 - kept.mean()) > 0.5:
            self.notes.append(f"{dropped:.0%} of the places have words so common that they are left out")
        self._words, self._texts = tf.constant(ids[kept]), tf.constant(rows[kept])
        others = np.cumsum(counts.astype("float64") ** POWER)
        self._others = tf.constant(others / others[-1], tf.float32)
        many = int(kept.sum())
        self._kept, self._bucket = np.arange(many), np.zeros(many, np.int64)
        self._tokens, self._places = np.ones(many, np.int64), np.zeros(many, np.int64)
        self._bounds = [tf.constant([1])]

    def _filled(self, rows: Rows, number: Any) -> Any:
        spec, many, mine = self.reader.spec, tf.size(self._words, tf.int64), rows.mine
        offsets = tf.constant([*range(-spec.window, 0), *range(1, spec.window + 1)], tf.int64)
        width = 2 * spec.window
        drawn = self._uniform(rows, number, 1 + width * spec.negatives)
        reach = 1 + tf.cast(drawn[:, :1] * spec.window, tf.int64)  # [n, 1], 1 to window
        places = mine[:, None] + offsets  # [n, width]
        there = tf.clip_by_value(places, 0, many - 1)
        same = tf.equal(tf.gather(self._texts, there), tf.gather(self._texts, mine)[:, None])
        real = tf.equal(places, there) & same & (tf.abs(offsets) <= reach)
        others = tf.searchsorted(self._others, tf.reshape(drawn[:, 1:], [-1]))
        others = tf.reshape(tf.cast(others, tf.int32), [-1, width * spec.negatives])
        context = tf.concat([tf.gather(self._words, there), others], axis=1)
        truth = tf.concat([tf.ones_like(real, tf.float32), tf.zeros_like(others, tf.float32)], axis=1)
        weights = tf.concat([real, tf.repeat(real, spec.negatives, axis=1)], axis=1)
        x = {"word": tf.gather(self._words, mine)[:, None], "context": context}
        return x, truth[..., None], tf.cast(weights, tf.float32)


READER = SkipGrams
