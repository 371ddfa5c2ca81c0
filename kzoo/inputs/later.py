"""Examples that are read when they are needed: names of files are cheap to keep, to shuffle and to skip; pictures are
not. What was read may be kept in memory, where all of it fits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.errors import listed

ROWS = "kzoo_rows"  # beside a data set's own attributes
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
    rows: tf.data.Dataset, read: Callable[..., Any], names: Sequence[str], at_once: int = tf.data.AUTOTUNE
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
        self.seen, self.unreadable = np.zeros(count, bool), np.zeros(count, bool)
        size, self.store = count * bytes_of(spec), None
        if keep and 0 < size <= KEPT_BYTES:
            self.store = [np.empty([count, *s.shape], s.dtype.as_numpy_dtype) for s in self.spec]

    def batches(
        self, order: Callable[[tf.data.Dataset], tf.data.Dataset], size: int, start: int, limit: int | None
    ) -> tf.data.Dataset:
        """From the batch of number `start` on, of at most `limit`; `order` shuffles the rows."""
        data = order(tf.data.Dataset.zip((tf.data.Dataset.range(len(self.seen)), self.later.rows)))
        if self.unreadable.any():
            good = tf.constant(~self.unreadable)
            data = data.filter(lambda place, row: tf.gather(good, place))
        data = data.skip(start * size) if start else data
        whole = not start and limit is None
        if self.store is not None and (self.seen | self.unreadable).all():
            made = data.map(lambda place, row: place).batch(size).map(self._kept, num_parallel_calls=2)
        else:
            one = lambda place, row: (place, self.change(*self.later.read(*row)))
            made = data.map(one, num_parallel_calls=self.later.at_once).ignore_errors().batch(size).map(self._noted)
            made = made.concatenate(self._end(made.element_spec)) if whole else made
        return made if limit is None else made.take(limit - start)

    def _noted(self, places: tf.Tensor, batch: Any) -> Any:
        def note(places: np.ndarray, *parts: np.ndarray) -> np.ndarray:
            self.seen[places] = True
            for kept, part in zip(self.store or (), parts, strict=False):
                kept[places] = part
            return places

        parts = tf.nest.flatten(batch) if self.store is not None else []
        with tf.control_dependencies([tf.numpy_function(note, [places, *parts], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    def _kept(self, places: tf.Tensor) -> Any:
        get = lambda places: [kept[places] for kept in self.store]
        found = tf.numpy_function(get, [places], [s.dtype for s in self.spec])
        shaped = [tf.ensure_shape(f, [None, *s.shape]) for f, s in zip(found, self.spec, strict=True)]
        return tf.nest.pack_sequence_as(self.structure, shaped)

    def _end(self, spec: Any) -> tf.data.Dataset:
        """No batch; iterated, it knows that every example was asked for."""

        def end() -> Iterator[Any]:
            missed = ~self.seen & ~self.unreadable
            self.unreadable |= missed
            names = [self.later.names[place] for place in np.flatnonzero(missed)]
            for name in names:
                print(f"{name}: cannot be decoded; left out", file=sys.stderr)
            self.notes += [f"{len(names)} left out that cannot be decoded: {listed(names, 5)}"] if names else []
            yield from ()

        return tf.data.Dataset.from_generator(end, output_signature=spec)
