"""Parameter servers: workers that do not wait for each other.

The state lives in ordinary variables on the servers. A worker reads it, takes the same pure step as a replica in sync
on a batch of its own, and adds `new - old`, so that no worker's change is lost. Which state a step saw depends on the
others' pace: a run is not reproducible, and what must be exact across steps is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kzoo.engine.divisible import check_stateless
from kzoo.engine.kernels import Kernels
from kzoo.engine.losses import Share
from kzoo.engine.objective import Objective, Phase
from kzoo.engine.optimizers import pure, stepper, variables_of, without_frozen
from kzoo.engine.replicas import state_variables
from kzoo.engine.step import Engine, InPlace
from kzoo.errors import KzooError
from kzoo.inputs import Batches
from kzoo.keras_internals import StatelessScope, global_seed_generator, keep_generator


class Servers(Engine):
    """Trains an objective under a ParameterServerStrategy; this process coordinates, and evaluates by itself."""

    def __init__(self, objective: Objective, strategy: tf.distribute.Strategy, xla: bool, kernels: Kernels) -> None:
        super().__init__(objective, kernels)
        self.strategy, self.xla, self._unseeded = strategy, xla, global_seed_generator()
        for phase in objective.phases:
            check_stateless(phase.model)
            _check_optimizer(phase.optimizer)
            if phase.every != 1:
                raise KzooError(
                    f"the phase {phase.name} learns from every {phase.every}th batch, and parameter servers' workers"
                    " have no common count; use strategy='multiworker'"
                )
        self.coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self.variables = state_variables(objective)
        self.places = {id(v): i for i, v in enumerate(self.variables)}
        with strategy.scope():
            self.copies = [tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for v in self.variables]
        self._updates = [self.as_graph(self._update(phase), xla) for phase in objective.phases]
        self._step = tf.function(lambda iterator: strategy.run(self._on_worker, args=(next(iterator),)))
        self._here = InPlace(objective, False, kernels)
        self.notes.append("workers do not wait for each other: epochs have no sharp border, and no two runs are alike")
        self._stream: Any = None

    def begin(self, batches: Batches, epoch: int, start: int = 0) -> None:
        if batches.steps is None:
            raise KzooError("parameter servers must know how long an epoch is; give limit_train_batches=…")
        self.push()
        if self._stream is None:
            stream = batches.portable()
            per_worker = tf.function(lambda: self.strategy.distribute_datasets_from_function(lambda _: stream()))
            self._stream = iter(self.coordinator.create_per_worker_dataset(per_worker))

    def train(self, steps: int) -> tuple[int, bool]:
        for _ in range(steps):
            self.coordinator.schedule(self._step, args=(self._stream,))
        self.coordinator.join()
        return steps, False

    def evaluate(
        self, batches: Batches, callbacks: keras.callbacks.CallbackList | None = None,
        between: Callable[[], Any] = lambda: None,
    ) -> dict[str, float]:  # fmt: skip
        return self._here.evaluate(batches, callbacks, between)

    def shares(self, variable: keras.Variable) -> list[Any]:
        return [self.copies[self.places[id(variable)]].numpy()]

    def push(self) -> None:
        for variable, copy in zip(self.variables, self.copies, strict=True):
            copy.assign(tf.convert_to_tensor(variable.value))

    def pull(self) -> None:
        for variable, copy in zip(self.variables, self.copies, strict=True):
            variable.assign(copy.read_value())

    def _on_worker(self, batch: Any) -> None:
        for update in self._updates:
            old = [copy.read_value() for copy in self.copies]
            for copy, change in zip(self.copies, update(old, batch), strict=True):
                if change is not None:
                    copy.assign_add(change)

    def _update(self, phase: Phase) -> Any:
        optimizer = pure(stepper(phase))
        weights_at = [self.places[id(v)] for v in variables_of(phase)]
        slots_at = [self.places[id(v)] for v in phase.optimizer.variables]

        def update(old: list[tf.Tensor], batch: Any) -> list[tf.Tensor | None]:
            """What is to be added to each variable; None where nothing changed."""
            weights = [old[i] for i in weights_at]
            with tf.GradientTape() as tape:
                tape.watch(weights)
                mapping = list(zip(self.variables, old, strict=True))
                keep_generator(self._unseeded)
                with StatelessScope(mapping, collect_losses=True) as scope, self.kernels.swapped():
                    loss = phase.optimizer.scale_loss(phase.loss(batch, Share.whole(batch), None))
            gradients = without_frozen(tape.gradient(loss, weights), phase)
            gradients = [g if g is None else tf.convert_to_tensor(g) for g in gradients]  # an Embedding's are slices
            moved, slots = optimizer.stateless_apply([old[i] for i in slots_at], gradients, weights)
            new = [scope.get_current_value(v) for v in self.variables]
            for i, value in zip([*weights_at, *slots_at], [*moved, *slots], strict=True):
                new[i] = value
            return [
                None if n is None or n is o else tf.cast(tf.convert_to_tensor(n), o.dtype) - o
                for n, o in zip(new, old, strict=True)
            ]

        return update


def _check_optimizer(optimizer: keras.optimizers.Optimizer) -> None:
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise KzooError("loss scaling (mixed_float16) cannot hold on parameter servers; use mixed_bfloat16 or float32")
    for name, what in (("gradient_accumulation_steps", "gradient accumulation"), ("use_ema", "an average of weights")):
        if getattr(optimizer, name):
            raise KzooError(
                f"{what} ({name}={getattr(optimizer, name)}) counts on steps in order, which parameter servers do not"
                " have; leave it out or use strategy='multiworker'"
            )
