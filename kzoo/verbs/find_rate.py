"""find_learning_rate: which learning rate to begin with, by trying all of them in a hundred steps.

Smith 2017, "Cyclical learning rates for training neural networks", section 3.3, https://arxiv.org/abs/1506.01186: the
rate rises from step to step while the loss is noted. Where it falls the rate is useful, where it rises it is too high.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.engine import (
    Rising,
    batches_checked,
    compile_kept,
    inner,
    optimizer_of,
    own_seeds,
    precise,
    rate_setter,
    recipe_of,
    restore_flags,
    skip_biases_and_norms,
    trainable_flags,
    unchanged,
)
from kzoo.engine import strategy as make_strategy
from kzoo.errors import KzooError
from kzoo.files import atomic
from kzoo.keras_internals import copy_spared, global_seed_generator
from kzoo.models import networks_of
from kzoo.records import VERBS, DataOptions, FindingRate, Printed, takes
from kzoo.report import pictures
from kzoo.verbs.feed import Feed, feed_of
from kzoo.verbs.ready import Ready, ready_of

FEWEST = 10  # losses that can be read
SMOOTHING = 0.9  # of the moving average of the losses
DIVERGED = 4  # times the lowest smoothed loss
BELOW = 10  # the suggestion is the rate of the lowest loss over this


@dataclass(frozen=True)
class RateSearch(Printed):
    """What came of a search.

    Attributes:
        rates: The learning rate of each step, rising.
        losses: The loss of the batch of each step, before its update.
        stopped: Why it ended before the highest rate, "" where it did not.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...] = field(repr=False)
    stopped: str = ""

    @property
    def smoothed(self) -> tuple[float, ...]:
        """Exponential moving average of the losses, without its bias to the first values."""
        return tuple(_smoothed(self.losses))

    @property
    def lowest(self) -> float:
        """The rate with the lowest smoothed loss."""
        return self.rates[int(np.argmin(self.smoothed))]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate with the lowest smoothed loss, rounded to two digits: there the loss still falls fast,
        and the average has come late, as averages do.
        """
        return float(f"{max(self.lowest / BELOW, self.rates[0]):.1e}")

    def __str__(self) -> str:
        smoothed = self.smoothed
        shown = np.unique(np.linspace(0, len(self.rates) - 1, 12).round().astype(int))
        lines = ["learning rate    loss  smoothed"]
        lines += [f"{self.rates[k]:13.2e} {self.losses[k]:7.4g} {smoothed[k]:9.4g}" for k in shown]
        return "\n".join([*lines, self.note()])

    def note(self) -> str:
        """In one line, for a plan."""
        tried = f"{len(self.rates)} steps from {self.rates[0]:.1e} to {self.rates[-1]:.1e}"
        ended = f", where {self.stopped}" if self.stopped else ""
        return (
            f"learning rate {self.suggestion:g}: a tenth of {self.lowest:.1e}, where the smoothed loss was lowest in"
            f" {tried}{ended}"
        )

    def to_config(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"suggestion": self.suggestion, "lowest": self.lowest, **self.__dict__}

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """A picture of the losses over the rates, with the suggestion marked. Returns its path."""
        path = Path(path)
        if not path.parent.is_dir():
            raise KzooError(f"no folder {str(path.parent)!r} to write {path.name} into; make it first")
        with atomic(path) as beside:
            pictures.rates(self.rates, self.losses, self.smoothed, self.suggestion, beside)
        return path


@takes(*VERBS["find_learning_rate"])
@own_seeds()
def find_learning_rate(model: keras.Model | str, data: Any, **given: Any) -> RateSearch:
    """Try rising learning rates, one a step of training, and suggest one to train with.

    The rate rises exponentially from `low` to `high`. The search ends early where the smoothed loss exceeds four times
    its lowest value. The optimizer is a fresh one with the same settings. Afterwards the model is bit by bit what it
    was: its weights, statistics and seeds, its `compile`, its optimizer and what is frozen.

    Args:
        model, data: As `fit` takes them; the training split is used.

    Returns:
        RateSearch: `suggestion`, the curve, and `plot(path)`.

    Raises:
        KzooError: Arguments that cannot hold, a model of several networks, or a loss that is not finite from the start.
    """
    options = FindingRate.of(given)
    if not options.low < options.high:
        raise KzooError(f"low must be below high; received low={options.low:g}, high={options.high:g}")
    strategy = make_strategy(options.strategy, options.devices)
    feed = feed_of(model, data, options, strategy, DataOptions.of(given))
    return search_rate(feed, options)


def check_no_setter(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Of a rate that is looked for."""
    if setter := rate_setter(callbacks):
        raise KzooError(f"learning_rate='find' and {setter} both set the learning rate; leave one of them out")


def search_rate(feed: Feed, options: FindingRate) -> RateSearch:
    """The search on what was read; see `find_learning_rate`."""
    model, optimizer, low, high, steps = feed.model, options.optimizer, options.low, options.high, options.steps
    if networks_of(model) != [model]:
        raise KzooError(f"each network of {model.name!r} has a rate of its own; give learning_rate a number")
    if isinstance(feed.strategy, tf.distribute.ParameterServerStrategy):
        raise KzooError("a search needs steps in order, which parameter servers do not have; use another strategy")
    if isinstance(optimizer, str) and "learning_rate=" in optimizer:
        raise KzooError(f"optimizer={optimizer!r} sets the learning rate that is to be found; leave it out")
    with compile_kept(model), as_before(model):
        tried = fresh(optimizer, model, Rising(low, high, steps))
        ready = ready_of(replace(feed, options=options), loss=options.loss, optimizer=tried)
        with precise(ready.objective.networks, options.precision):
            losses, stopped = _tried(ready, feed, steps)
        ready.objective.reset()
    if len(losses) < FEWEST:
        raise KzooError(
            f"the loss is not finite after {len(losses)} steps at rates from {low:g}: look for such values in the data,"
            " or begin at a lower rate (low=)"
        )
    tried_rates = [low * (high / low) ** (k / (steps - 1)) for k in range(len(losses))]
    return RateSearch(tuple(tried_rates), tuple(losses), stopped)


def _tried(ready: Ready, feed: Feed, steps: int) -> tuple[list[float], str]:
    """The loss of each step, and why there are fewer than `steps`."""
    engine, losses, epoch = ready.engine, [], 0
    engine.begin(feed.train, epoch)
    while len(losses) < steps:
        ready.objective.reset()
        engine.push()
        taken, _ = batches_checked(lambda: engine.train(1))
        if not taken:  # fewer batches than steps
            epoch += 1
            engine.begin(feed.train, epoch)
            continue
        found = engine.results()["loss"]
        if not math.isfinite(found):
            return losses, "the loss was not finite"
        losses.append(found)
        smoothed = _smoothed(losses)
        if smoothed[-1] > DIVERGED * min(smoothed):
            return losses, f"the loss was {DIVERGED} times its lowest"
    return losses, ""


def _smoothed(losses: Sequence[float]) -> list[float]:
    mean, found = 0.0, []
    for k, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**k))
    return found


def fresh(optimizer: Any, model: keras.Model, rate: Rising | None = None) -> Any:
    """Another optimizer with the settings of the one that would train, at that rate; what is none is left to `compile`
    to refuse.
    """
    own = model.optimizer if getattr(model, "compiled", False) else None
    recipe = recipe_of(model)
    given = next((o for o in (optimizer, own, recipe and recipe.optimizer) if o is not None), None)
    if isinstance(given, str):
        given = optimizer_of(given)
        skip_biases_and_norms(given, model)
    if not isinstance(given, keras.optimizers.Optimizer):
        return given
    made = type(given).from_config(given.get_config())
    if rate is not None:
        inner(made).learning_rate = rate
    copy_spared(inner(given), inner(made))
    return made


@contextlib.contextmanager
def as_before(model: keras.Model) -> Iterator[None]:
    """The model's variables, seeds and frozen layers are afterwards what they were."""
    flags = trainable_flags(model)
    kept = [(v, tf.identity(v.value)) for v in (*model.variables, global_seed_generator().state)]
    try:
        with unchanged([model]):
            yield
    finally:
        for variable, value in kept:
            variable.assign(value)
        restore_flags(flags)
