"""The loop over epochs: compiled calls inside, callbacks and actions outside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kzoo.engine.mistakes import batches_checked
from kzoo.engine.optimizers import finalize
from kzoo.engine.progress import TrainingProgress
from kzoo.engine.step import Engine, next_call
from kzoo.errors import KzooError
from kzoo.inputs import Batches
from kzoo.keras_internals import backup_epoch
from kzoo.signals import Asked, held

HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
BY_OPTION = {  # Keras' own hooks do nothing, or only where `save_freq`, `update_freq` or `profile_batch` asks for it
    getattr(kind, hook)
    for kind in (keras.callbacks.Callback, keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore,
                 keras.callbacks.TensorBoard)
    for hook in (*HOOKS, *TEST_HOOKS)
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a training is.

    Attributes:
        epoch: Whole epochs that are done.
        step: Batches of the next one that are done; 0 between epochs.
        total: Batches of the whole run.
        logs: What the epoch has come to; of a whole one with validation.
    """

    epoch: int
    step: int
    total: int
    logs: dict[str, float]


Act = Callable[[Place], str | None]  # a reason to stop, or None


class Action:
    """What is done now and then while a network trains. Made by `every`."""

    def __init__(
        self, act: Act, *, epochs: int | None, steps: int | None, seconds: float | None, signals: bool
    ) -> None:
        self.act, self.epochs, self.steps, self.seconds, self.signals = act, epochs, steps, seconds, signals
        self._last, self._clock = 0, 0.0

    @property
    def inside(self) -> bool:
        """Whether it may come between two batches."""
        return self.steps is not None or self.seconds is not None or self.signals

    def due(self, place: Place, clock: float, asked: bool = False) -> bool:
        """Whether its time has come, or a signal asks for it; then the next one begins."""
        whole = place.step == 0
        due = whole and self.epochs is not None and place.epoch % self.epochs == 0
        due |= self.steps is not None and place.total // self.steps > self._last // self.steps
        due |= self.seconds is not None and clock - self._clock >= self.seconds
        due |= self.signals and asked
        if due:
            self._last, self._clock = place.total, clock
        return due

    def steps_left(self, total: int) -> int | None:
        """Batches until it is due by their number; None where it does not count them."""
        return None if self.steps is None else self.steps - total % self.steps

    def begin(self, total: int, clock: float) -> None:
        self._last, self._clock = total, clock


def every(
    act: Act, *, epochs: int | None = None, steps: int | None = None, seconds: float | None = None,
    signals: bool = False,
) -> Action:  # fmt: skip
    """An action every so many epochs, batches or seconds; of several, whenever one of them is due.

    Between two looks at the host the device takes steps for about half a second: an action by seconds comes at the
    first look after its time, one by steps at its step exactly: at multiples of them, counted from the run's first, so
    that a run that was interrupted acts where the uninterrupted one does.

    Args:
        signals: Also where a signal asks for a checkpoint, or ends the training.
    """
    return Action(act, epochs=epochs, steps=steps, seconds=seconds, signals=signals)


class Trainer:
    """Trains an engine's objective. `history` is Keras': a list a metric, one value an epoch.

    Args:
        engine: Takes the steps.
        train, validation: Batches; the loop takes `epoch(n)` of them.
        callbacks: Keras callbacks.
        actions: After the callbacks of each epoch, and between batches where they are due; one that gives a reason ends
            the training.
        max_seconds: Stop after the epoch in which this has passed.
        on_nan: Whether a loss that is no number any more is an error, `"stop"`, or is said once, `"continue"`.

    Attributes:
        stopped: When and why the training ended before its last epoch, "" where it did not.
    """

    def __init__(
        self,
        engine: Engine,
        train: Batches,
        validation: Batches | None,
        *,
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback],
        actions: Sequence[Action],
        progress: TrainingProgress,
        max_seconds: float | None = None,
        on_nan: str = "stop",
    ) -> None:
        self.engine, self.objective, self.model = engine, engine.objective, engine.objective.model
        self.train, self.validation = train, validation
        self.epochs, self.actions, self.progress, self.max_seconds = epochs, list(actions), progress, max_seconds
        self.history: dict[str, list[float]] = {}
        self.stopped, self.on_nan, self.diverged = "", on_nan, False
        self._asked, self._done = Asked(), 0  # what signals ask for; batches of the epoch that are done
        self._call, self._traced = 1, False  # steps of the next look at the host; whether the first step is behind
        self._noted = keras.callbacks.History()  # the last to hear of an epoch: with what the others added to its logs
        self.callbacks = keras.callbacks.CallbackList(
            [*callbacks, self._noted], add_history=False, add_progbar=False, model=self.model,
            verbose=0, epochs=epochs, steps=train.steps,
        )  # fmt: skip
        self.every_batch = any(_wants_batches(callback) for callback in callbacks)
        self.test_batches = any(_overrides(callback, TEST_HOOKS) for callback in callbacks)

    def run(self, first: Place | None = None, remind: Callable[[], Any] = lambda: None) -> dict[str, list[float]]:
        """Train from a place on, by default from the beginning; where `stopped` says that it is over, only end it.

        Args:
            remind: Called when the callbacks have begun: gives them back what they remembered.

        Raises:
            KzooError: A loss is no number any more.
            KeyboardInterrupt, SystemExit: A signal came; a checkpoint of the step where it came has been written.
        """
        with held() as self._asked:
            return self._run(first, remind)

    def _run(self, first: Place | None, remind: Callable[[], Any]) -> dict[str, list[float]]:
        started, first = time.perf_counter(), first or Place(0, 0, 0, {})
        self.model.stop_training = False
        logs: dict[str, float] = {}
        self.callbacks.on_train_begin()
        remind()
        first_epoch = max(first.epoch, backup_epoch(self.model))  # BackupAndRestore sets it
        self.engine.steps_taken.assign(first.total)
        for action in self.actions:
            action.begin(first.total, self.engine.agreed(time.perf_counter())[0])
        try:
            for epoch in range(first_epoch, 0 if self.stopped else self.epochs):
                self.progress.epoch_begin(epoch, self.train.steps)
                self.callbacks.on_epoch_begin(epoch)
                logs = self._train_epoch(epoch, first.step if epoch == first.epoch else 0)
                if self.stopped:
                    break
                self.progress.trained()
                logs = self._ended(epoch, logs)
                if self._stops(Place(epoch + 1, 0, self.engine.taken, logs), started):
                    break
            for phase in self.objective.phases:
                finalize(phase)
            self.callbacks.on_train_end(logs)
        finally:
            self.progress.close()
        return self.history

    def _ended(self, epoch: int, logs: dict[str, float]) -> dict[str, float]:
        """Validate, and let everybody hear of the epoch; its logs with what callbacks have added."""
        if self.validation is not None:
            self.callbacks.on_test_begin()
            found = self._evaluate(epoch)
            self.callbacks.on_test_end(found)
            logs |= {f"val_{name}": value for name, value in found.items()}
        self.callbacks.on_epoch_end(epoch, logs)
        count = len(self._noted.epoch)
        logs = {name: values[-1] for name, values in self._noted.history.items() if len(values) == count}
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        losses = [(name, v) for name, v in logs.items() if name == "loss" or name.endswith("_loss")]
        self._check_numbers([(name, v) for name, v in losses if not math.isfinite(v)], f"after epoch {epoch + 1}")
        self.progress.epoch_end(logs)
        return logs

    def _stops(self, place: Place, started: float) -> bool:
        """Act after a whole epoch; whether the training is to end here, by the first worker's decision."""
        reasons = self._act(place)
        if self.engine.decided(self.model.stop_training):
            return self._stop(f"stopped by a callback after epoch {place.epoch}")
        if self.engine.decided(bool(reasons)):
            return self._stop(f"stopped after epoch {place.epoch}: {'; '.join(reasons)}")
        over = self.max_seconds is not None and time.perf_counter() - started > self.max_seconds
        if self.engine.decided(over):
            return self._stop(f"stopped after epoch {place.epoch}: {self.max_seconds:g} s have passed")
        return False

    def _act(self, place: Place) -> list[str]:
        """What is due, in order, and the reasons to stop; then the end where a signal wants it."""
        clock, number, checkpoint = self.engine.agreed(
            time.perf_counter(), self._asked.number, float(self._asked.checkpoint)
        )
        asked, self._asked.checkpoint = bool(number or checkpoint), False
        due = [action for action in self.actions if action.due(place, clock, asked)]
        if due and place.step:
            self.engine.pull()
        reasons = [reason for action in due if (reason := action.act(place))]
        if number:
            self._asked.number = int(number)  # of several workers, whichever heard of it
            self.progress.close()
            self._asked.stop()
        return reasons

    def _check_numbers(self, wrong: list[tuple[str, float]], where: str) -> None:
        """
        Raises:
            KzooError: A loss is no number, which training does not mend.
        """
        if not wrong or self.diverged:
            return
        name, value = wrong[0]
        remedy = "lower the learning rate, or look for such values in the data"
        if self.on_nan == "stop":
            raise KzooError(f"{name} is {value:g} {where}: {remedy}; on_nan='continue' trains on")
        self.diverged = True
        self.progress.say(f"{name} is {value:g} {where}: {remedy}")

    def _stop(self, why: str) -> bool:
        self.stopped = why
        self.progress.say(why)
        return True

    def _train_epoch(self, epoch: int, done: int) -> dict[str, float]:
        """From its batch of number `done` on, of which what was counted so far is there already."""
        engine, train = self.engine, self.train
        if not done:
            self.objective.reset()
        engine.begin(train, epoch, done)
        ended = False
        while not ended and (train.steps is None or done < train.steps):
            steps = self._call if train.steps is None else min(self._call, train.steps - done)
            counted = [n for action in self.actions if (n := action.steps_left(engine.taken)) is not None]
            steps = min(steps, *counted) if counted else steps
            if self.every_batch:
                self.callbacks.on_train_batch_begin(done)
                engine.push()
            clock = time.perf_counter()
            taken, ended = batches_checked(lambda steps=steps: engine.train(steps))
            wrong = self._wrong()
            seconds, lost = self.engine.agreed(time.perf_counter() - clock, float(bool(wrong)))
            done += taken
            if lost:
                window = f"in step {done}" if taken < 2 else f"in steps {done - taken + 1} to {done}"
                self._check_numbers(
                    wrong or [("the loss of another worker", math.nan)], f"{window} of epoch {epoch + 1}"
                )
            animated = self.progress.animated and engine.workers == 1  # only the first of several workers has a bar
            logs = engine.results() if self.every_batch or animated else {}
            if self.every_batch and taken:
                self.callbacks.on_train_batch_end(done - 1, logs)
                if engine.decided(self.model.stop_training):
                    break
            if not self.every_batch and self._traced:  # the very first step is no sign of the speed
                self._call = next_call(self._call, steps, seconds)
            self._traced = True
            self.progress.advance(taken, train.counted(done, epoch) - train.counted(done - taken, epoch), logs)
            if taken and not ended and done != train.steps and self._inside(epoch, done):
                break
        self._done = done
        if done == 0 and ended:
            raise KzooError(
                f"the data gave no batch in epoch {epoch + 1}; a generator can be read once: let it never end, and say"
                " how long an epoch is with limit_train_batches, or give a tf.data.Dataset"
            )
        if ended and train.steps is not None and done < train.steps:
            self.progress.say(f"the data ended after {done} of {train.steps} batches of epoch {epoch + 1}")
        if self.every_batch:
            engine.push()  # what was set after the last batch
        return engine.results()

    def _inside(self, epoch: int, step: int) -> bool:
        """Act between batches; whether the training is to end here."""
        if not any(action.inside for action in self.actions):
            return False
        reasons = self._act(Place(epoch, step, self.engine.taken, {}))
        if self.engine.decided(bool(reasons)):
            return self._stop(f"stopped in epoch {epoch + 1} after {step} batches: {'; '.join(reasons)}")
        return False

    def _wrong(self) -> list[tuple[str, float]]:
        """Losses that are no numbers, but for those of steps that loss scaling has left out: there the weights are."""
        wrong = self.engine.wrong()
        scaled = [
            p.model for p in self.objective.phases if isinstance(p.optimizer, keras.optimizers.LossScaleOptimizer)
        ]
        if wrong and scaled:
            weights = [v for network in scaled for v in network.trainable_variables]
            if all(np.isfinite(self.engine.shares(v)[0]).all() for v in weights):
                return []
        return wrong

    def _evaluate(self, epoch: int) -> dict[str, float]:
        """Of the validation split. A signal that comes meanwhile finds the training as it was before."""
        counted = [(v, self.engine.shares(v)) for metric in self.objective.metrics for v in metric.variables]
        place = Place(epoch, self._done, self.engine.taken, {})

        def between() -> None:
            if self.engine.agreed(0.0, self._asked.number)[1]:
                self.objective.reset()
                self.engine.share_out(counted)
                self.engine.push()
                self._act(place)

        return batches_checked(
            lambda: self.engine.evaluate(self.validation, self.callbacks if self.test_batches else None, between)
        )


def _wants_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether the callback acts between batches; then every step returns to the host."""
    if _overrides(callback, HOOKS):
        return True
    asked = (getattr(callback, "save_freq", "epoch"), getattr(callback, "update_freq", "epoch"))
    return asked != ("epoch", "epoch") or bool(getattr(callback, "profile_batch", False))


def _overrides(callback: keras.callbacks.Callback, hooks: Sequence[str]) -> bool:
    return any(hook in vars(callback) or getattr(type(callback), hook) not in BY_OPTION for hook in hooks)
