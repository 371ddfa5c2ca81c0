"""The loop over epochs: compiled calls inside, callbacks and actions outside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kzoo.engine.mistakes import batches_checked
from kzoo.engine.optimizers import finalize
from kzoo.engine.progress import TrainingProgress
from kzoo.engine.step import Engine
from kzoo.errors import KzooError
from kzoo.inputs import Batches
from kzoo.keras_internals import backup_epoch

SECONDS_A_CALL = 0.5  # of compiled steps between two looks at the host
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

    def __init__(self, act: Act, *, epochs: int | None, steps: int | None, seconds: float | None) -> None:
        self.act, self.epochs, self.steps, self.seconds = act, epochs, steps, seconds
        self._last, self._clock = 0, time.perf_counter()

    def due(self, place: Place) -> bool:
        """Whether its time has come; then the next one begins."""
        whole = place.step == 0
        due = whole and self.epochs is not None and place.epoch % self.epochs == 0
        due |= self.steps is not None and place.total - self._last >= self.steps
        due |= self.seconds is not None and time.perf_counter() - self._clock >= self.seconds
        if due:
            self._last, self._clock = place.total, time.perf_counter()
        return due

    def steps_left(self, total: int) -> int | None:
        """Batches until it is due by their number; None where it does not count them."""
        return None if self.steps is None else max(self.steps - (total - self._last), 1)

    def begin(self, total: int) -> None:
        self._last, self._clock = total, time.perf_counter()


def every(act: Act, *, epochs: int | None = None, steps: int | None = None, seconds: float | None = None) -> Action:
    """An action every so many epochs, batches or seconds; of several, whenever one of them is due.

    Between two looks at the host the device takes steps for about half a second: an action by seconds comes at the
    first look after its time, one by steps at its step exactly.
    """
    return Action(act, epochs=epochs, steps=steps, seconds=seconds)


class Trainer:
    """Trains an engine's objective. `history` is Keras': a list a metric, one value an epoch.

    Args:
        engine: Takes the steps.
        train, validation: Batches; the loop takes `epoch(n)` of them.
        callbacks: Keras callbacks.
        actions: After the callbacks of each epoch, and between batches where they are due; one that gives a reason ends
            the training.
        max_seconds: Stop after the epoch in which this has passed.

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
    ) -> None:
        self.engine, self.objective, self.model = engine, engine.objective, engine.objective.model
        self.train, self.validation = train, validation
        self.epochs, self.actions, self.progress, self.max_seconds = epochs, list(actions), progress, max_seconds
        self.history: dict[str, list[float]] = {}
        self.stopped = ""
        self._diverged = False
        self._noted = keras.callbacks.History()  # the last to hear of an epoch: with what the others added to its logs
        self.callbacks = keras.callbacks.CallbackList(
            [*callbacks, self._noted], add_history=False, add_progbar=False, model=self.model,
            verbose=0, epochs=epochs, steps=train.steps,
        )  # fmt: skip
        self.every_batch = any(_wants_batches(callback) for callback in callbacks)
        self.test_batches = any(_overrides(callback, TEST_HOOKS) for callback in callbacks)

    def run(self, first: Place | None = None, remind: Callable[[], Any] = lambda: None) -> dict[str, list[float]]:
        """Train from a place on, by default from the beginning.

        Args:
            remind: Called when the callbacks have begun: gives them back what they remembered.
        """
        started, first = time.perf_counter(), first or Place(0, 0, 0, {})
        self.model.stop_training = False
        logs: dict[str, float] = {}
        self.callbacks.on_train_begin()
        remind()
        first_epoch = max(first.epoch, backup_epoch(self.model))  # BackupAndRestore sets it
        self.engine.steps_taken.assign(first.total)
        for action in self.actions:
            action.begin(first.total)
        try:
            for epoch in range(first_epoch, self.epochs):
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
            found = self._evaluate()
            self.callbacks.on_test_end(found)
            logs |= {f"val_{name}": value for name, value in found.items()}
        self.callbacks.on_epoch_end(epoch, logs)
        count = len(self._noted.epoch)
        logs = {name: values[-1] for name, values in self._noted.history.items() if len(values) == count}
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        losses = [v for name, v in logs.items() if name == "loss" or name.endswith("_loss")]
        wrong = [value for value in losses if not math.isfinite(value)]
        if wrong and not self._diverged:
            self._diverged = True
            self.progress.say(f"the loss is {wrong[0]}: lower the learning rate, or look for such values in the data")
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
        due = [action for action in self.actions if action.due(place)]
        return [reason for action in due if (reason := action.act(place))]

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
        call, ended, first = 1, False, done
        while not ended and (train.steps is None or done < train.steps):
            steps = call if train.steps is None else min(call, train.steps - done)
            counted = [n for action in self.actions if (n := action.steps_left(engine.taken)) is not None]
            steps = min(steps, *counted) if counted else steps
            if self.every_batch:
                self.callbacks.on_train_batch_begin(done)
                engine.push()
            clock = time.perf_counter()
            taken, ended = batches_checked(lambda steps=steps: engine.train(steps))
            seconds = time.perf_counter() - clock
            done += taken
            animated = self.progress.animated and engine.workers == 1  # only the first of several workers has a bar
            logs = engine.results() if self.every_batch or animated else {}
            if self.every_batch and taken:
                self.callbacks.on_train_batch_end(done - 1, logs)
                if engine.decided(self.model.stop_training):
                    break
            if not self.every_batch and done > first + 1:  # the very first step is traced: no sign of the speed
                call = max(1, min(4 * call, int(SECONDS_A_CALL * steps / max(seconds, 1e-6))))
            self.progress.advance(taken, train.counted(done) - train.counted(done - taken), logs)
            if taken and not ended and done != train.steps and self._inside(epoch, done):
                break
        if done == first and ended:
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
        place = Place(epoch, step, self.engine.taken, {})
        if not any(action.steps is not None or action.seconds is not None for action in self.actions):
            return False
        self.engine.pull()
        reasons = self._act(place)
        if self.engine.decided(bool(reasons)):
            return self._stop(f"stopped in epoch {epoch + 1} after {step} batches: {'; '.join(reasons)}")
        return False

    def _evaluate(self) -> dict[str, float]:
        return batches_checked(
            lambda: self.engine.evaluate(self.validation, self.callbacks if self.test_batches else None)
        )


def _wants_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether the callback acts between batches; then every step returns to the host."""
    if _overrides(callback, HOOKS):
        return True
    asked = (getattr(callback, "save_freq", "epoch"), getattr(callback, "update_freq", "epoch"))
    return asked != ("epoch", "epoch") or bool(getattr(callback, "profile_batch", False))


def _overrides(callback: keras.callbacks.Callback, hooks: Sequence[str]) -> bool:
    return any(hook in vars(callback) or getattr(type(callback), hook) not in BY_OPTION for hook in hooks)
