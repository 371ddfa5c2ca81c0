"""What a run writes down: the record of every epoch, checkpoints, pictures, the card."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.engine import Engine, Place, current_rate, metrics_of, remembered, remind, scales_of, state_of
from kzoo.errors import KzooError, listed
from kzoo.files import atomic, writing
from kzoo.keras_internals import global_seed_generator
from kzoo.models import networks_of
from kzoo.report import pictures
from kzoo.runs.checkpoints import name_of, put
from kzoo.runs.folder import NOT_METRICS, Run, RunFolder, history_of
from kzoo.runs.predictor import Predictor
from kzoo.tasks import Score, Task
from kzoo.weights import numpy_of

SEEDS = "seed_generator"  # of operations without a seed of their own
SHARE = "@"  # behind the name of a number that an epoch has counted: of which replica


class Later:
    """Writes in a thread of its own, one thing after the other, while the training goes on. What goes wrong there
    comes with the next thing, or with `wait`.

    Epochs can be shorter than it takes to write what they have come to. While one thing is being written, one waits;
    it gives way to the next where that one has all that it has: not where it must be written, nor the best before
    another.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None
        self._lock, self._working = threading.Lock(), False
        self._waits: tuple[Callable[[], Any], bool, bool] | None = None  # (write, must, best)

    @property
    def busy(self) -> bool:
        return self._working

    def do(self, write: Callable[[], Any], must: bool = True, best: bool = False) -> None:
        with self._lock:
            gives_way = self._waits is None or not (self._waits[1] or (self._waits[2] and not best))
            if self._working and gives_way:
                self._waits = write, must, best
                return
        self.wait()
        self._pool = self._pool or ThreadPoolExecutor(1, "kzoo-checkpoints")
        self._waits, self._working = (write, must, best), True
        self._last = self._pool.submit(self._write)

    def _write(self) -> None:
        try:
            while True:
                with self._lock:
                    if self._waits is None:
                        self._working = False
                        return
                    (write, *_), self._waits = self._waits, None
                write()
        except BaseException:
            with self._lock:
                self._waits, self._working = None, False
            raise

    def wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        pool, self._pool = self._pool, None
        try:
            self.wait()
        finally:
            if pool is not None:
                pool.shutdown()


class Recorder:
    """The actions of a training: metrics.csv, TensorBoard, checkpoints, what the network makes.

    Args:
        rows: Of the epochs that are done.
        on_nan: Whether weights that are no numbers end the training, `"stop"`, or are only not kept, `"continue"`.
        callbacks: Their state travels with the checkpoints.
    """

    def __init__(
        self,
        folder: RunFolder,
        task: Task,
        engine: Engine,
        callbacks: Sequence[keras.callbacks.Callback],
        reader: Any,
        rows: list[dict[str, float]],
        on_nan: str = "stop",
    ) -> None:
        self.on_nan = on_nan
        self.folder, self.task, self.engine = folder, task, engine
        self.objective, self.model = engine.objective, engine.objective.model
        self.later = Later()
        self.callbacks, self.reader, self.rows = callbacks, reader, rows
        self.started, self.before = time.perf_counter(), rows[-1]["seconds"] if rows else 0.0
        self.writers: dict[str, Any] = {}
        self.told = 0  # rows that metrics.csv has

    # --- the best epoch -------------------------------------------------------------------------------------------

    @property
    def score(self) -> Score:
        return self.task.score or Score(epochs=())

    @property
    def monitor(self) -> tuple[str, bool] | None:
        """(metric, whether more is better) that ranks the epochs; None where nothing does."""
        return self.score.of(self.rows[-1]) if self.rows else None

    def best(self) -> dict[str, float] | None:
        return self.score.best(self.rows)

    def stale(self) -> int:
        """Epochs since the best one."""
        best = self.best()
        return 0 if best is None else self.rows[-1]["epoch"] - best["epoch"]

    def stopper(self, patience: int) -> Any:
        """An action: a reason to stop where the best epoch is `patience` epochs ago. It comes after `epoch`."""

        def stop(place: Place) -> str | None:
            if self.stale() < patience:
                return None
            return f"{self.monitor[0]} has not improved for {patience} epoch{'s' * (patience > 1)}"

        return stop

    def ended(self, place: Place, patience: int | None) -> str:
        """Why the training ended at that place, in the words of the loop; "" where nothing ended it."""
        if self.folder.checkpoints.stopping(name_of(place)):
            return f"stopped by a callback after epoch {place.epoch}"
        reason = self.stopper(patience)(place) if patience and self.rows else None
        return f"stopped after epoch {place.epoch}: {reason}" if reason else ""

    # --- actions --------------------------------------------------------------------------------------------------

    def epoch(self, place: Place) -> None:
        """After a whole epoch."""
        rate = current_rate(networks_of(self.model)[0].optimizer)
        seconds = round(self.before + time.perf_counter() - self.started, 2)
        self.rows.append({"epoch": place.epoch, "seconds": seconds, "learning_rate": rate, **place.logs})
        with writing(self.folder / "tensorboard"):
            self._tensorboard(place, rate)
        self.checkpoint(place, best=self.best() is self.rows[-1], must=False)

    def between(self, place: Place) -> None:
        """Between two batches of an epoch."""
        if place.step:
            self.checkpoint(place)

    def if_idle(self, place: Place) -> None:
        """The same, left out while the one before it is still being written."""
        if not self.later.busy:
            self.between(place)

    def checkpoint(self, place: Place, best: bool = False, must: bool = True) -> None:
        """Everything that training changes, as it is now: copied here, written while the training goes on.

        Args:
            must: Whether it is written also where the next one comes before its turn.

        Raises:
            KzooError: A weight is no number any more; nothing is written over what was good.
        """
        folder, rows, (tensors, plain) = self.folder, list(self.rows), self.state(place)
        stopping = bool(getattr(self.model, "stop_training", False)) and not place.step
        whole = not (lost := self._lost(tensors)) or not place.total
        if not whole and self.on_nan == "stop":
            raise KzooError(
                f"{listed(lost, 1)} of the weights have values that are no numbers after {described(place)}: lower the"
                " learning rate; on_nan='continue' trains on"
            )

        if not whole:
            self.later.wait()  # what is good is written before: this one has none of it to give way to

        def write() -> None:
            if len(rows) != self.told:  # not of an epoch that gave way to this place
                folder.write_rows("metrics.csv", rows)
                self.told = len(rows)
            if whole:
                folder.checkpoints.save(place, tensors, plain, best, stopping)

        self.later.do(write, must, best)

    def _lost(self, tensors: Mapping[str, np.ndarray]) -> list[str]:
        """Weights that learn and have values that are no numbers."""
        learning = {id(v) for v in self.model.trainable_variables}
        keys = [key for key, v in state_of(self.model, optimizer=False).items() if id(v) in learning]
        return [key for key in keys if not np.isfinite(tensors[key]).all()]

    def state(self, place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
        """(arrays by name, what callbacks remember); between batches with what the epoch has counted so far, of each
        replica.
        """
        plain, arrays = remembered(self.callbacks, self.model)
        tensors = {key: np.array(numpy_of(v), order="C") for key, v in self._variables(place).items()}
        for key, variable in metrics_of(self.objective.metrics).items() if place.step else ():
            shares = self.engine.shares(variable) if self.engine.workers == 1 else []
            tensors |= {f"{key}{SHARE}{k}": np.array(v) for k, v in enumerate(shares) if len(shares) > 1}
        return {**tensors, **arrays}, plain

    def _variables(self, place: Place) -> dict[str, Any]:
        own = {**state_of(self.model), **scales_of(self.objective.phases), SEEDS: global_seed_generator().state}
        return own | metrics_of(self.objective.metrics) if place.step else own

    def show(self, place: Place) -> None:
        """What the network makes after an epoch: the last one's, and each in a folder of its own."""
        shown = self.task.show_epoch(Predictor.of(self.model, reader=self.reader), place.epoch)
        self.folder.show(shown)
        for item in shown:
            name = Path(item.name)
            (self.folder / name.stem).mkdir(exist_ok=True)
            with atomic(self.folder / name.stem / f"epoch-{place.epoch:03d}{name.suffix}") as beside:
                item.write(beside)

    # --- going on, and the end ------------------------------------------------------------------------------------

    def restore(self, name: str) -> tuple[Place, Any]:
        """(place of a checkpoint, what gives callbacks their memory back); variables have the checkpoint's values."""
        place, arrays, plain = self.folder.checkpoints.read(name)
        variables, scales = self._variables(place), scales_of(self.objective.phases)
        self._check_optimizer(name, variables, arrays)
        variables = {k: v for k, v in variables.items() if k in arrays or k not in scales}  # it may begin to scale now
        put(variables, arrays, f"the checkpoint {str(self.folder.checkpoints.path / name)!r}")
        self._share_out(place, arrays)
        return place, lambda: remind(self.callbacks, self.model, plain, arrays)

    def _share_out(self, place: Place, arrays: Mapping[str, np.ndarray]) -> None:
        """What each replica had counted, where there are as many of them now; otherwise the first one has the sum."""
        found = []
        for key, variable in metrics_of(self.objective.metrics).items() if place.step else ():
            shares = [arrays[f"{key}{SHARE}{k}"] for k in range(len(arrays)) if f"{key}{SHARE}{k}" in arrays]
            if shares and self.engine.workers == 1 and len(shares) == len(self.engine.shares(variable)):
                found.append((variable, shares))
        self.engine.share_out(found)

    def _check_optimizer(self, name: str, variables: Any, arrays: Any) -> None:
        """What an optimizer has noted of the weights is of no use to another, nor to one of other weights."""
        changing = ("/learning_rate", "/dynamic_scale", "/step_counter")  # by a schedule, or the precision
        mine, before = (
            {key for key in keys if key.startswith("optimizer") and not key.endswith(changing)}
            for keys in (variables, arrays)
        )
        if odd := sorted(mine ^ before):
            raise KzooError(
                f"the checkpoint {name} was written with another optimizer, or other layers that learn: {odd[0]!r}"
                f" {'lacks' if odd[0] in mine else 'has no place'}; resume it as it was begun, or start a new run from"
                " its weights: kzoo.fit(kzoo.load_model(…), …)"
            )

    def taken_up(self, place: Place) -> None:
        """The rows of the epochs that the checkpoint of that place has; the best of them is marked again, which a kill
        may have kept from it.

        Raises:
            KzooError: metrics.csv does not have them.
        """
        self.rows[:] = self.rows[: place.epoch]
        if [row["epoch"] for row in self.rows] != list(range(1, place.epoch + 1)):
            raise KzooError(
                f"{str(self.folder / 'metrics.csv')!r} does not have the {place.epoch} epochs of the checkpoint; put"
                f" the file back, or start a new run with --config {self.folder.path}"
            )
        self.before = self.rows[-1]["seconds"] if self.rows else 0.0
        best = self.best()
        named = name_of(Place(best["epoch"], 0, 0, {})) if best is not None else None
        self.folder.checkpoints.taken_up(name_of(place), named)

    def restore_weights(self, name: str) -> None:
        load_weights(self.folder, name, self.model)

    def close(self) -> None:
        """What is still being written is there."""
        self.later.close()

    def draw(self) -> None:
        """The curves."""
        for writer in self.writers.values():
            writer.close()
        if self.rows:
            with atomic(self.folder / "curves.png") as beside:
                best = self.best() if len(self.rows) > 1 else None
                number = int(best["epoch"]) if best is not None else None
                pictures.curves(history_of(self.rows), beside, self.folder.path.name, best=number)

    def card(self, run: Run) -> str:
        """card.md: the plan and what came of it."""
        lines = [f"# {run.path.name}", "", *(f"- {label}: {text}" for label, text in run.plan.lines())]
        lines += ["", "## Result", ""]
        if self.rows:
            last, best = self.rows[-1], self.best()
            lines.append(f"- {last['epoch']:.0f} epochs in {last['seconds']:.0f} s on {', '.join(run.plan.devices)}")
            lines += [f"- {name}: {value:.4f}" for name, value in last.items() if name not in NOT_METRICS]
            if best is not None:
                name = self.monitor[0]
                lines.append(f"- best epoch by {name}: {best['epoch']:.0f} ({best[name]:.4f})")
            lines += [f"- {run.stopped}"] * bool(run.stopped)
            if run.weights_of is not None:
                lines.append(f"- weights of epoch {run.weights_of} of {last['epoch']:.0f}")
        return "\n".join(lines) + "\n"

    def _tensorboard(self, place: Place, rate: float) -> None:
        for part in ("train", "validation"):
            if part not in self.writers:
                self.writers[part] = tf.summary.create_file_writer(str(self.folder / "tensorboard" / part))
            with self.writers[part].as_default(step=place.epoch):
                for name, value in place.logs.items():
                    if name.startswith("val_") == (part == "validation"):
                        tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value)
                if part == "train":
                    tf.summary.scalar("learning_rate", rate)
            self.writers[part].flush()


def described(place: Place) -> str:
    """How far a training is."""
    text = f"{place.epoch} whole epoch{'s' * (place.epoch != 1)}"
    return text + (f" and {place.step} batch{'es' * (place.step > 1)}" if place.step else "")


def load_weights(folder: RunFolder, name: str, model: keras.Model) -> None:
    """A checkpoint's weights, statistics and seeds into a model, whatever its optimizer."""
    _, arrays, _ = folder.checkpoints.read(name)
    put(state_of(model, optimizer=False), arrays, f"the checkpoint {str(folder.checkpoints.path / name)!r}")
