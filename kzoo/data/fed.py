"""What Keras' `fit` takes in batches, as a tf.data.Dataset of tuples: datasets, `keras.utils.PyDataset`, generators."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError


def is_batches(data: Any) -> bool:
    """Whether it gives batches that were made by whoever gives it."""
    return isinstance(data, tf.data.Dataset | keras.utils.PyDataset) or inspect.isgenerator(data)


def batches_of(data: Any) -> tf.data.Dataset:
    """(x,), (x, y) or (x, y, weight) a batch.

    A PyDataset is read in order, in this process, and hears of the end of every epoch. A generator can be read once:
    what was taken to look at it is given again, and every epoch goes on where the one before it ended.

    Raises:
        KzooError: It gives nothing, or not what Keras takes.
    """
    if isinstance(data, keras.utils.PyDataset):
        made = _generated(lambda: _in_turn(data), data.num_batches)
        data.on_epoch_end()  # as Keras does before the first epoch
        return made
    if inspect.isgenerator(data):
        return _generated(_Once(data), None)
    if isinstance(data.element_spec, tuple):
        return data
    return data.map(lambda x: (x,))


def held(data: Any, limit: int | None = None) -> Any:
    """Batches that can be read again and again: those of a generator, or at most `limit` of them, are kept in memory.

    Raises:
        KzooError: There is none.
    """
    if not inspect.isgenerator(data):
        return data
    batches = [_tuple(batch) for batch in itertools.islice(data, limit)]
    return _generated(lambda: iter(batches), len(batches))


def inputs_of(data: Any, shape: tuple[int | None, ...] | None) -> Any:
    """x of all examples, as arrays.

    Args:
        data: In batches, or single examples of that shape.

    Raises:
        KzooError: It is empty, or never ends.
    """
    data = batches_of(data)
    given = data.element_spec[0]
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise KzooError("the dataset never ends; give as much of it as is wanted: dataset.take(…)")
    single = isinstance(given, tf.TensorSpec) and shape is not None and given.shape.rank == len(shape)
    batches = [x for x, *_ in (data.batch(256) if single else data)]
    if not batches:
        raise KzooError("the dataset is empty")
    return tf.nest.map_structure(lambda *parts: np.concatenate([part.numpy() for part in parts]), *batches)


def _in_turn(data: keras.utils.PyDataset) -> Iterator[Any]:
    k = 0
    while data.num_batches is None or k < data.num_batches:
        batch = data[k]
        k += 1
        if k == data.num_batches:  # nobody asks for one more: a training counts its batches
            data.on_epoch_end()
        yield batch


class _Once:
    """Opens a generator again and again. The first batch is given again until a second one is asked for."""

    def __init__(self, generator: Iterator[Any]) -> None:
        self.generator, self.first = generator, []

    def __call__(self) -> Iterator[Any]:
        if not self.first:
            self.first += [batch for batch in [next(self.generator, None)] if batch is not None]
        yield from self.first
        self.first.clear()
        yield from self.generator


def _generated(opened: Callable[[], Iterator[Any]], count: int | None) -> tf.data.Dataset:
    try:
        first = _tuple(next(iter(opened())))
    except StopIteration:
        raise KzooError("the data gives no batch") from None
    if not tf.nest.flatten(first):
        raise KzooError(f"the data gives {first!r}; give (x,), (x, y) or (x, y, weight) a batch")
    signature = tf.nest.map_structure(_spec, first)
    data = tf.data.Dataset.from_generator(lambda: map(_tuple, opened()), output_signature=signature)
    return data if count is None else data.apply(tf.data.experimental.assert_cardinality(count))


def _spec(part: Any) -> tf.TensorSpec:
    array = np.asarray(part)
    if array.ndim == 0 or array.dtype == object and array.size and not isinstance(array.flat[0], str | bytes):
        raise KzooError(f"a batch must hold arrays of numbers or text; it holds {str(part)[:40]!r}")
    kind = tf.string if array.dtype.kind in "OSU" else array.dtype
    return tf.TensorSpec((None, *array.shape[1:]), kind)


def _tuple(batch: Any) -> Any:
    """As tf.data knows it: tuples for lists, and a tuple around inputs alone."""
    batch = tuple(batch) if isinstance(batch, list) else batch
    batch = batch if isinstance(batch, tuple) else (batch,)
    while batch and batch[-1] is None:
        batch = batch[:-1]
    return tuple(tuple(part) if isinstance(part, list) and np.ndim(part[0]) else part for part in batch)
