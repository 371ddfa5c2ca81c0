"""The loop over epochs: compiled calls inside, callbacks and actions outside."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kzoo.data._pipeline import LABELS, Batches
from kzoo.errors import KzooError
from kzoo.training.objectives import Supervised
from kzoo.training.progress import TrainingProgress
from kzoo.training.step import compiled, loop, train_step

SECONDS_A_CALL = 0.5  # of compiled steps between two looks at the host
Action = Callable[[int, dict[str, float]], None]


class Trainer:
    """Trains an objective. `history` is Keras': a list a metric, one value an epoch.

    Args:
        objective: What is learned.
        train, validation: Batches; the loop takes `epoch(n)` of them.
        callbacks: Keras callbacks.
        actions: Called with (epoch, logs) after the callbacks of each epoch.
        max_seconds: Stop after the epoch in which this has passed.
    """

    def __init__(
        self,
        objective: Supervised,
        train: Batches,
        validation: Batches | None,
        *,
        xla: bool,
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback],
        actions: Sequence[Action],
        progress: TrainingProgress,
        max_seconds: float | None = None,
    ) -> None:
        self.objective, self.model = objective, objective.model
        self.train, self.validation = train, validation
        self.epochs, self.actions, self.progress, self.max_seconds = epochs, list(actions), progress, max_seconds
        self.history: dict[str, list[float]] = {}
        self._run_train = loop(train_step(list(objective.phases), xla))
        self._run_test = loop(compiled(objective.test, xla))
        self.callbacks = keras.callbacks.CallbackList(
            list(callbacks), add_history=False, add_progbar=False, model=self.model,
            verbose=0, epochs=epochs, steps=train.steps,
        )  # fmt: skip
        hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
        self.every_batch = any(
            getattr(type(c), hook) is not getattr(keras.callbacks.Callback, hook) for c in callbacks for hook in hooks
        )

    def run(self, first_epoch: int = 0) -> dict[str, list[float]]:
        started = time.perf_counter()
        self.model.stop_training = False
        logs: dict[str, float] = {}
        self.callbacks.on_train_begin()
        try:
            for epoch in range(first_epoch, self.epochs):
                self.progress.epoch_begin(epoch, self.train.steps)
                self.callbacks.on_epoch_begin(epoch)
                logs = self._train_epoch(epoch)
                self.progress.trained()
                if self.validation is not None:
                    self.callbacks.on_test_begin()
                    found = evaluate(self.objective, self._run_test, self.validation)
                    self.callbacks.on_test_end(found)
                    logs |= {f"val_{name}": value for name, value in found.items()}
                self.callbacks.on_epoch_end(epoch, logs)
                for name, value in logs.items():
                    self.history.setdefault(name, []).append(float(value))
                self.progress.epoch_end(logs)
                for action in self.actions:
                    action(epoch, logs)
                if self.model.stop_training:
                    self.progress.say(f"stopped by a callback after epoch {epoch + 1}")
                    break
                if self.max_seconds is not None and time.perf_counter() - started > self.max_seconds:
                    self.progress.say(f"stopped after epoch {epoch + 1}: {self.max_seconds:g} s have passed")
                    break
            self.callbacks.on_train_end(logs)
        finally:
            self.progress.close()
        return self.history

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        objective, train = self.objective, self.train
        objective.reset()
        iterator = iter(train.epoch(epoch))
        done, call = 0, 1
        while train.steps is None or done < train.steps:
            steps = call if train.steps is None else min(call, train.steps - done)
            if self.every_batch:
                self.callbacks.on_train_batch_begin(done)
            before, clock = _steps_taken(self.model), time.perf_counter()
            ended = _run(self._run_train, iterator, steps)
            taken = _steps_taken(self.model) - before if ended else steps
            seconds = time.perf_counter() - clock
            done += taken
            logs = objective.results()
            if self.every_batch and taken:
                self.callbacks.on_train_batch_end(done - 1, logs)
            if not self.every_batch and done > 1:  # the very first step is traced: it tells nothing about speed
                call = max(1, min(4 * call, int(SECONDS_A_CALL * steps / max(seconds, 1e-6))))
            self.progress.advance(taken, _examples(train, done, taken), logs)
            if ended:
                break
            if self.every_batch and self.model.stop_training:
                break
        return objective.results()


def evaluate(objective: Supervised, run_test: Callable[..., None], data: Batches) -> dict[str, float]:
    """Loss and metrics over a split."""
    objective.reset()
    iterator, done = iter(data.epoch(0)), 0
    while data.steps is None or done < data.steps:
        steps = 64 if data.steps is None else data.steps - done
        if _run(run_test, iterator, steps):
            break
        done += steps
    return objective.results()


def _run(compiled: Callable[..., None], iterator: Any, steps: int) -> bool:
    """Run that many steps; True if the data ended before."""
    try:
        compiled(iterator, tf.constant(steps))
    except tf.errors.OutOfRangeError:
        return True
    except tf.errors.InvalidArgumentError as error:
        found = re.search(rf"{LABELS}\]? \[(-?\d+)\]? \[?(-?\d+)", str(error))
        if found is None:
            raise
        raise KzooError(f"a batch has labels from {found[1]} to {found[2]}, beyond the model's classes") from None
    return False


def _steps_taken(model: keras.Model) -> int:
    return int(model.optimizer.iterations.numpy())


def _examples(data: Batches, done: int, taken: int) -> int:
    if data.batch_size is None:
        return 0
    after = data.batch_size * done
    return min(after, data.examples or after) - data.batch_size * (done - taken)
