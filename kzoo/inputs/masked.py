"""Parts of texts as BERT is pre-trained on them: some pieces hidden, and a second segment that may be another text's.

Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3.1: of the pieces 15 % are to be guessed; of these 80 %
are `[MASK]`, 10 % any other piece, 10 % as they are. In half of the examples the second segment is the rest of the
part, in the others that of another one. What is hidden is drawn anew in each epoch, by the seed, the epoch's number and
the place in the batch alone: replicas and resumed runs see what one device would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError, say
from kzoo.inputs.batches import cut
from kzoo.inputs.left_out import leave_out_all
from kzoo.inputs.sequences import BATCH, Rows, Sequences
from kzoo.inputs.text import check_passages, texts_of
from kzoo.inputs.wordpieces import WordPieces
from kzoo.records.masked import MaskedInputs
from kzoo.tensorflow_internals import quiet

HIDDEN, OTHER = 0.8, 0.1  # of those that are to be guessed
MASK = "[MASK]"


class Masked(WordPieces):
    reads = "texts"

    def __init__(self, spec: MaskedInputs) -> None:
        super().__init__(spec)
        if not spec.known:
            return
        self.mask = spec.vocabulary.index(MASK)

    def check(self, name: str, data: Any) -> None:
        """Labels, where there are some, are not looked at."""
        check_passages(name, data)

    def batches(self, split: tf.data.Dataset, batch_size: int | None, **options: Any) -> MaskedSequences:
        return MaskedSequences(split, batch_size, self, [self], **options)

    def pieces(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Strings [n] to int32 [n, (pieces)], uncut and without marks."""
        self.needs_vocabulary()
        return self._all(strings)

    def with_gaps(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Strings [n] in which `[MASK]` stands for a piece to int32 [n, (pieces)], between [CLS] and [SEP]."""
        parts = tf.strings.split(strings, MASK)  # [n, (parts)]
        pieces = self.pieces(parts.flat_values)  # [parts, (pieces)]
        gap = tf.fill([pieces.nrows(), 1], self.mask)
        ids = parts.with_flat_values(tf.concat([pieces, gap], axis=1)).merge_dims(1, 2)[:, :-1]  # none behind the last
        return self._framed(ids)

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        """Of texts with gaps; gaps behind what is read at once are said, a text without any is left out and named.

        Raises:
            KzooError: None has a gap among what is read.
        """
        self.needs_vocabulary()
        texts, most, wrong = texts_of(given), self.spec.length, []
        for i in range(0, len(texts), batch_size):
            ids, good = self.with_gaps(tf.constant(texts[i : i + batch_size])).to_tensor(), []
            gaps = tf.math.count_nonzero(tf.equal(ids, self.mask), axis=1).numpy().tolist()
            for k, (text, read) in enumerate(zip(texts[i : i + batch_size], gaps, strict=True)):
                if MASK not in text:
                    why = f"{name} fills gaps: write {MASK} where a piece is to be guessed; received {text[:80]!r}"
                elif not read:
                    why = (
                        f"{name} reads {most} pieces, and no {MASK} is among the first of text {i + k + 1}; give it a"
                        " shorter one"
                    )
                else:
                    good.append(k)
                    if read < (there := text.count(MASK)):
                        among = f"{read} are among the first {most} pieces, which are read"
                        say(f"text {i + k + 1} has {there} gaps: {among}")
                    continue
                wrong.append((f"text {i + k + 1}", why))
            if good:
                yield [texts[i + k] for k in good], tf.gather(ids, good)
        leave_out_all(wrong, len(wrong) < len(texts))

    def filled(self, strings: tf.Tensor, ids: tf.Tensor, guesses: tf.Tensor) -> tf.Tensor:
        """Strings [n] with pieces in their gaps, int [n, time] at the places of ids [n, time] that are gaps; all else
        stays as it was written. A piece inside a word joins what stands before it.
        """
        parts = tf.strings.split(strings, MASK).to_tensor("")  # [n, parts]
        count = tf.strings.split(strings, MASK).row_lengths()
        pieces = tf.ragged.boolean_mask(tf.gather(self.tokens, guesses), tf.equal(ids, self.mask))
        pieces = pieces.to_tensor(MASK, shape=tf.stack([-1, tf.shape(parts)[1]]))  # a gap that was not read stays one
        inside = tf.strings.regex_full_match(pieces, "##.+")
        parts = tf.where(inside, tf.strings.regex_replace(parts, r"\s+$", ""), parts)
        pieces = tf.strings.regex_replace(pieces, "^##", "")
        behind = tf.range(tf.shape(parts)[1], dtype=tf.int64) < count[:, None] - 1
        return tf.strings.reduce_join(tf.strings.join([parts, tf.where(behind, pieces, "")]), axis=1)


@dataclass
class MaskedSequences(Sequences):
    """Batches are `(ids, {"tokens": the pieces to be guessed, elsewhere 0, "next": 1 where B is another's})`."""

    def _tokenised(self) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        """Each text in parts of like length; of less than two pieces there is nothing to guess from."""
        reader, length = self.reader, self.reader.spec.length
        tokenised = quiet(tf.function(reader.pieces, autograph=False, reduce_retracing=True))
        found, sizes = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
        for texts, *_ in self.split.batch(BATCH):
            ids = tokenised(texts)
            found.append(ids.flat_values.numpy())
            for count in ids.row_lengths().numpy():
                bounds = np.linspace(0, count, -(-count // length) + 1).astype(np.int64)
                sizes.append(np.diff(bounds))
        ids, lengths = np.concatenate(found), np.concatenate(sizes)
        if not (lengths > 1).any():
            raise KzooError("the split holds no texts of two pieces")
        kept = np.repeat(lengths > 1, lengths)
        lengths = lengths[lengths > 1]
        return [[ids[kept], lengths, lengths]], []

    def _filled(self, rows: Rows, number: Any) -> Any:
        (ids,), (bounds,), reader = self._ids, self._bounds, self.reader
        flat, begins, sizes = ids.flat_values, ids.row_starts(), ids.row_lengths()

        def pieces(begin: tf.Tensor, count: tf.Tensor) -> tf.RaggedTensor:
            places = tf.ragged.range(begin, begin + count)
            return places.with_flat_values(tf.gather(flat, places.flat_values))

        wide = bounds[self._bucket_of[rows.whole[0]]] + 4
        drawn, mine = self._uniform(rows, number, wide, 3), rows.mine
        swapped = (drawn[:, 0, 0] < 0.5) & (tf.size(rows.whole) > 1)  # of [CLS], which is never guessed
        theirs = tf.where(swapped, cut(tf.roll(rows.whole, 1, axis=0), rows.part)[2], mine)
        half = lambda k: tf.gather(sizes, k) // 2
        a = pieces(tf.gather(begins, mine), half(mine))
        b = pieces(tf.gather(begins, theirs) + half(theirs), tf.gather(sizes, theirs) - half(theirs))
        one = tf.ones([tf.size(mine), 1], tf.int32)
        whole = tf.concat([reader.start * one, a, reader.end * one, b, reader.end * one], axis=1)
        true = whole.to_tensor(shape=tf.stack([-1, wide]))
        marks = tf.constant([reader.start, reader.end, reader.mask, 0], tf.int32)
        guessed = (drawn[..., 0] < reader.spec.share) & tf.reduce_all(true[..., None] != marks, axis=-1)
        any_other = tf.cast(drawn[..., 2] * len(reader.spec.vocabulary), tf.int32)
        shown = tf.where(drawn[..., 1] < HIDDEN, reader.mask, true)
        shown = tf.where((drawn[..., 1] >= HIDDEN) & (drawn[..., 1] < HIDDEN + OTHER), any_other, shown)
        labels = {"tokens": tf.where(guessed, true, 0), "next": tf.cast(swapped, tf.int32)}
        return tf.where(guessed, shown, true), labels


READER = Masked
