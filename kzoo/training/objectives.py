"""What is learned: an objective is a list of phases, each a network that learns from a loss.

A classifier has one phase, a GAN two. The step and the loop see phases only. A phase's loss is this replica's part of
the global batch's loss: added over the replicas, the parts are what one device computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.training.losses import Share, split, undivided, wide
from kzoo.training.plan import described


@contextlib.contextmanager
def unchanged(networks: Sequence[keras.Model]) -> Iterator[None]:
    """Trial passes: statistics, states and seeds are afterwards what they were."""
    variables = [v for network in networks for v in network.non_trainable_variables]
    carried = [
        getattr(y, "states", None) for network in networks for y in network._flatten_layers()
    ]  # of stateful RNNs
    variables += [v for v in keras.tree.flatten(carried) if isinstance(v, keras.Variable)]
    before = [(v, tf.identity(v.value)) for v in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


@dataclass(frozen=True)
class Phase:
    """One network learning from one loss.

    Attributes:
        name: Of the phase, in plans.
        model: The network whose trainable variables move.
        optimizer: Built on them.
        loss: (batch, share) -> scalar; runs the networks in training mode and updates metrics.
        factors: {id of a variable: factor on its updates}; 1 for those that are not there.
    """

    name: str
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss: Callable[[Any, Share], tf.Tensor]
    factors: Mapping[int, float] = field(default_factory=dict)


class Objective:
    """What a trainer trains. Subclasses set `model` and `phases` and fill `metrics`.

    Attributes:
        model: The network that callbacks are given.
        phases: In the order in which they learn from each batch.
        metrics: Keras metrics that phases and `test` update; zero at the begin of an epoch.
        needs_denominators: Whether `denominators` must be added over the replicas before the losses are known.
    """

    model: keras.Model
    phases: Sequence[Phase]
    metrics: Sequence[keras.metrics.Metric] = ()
    needs_denominators = False

    @property
    def networks(self) -> list[keras.Model]:
        """Every network that a phase trains, once."""
        return list({id(phase.model): phase.model for phase in self.phases}.values())

    def prepare(self, batch: Any) -> None:
        """See one batch, eagerly: variables that come into being with it do so here."""
        for phase in self.phases:
            phase.loss(batch, Share.whole(batch))
        self.reset()

    def _weighted(self) -> str:
        """How much each output's loss counts, where one counts more than another."""
        config = self.model._compile_config.config if self.model._compile_config is not None else {}
        weights = config.get("loss_weights")
        return f"; weights {described(weights)}" if weights else ""

    def denominators(self, batch: Any, share: Share) -> tf.Tensor:
        """float32 [terms]: this replica's denominators."""
        raise NotImplementedError

    def use_denominators(self, values: tf.Tensor | None) -> None:
        """Take those of the whole batch for the losses that follow."""

    def test(self, batch: Any, share: Share) -> None:
        """Update metrics in inference mode."""
        raise NotImplementedError

    def notes(self, replicas: int) -> list[str]:
        """What the plan should say about training on so many replicas."""
        return []

    def label_limit(self, batch: Any) -> int | None:
        """How many classes the labels may name; None where they name none."""
        return None

    def described(self) -> dict[str, str]:
        """loss, optimizer and metrics in the plan's words."""
        raise NotImplementedError

    def reset(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def results(self) -> dict[str, float]:
        """Of everything since `reset`."""
        return {metric.name: float(metric.result()) for metric in self.metrics}


class Supervised(Objective):
    """One phase: a compiled Keras model learns `(x, y)` or `(x, y, weight)` by its own losses and metrics.

    Args:
        optimizer: Default the model's own; the same with loss scaling around it for mixed_float16.
        outputs: Names of outputs that learn from the same labels; empty where labels have the structure of the outputs.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer | None = None,
        outputs: Sequence[str] = (),
    ) -> None:
        self.model, self.outputs = model, tuple(outputs)
        self.mean_loss = keras.metrics.Mean(name="loss")
        self.own_loss = type(model).compute_loss is not keras.Model.compute_loss  # cannot be taken apart
        self.phases = [Phase("train", model, optimizer or model.optimizer, self._train_loss)]
        self._loss_terms: Any = None

    def prepare(self, batch: Any) -> None:
        x, y, weight = self._unpacked(batch)
        outputs = self.model(x, training=False)
        self.model._compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight, training=False)
        if not self.own_loss and self.model._compile_loss is not None:
            self._loss_terms = split(self.model)
        self.test(batch, Share.whole(x))
        self.reset()

    def _unpacked(self, batch: Any) -> tuple[Any, Any, Any]:
        """(x, y, weight); the one label for each of `outputs`."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        if self.outputs and not isinstance(y, Mapping):
            y, weight = ({name: part for name in self.outputs} for part in (y, weight))
        return x, y, weight

    @property
    def needs_denominators(self) -> bool:
        return self._loss_terms is not None and not all(term.proportional for term in self._loss_terms[1])

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.mean_loss, *self.model.metrics]

    def label_limit(self, batch: Any) -> int | None:
        """How many classes the labels may name, where the one loss reads class numbers; None for any other loss."""
        leaves = self.model._compile_loss._flat_losses if self.model._compile_loss is not None else []
        if len(leaves) != max(1, len(self.outputs)) or isinstance(batch[1], Mapping):
            return None
        if getattr(leaves[0].loss, "fn", None) is not keras.losses.sparse_categorical_crossentropy:
            return None
        if leaves[0].loss._fn_kwargs.get("ignore_class") is not None:
            return None
        x, _, _ = self._unpacked(batch)
        outputs = tf.nest.flatten(self.model(x, training=False))
        return int(outputs[0].shape[-1]) if len(outputs) == len(leaves) else None

    def notes(self, replicas: int) -> list[str]:
        notes = []
        if self.model.run_eagerly:
            notes.append("compile(run_eagerly=True) is not kept: kzoo's loop is compiled")
        if replicas > 1 and self.own_loss:
            name = type(self.model).__name__
            notes.append(f"{name} has a compute_loss of its own: averaged over the replicas' examples")
        if replicas > 1 and self._loss_terms is not None and any(term.scalar for term in self._loss_terms[1]):
            notes.append("a loss of one number a batch is averaged over the replicas' examples")
        if replicas > 1 and not self.own_loss and len(self.model.losses) > len(self.model._get_regularization_losses()):
            notes.append("losses added in layers are averaged over the replicas' examples")
        return notes

    def described(self) -> dict[str, str]:
        given = self.model._compile_config.config.get("metrics") if self.model._compile_config is not None else None
        return {
            "loss": described(self.model.loss) + self._weighted(),
            "optimizer": described(self.model.optimizer),
            "metrics": described(given or []),
        }

    def denominators(self, batch: Any, share: Share) -> tf.Tensor:
        x, y, weight = self._unpacked(batch)
        whole, terms = self._loss_terms
        whole(y, self.model(x, training=False), weight)  # all but shapes, masks and weights is pruned from the graph
        return tf.stack([term.own for term in terms]) * share.real

    def use_denominators(self, values: tf.Tensor | None) -> None:
        for k, term in enumerate(self._loss_terms[1] if self._loss_terms is not None else ()):
            term.denominator = None if values is None else values[k]

    def test(self, batch: Any, share: Share) -> None:
        self._loss(batch, share, training=False)

    def _train_loss(self, batch: Any, share: Share) -> tf.Tensor:
        return self._loss(batch, share, training=True)

    def _loss(self, batch: Any, share: Share, *, training: bool) -> tf.Tensor:
        x, y, weight = self._unpacked(batch)
        outputs = self.model(x, training=training)
        if self.own_loss:
            with undivided():
                loss = self.model._compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight, training=training)
            loss = _times(loss, share.part)
        else:
            loss = self._compiled_loss(x, y, outputs, weight, share)
            # Regularisers are the same on each replica, and so count once; other added losses are averaged.
            for value in self.model.losses:
                loss += tf.cast(_times(tf.reduce_sum(value), share.part), loss.dtype)
        self._note(self.mean_loss, loss, share)
        self.model.compute_metrics(x, y, outputs, sample_weight=weight)
        return loss

    def _compiled_loss(self, x: Any, y: Any, outputs: Any, weight: Any, share: Share) -> tf.Tensor:
        if self._loss_terms is None:
            return tf.zeros([])
        whole, terms = self._loss_terms
        for term in terms:
            term.total, term.rows = share.total, tf.shape(tf.nest.flatten(x)[0])[0]
        loss = _times(whole(y, outputs, weight), share.real)
        for term, tracker in zip(terms, self.model._compile_loss.metrics, strict=False):  # none for a single output
            self._note(tracker, _times(term.value, share.real), share)
        return loss

    @staticmethod
    def _note(tracker: keras.metrics.Mean, part: tf.Tensor, share: Share) -> None:
        """A replica's part of a batch's loss: added over replicas and batches, the mean over examples."""
        tracker.total.assign_add(tf.cast(_times(part, share.total), tracker.total.dtype))
        tracker.count.assign_add(tf.cast(share.examples, tracker.count.dtype))

    def reset(self) -> None:
        self.mean_loss.reset_state()
        self.model.reset_metrics()

    def results(self) -> dict[str, float]:
        """Of everything since `reset`; losses are means over examples."""
        results = {"loss": float(self.mean_loss.result())}
        for name, value in self.model.get_metrics_result().items():
            values = np.ravel(value)
            if len(values) == 1 and name != "loss":
                results[name] = float(values[0])
            elif name != "loss":  # one value a class
                results |= {f"{name}_{i}": float(v) for i, v in enumerate(values)}
        return results


def _times(value: Any, factor: tf.Tensor) -> tf.Tensor:
    value = wide(value)
    return value * tf.cast(factor, value.dtype)
