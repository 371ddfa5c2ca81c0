"""The compiled step and the compiled loop over steps.

One replica: the model's own variables, updated in place. The loop runs on the device; the host learns of losses and
metrics only when a call of it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kzoo.training.objectives import Phase


def train_step(phases: list[Phase], xla: bool) -> Callable[[Any], None]:
    """batch -> nothing: every phase takes its gradient and moves its network."""

    @tf.function(jit_compile=xla, autograph=False, reduce_retracing=True)
    def step(batch: Any) -> None:
        for phase in phases:
            with tf.GradientTape() as tape:
                loss = phase.loss(batch)
                scaled = phase.optimizer.scale_loss(loss)  # of a LossScaleOptimizer; otherwise the loss itself
            variables = phase.model.trainable_variables
            gradients = tape.gradient(scaled, [v.value for v in variables])
            phase.optimizer.apply(gradients, variables)

    return step


def test_step(test: Callable[[Any], None], xla: bool) -> Callable[[Any], None]:
    @tf.function(jit_compile=xla, autograph=False, reduce_retracing=True)
    def step(batch: Any) -> None:
        test(batch)

    return step


def loop(step: Callable[[Any], None]) -> Callable[[Any, tf.Tensor], None]:
    """(iterator, steps) -> nothing: that many steps in one call."""

    @tf.function(autograph=False, reduce_retracing=True)
    def run(iterator: Any, steps: tf.Tensor) -> None:
        def body(i: tf.Tensor) -> tuple[tf.Tensor]:
            step(next(iterator))
            return (i + 1,)

        tf.while_loop(lambda i: i < steps, body, [tf.constant(0)], parallel_iterations=1)

    return run
