"""The compiled step and the compiled loop over steps.

One replica: the model's own variables, updated in place. The loop runs on the device; the host learns of losses and
metrics only when a call of it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kzoo.training.objectives import Phase


def compiled(function: Callable[..., Any], xla: bool = False) -> Callable[..., Any]:
    """`function` as a graph, by XLA or not; its Python is run once a new shape.

    Every `fit` and `evaluate` compiles its own, which TensorFlow would take for retracing and warn of.
    """
    graph = tf.function(function, jit_compile=xla or None, autograph=False, reduce_retracing=True)
    graph._omit_frequent_tracing_warning = True
    return graph


def train_step(phases: list[Phase], xla: bool) -> Callable[[Any], None]:
    """batch -> nothing: every phase takes its gradient and moves its network."""

    def step(batch: Any) -> None:
        for phase in phases:
            with tf.GradientTape() as tape:
                loss = phase.loss(batch)
                scaled = phase.optimizer.scale_loss(loss)  # of a LossScaleOptimizer; otherwise the loss itself
            variables = phase.model.trainable_variables
            gradients = tape.gradient(scaled, [v.value for v in variables])
            phase.optimizer.apply(gradients, variables)

    return compiled(step, xla)


def loop(step: Callable[[Any], None]) -> Callable[[Any, tf.Tensor], None]:
    """(iterator, steps) -> nothing: that many steps in one call."""

    def run(iterator: Any, steps: tf.Tensor) -> None:
        def body(i: tf.Tensor) -> tuple[tf.Tensor]:
            step(next(iterator))
            return (i + 1,)

        tf.while_loop(lambda i: i < steps, body, [tf.constant(0)], parallel_iterations=1)

    return compiled(run)
