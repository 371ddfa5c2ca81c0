"""From a raw split to batches: cache, shuffle, geometry, augment, normalise, batch, prefetch.

The order of an epoch depends on the seed and on the epoch's number alone, so that a resumed run sees what it would have
seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kzoo.data._augment import AUGMENTATIONS, Draw, check_size
from kzoo.errors import KzooError, unknown
from kzoo.preprocess import PreprocessLayer

LABELS = "labels out of range"  # what the error of a batch with such labels says
CACHE_BYTES = 1 << 30  # a split of decoded images larger than this is read anew each epoch
SHUFFLE = 50_000  # examples in the shuffle buffer where a split is larger


Part = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]  # rows of a global batch -> (first row, how many)


def cut(batch: Any, part: Part | None) -> tuple[tf.Tensor, tf.Tensor, Any]:
    """(first row, rows of the global batch, the rows that `part` takes of it: all without one)."""
    rows = tf.shape(tf.nest.flatten(batch)[0], out_type=tf.int64)[0]
    if part is None:
        return tf.zeros_like(rows), rows, batch
    start, count = part(rows)
    return start, rows, tf.nest.map_structure(lambda t: t[start : start + count], batch)


def check_augment(augment: Sequence[str] | str | None) -> tuple[str, ...]:
    if not isinstance(augment, str | list | tuple | None):
        raise KzooError(f"augment must be names of augmentations; received {augment!r}")
    names = (augment,) if isinstance(augment, str) else tuple(augment or ())
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown("augmentation", name, AUGMENTATIONS)
    return names


@dataclass
class Batches:
    """One split, ready for a network; `epoch(n)` gives the batches of epoch n.

    Attributes:
        split: Raw, unbatched examples; or, with `ready`, batches that are passed on as they are.
        layer: The model's preprocessing; None where the inputs are not raw images.
    """

    split: tf.data.Dataset
    batch_size: int | None
    layer: PreprocessLayer | None = None
    shuffle: bool = False
    augment: tuple[str, ...] = ()
    seed: int = 0
    limit: int | None = None
    ready: bool = False
    class_weights: tuple[float, ...] | None = None  # of each class' examples, by its number
    label_limit: int | None = None  # labels must lie below it: losses would make NaN of others, or garbage, silently

    def __post_init__(self) -> None:
        if self.augment and self.layer is not None:
            check_size(self.augment, getattr(self.layer.spec, "image", self.layer.spec).size)
        self.examples = self.rows = None if self.ready else _known(self.split)  # `rows`: before `limit` cuts
        if self.ready:
            self.steps = _known(self.split)
        else:
            self.steps = None if self.examples is None else -(-self.examples // self.batch_size)
            self._single = self._prepare_examples()
        if self.limit is not None:
            self.steps = self.limit if self.steps is None else min(self.limit, self.steps)
            if self.examples is not None:
                self.examples = min(self.examples, self.limit * self.batch_size)

    def _prepare_examples(self) -> tf.data.Dataset:
        """What does not change from epoch to epoch, cached where it was not in memory already and fits."""
        data = self.split
        self._per_example = self.layer is not None and not data.element_spec[0].shape.is_fully_defined()
        if self._per_example:  # images of different sizes become equal before they can be cached and batched
            geometry = tf.function(self.layer.geometry, autograph=False)
            data = data.map(lambda x, *rest: (geometry(x), *rest), num_parallel_calls=tf.data.AUTOTUNE)
        if self.examples is not None and type(self.split).__name__ != "_TensorSliceDataset":
            size = sum(
                spec.shape.num_elements() * spec.dtype.size
                for spec in tf.nest.flatten(data.element_spec)
                if spec.shape.is_fully_defined() and spec.dtype != tf.string
            )
            if size * self.examples <= CACHE_BYTES:
                data = data.cache()
        return data

    def epoch(self, number: int, part: Part | None = None) -> tf.data.Dataset:
        """Batches; with `part`, (rows of the global batch, those that `part` takes of it): only they are prepared."""
        if self.ready:
            data = self._checked(self.split if self.limit is None else self.split.take(self.limit))
            return data if part is None else data.map(lambda *batch: cut(batch, part)[1:])
        data = self._single
        if self.shuffle:
            buffer = min(self.rows or SHUFFLE, SHUFFLE)
            data = data.shuffle(buffer, seed=mix(self.seed, number), reshuffle_each_iteration=False)
        data = data.batch(self.batch_size)
        if self.limit is not None:
            data = data.take(self.limit)
        return self._finished(data, tf.constant([mix(self.seed, number), 0], tf.int32), part)

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
            return self._finished(data, tf.stack([tf.cast(moment % (2**31 - 1), tf.int32), 0]))

        return stream

    def counted(self, done: int) -> int:
        """Images or examples in the first `done` batches of an epoch; 0 where it is not known."""
        if self.batch_size is None:
            return 0
        return min(self.batch_size * done, self.examples or self.batch_size * done)

    def _finished(self, data: tf.data.Dataset, seed: tf.Tensor, part: Part | None = None) -> tf.data.Dataset:
        """Raw batches, ready for the network; with `part`, as `epoch` says."""
        data = self._checked(data)

        def finish(i: tf.Tensor, batch: Any) -> Any:
            start, total, batch = cut(batch, part)
            if self.layer is not None:
                draw = Draw(seed + [0, tf.cast(i, tf.int32)], tf.cast(start, tf.int32), tf.cast(total, tf.int32))
                batch = self.layer.batch(self._prepare_batch(batch[0], draw), batch[1:], draw.other(104_651))
            return batch if part is None else (total, batch)

        if self.layer is not None or part is not None:
            data = data.enumerate().map(finish, num_parallel_calls=tf.data.AUTOTUNE)
        return data.prefetch(tf.data.AUTOTUNE)

    def _checked(self, data: tf.data.Dataset) -> tf.data.Dataset:
        """Batches whose labels are in range (an error of the data comes before the step, under XLA too), weighted."""
        if self.label_limit is None and self.class_weights is None:
            return data
        return data.map(self._checked_batch, num_parallel_calls=tf.data.AUTOTUNE)

    def _checked_batch(self, *batch: Any) -> Any:
        if self.label_limit is not None:
            batch = self._check_labels(*batch)
        return batch if self.class_weights is None else self._weigh(*batch)

    def _check_labels(self, *batch: Any) -> Any:
        low, high = tf.reduce_min(batch[1]), tf.reduce_max(batch[1])
        fits = tf.logical_and(low >= 0, high < tf.cast(self.label_limit, high.dtype))
        with tf.control_dependencies([tf.debugging.Assert(fits, [LABELS, low, high])]):
            return tf.nest.map_structure(tf.identity, batch)

    def _weigh(self, x: Any, y: tf.Tensor) -> Any:
        classes = tf.argmax(y, axis=-1) if y.shape.rank > 1 and y.shape[-1] != 1 else tf.cast(y, tf.int64)
        classes = tf.squeeze(classes, -1) if y.shape.rank > 1 and y.shape[-1] == 1 else classes
        inside = tf.clip_by_value(classes, 0, len(self.class_weights) - 1)  # others are found by `_check_labels`
        return x, y, tf.gather(tf.constant(self.class_weights), inside)

    @property
    def _prepare_batch(self) -> Any:
        if not hasattr(self, "_prepare"):

            def prepare(images: tf.Tensor, draw: Draw) -> tf.Tensor:
                if not self._per_example:
                    images = self.layer.geometry(images)
                for k, name in enumerate(self.augment):
                    images = AUGMENTATIONS[name](images, draw.other(7919 * (k + 1)))
                return self.layer.normalise(images)

            self._prepare = tf.function(prepare, autograph=False)  # traced once, not once an epoch
        return self._prepare


def ported(source: tf.data.Dataset) -> Callable[[], tf.data.Dataset]:
    """What makes the same data set in another process: whatever it was made of travels as a graph."""
    graph, spec = tf.raw_ops.DatasetToGraphV2(input_dataset=source._variant_tensor), source.element_spec
    graph = tf.constant(graph.numpy())
    return lambda: _Ported(tf.raw_ops.DatasetFromGraph(graph_def=graph), spec)


class _Ported(tf.data.Dataset):
    """A data set that another process wrote as a graph."""

    def __init__(self, variant: tf.Tensor, spec: Any) -> None:
        self._spec = spec
        super().__init__(variant)

    def _inputs(self) -> list[tf.data.Dataset]:
        return []

    @property
    def element_spec(self) -> Any:
        return self._spec


def _known(data: tf.data.Dataset) -> int | None:
    count = int(data.cardinality())
    return count if count >= 0 else None


def mix(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % (2**31 - 1)
