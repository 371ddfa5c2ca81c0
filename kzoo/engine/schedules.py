"""Learning rates over a run, by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.keras_internals import batches_seen, rate_of
from kzoo.models import registering

register = registering("schedules")

SCHEDULES = ("constant", "cosine", "inverse-sqrt")
SETTERS = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


@register
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The rate `steps` batches long from batch `start` on: constant, half a cosine to zero, or falling as 1 / sqrt.

    `inverse-sqrt` is the schedule of Vaswani et al. 2017, equation 3, whose d_model^-0.5 min(n^-0.5, n warmup^-1.5) has
    its peak, here `rate`, (d_model warmup)^-0.5 at the end of the warm-up.

    Over the first `warmup` batches it rises to `rate` in equal steps, from rate / warmup (Goyal et al. 2017, section
    2.2). Unlike Keras' CosineDecay it knows where it began: a second `fit` on the same optimizer begins a new one.
    """

    def __init__(self, kind: str, rate: float, steps: int, start: int = 0, warmup: int = 0) -> None:
        self.kind, self.rate, self.steps, self.start, self.warmup = kind, rate, steps, start, warmup

    def __call__(self, step: Any) -> Any:
        done = keras.ops.cast(step, "float32") - self.start
        rate = self.rate + 0 * done
        if self.kind == "cosine":
            part = (done - self.warmup) / max(self.steps - self.warmup, 1)
            rate = rate * 0.5 * (1 + keras.ops.cos(math.pi * keras.ops.clip(part, 0, 1)))
        if self.kind == "inverse-sqrt":
            after = max(self.warmup, 1)
            rate = rate * keras.ops.sqrt(after / keras.ops.maximum(done + 1, after))
        return rate * keras.ops.minimum((done + 1) / self.warmup, 1) if self.warmup else rate

    def get_config(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("kind", "rate", "steps", "start", "warmup")}


class Rising(keras.optimizers.schedules.LearningRateSchedule):
    """From `low` at the first step to `high` at step number `steps`, each a constant factor above the one before."""

    def __init__(self, low: float, high: float, steps: int) -> None:
        self.low, self.high, self.steps = low, high, steps

    def __call__(self, step: Any) -> Any:
        part = keras.ops.cast(step, "float32") / (self.steps - 1)
        return self.low * keras.ops.exp(part * math.log(self.high / self.low))

    def get_config(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("low", "high", "steps")}


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer itself, without a loss scale around it."""
    return inner(optimizer.inner_optimizer) if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer


def follows_schedule(optimizer: keras.optimizers.Optimizer) -> bool:
    return isinstance(rate_of(inner(optimizer)), keras.optimizers.schedules.LearningRateSchedule)


def current_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate of the next step; of variables with a copy on each replica too."""
    return float(tf.convert_to_tensor(optimizer.learning_rate))


def set_schedule(
    optimizer: keras.optimizers.Optimizer, name: str, rate: float, steps: int | None, *, warmup: int, resumed: bool
) -> None:
    """Give `optimizer` the rate over the next `steps` batches, or, `resumed`, over those since its schedule began."""
    optimizer = inner(optimizer)
    if name == "constant" and not warmup and not follows_schedule(optimizer):
        optimizer.learning_rate = rate
        return
    if steps is None and name == "cosine":
        raise KzooError("schedule='cosine' must know the number of steps; this data does not say how long it is")
    before = rate_of(optimizer)
    if resumed:
        start = before.start if isinstance(before, Schedule) else 0
    else:
        start = batches_seen(optimizer)
    optimizer.learning_rate = Schedule(name, rate, steps or 1, start, warmup)


def rate_setter(callbacks: Sequence[keras.callbacks.Callback]) -> str | None:
    """The name of a Keras callback among these that sets the learning rate, which excludes a schedule."""
    return next((type(c).__name__ for c in callbacks if isinstance(c, SETTERS)), None)
