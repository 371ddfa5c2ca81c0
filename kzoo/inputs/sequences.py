"""From raw texts to batches of token ids: tokenise once, put texts of like length together, pad, batch.

A split's ids lie in memory, four bytes each. An epoch is a list of batches, drawn by the seed and the epoch's number
alone: its length is known before it begins, and a resumed run sees what it would have seen. Lengths are padded to one
of at most four bounds, so that XLA compiles at most four shapes, and a last, shorter batch of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.inputs.batches import AHEAD, MOST, Part, as_it_is, checked_labels, cut, in_turn, mix, ported, untuned
from kzoo.inputs.letters import composed
from kzoo.tensorflow_internals import quiet

if TYPE_CHECKING:
    from kzoo.inputs.reader import Reader
    from kzoo.inputs.text import Texts

BOUNDS = (0.4, 0.75, 0.95)  # quantiles of the lengths at which a bucket ends; the last ends at the longest
MULTIPLE = 4  # bounds are rounded up to multiples of this
BATCH = 1024  # strings tokenised at once


class Rows(NamedTuple):
    """Rows of the split that make a batch.

    Attributes:
        whole: Of the global batch.
        first: Place in it of the first one that is taken here.
        mine: Those that are taken here, by `part`.
    """

    whole: tf.Tensor
    first: tf.Tensor
    mine: tf.Tensor
    part: Part | None


@dataclass
class Sequences:
    """One split of texts or of pairs of them: what `Batches` is for arrays and images.

    Batches are `(ids, label[, weight])`, or `({"source": ids, "target": ids}, next ids)`: what the decoder reads begins
    with the start mark, what it must say next ends with the end mark.

    Attributes:
        sides: A tokeniser for each column of texts.
        notes: What became of too long texts and of unknown tokens.
    """

    split: tf.data.Dataset
    batch_size: int
    reader: Reader
    sides: Sequence[Texts]
    shuffle: bool = False
    seed: int = 0
    limit: int | None = None
    class_weights: tuple[float, ...] | None = None
    label_limit: int | None = None
    keep: bool = True  # texts are in memory
    flows: ClassVar[bool] = False  # every epoch has all of it
    runs_on: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.notes: list[str] = []
        self._read()
        self.rows = len(self._bucket)
        order = self._batches(0)[: self.limit]
        self.steps, self.examples = len(order), sum(len(batch) for batch in order)
        self.shapes = len({(len(batch), self._places[batch[0]]) for batch in order})
        self._counts: tuple[int | None, Any] = (None, None)  # (of which epoch, tokens up to each batch)

    def counted(self, done: int, number: int) -> int:
        """Tokens in the first `done` batches of an epoch."""
        if self._counts[0] != number:
            tokens = [self._tokens[batch].sum() for batch in self._batches(number)[: self.limit]]
            self._counts = number, np.cumsum(tokens)
        return int(self._counts[1][done - 1]) if done else 0

    def epoch(self, number: int, part: Part | None = None, start: int = 0, then: str | None = None) -> tf.data.Dataset:
        """As Batches'."""

        def make(number: int | tf.Tensor, start: int) -> tf.data.Dataset:
            if isinstance(number, int):
                return self._dataset(*self._drawn(number, start), part, number)
            return self._dataset(*tf.numpy_function(self._drawn, [number], [tf.int64, tf.int64]), part, number)

        return untuned(in_turn(make, number, start, then).prefetch(AHEAD))

    def order(self, number: int) -> np.ndarray:
        """Places in the split of the examples of an epoch, in its order."""
        return np.concatenate(self._batches(number)[: self.limit])

    def portable(self) -> Callable[[], tf.data.Dataset]:
        opened, steps = ported(self._dataset(*self._drawn(0), None)), self.steps

        def stream() -> tf.data.Dataset:
            moment = tf.cast(tf.timestamp() * 1e6, tf.int64)
            data = opened().repeat().skip(moment % steps)
            return data.shuffle(min(steps, 64), seed=self.seed).prefetch(tf.data.AUTOTUNE)

        return stream

    def _tokenised(self) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        """([ids one behind the other, how many each text has, how many it had before it was cut] of each side, the
        other columns) of the whole split.
        """
        sides, pair = self.sides, len(self.sides) == 2

        def ids_of(texts: list[tf.Tensor]) -> list[Any]:
            found = [side.ids_and_counts(t) for side, t in zip(sides, texts, strict=True)]
            return [(ids.flat_values, ids.row_lengths(), counts) for ids, counts in found]

        tokenised = quiet(tf.function(ids_of, autograph=False, reduce_retracing=True))  # a split has its own
        found, rest = [], []
        for row in self.split.batch(BATCH):
            texts, others = (row[:2], row[2:]) if pair else (row[:1], row[1:])
            texts = [tf.constant([composed(text) for text in column.numpy()]) for column in texts]
            found.append([[a.numpy() for a in side] for side in tokenised(texts)])
            rest.append([a.numpy() for a in others])
        if not found:
            raise KzooError("the split holds no texts")
        columns = [[np.concatenate([batch[s][k] for batch in found]) for k in range(3)] for s in range(len(sides))]
        return columns, [np.concatenate([batch[k] for batch in rest]) for k in range(len(rest[0]))]

    def _read(self) -> None:
        """What is kept of the split, and at which lengths its buckets end."""
        pair, specs = len(self.sides) == 2, [side.spec for side in self.sides]
        columns, rest = self._tokenised()
        self._rest = [tf.constant(array) for array in rest]
        self._ids = [tf.RaggedTensor.from_row_lengths(ids, lengths) for ids, lengths, _ in columns]
        lengths = np.stack([lengths for _, lengths, _ in columns])  # [sides, rows]
        kept, empty = np.ones(lengths.shape[1], bool), np.zeros(lengths.shape[1], bool)
        for spec, (_, _, counts) in zip(specs, columns, strict=True):
            long = counts > spec.length
            if pair:
                kept &= ~long
                empty |= counts == 0
            elif long.any():
                share = f"{long.sum():,} of {len(long):,} texts ({long.mean():.1%})"
                self.notes.append(f"{share} are longer than {spec.length} {spec.unit}: cut")
        if not kept.all():
            what = f"longer than {max(s.length for s in specs)} tokens"
            self.notes.append(f"{(~kept).sum():,} of {len(kept):,} pairs are {what}: left out")
        if empty.any():
            self.notes.append(f"{empty.sum():,} of {len(kept):,} pairs have a side without a word: left out")
            kept &= ~empty
        if not kept.any():
            raise KzooError(
                f"no pair has at most {specs[0].length} tokens a side; split them, or give a network that takes it a"
                " greater length, as set={'length': …}"
            )
        for name, spec, (ids, _, _) in zip(("source", "target"), specs, columns, strict=False):
            words = np.isin(ids, spec.marks, invert=True).sum()
            unknown = (ids == spec.unknown).sum() / max(words + (ids == spec.unknown).sum(), 1)
            if unknown > 0.005:
                where = f"of the {name}'s" if pair else "of the texts'"
                self.notes.append(f"{unknown:.1%} {where} {spec.unit} are unknown to the vocabulary")
        self._kept = np.flatnonzero(kept)
        lengths = lengths[:, self._kept]
        self._tokens = np.zeros(len(kept), np.int64)
        self._tokens[self._kept] = lengths[-1]  # of pairs, those that are learned
        # A bucket is the longest of its sides' places among their own lengths.
        bounds = [_bounds(row) for row in lengths]
        self._bucket = np.max([np.searchsorted(b, row) for b, row in zip(bounds, lengths, strict=True)], axis=0)
        self._bounds = [tf.constant(b, tf.int32) for b in bounds]
        self._places = np.zeros(len(kept), np.int64)
        self._places[self._kept] = self._bucket
        self._bucket_of = tf.constant(self._places)

    def _batches(self, number: int) -> list[np.ndarray]:
        """Rows of each batch of an epoch, all of one bucket."""
        rng = np.random.default_rng(mix(self.seed, number))
        order = rng.permutation(len(self._kept)) if self.shuffle else np.arange(len(self._kept))
        batches = []
        for bucket in range(len(self._bounds[0])):
            rows = self._kept[order[self._bucket[order] == bucket]]
            batches += [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        if self.shuffle or self.limit is not None:  # a few batches must not be the shortest
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def _drawn(self, number: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(the rows of an epoch's batches from the one of number `start` on, how many each of them has)."""
        order, none = self._batches(int(number))[start : self.limit], np.zeros(0, np.int64)
        return np.concatenate([none, *order]), np.array([len(batch) for batch in order], np.int64)

    def _dataset(self, rows: Any, lengths: Any, part: Part | None, number: Any = None) -> tf.data.Dataset:
        """Batches, padded; with `part`, (rows of the global batch, those that `part` takes of it).

        Args:
            number: Of the epoch, where random numbers are drawn; None: of one without borders.
        """
        ragged = tf.RaggedTensor.from_row_lengths(
            tf.ensure_shape(rows, [None]), tf.ensure_shape(lengths, [None]), validate=False
        )

        def fill(rows: tf.Tensor) -> Any:
            first, total, mine = cut(rows, part)
            batch = self._filled(Rows(rows, first, mine, part), number)
            return batch if part is None else (total, batch)

        return tf.data.Dataset.from_tensor_slices(ragged).map(as_it_is(fill), num_parallel_calls=tf.data.AUTOTUNE)

    def _filled(self, rows: Rows, number: Any) -> Any:
        """What a batch has of its rows."""
        bucket = self._bucket_of[rows.whole[0]]
        ids = [
            tf.gather(side, rows.mine).to_tensor(shape=tf.stack([-1, bounds[bucket]]))
            for side, bounds in zip(self._ids, self._bounds, strict=True)
        ]
        others = [tf.gather(array, rows.mine) for array in self._rest]
        if len(ids) == 2:
            source, target = ids
            batch = ({"source": source, "target": target[:, :-1]}, target[:, 1:], *others)
        else:
            batch = (ids[0], *others)
        return checked_labels(batch, self.label_limit, self.class_weights)

    def _uniform(self, rows: Rows, number: Any, *shape: Any) -> tf.Tensor:
        """float32 [rows, *shape] in 0 to below 1 for those that are taken of a batch: drawn by the seed, the epoch and
        the batch's first row, which no other batch of the epoch begins with.
        """
        moment = tf.cast(tf.timestamp() * 1e6, tf.int64) if number is None else mix(self.seed, number)
        seed = tf.stack([tf.cast(moment % MOST, tf.int32), tf.cast(rows.whole[0] % MOST, tf.int32)])
        drawn = tf.random.stateless_uniform([tf.size(rows.whole), *shape], seed)
        return drawn[rows.first : rows.first + tf.size(rows.mine, tf.int64)]


def _bounds(lengths: np.ndarray) -> np.ndarray:
    """Ascending lengths at which the buckets end, the last at the longest; of equal ones both are kept."""
    wanted = [*np.quantile(lengths, BOUNDS), lengths.max()]
    return np.array([-(-max(int(np.ceil(n)), 1) // MULTIPLE) * MULTIPLE for n in wanted])
