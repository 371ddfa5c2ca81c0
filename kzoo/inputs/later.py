"""Examples that are read when they are needed: names of files are cheap to keep, to shuffle and to skip; pictures are
not. What was read may be kept in memory, where all of it fits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.errors import listed, say

ROWS = "kzoo_rows"  # beside a data set's own attributes
AT_ONCE = (os.cpu_count() or 1) + 1  # files are read beside each other; one more than there are cores, for one waits
KEPT_BYTES = 1 << 30  # of a split; a larger one is read anew each epoch


class Rows(NamedTuple):
    """What a data set of `read_later` is made of.

    Attributes:
        rows: What is cheap: a name and a label an example.
        read: A row to (x, y, …), as a graph.
        at_once: How many are read beside each other.
        names: Of the examples, in order, as they are told.
    """

    rows: tf.data.Dataset
    read: Callable[..., Any]
    at_once: int
    names: Sequence[str]


def read_later(
    rows: tf.data.Dataset, read: Callable[..., Any], names: Sequence[str], at_once: int = AT_ONCE
) -> tf.data.Dataset:
    """The examples, read whenever they are iterated; an error where one cannot be."""
    data = rows.map(read, num_parallel_calls=at_once)
    vars(data)[ROWS] = Rows(rows, read, at_once, names)
    return data


def rows_of(data: tf.data.Dataset) -> Rows | None:
    """None of a data set that holds its examples, or makes them."""
    return vars(data).get(ROWS)


def mapped(data: tf.data.Dataset, change: Callable[..., Any]) -> tf.data.Dataset:
    """`data.map(change)`, which is still read later where it was."""
    if (later := rows_of(data)) is None:
        return data.map(change)
    return read_later(later.rows, lambda *row: change(*later.read(*row)), later.names, later.at_once)


def bytes_of(spec: Any) -> int:
    """Of an example; 0 where they differ."""
    parts = tf.nest.flatten(spec)
    if not all(part.shape.is_fully_defined() and part.dtype != tf.string for part in parts):
        return 0
    return sum(part.shape.num_elements() * part.dtype.size for part in parts)


class Passes:
    """Batches of such examples, epoch after epoch.

    What cannot be read is left out, and named on stderr after the first whole epoch that meets it.

    Args:
        change: Of (x, y, …): what makes the shapes alike.
        spec: Of what `change` gives.
        keep: Whether to keep what was read, where it fits.
        notes: What was left out is added to them.
    """

    def __init__(self, later: Rows, change: Callable[..., Any], spec: Any, keep: bool, notes: list[str]) -> None:
        self.later, self.change, self.spec, self.notes = later, change, tf.nest.flatten(spec), notes
        self.structure, count = spec, len(later.names)
        self.unreadable, self.store = np.zeros(count, bool), None
        # In variables, which the graph that reads fills by itself: a call of Python takes a millisecond a batch.
        with tf.init_scope(), tf.device("CPU:0"):
            self.seen = tf.Variable(tf.zeros([count], tf.bool), trainable=False)
            if keep and 0 < count * bytes_of(spec) <= KEPT_BYTES:
                self.store = [tf.Variable(tf.zeros([count, *s.shape], s.dtype), trainable=False) for s in self.spec]

    def batches(
        self, order: Callable[[tf.data.Dataset], tf.data.Dataset], size: int, start: int, limit: int | None
    ) -> tf.data.Dataset:
        """From the batch of number `start` on, of at most `limit`; `order` shuffles the rows."""
        data = order(tf.data.Dataset.zip((tf.data.Dataset.range(len(self.unreadable)), self.later.rows)))
        if self.unreadable.any():
            good = tf.constant(~self.unreadable)
            data = data.filter(lambda place, row: tf.gather(good, place))
        data = data.skip(start * size) if start else data
        whole = not start and limit is None
        if self.store is not None and (self.seen.numpy() | self.unreadable).all():
            made = data.map(lambda place, row: place).batch(size).map(self._kept, num_parallel_calls=2)
        else:
            one = lambda place, row: (place, self.change(*self.later.read(*row)))
            made = data.map(one, num_parallel_calls=self.later.at_once).ignore_errors().batch(size).map(self._noted)
            made = made.concatenate(self._end(made.element_spec)) if whole else made
        return made if limit is None else made.take(limit - start)

    def _noted(self, places: tf.Tensor, batch: Any) -> Any:
        parts = tf.nest.flatten(batch) if self.store is not None else []
        kept = zip((self.seen, *(self.store or ())), (tf.ones_like(places, tf.bool), *parts), strict=True)
        done = [place_of.scatter_update(tf.IndexedSlices(part, places)) for place_of, part in kept]
        with tf.control_dependencies(done):
            return tf.nest.map_structure(tf.identity, batch)

    def _kept(self, places: tf.Tensor) -> Any:
        return tf.nest.pack_sequence_as(self.structure, [kept.sparse_read(places) for kept in self.store])

    def _end(self, spec: Any) -> tf.data.Dataset:
        """No batch; iterated, it knows that every example was asked for."""

        def end() -> np.bool_:
            missed = ~self.seen.numpy() & ~self.unreadable
            self.unreadable |= missed
            names = [self.later.names[place] for place in np.flatnonzero(missed)]
            for name in names:
                say(f"{name}: cannot be decoded; left out")
            self.notes += [f"{len(names)} left out that cannot be decoded: {listed(names, 5)}"] if names else []
            return np.False_

        none = lambda _: tf.nest.map_structure(lambda s: tf.zeros([0, *s.shape[1:]], s.dtype), spec)
        # Not from_generator: with one at its end each later epoch took twice as long (TensorFlow 2.21).
        return tf.data.Dataset.range(1).filter(lambda _: tf.numpy_function(end, [], tf.bool)).map(none)
