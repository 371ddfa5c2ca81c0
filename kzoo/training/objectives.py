"""What is learned: an objective is a list of phases, each a network that learns from a loss.

A classifier has one phase; the step and the loop see phases only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf


@dataclass(frozen=True)
class Phase:
    """One network learning from one loss.

    Attributes:
        name: Of the phase, in plans.
        model: The network whose trainable variables move.
        optimizer: Built on them.
        loss: batch -> scalar; runs the network in training mode.
    """

    name: str
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss: Callable[[Any], tf.Tensor]


class Supervised:
    """One phase: a compiled Keras model learns `(x, y)` or `(x, y, weight)` by its own loss and metrics."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.mean_loss = keras.metrics.Mean(name="loss")
        self.phases: Sequence[Phase] = [Phase("train", model, model.optimizer, self._train_loss)]

    def _train_loss(self, batch: Any) -> tf.Tensor:
        return self._loss(batch, training=True)

    def label_limit(self, batch: Any) -> int | None:
        """How many classes the labels may name, where the one loss reads class numbers; None for any other loss."""
        leaves = self.model._compile_loss._flat_losses if self.model._compile_loss is not None else []
        if len(leaves) != 1 or getattr(leaves[0].loss, "fn", None) is not keras.losses.sparse_categorical_crossentropy:
            return None
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        outputs = tf.nest.flatten(self.model(x, training=False))
        return int(outputs[0].shape[-1]) if len(outputs) == 1 else None

    def test(self, batch: Any) -> None:
        """Loss and metrics of a batch in inference mode."""
        self._loss(batch, training=False)

    def _loss(self, batch: Any, *, training: bool) -> tf.Tensor:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        outputs = self.model(x, training=training)
        loss = self.model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight, training=training)
        examples = tf.shape(tf.nest.flatten(x)[0])[0]
        self.mean_loss.update_state(loss, sample_weight=examples)
        self.model.compute_metrics(x, y, outputs, sample_weight=weight)
        return loss

    def reset(self) -> None:
        self.mean_loss.reset_state()
        self.model.reset_metrics()

    def results(self) -> dict[str, float]:
        """Of everything since `reset`; the loss is the mean over examples."""
        results = {"loss": float(self.mean_loss.result())}
        for name, value in self.model.get_metrics_result().items():
            if name != "loss":
                results[name] = float(value)
        return results
