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

from kzoo.engine.compiling import described
from kzoo.engine.divisible import (
    KNOWN,
    NEITHER,
    SUM,
    ZERO,
    check_apart,
    check_layers,
    check_metrics,
    check_rows,
    check_stateless,
    nature_of,
    own_metrics,
    parts_of,
)
from kzoo.engine.losses import Share, Terms, times, undivided, wide
from kzoo.errors import KzooError, first_line
from kzoo.keras_internals import (
    compile_arguments,
    layers_in,
    loss_leaves,
    loss_trackers,
    regularization_losses,
    sparse_without_ignored,
    takes_training,
    whole_loss,
    with_leaves,
)
from kzoo.models import model_info

TWO_WAYS = (  # layers that do something else in training
    keras.layers.Dropout, keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D, keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout, keras.layers.AlphaDropout, keras.layers.GaussianNoise,
    keras.layers.BatchNormalization,
)  # fmt: skip


BINARY = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)


@contextlib.contextmanager
def unchanged(networks: Sequence[keras.Model]) -> Iterator[None]:
    """Trial passes: statistics, states and seeds are afterwards what they were."""
    variables = [v for network in networks for v in network.non_trainable_variables]
    carried = [getattr(y, "states", None) for network in networks for y in layers_in(network)]  # of stateful RNNs
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
        name: Of the phase, in plans; what is drawn for it goes by this name.
        model: The network whose trainable variables move.
        optimizer: Built on them.
        loss: (batch, share, denominators) -> scalar; runs the networks in training mode and updates metrics.
        every: It learns from each so many-th batch of a run only: in Wasserstein GANs a critic from all of them, the
            generator from every fifth.
        draws: Shape of the random numbers, uniform in -1 to 1, that are drawn for each example; None where none are.
        factors: {id of a variable: factor on its updates}; 1 for those that are not there.
    """

    name: str
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss: Callable[[Any, Share, Any], tf.Tensor]
    every: int = 1
    draws: tuple[int, ...] | None = None
    factors: Mapping[int, float] = field(default_factory=dict)


class Objective:
    """What a trainer trains. Subclasses set `model` and `phases` and fill `metrics`.

    Attributes:
        model: The network that callbacks are given.
        phases: In the order in which they learn from each batch.
        metrics: Keras metrics that phases and `test` update; zero at the begin of an epoch.
        needs_denominators: Whether `denominators` must be added over the replicas before the losses are known.
        learns: Whether a loss depends on the weights that are to learn, once a batch was seen.
        adds_up: Whether losses and metrics of a batch's parts are known to add up to the batch's, once one was seen.
    """

    model: keras.Model
    phases: Sequence[Phase]
    metrics: Sequence[keras.metrics.Metric] = ()
    needs_denominators = False
    learns = True
    adds_up = False

    @property
    def networks(self) -> list[keras.Model]:
        """Every network that a phase trains, once."""
        return list({id(phase.model): phase.model for phase in self.phases}.values())

    @property
    def draws(self) -> dict[str, tuple[int, ...]]:
        """{phase: shape of what is drawn for it}; a batch then is `Drawn`."""
        return {phase.name: phase.draws for phase in self.phases if phase.draws is not None}

    def prepare(self, batch: Any) -> None:
        """See one batch, eagerly: variables that come into being with it do so here. An objective that never validates
        need not have a `test`: its losses see the batch.
        """
        self.see(batch)
        self.reset()

    @property
    def validates(self) -> bool:
        return type(self).test is not Objective.test

    def see(self, batch: Any) -> None:
        """One pass over a batch: as it validates or, where it never does, as it learns."""
        share = Share.whole(batch)
        if self.validates:
            self.test(batch, share)
            return
        for phase in self.phases:
            phase.loss(batch, share, None)

    def learn(self, batch: Any) -> list[Any]:
        """Every pass over a batch, and the gradients of those that learn; no weight moves."""
        self.see(batch)
        found = []
        for phase in self.phases:
            with tf.GradientTape() as tape:
                loss = phase.loss(batch, Share.whole(batch), None)
            found.append(tape.gradient(loss, [v.value for v in phase.model.trainable_variables]))
        return found

    def denominators(self, batch: Any, share: Share) -> tf.Tensor:
        """float32 [terms]: this replica's denominators."""
        raise NotImplementedError

    def test(self, batch: Any, share: Share, denominators: Any = None) -> None:
        """Update metrics in inference mode."""
        raise NotImplementedError

    def notes(self, replicas: int) -> list[str]:
        """What the plan should say about training on so many replicas."""
        return []

    def label_limit(self, batch: Any) -> int | None:
        """How many classes the labels may name; None where they name none."""
        return None

    def check_divisible(self, batch: Any) -> list[str]:
        """Whether replicas can share a batch out, and what is to be said of it. The batch is the first one.

        Raises:
            KzooError: They cannot.
        """
        return []

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
        self.scalars = self.by_terms = self.needs_denominators = False  # until a batch was seen
        self.label_notes: list[str] = []
        self.scalar_sums: tuple[bool, ...] = ()  # which outputs' losses of one number add up over the examples
        self.sums: tuple[bool, ...] = ()  # which of `_undivided_losses` add up over the examples, for replicas

    def prepare(self, batch: Any) -> None:
        x, y, weight = self._unpacked(batch)
        self._check_labels(y)
        outputs = self._outputs(x, False)
        try:
            whole_loss(self.model, x=x, y=y, y_pred=outputs, sample_weight=weight, training=False)
        except (ValueError, TypeError, KeyError) as error:  # Keras tells of structures in lines of their own
            parts = {"outputs": outputs, "labels": y, "losses": self.model.loss}
            why = first_line(error)
            if isinstance(y, Mapping) and isinstance(outputs, Mapping) and y.keys() != outputs.keys():
                why = "its outputs and the labels have other names"
            told = "; ".join(f"{name}: {_named(part)}" for name, part in parts.items())
            if not any(isinstance(part, Mapping | list | tuple) for part in parts.values()):
                raise
            raise KzooError(f"cannot train {self.model.name!r}: {why} ({told})") from error
        if not self.own_loss and loss_leaves(self.model):
            self.by_terms = True
            self._check_reductions()
            self.label_notes = self._odd_labels(y)
            terms = self._terms(x, Share.whole(x))
            terms(y, outputs, weight)
            self.needs_denominators = not terms.proportional
            self.scalars = any(term.scalar for term in terms.terms)
        self.learns = self._learns(batch)
        self.adds_up = self._adds_up(batch)
        self.reset()

    def _adds_up(self, batch: Any) -> bool:
        """Of Keras' and kzoo's own layers, losses and metrics it is known, where each part has a row an example."""
        try:
            check_rows(batch)
        except KzooError:
            return False
        if not self.by_terms or self.scalars or self._added_losses() or any(own_metrics(self.model)):
            return False
        if any(x.shape[0] is not None for x in getattr(self.model, "inputs", None) or []):  # batches of one size only
            return False
        losses = [leaf.loss for leaf in loss_leaves(self.model)]
        if any(isinstance(loss, keras.losses.Circle) for loss in losses):  # compares the examples of a batch
            return False
        functions = [getattr(loss, "fn", None) for loss in losses]
        classes = [type(y) for y in (*layers_in(self.model), *losses)]
        return all(y.__module__.startswith(KNOWN) for y in (*classes, *(f for f in functions if f is not None)))

    def _learns(self, batch: Any) -> bool:
        """Whether the loss depends on a weight, most often on the last one; by a pass as it validates, where it can."""
        share, weights = Share.whole(batch), self.model.trainable_variables
        if any(isinstance(v.value, tf.distribute.DistributedValues) for v in weights[-1:]):
            weights = []  # made in the scope of replicas: no tape outside of them sees it
        for watched, training in ((weights[-1:], False), (weights, False), (weights, True)):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in watched])
                loss = self._loss(batch, share, None, training=training)
            if not weights or any(g is not None for g in tape.gradient(loss, [v.value for v in watched])):
                return True
        return False

    def _odd_labels(self, y: Any) -> list[str]:
        """What is to be said of labels that a loss reads as something else, without an error of it."""
        leaves, labels = loss_leaves(self.model), tf.nest.flatten(y)
        notes = []
        for leaf, part in zip(leaves, labels, strict=False) if len(leaves) == len(labels) else ():
            numbers = np.asarray(part)
            if not numbers.size or numbers.dtype.kind not in "uif":
                continue
            low, high = float(numbers.min()), float(numbers.max())
            if getattr(leaf.loss, "fn", None) in BINARY and (low < 0 or high > 1):
                notes.append(
                    f"{leaf.loss.name} reads labels in 0 to 1; those of the first batch reach from {low:g} to {high:g}"
                )
            elif sparse_without_ignored(leaf.loss) and (numbers != np.round(numbers)).any():
                odd = numbers[numbers != np.round(numbers)].ravel()[0]
                notes.append(f"{leaf.loss.name} reads numbers of classes; the first batch has a label of {odd:g}")
        return notes

    def _check_reductions(self) -> None:
        leaves = loss_leaves(self.model)
        if len(leaves) > 1 and any(leaf.loss.reduction in (None, "none") for leaf in leaves):
            raise KzooError(
                "a loss with reduction=None beside others: Keras adds the others to each of its values, as many times"
                " as it has examples; give it reduction='sum'"
            )

    def _check_labels(self, y: Any) -> None:
        if y is None and self.model.loss is not None and not self.own_loss:
            raise KzooError(f"{self.model.name!r} was compiled with a loss, and the data has no labels; give (x, y)")
        if not self.own_loss and any(getattr(part, "dtype", None) == tf.string for part in tf.nest.flatten(y)):
            raise KzooError(
                "the labels are texts, and losses read numbers; number them (arrays of names are numbered here)"
            )

    def _unpacked(self, batch: Any) -> tuple[Any, Any, Any]:
        """(x, y, weight); the one label for each of `outputs`."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        if self.outputs and not isinstance(y, Mapping):
            y, weight = ({name: part for name in self.outputs} for part in (y, weight))
        return x, y, weight

    def _terms(self, x: Any, share: Share, denominators: Any = None) -> Terms:
        return Terms(self.model, share, tf.shape(tf.nest.flatten(x)[0])[0], denominators, self.scalar_sums)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.mean_loss, *self.model.metrics]

    def label_limit(self, batch: Any) -> int | None:
        """How many classes the labels may name, where the one loss reads class numbers; None for any other loss."""
        leaves = loss_leaves(self.model)
        if len(leaves) != max(1, len(self.outputs)) or isinstance(batch[1], Mapping):
            return None
        if not sparse_without_ignored(leaves[0].loss):
            return None
        x, _, _ = self._unpacked(batch)
        outputs = tf.nest.flatten(self._outputs(x, False))
        return int(outputs[0].shape[-1]) if len(outputs) == len(leaves) else None

    def notes(self, replicas: int) -> list[str]:
        notes = list(self.label_notes)
        if self.model.run_eagerly:
            notes.append("compile(run_eagerly=True) is not kept: kzoo's loop is compiled")
        if replicas > 1 and self.own_loss:
            name = type(self.model).__name__
            how = "added over the replicas" if any(self.sums) else "averaged over the replicas' examples"
            notes.append(f"{name} has a compute_loss of its own: {how}")
        if replicas > 1 and self.scalars:
            how = (
                "added over the replicas"
                if all(self.scalar_sums or [False])
                else "averaged over the replicas' examples"
            )
            notes.append(f"a loss of one number a batch is {how}")
        if replicas > 1 and not self.own_loss and self._added_losses():
            notes.append("losses added in layers: sums over examples are added over the replicas, others averaged")
        if not takes_training(self.model) and (deaf := [y for y in layers_in(self.model) if type(y) in TWO_WAYS]):
            notes.append(
                f"call of {type(self.model).__name__} takes no training: as in Keras, {deaf[0].name!r} and others work"
                " as in inference; give it call(self, x, training=None) to change that"
            )
        return notes

    def check_divisible(self, batch: Any) -> list[str]:
        check_stateless(self.model)
        check_rows(batch)
        unpacked = self._unpacked(batch)
        notes = check_layers(self.model, unpacked[0], lambda x: self._outputs(x, True))
        for part in parts_of(unpacked[0])[:1]:
            self._outputs(part, False)  # or an error: of a network that takes batches of one size
        if model_info(self.model) is None:  # of kzoo's own none does
            notes += check_apart(self.model, unpacked, self._of_each)
        own = self.own_loss or self._added_losses()
        natures = nature_of(self._undivided_losses, unpacked) if own else []
        self.sums = tuple(nature == SUM for nature in natures)
        if ZERO in natures:
            notes.append(
                "a loss of the model's own is 0 on the first batch, which does not tell a sum over examples from a"
                " mean: replicas average it"
            )
        if NEITHER in natures:
            notes.append(
                "a loss of the model's own is neither a sum nor a mean over examples, as far as the first batch shows:"
                " replicas average it, and have other numbers than one device"
            )
        if self.by_terms and self.scalars:
            self.scalar_sums = tuple(nature == SUM for nature in nature_of(self._term_values, unpacked))
        return notes + check_metrics(self.model, unpacked, lambda part: self.test(part, Share.whole(part)))

    def _of_each(self, unpacked: Any, training: bool) -> list[Any]:
        """What a batch gives example by example: outputs, and losses that are not one number a batch."""
        x, y, weight = unpacked
        outputs = self._outputs(x, training)
        if not self.by_terms:
            return [outputs]
        found: list[Any] = []

        def noted(loss: keras.losses.Loss) -> Callable[..., tf.Tensor]:
            def call(y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
                if type(loss).__call__ is keras.losses.Loss.__call__:
                    found.append(
                        loss.call(
                            *(
                                keras.tree.map_structure(lambda t: tf.cast(t, loss.dtype), part)
                                for part in (y_true, y_pred)
                            )
                        )
                    )
                return tf.zeros([])

            return call

        with_leaves(self.model, [noted(leaf.loss) for leaf in loss_leaves(self.model)])(y, outputs, weight)
        return [outputs, *found]

    def _term_values(self, unpacked: Any) -> list[Any]:
        x, y, weight = unpacked
        terms = self._terms(x, Share.whole(x))
        terms(y, self._outputs(x, False), weight)
        return [term.value for term in terms.terms]

    def _added_losses(self) -> list[Any]:
        """Those that layers have added in the last call; regularisers come behind them."""
        losses = list(self.model.losses)
        return losses[: len(losses) - len(regularization_losses(self.model))]

    def _undivided_losses(self, unpacked: Any) -> list[Any]:
        """The numbers of which replicas have their part: the loss of `compute_loss`, or those that layers add."""
        x, y, weight = unpacked
        outputs = self._outputs(x, False)
        if not self.own_loss:
            return self._added_losses()
        return [whole_loss(self.model, x=x, y=y, y_pred=outputs, sample_weight=weight, training=False)]

    def described(self) -> dict[str, str]:
        given = compile_arguments(self.model)
        weights = given.get("loss_weights")
        return {
            "loss": described(self.model.loss) + (f"; weights {described(weights)}" if weights else ""),
            "optimizer": described(self.model.optimizer),
            "metrics": described(given.get("metrics") or []),
        }

    def denominators(self, batch: Any, share: Share) -> tf.Tensor:
        x, y, weight = self._unpacked(batch)
        terms = self._terms(x, share)
        terms(y, self._outputs(x, False), weight)  # all but shapes, masks and weights is pruned from the graph
        return times(tf.stack([term.own for term in terms.terms]), share.real)

    def test(self, batch: Any, share: Share, denominators: Any = None) -> None:
        self._loss(batch, share, denominators, training=False)

    def _train_loss(self, batch: Any, share: Share, denominators: Any = None) -> tf.Tensor:
        return self._loss(batch, share, denominators, training=True)

    def _loss(self, batch: Any, share: Share, denominators: Any, *, training: bool) -> tf.Tensor:
        x, y, weight = self._unpacked(batch)
        untold = None
        with undivided():  # a loss of Keras' may be called in a layer
            outputs = self._outputs(x, training)
            if self.own_loss:
                loss = whole_loss(self.model, x=x, y=y, y_pred=outputs, sample_weight=weight, training=training)
                loss = times(loss, share.real if any(self.sums) else share.part)
            else:
                loss, untold = self._compiled_loss(x, y, outputs, weight, share, denominators)
                loss += tf.cast(self._added(share), loss.dtype)
        self._note(self.mean_loss, loss if untold is None else loss - untold, share)
        self.model.compute_metrics(x, y, outputs, sample_weight=weight)
        return loss

    def _outputs(self, x: Any, training: bool) -> Any:
        """As Keras' `fit` calls the model: where its `call` takes no `training`, nobody in it is told."""
        return self.model(x, training=training) if takes_training(self.model) else self.model(x)

    def _added(self, share: Share) -> tf.Tensor:
        """This replica's part of the losses that layers have added. Keras adds up what is in them. One for each
        example, or a sum over them, is added over the replicas; of any other the average is taken: of regularisers,
        which are the same on each, one.
        """
        found = [wide(value) for value in self.model.losses]
        of_rows = [bool(value.shape.rank) and value.shape[0] is None for value in found]
        sums = (*self.sums, *(False for _ in found[len(self.sums) :]))[: len(found)]
        of_rows = [rows or adds for rows, adds in zip(of_rows, sums, strict=True)]
        total = tf.zeros([], tf.float64 if any(value.dtype == tf.float64 for value in found) else tf.float32)
        for value, rows in zip(found, of_rows, strict=True):
            total += tf.cast(times(tf.reduce_sum(value), share.real if rows else share.part), total.dtype)
        return total

    def _compiled_loss(
        self, x: Any, y: Any, outputs: Any, weight: Any, share: Share, denominators: Any
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """(this replica's part, what of it is not told; None for nothing)."""
        if not self.by_terms:
            return tf.zeros([]), None
        self._check_labels(y)
        terms = self._terms(x, share, denominators)
        loss = times(terms(y, outputs, weight), share.real)
        for term, tracker in zip(terms.terms, loss_trackers(self.model), strict=False):  # none for a single output
            self._note(tracker, times(term.shown, share.real), share)
        return loss, None if terms.untold is None else times(terms.untold, share.real)

    @staticmethod
    def _note(tracker: keras.metrics.Mean, part: tf.Tensor, share: Share) -> None:
        """A replica's part of a batch's loss: added over replicas and batches, the mean over examples."""
        tracker.total.assign_add(tf.cast(times(part, share.total), tracker.total.dtype))
        tracker.count.assign_add(tf.cast(share.examples, tracker.count.dtype))

    def reset(self) -> None:
        self.mean_loss.reset_state()
        self.model.reset_metrics()

    def results(self) -> dict[str, float]:
        """Of everything since `reset`; losses are means over examples."""
        results = {"loss": float(self.mean_loss.result())}
        named = {}
        for tracker in (m for m in self.model.metrics if m.name == "loss" and isinstance(m, keras.metrics.Mean)):
            for mine, its in zip(self.mean_loss.variables, tracker.variables, strict=True):
                its.assign(mine)  # Keras' own, of which a `get_metrics_result` of the model's may tell more
        for name, value in self.model.get_metrics_result().items():
            named |= value if isinstance(value, Mapping) else {name: value}  # of a metric that gives several
        for name, value in named.items():
            values = np.ravel(value)
            if len(values) == 1 and name != "loss":
                results[name] = float(values[0])
            elif name != "loss":  # one value a class
                results |= {f"{name}_{i}": float(v) for i, v in enumerate(values)}
        return results


def _named(part: Any) -> str:
    """What a structure of outputs, labels or losses has, by name."""
    if isinstance(part, Mapping):
        return ", ".join(map(str, part))
    return f"{len(part)} in a list" if isinstance(part, list | tuple) else "one"
