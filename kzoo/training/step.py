"""What is compiled: the step on one replica, and the loop over steps that runs on the device.

An engine trains an objective on the replicas of a strategy. This one has a single replica and updates the model's own
variables in place. The host learns of losses and metrics only when a call of the loop returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kzoo.data._pipeline import Batches
from kzoo.training.kernels import Kernels
from kzoo.training.losses import Share
from kzoo.training.objectives import Objective, Phase
from kzoo.training.optimizers import stepper, variables_of


def compiled(function: Callable[..., Any], xla: bool = False) -> Callable[..., Any]:
    """`function` as a graph, by XLA or not; its Python is run once a new shape.

    Every `fit` and `evaluate` compiles its own, which TensorFlow would take for retracing and warn of.
    """
    graph = tf.function(function, jit_compile=xla or None, autograph=False, reduce_retracing=True)
    graph._omit_frequent_tracing_warning = True
    return graph


class Engine:
    """Subclasses say where the state lives and what one step is.

    Attributes:
        traces: The compiled functions, for tests that count how often their Python ran.
    """

    def __init__(self, objective: Objective, kernels: Kernels) -> None:
        self.objective, self.kernels = objective, kernels
        self.traces: list[Any] = []
        self.notes: list[str] = []
        self._taken = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._iterator: Any = None

    def begin(self, batches: Batches, epoch: int) -> None:
        """Open an epoch."""
        self.push()
        self._iterator = iter(self.dataset(batches, epoch))

    def train(self, steps: int) -> tuple[int, bool]:
        """(steps taken, whether the data ended before)."""
        return self._run(self._train_loop, steps)

    def evaluate(self, batches: Batches, callbacks: keras.callbacks.CallbackList | None = None) -> dict[str, float]:
        """The objective's results on a split, in inference mode; `callbacks` hear of every batch."""
        self.objective.reset()
        self.begin(batches, 0)
        done, ended = 0, False
        while not ended and (batches.steps is None or done < batches.steps):
            steps = 1 if callbacks else 64 if batches.steps is None else batches.steps - done
            if callbacks:
                callbacks.on_test_batch_begin(done)
            taken, ended = self._run(self._test_loop, steps)
            if callbacks and taken:
                callbacks.on_test_batch_end(done, self.results())
            done += taken
        return self.results()

    def results(self) -> dict[str, float]:
        self.pull()
        return self.objective.results()

    @property
    def workers(self) -> int:
        """Processes that train in sync: what sums over them must be called in each."""
        return 1

    def decided(self, value: bool) -> bool:
        """The first worker's decision, for all."""
        return value

    def push(self) -> None:
        """The model's, the optimizers' and the metrics' values into the replicas."""

    def pull(self) -> None:
        """The replicas' values into the model, the optimizers and the metrics."""

    def dataset(self, batches: Batches, epoch: int) -> tf.data.Dataset:
        return batches.epoch(epoch)

    def _run(self, loop: Callable[..., None], steps: int) -> tuple[int, bool]:
        before, ended = int(self._taken), False
        try:
            loop(self._iterator, tf.constant(steps))
        except tf.errors.OutOfRangeError:
            ended = True
        return int(self._taken) - before, ended

    def _compiled(self, function: Callable[..., Any], xla: bool = False) -> Callable[..., Any]:
        graph = compiled(function, xla)
        self.traces.append(graph)
        return graph

    def _loop(self, step: Callable[[Any], None]) -> Callable[[Any, tf.Tensor], None]:
        """(iterator, steps) -> nothing: that many steps in one call."""

        def run(iterator: Any, steps: tf.Tensor) -> None:
            def body(i: tf.Tensor) -> tuple[tf.Tensor]:
                batch = next(iterator)
                step(batch)
                with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                    self._taken.assign_add(1)  # not before it is known that there was a batch
                return (i + 1,)

            tf.while_loop(lambda i: i < steps, body, [tf.constant(0)], parallel_iterations=1)

        return self._compiled(run)


class InPlace(Engine):
    """One replica: the model's own variables, updated in place."""

    def __init__(self, objective: Objective, xla: bool, kernels: Kernels, device: str | None = None) -> None:
        super().__init__(objective, kernels)
        for phase in objective.phases:
            variables_of(phase)  # or an error
        self.device = device  # None: where TensorFlow puts it
        self._updates = [_update(phase, dense=kernels.update_by_xla) for phase in objective.phases]
        if kernels.update_by_xla:
            self._updates = [self._compiled(update, xla=True) for update in self._updates]
        self._train_loop = self._loop(self._placed(self._compiled(self._train_step, xla)))
        self._test_loop = self._loop(self._placed(self._compiled(self._test_step, xla)))

    def _placed(self, step: Callable[[Any], None]) -> Callable[[Any], None]:
        """The step where the variables are: XLA reads those of its own device only."""
        if self.device is None:
            return step
        device = self.objective.phases[0].model.variables[0].value.device

        def placed(batch: Any) -> None:
            with tf.device(device):
                step(batch)

        return placed

    def _train_step(self, batch: Any) -> None:
        share = Share.whole(batch)
        for phase, update in zip(self.objective.phases, self._updates, strict=True):
            with tf.device(self.device), self.kernels.swapped():
                with tf.GradientTape() as tape:
                    loss = phase.loss(batch, share)
                    scaled = phase.optimizer.scale_loss(loss)  # of a LossScaleOptimizer; otherwise the loss itself
                update(tape.gradient(scaled, [v.value for v in phase.model.trainable_variables]))

    def _test_step(self, batch: Any) -> None:
        with tf.device(self.device), self.kernels.swapped():
            self.objective.test(batch, Share.whole(batch))


def _update(phase: Phase, dense: bool) -> Callable[[list[Any]], None]:
    """(gradients) -> nothing: the optimizer's step; `dense`: on gradients without IndexedSlices."""
    optimizer = stepper(phase)

    def update(gradients: list[Any]) -> None:
        if dense:
            gradients = [g if g is None else tf.convert_to_tensor(g) for g in gradients]
        optimizer.apply(gradients, phase.model.trainable_variables)

    return update
