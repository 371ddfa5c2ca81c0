"""One device, the batch in two halves side by side: for networks whose XLA code keeps one core busy.

XLA's loop over time, of a recurrent layer, runs on one core of a CPU, and so does much of a Transformer's step. Here
the pure step of replicas is taken on both halves of a batch at once, on the same weights: two compiled parts inside one
function that is not compiled, which TensorFlow's executor starts together. Their gradients add up to the whole batch's,
as those of two replicas do. What replicas cannot keep equal to one device is kept here: plain dropout draws for each
half its rows of the mask that the whole batch has. Networks with other random layers, or with statistics over a batch,
are left whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kzoo.engine.kernels import Kernels
from kzoo.engine.losses import Share
from kzoo.engine.objective import Objective
from kzoo.engine.replicas import InSync, Values, part, share_of
from kzoo.engine.step import Engine
from kzoo.engine.xla import draws
from kzoo.inputs import Batches
from kzoo.keras_internals import is_seed, layers_in

HALVES = 2
RECURRENT = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)


def pays(objective: Objective, kernels: bool) -> bool:
    """Whether the halves of a batch give the numbers of the whole one, and sooner: for networks with recurrent layers,
    or kzoo's own attention.

    Args:
        kernels: Whether dropout draws rows of a mask, which Keras' own cannot.
    """
    layers_ = [layer for network in objective.networks for layer in layers_in(network)]
    attention = lambda kind: kind.__module__.startswith("kzoo.") and "Attention" in kind.__name__
    if not objective.adds_up or not any(type(y) in RECURRENT or attention(type(y)) for y in layers_):
        return False
    return not any(_counts(layer) or (draws(layer) and not (kernels and _draws_rows(layer))) for layer in layers_)


def _counts(layer: keras.layers.Layer) -> bool:
    """Whether it keeps numbers of the batches that it has seen."""
    return bool(getattr(layer, "stateful", False)) or not all(map(is_seed, layer.non_trainable_variables))


def _draws_rows(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.Dropout and layer.noise_shape is None and layer.compute_dtype != "float64"


class InHalves(InSync):
    """One replica, whose step XLA compiles, on the two halves of each batch."""

    def __init__(self, objective: Objective, strategy: tf.distribute.Strategy, kernels: Kernels) -> None:
        super().__init__(objective, strategy, True, kernels)
        kernels.names += ("batch in halves",)

    def dataset(self, batches: Batches, epoch: int, start: int = 0, then: str | None = None) -> tf.data.Dataset:
        return Engine.dataset(self, batches, epoch, start, then)

    def _on_replicas(self, step: Any, batch: Any) -> None:
        step(batch)

    def _step_of(self, group: Sequence[int]) -> Any:
        def step(batch: Any) -> None:
            halves = _halves(batch)
            for parts in (self._phases[k] for k in group):
                values = self.state.read()
                denominators = self._summed_denominators(values, halves)
                found = [
                    parts.gradients(self._values_of(values, k), half, share, denominators)
                    for k, (half, share) in enumerate(halves)
                ]
                new = parts.update(values, [sent for sent, _ in found])
                own = self._joined(parts.kept, [own for _, own in found])
                self.state.write(dict(zip([*parts.kept, *parts.written], [*own, *new], strict=True)))

        return step

    def _test_step(self, batch: Any) -> None:
        halves, values = _halves(batch), self.state.read()
        denominators = self._summed_denominators(values, halves)
        found = [
            self._test(self._values_of(values, k), half, share, denominators) for k, (half, share) in enumerate(halves)
        ]
        self.state.write(dict(zip(self._tested, self._joined(self._tested, found), strict=True)))

    def sent(self, pieces: Sequence[Any]) -> list[Any]:
        return list(pieces)

    def received(self, halves: Sequence[list[Any]], shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        return [_sum(both, self.dtype) for both in zip(*halves, strict=True)]

    def _summed_denominators(self, values: Values, halves: Sequence[tuple[Any, Share]]) -> tf.Tensor | None:
        if not self.objective.needs_denominators:
            return None
        return tf.add_n([self._denominators(values, half, share) for half, share in halves])

    def _values_of(self, values: Values, half: int) -> Values:
        """What metrics have counted is the first half's to go on with; the other counts from zero."""
        if half == 0:
            return values
        return [tf.zeros_like(v) if m else v for v, m in zip(values, self.state.is_metric, strict=True)]

    def _joined(self, places: Sequence[int], found: Sequence[Values]) -> Values:
        """Of metrics the sum, of seeds the first half's: both have drawn as often."""
        return [
            tf.add_n(both) if self.state.is_metric[i] else both[0]
            for i, both in zip(places, zip(*found, strict=True), strict=True)
        ]


def _sum(both: Sequence[Any], dtype: tf.DType) -> tf.Tensor:
    """Of an Embedding's rows: all that were read, put into a matrix once."""
    if any(isinstance(piece, tf.IndexedSlices) for piece in both):
        values, indices = (tf.concat([getattr(p, part) for p in both], 0) for part in ("values", "indices"))
        return tf.convert_to_tensor(tf.IndexedSlices(tf.cast(values, dtype), indices, both[0].dense_shape))
    return tf.add_n([tf.cast(piece, dtype) for piece in both])


def _halves(batch: Any) -> list[tuple[Any, Share]]:
    rows = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]
    found = [share_of(batch, rows, tf.constant(0, tf.int64), k, HALVES) for k in range(HALVES)]
    firsts = [part(rows, k, HALVES)[0] for k in range(HALVES)]
    return [(half, Share(s.examples, s.total, first)) for (half, s), first in zip(found, firsts, strict=True)]
