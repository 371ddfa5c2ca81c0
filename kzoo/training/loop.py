"""The loop over epochs: compiled calls inside, callbacks and actions outside."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kzoo.data._pipeline import LABELS, Batches
from kzoo.errors import KzooError
from kzoo.training.optimizers import finalize
from kzoo.training.progress import TrainingProgress
from kzoo.training.step import Engine

SECONDS_A_CALL = 0.5  # of compiled steps between two looks at the host
HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
BY_OPTION = {  # Keras' own hooks do nothing, or only where `save_freq`, `update_freq` or `profile_batch` asks for it
    getattr(kind, hook)
    for kind in (keras.callbacks.Callback, keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore,
                 keras.callbacks.TensorBoard)
    for hook in (*HOOKS, *TEST_HOOKS)
}  # fmt: skip
Action = Callable[[int, dict[str, float]], str | None]  # a reason to stop, or None


class Trainer:
    """Trains an engine's objective. `history` is Keras': a list a metric, one value an epoch.

    Args:
        engine: Takes the steps.
        train, validation: Batches; the loop takes `epoch(n)` of them.
        callbacks: Keras callbacks.
        actions: Called with (epoch, logs) after the callbacks of each epoch; one that gives a reason ends the training.
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

    def run(self, first_epoch: int = 0) -> dict[str, list[float]]:
        started = time.perf_counter()
        self.model.stop_training = False
        logs: dict[str, float] = {}
        self.callbacks.on_train_begin()
        first_epoch = max(first_epoch, self.model._initial_epoch or 0)  # BackupAndRestore sets it
        try:
            for epoch in range(first_epoch, self.epochs):
                self.progress.epoch_begin(epoch, self.train.steps)
                self.callbacks.on_epoch_begin(epoch)
                logs = self._train_epoch(epoch)
                self.progress.trained()
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
                    self.progress.say(
                        f"the loss is {wrong[0]}: lower the learning rate, or look for such values in the data"
                    )
                self.progress.epoch_end(logs)
                reasons = [reason for action in self.actions if (reason := action(epoch, logs))]
                if self.engine.decided(self.model.stop_training):
                    self._stop(f"stopped by a callback after epoch {epoch + 1}")
                    break
                if self.engine.decided(bool(reasons)):
                    self._stop(f"stopped after epoch {epoch + 1}: {'; '.join(reasons)}")
                    break
                over = self.max_seconds is not None and time.perf_counter() - started > self.max_seconds
                if self.engine.decided(over):
                    self._stop(f"stopped after epoch {epoch + 1}: {self.max_seconds:g} s have passed")
                    break
            for phase in self.objective.phases:
                finalize(phase)
            self.callbacks.on_train_end(logs)
        finally:
            self.progress.close()
        return self.history

    def _stop(self, why: str) -> None:
        self.stopped = why
        self.progress.say(why)

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        engine, train = self.engine, self.train
        self.objective.reset()
        engine.begin(train, epoch)
        done, call, ended = 0, 1, False
        while not ended and (train.steps is None or done < train.steps):
            steps = call if train.steps is None else min(call, train.steps - done)
            if self.every_batch:
                self.callbacks.on_train_batch_begin(done)
                engine.push()
            clock = time.perf_counter()
            taken, ended = labels_checked(lambda steps=steps: engine.train(steps))
            seconds = time.perf_counter() - clock
            done += taken
            animated = self.progress.animated and engine.workers == 1  # only the first of several workers has a bar
            logs = engine.results() if self.every_batch or animated else {}
            if self.every_batch and taken:
                self.callbacks.on_train_batch_end(done - 1, logs)
                if engine.decided(self.model.stop_training):
                    break
            if not self.every_batch and done > 1:  # the very first step is traced: it tells nothing about speed
                call = max(1, min(4 * call, int(SECONDS_A_CALL * steps / max(seconds, 1e-6))))
            self.progress.advance(taken, train.counted(done) - train.counted(done - taken), logs)
        return engine.results()

    def _evaluate(self) -> dict[str, float]:
        return labels_checked(
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


def labels_checked(call: Callable[[], Any]) -> Any:
    """What `call` gives; a batch's labels out of range are a user's mistake."""
    try:
        return call()
    except tf.errors.InvalidArgumentError as error:
        found = re.search(rf"{LABELS}\]? \[(-?\d+)\]? \[?(-?\d+)", str(error))
        if found is None:
            raise
        raise KzooError(f"a batch has labels from {found[1]} to {found[2]}, beyond the model's classes") from None
