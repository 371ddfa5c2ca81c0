"""What a run writes down: the record of every epoch, checkpoints, pictures, the card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kzoo.engine import Objective, Place, current_rate, metrics_of, remembered, remind, scales_of, state_of
from kzoo.errors import KzooError
from kzoo.files import atomic
from kzoo.keras_internals import global_seed_generator
from kzoo.models import networks_of
from kzoo.report import pictures
from kzoo.runs.checkpoints import put
from kzoo.runs.folder import NOT_METRICS, Run, RunFolder, history_of
from kzoo.runs.predictor import Predictor
from kzoo.tasks import Score, Task
from kzoo.weights import numpy_of

SEEDS = "seed_generator"  # of operations without a seed of their own


class Recorder:
    """The actions of a training: metrics.csv, TensorBoard, checkpoints, what the network makes.

    Args:
        rows: Of the epochs that are done.
        callbacks: Their state travels with the checkpoints.
    """

    def __init__(
        self,
        folder: RunFolder,
        task: Task,
        objective: Objective,
        callbacks: Sequence[keras.callbacks.Callback],
        reader: Any,
        rows: list[dict[str, float]],
    ) -> None:
        self.folder, self.task, self.objective, self.model = folder, task, objective, objective.model
        self.callbacks, self.reader, self.rows = callbacks, reader, rows
        self.started, self.before = time.perf_counter(), rows[-1]["seconds"] if rows else 0.0
        self.writers: dict[str, Any] = {}

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

    # --- actions --------------------------------------------------------------------------------------------------

    def epoch(self, place: Place) -> None:
        """After a whole epoch."""
        rate = current_rate(networks_of(self.model)[0].optimizer)
        seconds = round(self.before + time.perf_counter() - self.started, 2)
        self.rows.append({"epoch": place.epoch, "seconds": seconds, "learning_rate": rate, **place.logs})
        self.folder.write_rows("metrics.csv", self.rows)
        self._tensorboard(place, rate)
        name = self.checkpoint(place)
        if self.best() is self.rows[-1]:
            self.folder.checkpoints.mark_best(name)

    def between(self, place: Place) -> None:
        """Between two batches of an epoch."""
        if place.step:
            self.checkpoint(place)

    def checkpoint(self, place: Place) -> str:
        """Everything that training changes, as it is now."""
        return self.folder.checkpoints.save(place, *self.state(place))

    def state(self, place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
        """(arrays by name, what callbacks remember); between batches with what the epoch has counted so far."""
        plain, arrays = remembered(self.callbacks, self.model)
        return {**{key: numpy_of(v) for key, v in self._variables(place).items()}, **arrays}, plain

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
        return place, lambda: remind(self.callbacks, self.model, plain, arrays)

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

    def restore_weights(self, name: str) -> None:
        load_weights(self.folder, name, self.model)

    def close(self) -> None:
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


def load_weights(folder: RunFolder, name: str, model: keras.Model) -> None:
    """A checkpoint's weights, statistics and seeds into a model, whatever its optimizer."""
    _, arrays, _ = folder.checkpoints.read(name)
    put(state_of(model, optimizer=False), arrays, f"the checkpoint {str(folder.checkpoints.path / name)!r}")
