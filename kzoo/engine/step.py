"""What is compiled: the step on one replica, and the loop over steps that runs on the device.

An engine trains an objective on the replicas of a strategy. This one has a single replica and updates the model's own
variables in place. The host learns of losses and metrics only when a call of the loop returns.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.engine.kernels import Kernels
from kzoo.engine.losses import Share
from kzoo.engine.objective import Objective, Phase
from kzoo.engine.optimizers import adds_only, stepper, variables_of
from kzoo.inputs import Batches
from kzoo.tensorflow_internals import ends_with_owner, quiet

SECONDS_A_CALL = 0.5  # of compiled steps between two looks at the host


def compiled(function: Callable[..., Any], xla: bool = False) -> Callable[..., Any]:
    """`function` as a graph, by XLA or not; its Python is run once a new shape.

    Every `fit` and `evaluate` compiles its own, which TensorFlow would take for retracing and warn of.
    """
    graph = tf.function(function, jit_compile=xla or None, autograph=False, reduce_retracing=True)
    return ends_with_owner(quiet(graph))


@dataclass
class _Epochs:
    """An iterator that gives epoch after epoch.

    Attributes:
        batches: Kept, so that no others get their id.
        next: Number of the epoch that comes after the one begun.
        left: Batches of that one that are still to come.
    """

    batches: Batches
    iterator: Any
    next: int = 0
    left: int = 0


def next_call(call: int, steps: int, seconds: float) -> int:
    """How many steps to take before the next look at the host, after a call of so many that took so long."""
    return max(1, min(4 * call, int(SECONDS_A_CALL * steps / max(seconds, 1e-6))))


def paced(phases: Sequence[Phase]) -> list[tuple[int, list[int]]]:
    """[(every how many batches, numbers of neighbouring phases with that pace)], in order."""
    numbered = enumerate(phases)
    return [
        (every, [k for k, _ in group]) for every, group in itertools.groupby(numbered, key=lambda item: item[1].every)
    ]


class Engine:
    """Subclasses say where the state lives and what one step is.

    Attributes:
        steps_taken: Batches since the run began, by which phases keep their pace.
        traces: The compiled functions, for tests that count how often their Python ran.
    """

    def __init__(self, objective: Objective, kernels: Kernels) -> None:
        self.objective, self.kernels = objective, kernels
        self.traces: list[Any] = []
        self.notes: list[str] = []
        self.steps_taken = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._iterator: Any = None
        self._kept: dict[int, _Epochs] = {}  # by the id of their Batches
        self._now: _Epochs | None = None  # those of them that `_iterator` is of
        self._flow: Any = None  # (batches without epochs, how many were taken when this epoch began)
        self._stream: Any = None  # of data without epochs: its iterator, which the next epoch goes on with

    def begin(self, batches: Batches, epoch: int, start: int = 0) -> None:
        """Open an epoch, at its batch of number `start`."""
        self.push()
        if not batches.flows:
            self._iterator = self._opened(batches, epoch, start)
            return
        self._now = None
        if self._stream is None:
            self._stream = self._flowing(batches, self.taken)
        self._iterator, self._flow = self._stream, (batches, self.taken)

    def _opened(self, batches: Batches, epoch: int, start: int = 0, again: bool = False) -> Any:
        """An iterator of an epoch's batches: where that is possible the one that has given those of the epoch before,
        and nothing more.
        """
        self._now = None
        if not batches.runs_on:
            return iter(self.dataset(batches, epoch, start))
        kept = self._kept.get(id(batches))
        if start or kept is None or (kept.next, kept.left) != (epoch, 0):
            data = self.dataset(batches, epoch, start, "again" if again else "next")
            kept = self._kept[id(batches)] = _Epochs(batches, iter(data))
        kept.next, kept.left = epoch if again else epoch + 1, batches.steps - start
        self._now = kept
        return kept.iterator

    def _flowing(self, batches: Batches, place: int) -> Any:
        """An iterator of data without epochs, after so many batches; such as ends begins anew there."""
        data = self.dataset(batches, 0)
        iterator = iter(data)
        for _ in range(place):
            if next(iterator, None) is None:
                iterator = iter(data)
                next(iterator)
        return iterator

    def train(self, steps: int) -> tuple[int, bool]:
        """(steps taken, whether the data ended before)."""
        taken, ended = self._run(self._train_loop, steps)
        if ended and self._stream is not None:
            batches, begun = self._flow
            self._stream = self._iterator = iter(self.dataset(batches, 0))
            if self.taken == begun:  # it had ended with the epoch before
                taken, ended = self._run(self._train_loop, steps)
        return taken, ended

    def evaluate(
        self, batches: Batches, callbacks: keras.callbacks.CallbackList | None = None,
        between: Callable[[], Any] = lambda: None,
    ) -> dict[str, float]:  # fmt: skip
        """The objective's results on a split, in inference mode; `callbacks` hear of every batch, `between` now and
        then.
        """
        self.objective.reset()
        taken_before = self.taken
        self.push()
        self._iterator = self._opened(batches, 0, again=True)
        done, ended, call = 0, False, 4
        while not ended and (batches.steps is None or done < batches.steps):
            steps = 1 if callbacks else call if batches.steps is None else min(call, batches.steps - done)
            if callbacks:
                callbacks.on_test_batch_begin(done)
            clock = time.perf_counter()
            taken, ended = self._run(self._test_loop, steps)
            call = next_call(call, steps, self.agreed(time.perf_counter() - clock)[0])
            if callbacks and taken:
                callbacks.on_test_batch_end(done, self.results())
            done += taken
            between()
        self.steps_taken.assign(taken_before)
        return self.results()

    def results(self) -> dict[str, float]:
        self.pull()
        return self.objective.results()

    @property
    def taken(self) -> int:
        return int(tf.convert_to_tensor(self.steps_taken))  # it may have been made in the scope of replicas

    @property
    def workers(self) -> int:
        """Processes that train in sync: what sums over them must be called in each."""
        return 1

    def decided(self, value: bool) -> bool:
        """The first worker's decision, for all."""
        return value

    def agreed(self, clock: float, *flags: float) -> tuple[float, ...]:
        """The first worker's clock, and the largest of each flag, for all."""
        return clock, *flags

    def wrong(self) -> list[tuple[str, float]]:
        """(name, value) of losses, as the epoch has counted them so far, that are no numbers; no replica is pulled."""
        found = []
        for metric in self.objective.metrics:
            if metric.name == "loss" or metric.name.endswith("_loss"):
                sums = [self.counted_here(v) for v in metric.variables]
                found += [(metric.name, value) for value in sums if not math.isfinite(value)][:1]
        return found

    def counted_here(self, variable: keras.Variable) -> float:
        """Of a metric's number, what this process has counted."""
        return float(sum(np.sum(share) for share in self.shares(variable)))

    def shares(self, variable: keras.Variable) -> list[Any]:
        """Of a metric's number, what each replica of this process has counted."""
        return [variable.numpy()]

    def share_out(self, shares: Sequence[tuple[keras.Variable, Sequence[Any]]]) -> None:
        """(a metric's number, what each replica had counted of it): with the next `push` they have that again."""
        for variable, (own, *_) in shares:
            variable.assign(own)

    def push(self) -> None:
        """The model's, the optimizers' and the metrics' values into the replicas."""

    def pull(self) -> None:
        """The replicas' values into the model, the optimizers and the metrics."""

    def dataset(self, batches: Batches, epoch: int, start: int = 0, then: str | None = None) -> tf.data.Dataset:
        """`batches.epoch`, as the step takes it."""
        return batches.epoch(epoch, None, start, then)

    def _run(self, loop: Callable[..., None], steps: int) -> tuple[int, bool]:
        before, ended = self.taken, False
        try:
            loop(self._iterator, tf.constant(steps))
        except tf.errors.OutOfRangeError:
            ended = True
        taken = self.taken - before
        if self._now is not None:
            self._now.left -= taken
        return taken, ended

    def as_graph(self, function: Callable[..., Any], xla: bool = False) -> Callable[..., Any]:
        """`function`, compiled, and counted among `traces`."""
        graph = compiled(function, xla)
        self.traces.append(graph)
        return graph

    def _loop(self, step: Callable[[Any], None]) -> Callable[[Any, tf.Tensor], None]:
        """(iterator, steps) -> nothing: that many steps in one call."""

        def run(iterator: Any, steps: tf.Tensor) -> None:
            def body(i: tf.Tensor) -> tuple[tf.Tensor]:
                batch = next(iterator)
                step(batch)
                parts = tf.nest.flatten(batch, expand_composites=True)
                with tf.control_dependencies([part for part in parts if part is not None]):
                    self.steps_taken.assign_add(1)  # not before it is known that there was a batch
                return (i + 1,)

            tf.while_loop(lambda i: i < steps, body, [tf.constant(0)], parallel_iterations=1)

        return self.as_graph(run)

    def _in_turn(self, steps: Sequence[Callable[[Any], None]]) -> Callable[[Any], None]:
        """(batch) -> nothing: the steps of the groups of phases, each where its pace is due."""

        def take(batch: Any) -> None:
            for (every, _), step in zip(paced(self.objective.phases), steps, strict=True):
                if every == 1:
                    step(batch)
                else:
                    due = tf.equal(self.steps_taken % every, every - 1)
                    tf.cond(due, lambda step=step: _nothing(step(batch)), lambda: _nothing(None))

        return take


def _nothing(_: Any) -> tf.Tensor:
    """Branches of a condition give the same."""
    return tf.zeros([], tf.int32)


class InPlace(Engine):
    """One replica: the model's own variables, updated in place.

    Args:
        device: Where it trains; None: where TensorFlow puts it.
        slices: Leave the gradient of an embedding as Keras' optimizers get it, a slice for each row that was read.
            They add up the slices of a row read twice, but square each alone: what they estimate is not the square of
            the gradient. So by default they get the whole gradient, in which such slices are added.
    """

    def __init__(
        self, objective: Objective, xla: bool, kernels: Kernels, device: str | None = None, slices: bool = False
    ) -> None:
        super().__init__(objective, kernels)
        for phase in objective.phases:
            variables_of(phase)  # or an error
        self.device = device
        self._updates = [_update(phase, slices, kernels.update_by_xla) for phase in objective.phases]
        if kernels.update_by_xla:
            self._updates = [self.as_graph(update, xla=True) for update in self._updates]
        steps = [self._placed(self.as_graph(self._step_of(group), xla)) for _, group in paced(objective.phases)]
        self._train_loop = self._loop(self._in_turn(steps))
        self._test_loop = self._loop(self._placed(self.as_graph(self._test_step, xla)))

    def _placed(self, step: Callable[[Any], None]) -> Callable[[Any], None]:
        """The step where the variables are: XLA reads those of its own device only."""
        if self.device is None:
            return step
        device = self.objective.phases[0].model.variables[0].value.device

        def placed(batch: Any) -> None:
            with tf.device(device):
                step(batch)

        return placed

    def _step_of(self, group: Sequence[int]) -> Callable[[Any], None]:
        """The step of some phases."""

        def step(batch: Any) -> None:
            share = Share.whole(batch)
            for k in group:
                phase = self.objective.phases[k]
                with tf.device(self.device), self.kernels.swapped():
                    with tf.GradientTape() as tape:
                        loss = phase.loss(batch, share, None)
                        scaled = phase.optimizer.scale_loss(loss)  # of a LossScaleOptimizer; else the loss itself
                    self._updates[k](tape.gradient(scaled, [v.value for v in phase.model.trainable_variables]))

        return step

    def _test_step(self, batch: Any) -> None:
        with tf.device(self.device), self.kernels.swapped():
            self.objective.test(batch, Share.whole(batch))


def _update(phase: Phase, slices: bool, xla: bool) -> Callable[[list[Any]], None]:
    """(gradients) -> nothing: the optimizer's step. Slices are left to one that adds them only, which is faster."""
    optimizer = stepper(phase)
    dense = xla or not (slices or adds_only(optimizer))

    def update(gradients: list[Any]) -> None:
        if dense:
            gradients = [g if g is None else tf.convert_to_tensor(g) for g in gradients]
        optimizer.apply(gradients, phase.model.trainable_variables)

    return update
