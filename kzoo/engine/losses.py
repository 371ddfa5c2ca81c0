"""A compiled Keras loss as sums and denominators, so that replicas can add what Keras would average.

Keras divides inside each loss: by the number of values, by the valid ones under a mask, or by the sum of the weights.
On replicas that hold different numbers of examples, the mean of such means is not the mean. Here each replica divides
the sum of its own values by the denominator of the whole batch, and adding the replicas gives exactly what one device
computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kzoo.keras_internals import (
    divides,
    loss_leaves,
    mask_of,
    set_division,
    squeeze_or_expand_to_same_rank,
    with_leaves,
)


def wide(tensor: Any) -> tf.Tensor:
    """float32, or float64 where it is already."""
    tensor = tf.convert_to_tensor(tensor)
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


def times(value: Any, factor: tf.Tensor) -> tf.Tensor:
    value = wide(value)
    return value * tf.cast(factor, value.dtype)


_depth = 0


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """Keras' losses without the division by the replicas that they make by themselves under a strategy."""
    global _depth
    if _depth == 0:
        set_division(lambda value: value)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            set_division(divides)


class Share(NamedTuple):
    """One replica's part of a global batch; the numbers of examples are float32 scalars.

    Attributes:
        examples: Real examples on this replica; 0 where it was left empty and repeats a row that does not count.
        total: Examples of the global batch.
        first: Number of its first example in the batch, an int64 scalar, where its random numbers are to be those of
            the whole batch's rows; None where it draws its own.
    """

    examples: tf.Tensor
    total: tf.Tensor
    first: tf.Tensor | None = None

    @property
    def part(self) -> tf.Tensor:
        """float64: of thirds in float32 the sum is not one."""
        return tf.math.divide_no_nan(tf.cast(self.examples, tf.float64), tf.cast(self.total, tf.float64))

    @property
    def real(self) -> tf.Tensor:
        """1, or 0 on a replica left empty."""
        return tf.cast(self.examples > 0, tf.float32)

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """This replica's part of the mean over the global batch of `values`, [examples] or [examples, ...]."""
        values = wide(values)
        per_example = tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)
        real, total = (tf.cast(number, values.dtype) for number in (self.real, self.total))
        return tf.math.divide_no_nan(tf.reduce_sum(per_example) * real, total)

    @classmethod
    def whole(cls, batch: Any) -> Share:
        """A single replica's: all of the batch."""
        count = tf.cast(tf.shape(tf.nest.flatten(batch)[0])[0], tf.float32)
        return cls(count, count)


class Term:
    """One output's loss of one batch: the sum of its values here, divided by the denominator of the whole batch.

    Args:
        rows: Rows here.
        denominator: Of the whole batch, added over the replicas; None: it is proportional to the rows.
        adds: Whether a loss of one number a batch is a sum over examples, which replicas add.

    Attributes:
        proportional: Whether the denominator is proportional to the rows, and so known without asking the other
            replicas; not under a mask or a sum of weights.
        scalar: Whether the loss is one number a batch (Dice), which replicas can only average.
        own: This replica's denominator.
        value: This replica's part of the loss.
        shown: The same of what is told of it: of a loss that reduces nothing Keras tells the mean, and trains on the
            sum.
    """

    def __init__(
        self, loss: keras.losses.Loss, share: Share, rows: tf.Tensor, denominator: tf.Tensor | None, adds: bool = False
    ) -> None:
        self.loss, self.share, self.rows, self.denominator, self.adds = loss, share, rows, denominator, adds
        self.divides = loss.reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight")
        self.proportional, self.scalar = True, False
        self.own: Any = None
        self.value: Any = None
        self._mean: Any = None

    @property
    def shown(self) -> Any:
        return self.value if self._mean is None else self._mean

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        loss = self.loss
        if type(loss).__call__ is not keras.losses.Loss.__call__:  # its own, which gives one number
            self.scalar = True
            total = wide(tf.reduce_sum(loss(y_true, y_pred, sample_weight)))
            self.own = tf.ones([], total.dtype)
            self.value = times(total, self.share.real if self.adds else self.share.part)
            return self.value
        mask = mask_of(y_pred)
        y_pred = keras.tree.map_structure(lambda t: keras.ops.convert_to_tensor(t, dtype=loss.dtype), y_pred)
        y_true = keras.tree.map_structure(lambda t: keras.ops.convert_to_tensor(t, dtype=loss.dtype), y_true)
        values = tf.convert_to_tensor(loss.call(y_true, y_pred))  # which a function of the user's may not give
        self.scalar = values.shape.rank == 0
        own_mask = mask_of(values)  # of `ignore_class`
        if own_mask is not None:
            mask = own_mask if mask is None else mask & own_mask
        weights = None if sample_weight is None else tf.cast(sample_weight, values.dtype)
        if mask is not None:
            mask = tf.cast(mask, values.dtype)
            if weights is None:
                weights = mask
            else:
                flat, weights = squeeze_or_expand_to_same_rank(mask, weights)
                weights = weights * flat
        if weights is not None:
            values, weights = squeeze_or_expand_to_same_rank(values, weights)
            values = values * weights
        total = wide(tf.reduce_sum(values))
        if self.scalar and self.adds:
            self.own, self.value = tf.ones([], total.dtype), times(total, self.share.real)
            return self.value
        if not self.divides:
            self.own, self.value = tf.zeros([], total.dtype), total
            if loss.reduction != "sum" and not self.scalar:
                each = tf.cast(tf.size(values), total.dtype) / tf.cast(self.rows, total.dtype)
                self._mean = tf.math.divide_no_nan(total, each * tf.cast(self.share.total, total.dtype))
            return total
        if loss.reduction == "mean_with_sample_weight" and weights is not None:
            self.proportional, own = False, tf.reduce_sum(weights)
        elif mask is not None:
            self.proportional, own = False, tf.reduce_mean(mask) * tf.cast(tf.size(values), values.dtype)
        else:
            own = tf.size(values)
        self.own = tf.cast(own, total.dtype)
        if self.denominator is None:
            scale = tf.math.divide_no_nan(tf.cast(self.share.total, total.dtype), tf.cast(self.rows, total.dtype))
            denominator = self.own * scale
        else:
            denominator = tf.cast(self.denominator, total.dtype)
        self.value = tf.math.divide_no_nan(total, denominator)
        return self.value


class Terms:
    """A model's compiled loss, which has seen a batch, on one replica's part of another.

    Args:
        share: The part.
        rows: Rows here; on a replica left empty there is one that does not count.
        denominators: Of the whole batch, one a term; None where all are proportional to the rows.
    """

    def __init__(
        self, model: keras.Model, share: Share, rows: tf.Tensor, denominators: Any = None, adds: tuple[bool, ...] = ()
    ) -> None:
        losses = [leaf.loss for leaf in loss_leaves(model)]
        known = [None] * len(losses) if denominators is None else tf.unstack(denominators, num=len(losses))
        adds = adds or (False,) * len(losses)
        self.terms = [Term(loss, share, rows, d, a) for loss, d, a in zip(losses, known, adds, strict=True)]
        self._whole, self._weights = with_leaves(model, self.terms), [leaf.loss_weights for leaf in loss_leaves(model)]

    def __call__(self, y: Any, outputs: Any, weight: Any) -> tf.Tensor:
        return self._whole(y, outputs, weight)

    @property
    def untold(self) -> Any:
        """What the loss has more than is told of it, once it was called; None where that is nothing."""
        term, weight = self.terms[0], self._weights[0]
        if term.shown is term.value:
            return None
        more = term.value - term.shown
        return more if weight is None else times(more, tf.constant(weight, more.dtype))

    @property
    def proportional(self) -> bool:
        """Once it was called."""
        return all(term.proportional for term in self.terms)
