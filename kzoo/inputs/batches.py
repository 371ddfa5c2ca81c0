"""From a raw split to batches: shuffle, geometry, augment, normalise, batch, prefetch.

The order of an epoch depends on the seed and on the epoch's number alone, so that a resumed run sees what it would have
seen, from the middle of an epoch too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.inputs.augment import Draw, check_size
from kzoo.inputs.later import KEPT_BYTES, Passes, bytes_of, rows_of
from kzoo.inputs.own_augment import augmentation_of, is_own
from kzoo.tensorflow_internals import in_memory, kinds_of, variant_of

if TYPE_CHECKING:
    from kzoo.inputs.reader import Reader

LABELS = "labels out of range"  # what the error of a batch with such labels says
SHUFFLE = 50_000  # rows in the shuffle buffer where a split is larger
AHEAD = 2  # batches that are made while the network learns
FOREVER = 2**62  # epochs
MOST = 2**31 - 1  # of a seed


Part = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]  # rows of a global batch -> (first row, how many)


class Drawn(NamedTuple):
    """A batch, and the random numbers that are drawn for it: for what learns from more than the data.

    They come with the batch, since what is drawn in a step would differ between strategies.

    Attributes:
        examples: (x, y, …) as the data gives it.
        draws: {phase: float32 [batch, …]}.
    """

    examples: Any
    draws: dict[str, tf.Tensor]


def cut(batch: Any, part: Part | None) -> tuple[tf.Tensor, tf.Tensor, Any]:
    """(first row, rows of the global batch, the rows that `part` takes of it: all without one)."""
    rows = tf.shape(tf.nest.flatten(batch)[0], out_type=tf.int64)[0]
    if part is None:
        return tf.zeros_like(rows), rows, batch
    start, count = part(rows)
    return start, rows, tf.nest.map_structure(lambda t: t[start : start + count], batch)


@dataclass
class Batches:
    """One split, ready for a network; `epoch(n)` gives the batches of epoch n.

    Attributes:
        split: Raw, unbatched examples; or, with `ready`, batches that are passed on as they are.
        reader: Prepares x; `targets` prepares y, where the network learns to give something raw.
        augment: Names in AUGMENTATIONS, and augmentations of the user's own, one after the other.
        draws: {phase: shape of the numbers that are drawn for it, uniform in -1 to 1}, of one shape for all.
        class_weights: Of each class' examples, by its number.
        label_limit: Labels must lie below it: losses would make NaN of others, or garbage, silently.
        keep: Whether what is read from files is kept in memory, where it fits: for who reads it more than once.
    """

    split: tf.data.Dataset
    batch_size: int | None
    reader: Reader
    targets: Reader | None = None
    shuffle: bool = False
    augment: tuple[Any, ...] = ()
    seed: int = 0
    limit: int | None = None
    ready: bool = False
    draws: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    class_weights: tuple[float, ...] | None = None
    label_limit: int | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        if len(set(self.draws.values())) > 1:
            raise ValueError(f"the draws of all phases have one shape; received {dict(self.draws)}")
        self.notes: list[str] = []
        self._changes = []
        if self.augment:
            check_size(self.augment, self.reader.image_shape)
        for item in self.augment:
            change, notes = augmentation_of(item, self.reader.image_shape)
            self._changes.append(change)
            self.notes += notes
        # Of data that never ends, or whose end is not known, an epoch is so many batches, and the next one goes on.
        self.flows = self.ready and self.limit is not None and known_length(self.split) is None
        self.examples = self.rows = None if self.ready else known_length(self.split)  # `rows`: before `limit` cuts
        self._later: Passes | None = None
        self._buffer = SHUFFLE
        if self.ready:
            self.steps = known_length(self.split)
        else:
            self.steps = None if self.examples is None else -(-self.examples // self.batch_size)
            self._single = self._prepare_examples()
        if self.limit is not None:
            self.steps = self.limit if self.steps is None else min(self.limit, self.steps)
            if self.examples is not None:
                self.examples = min(self.examples, self.limit * self.batch_size)
        # Of batches: a last one may have fewer rows.
        self.shapes = 2 if self.examples and self.examples > self.batch_size and self.examples % self.batch_size else 1

    def _prepare_examples(self) -> tf.data.Dataset:
        """Examples that can be batched: images of different sizes become equal before. What a user's data set makes is
        kept where it fits; where it does not, fewer examples are shuffled with each other.
        """
        data, later = self.split, rows_of(self.split)
        shaped = self.reader.geometry is not None
        first = tf.nest.flatten(data.element_spec[0])[0]
        # A whole batch at once is faster; of files one by one, where what it becomes takes less room than they do.
        self._per_example = shaped and (
            not first.shape.is_fully_defined()
            or (later is not None and bytes_of(first) > 4 * math.prod(self.reader.image_shape))
        )
        change = lambda *example: example
        if self._per_example:
            geometry = tf.function(self.reader.geometry, autograph=False)
            change = lambda x, *rest: (geometry(x), *rest)
        made = data.map(change, num_parallel_calls=tf.data.AUTOTUNE) if self._per_example else data
        size = bytes_of(made.element_spec)
        if later is not None:
            self._later = Passes(later, change, made.element_spec, self.keep, self.notes)
        elif not in_memory(self.split):
            if size and self.examples is not None and size * self.examples <= KEPT_BYTES:
                return made.cache()
            self._buffer = max(min(SHUFFLE, KEPT_BYTES // max(size, 1)), self.batch_size)
        return made

    def epoch(self, number: int, part: Part | None = None, start: int = 0, then: str | None = None) -> tf.data.Dataset:
        """Batches, from the one of number `start` on; with `part`, (rows of the global batch, those that `part` takes
        of it): only they are prepared.

        Args:
            then: What comes after them, without end: the `"next"` epochs, or the same one `"again"`. To make a data set
                and its iterator anew takes longer than a small epoch. Only where `runs_on`.
        """
        data = in_turn(lambda n, first: self._epoch(n, part, first), number, start, then)
        return untuned(data if self.ready else data.prefetch(AHEAD))

    @property
    def runs_on(self) -> bool:
        """Whether one data set can give epoch after epoch: it is known how long they are, and what was read in one
        changes nothing in the next.
        """
        return self.steps is not None and not self.ready and self._later is None

    def _epoch(self, number: int | tf.Tensor, part: Part | None, start: int) -> tf.data.Dataset:
        if self.ready:
            data = self._whole()
            data = data.skip(start) if start else data
            return data if part is None else data.map(lambda *batch: cut(batch, part)[1:])
        if self._later is not None:
            data = self._later.batches(lambda rows: self._shuffled(rows, number), self.batch_size, start, self.limit)
        else:
            data = self._shuffled(self._single, number).batch(self.batch_size)
            data = data if self.limit is None else data.take(self.limit)
            data = data.skip(start) if start else data
        return self._finished(data, tf.stack([tf.cast(mix(self.seed, number), tf.int32), 0]), part, start)

    def _whole(self) -> tf.data.Dataset:
        """Batches of the user's, which are the same data set in every epoch."""
        made, key = vars(self).setdefault("_made", {}), (self.label_limit, self.class_weights)
        if key not in made:
            made[key] = self._checked(self.split if self.limit is None or self.flows else self.split.take(self.limit))
        return made[key]

    def _shuffled(self, data: tf.data.Dataset, number: int | tf.Tensor) -> tf.data.Dataset:
        if not self.shuffle:
            return data
        return shuffled(data, min(self.rows or self._buffer, self._buffer), self.seed, mix(self.seed, number))

    def order(self, number: int) -> np.ndarray | None:
        """Places in the split of the examples of an epoch that is over; None: in the order of the split, where nothing
        is shuffled and nothing was left out.
        """
        if self._later is not None and self._later.unreadable.any():
            return np.flatnonzero(~self._later.unreadable)
        return None

    def portable(self) -> Callable[[], tf.data.Dataset]:
        """What makes, in another process too, an endless stream of batches in an order of its own.

        Whatever the split was made of travels as a graph. Epochs have no borders there, and no two streams are alike.
        """
        source = self.split if self.ready else self._single
        opened = ported(source)

        def stream() -> tf.data.Dataset:
            moment = tf.cast(tf.timestamp() * 1e6, tf.int64)  # of the process that runs this, when it does
            many = (self.steps if self.ready else self.rows) or SHUFFLE
            data = opened().repeat().skip(moment % many)
            if self.ready:
                return self._checked(data)
            data = data.shuffle(min(many, SHUFFLE), seed=self.seed).batch(self.batch_size)
            return self._finished(data, tf.stack([tf.cast(moment % MOST, tf.int32), 0])).prefetch(AHEAD)

        return stream

    def counted(self, done: int, number: int) -> int:
        """Images or examples in the first `done` batches of an epoch; of batches of the user's, batches."""
        if self.batch_size is None:
            return done
        return min(self.batch_size * done, self.examples or self.batch_size * done)

    def _finished(
        self, data: tf.data.Dataset, seed: tf.Tensor, part: Part | None = None, start: int = 0
    ) -> tf.data.Dataset:
        """Raw batches, ready for the network; with `part`, as `epoch` says."""
        if self.reader.as_given and self.targets is None and not self.draws and part is None:
            return self._checked(data)

        whole = any(map(is_own, self.augment))  # such a one draws for the global batch as it stands

        def finish(i: tf.Tensor, batch: Any) -> Any:
            number = seed + [0, tf.cast(i, tf.int32)]
            batch = checked_labels(batch, self.label_limit, self.class_weights)
            drawing = lambda first, total: Draw(number, tf.cast(first, tf.int32), tf.cast(total, tf.int32))
            batch = self._prepared(batch, drawing(*cut(batch, None)[:2])) if whole else batch
            first, total, batch = cut(batch, part)
            draw = drawing(first, total)
            batch = self._with_draws(batch if whole else self._prepared(batch, draw), draw)
            return batch if part is None else (total, batch)

        return data.enumerate(start).map(as_it_is(finish), num_parallel_calls=tf.data.AUTOTUNE)

    def _prepared(self, batch: Any, draw: Draw) -> Any:
        """x by the reader, y by the targets'; both are augmented alike."""
        x, *rest = batch
        if not self.reader.as_given:
            x = self._prepare("reader", x, draw)
        if self.targets is not None:
            rest[0] = self._prepare("targets", rest[0], draw)
        return (x, *rest)

    def _prepare(self, side: str, raw: Any, draw: Draw) -> Any:
        """Traced once, not once an epoch."""
        graphs = vars(self).setdefault("_graphs", {})
        if side not in graphs:
            reader = getattr(self, side)

            def prepare(raw: Any, draw: Draw) -> Any:
                if reader.geometry is None:
                    return reader.prepare(raw)
                images = raw if self._per_example and side == "reader" else reader.geometry(raw)
                for k, change in enumerate(self._changes):
                    images = change(images, draw.other(7919 * (k + 1)))
                return reader.normalise(images)

            graphs[side] = tf.function(prepare, autograph=False)
        return graphs[side](raw, draw)

    def _with_draws(self, batch: Any, draw: Draw) -> Any:
        if not self.draws:
            return batch
        rows, shape = tf.shape(tf.nest.flatten(batch)[0])[0], next(iter(self.draws.values()))
        drawn = draw.other(104_651).uniform(rows, [len(self.draws), *shape])
        return Drawn(batch, {name: drawn[:, k] for k, name in enumerate(self.draws)})

    def _checked(self, data: tf.data.Dataset) -> tf.data.Dataset:
        if self.label_limit is None and self.class_weights is None:
            return data
        check = lambda *batch: checked_labels(batch, self.label_limit, self.class_weights)
        return data.map(as_it_is(check), num_parallel_calls=tf.data.AUTOTUNE)


def checked_labels(batch: Any, limit: int | None, weights: tuple[float, ...] | None) -> Any:
    """The batch, whose labels are in range (an error of the data comes before the step, under XLA too), weighted."""
    if limit is not None:
        labels = tf.cast(batch[1], tf.int32) if batch[1].dtype == tf.bool else batch[1]
        low, high = tf.reduce_min(labels), tf.reduce_max(labels)
        fits = tf.logical_and(low >= 0, high < tf.cast(limit, high.dtype))
        with tf.control_dependencies([tf.debugging.Assert(fits, [LABELS, low, high])]):
            batch = tf.nest.map_structure(tf.identity, batch)
    if weights is None:
        return batch
    x, y = batch
    classes = tf.argmax(y, axis=-1) if y.shape.rank > 1 and y.shape[-1] != 1 else tf.cast(y, tf.int64)
    classes = tf.squeeze(classes, -1) if y.shape.rank > 1 and y.shape[-1] == 1 else classes
    inside = tf.clip_by_value(classes, 0, len(weights) - 1)  # others are found by the limit
    return x, y, tf.gather(tf.constant(weights), inside)


def ported(source: tf.data.Dataset) -> Callable[[], tf.data.Dataset]:
    """What makes the same data set in another process: whatever it was made of travels as a graph."""
    graph, spec = tf.raw_ops.DatasetToGraphV2(input_dataset=variant_of(source)), source.element_spec
    graph = tf.constant(graph.numpy())
    return lambda: _Made(tf.raw_ops.DatasetFromGraph(graph_def=graph), spec)


def shuffled(data: tf.data.Dataset, buffer: int, seed: int, number: int | tf.Tensor) -> tf.data.Dataset:
    """`data.shuffle` by two seeds, both said: of its own, the first one is the process', and the second no tensor."""
    first, second = tf.constant(seed % MOST, tf.int64), tf.cast(number, tf.int64)
    made = tf.raw_ops.ShuffleDatasetV3(
        input_dataset=variant_of(data), buffer_size=tf.constant(buffer, tf.int64), seed=first,
        seed2=tf.where((first == 0) & (second == 0), tf.constant(MOST, tf.int64), second),  # two zeros: a random seed
        seed_generator=tf.raw_ops.DummySeedGenerator(), reshuffle_each_iteration=False, **kinds_of(data),
    )  # fmt: skip
    return _Made(made, data.element_spec)


class _Made(tf.data.Dataset):
    """A data set of an operation that has no wrapper."""

    def __init__(self, variant: tf.Tensor, spec: Any) -> None:
        self._spec = spec
        super().__init__(variant)

    def _inputs(self) -> list[tf.data.Dataset]:
        return []

    @property
    def element_spec(self) -> Any:
        return self._spec


def in_turn(make: Callable[[Any, int], tf.data.Dataset], number: int, start: int, then: str | None) -> tf.data.Dataset:
    """The batches of an epoch, and those that come after it, of `make(number of the epoch, first batch)`."""
    if then is None:
        return make(number, start)
    numbers = tf.data.Dataset.range(number, number + 1 if then == "again" else FOREVER).repeat()
    data = (numbers.skip(1) if start else numbers).flat_map(as_it_is(lambda n: make(n, 0)))
    return make(number, start).concatenate(data) if start else data


def untuned(data: tf.data.Dataset) -> tf.data.Dataset:
    """Parallel on all cores from the beginning. TensorFlow's own tuning runs in a thread that sleeps the longer the
    older its iterator is, up to a minute, and who drops the iterator waits for it: after a compilation by XLA the end
    of an epoch took 18 s (TensorFlow 2.21).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


as_it_is = tf.autograph.experimental.do_not_convert  # plain graph code, which AutoGraph would look through each time


def known_length(data: tf.data.Dataset) -> int | None:
    count = int(data.cardinality())
    return count if count >= 0 else None


def mix(seed: int, number: int | tf.Tensor) -> Any:
    return (seed * 1_000_003 % MOST + number) % MOST
