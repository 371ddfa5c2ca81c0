"""Learning rates over a run, by name."""

from __future__ import annotations

import keras

from kzoo.errors import KzooError, unknown

SCHEDULES = ("constant", "cosine")


def set_schedule(optimizer: keras.optimizers.Optimizer, name: str, rate: float, steps: int | None) -> None:
    """Give `optimizer` the rate: as it is, or falling along half a cosine to zero over `steps`."""
    if name == "constant":
        optimizer.learning_rate = rate
    elif steps is None:
        raise KzooError("schedule='cosine' must know the number of steps; this data does not say how long it is")
    else:
        optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(rate, steps)


def check_schedule(name: str | None) -> None:
    if name is not None and name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
