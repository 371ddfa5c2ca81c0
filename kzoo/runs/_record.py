"""What a run writes down: the record of every epoch, the pictures, the card."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kzoo
from kzoo.data import Data
from kzoo.data._pipeline import Batches
from kzoo.inspection import pictures
from kzoo.models._players import networks_of
from kzoo.models._registry import model_info
from kzoo.preprocess import NoiseLayer
from kzoo.runs._folder import Run, RunFolder, atomic
from kzoo.runs._load import Loaded
from kzoo.runs._noise import noise_of, to_pixels
from kzoo.runs._translate import translate
from kzoo.spec import BEAMS, LENGTH_PENALTY, preprocess_config
from kzoo.text import PairLayer, TextLayer
from kzoo.training.schedules import current_rate

SAMPLES = 64  # images in the grid of every epoch
NOT_METRICS = ("epoch", "seconds", "learning_rate", "stage")


# (metric that says which epoch is best, its sign), the first that an epoch has.
MONITORED = (("val_accuracy", 1), ("val_binary_accuracy", 1), ("val_loss", -1), ("accuracy", 1), ("loss", -1))


def monitor_of(row: Mapping[str, float]) -> tuple[str, int] | None:
    """Accuracy on validation, else loss; None of two players."""
    return next(((name, sign) for name, sign in MONITORED if name in row), None)


def epoch_rank(row: Mapping[str, float], monitor: tuple[str, int] = MONITORED[0]) -> tuple[float, float]:
    """The better an epoch, the larger: by the monitored value; among equal ones by the loss of the same split."""
    name, sign = monitor
    loss = "val_loss" if name.startswith("val_") else "loss"
    known = lambda key, way: way * row[key] if key in row and not math.isnan(row[key]) else -math.inf
    return known(name, sign), known(loss, -1)


class Recorder:
    """The action of every epoch: metrics.csv, TensorBoard, checkpoints, curves."""

    def __init__(self, folder: RunFolder, model: keras.Model, rows: list[dict[str, float]], started: float) -> None:
        self.folder, self.model, self.rows, self.started = folder, model, rows, started
        self.before = rows[-1]["seconds"] if rows else 0.0
        self.writers = {
            part: tf.summary.create_file_writer(str(folder / "tensorboard" / part)) for part in ("train", "validation")
        }

    @property
    def monitor(self) -> tuple[str, int] | None:
        return monitor_of(self.rows[-1]) if self.rows else None

    def best(self) -> dict[str, float] | None:
        """The first of the best rows."""
        if self.monitor is None:
            return None
        return max(self.rows, key=lambda row: epoch_rank(row, self.monitor))

    def stale(self) -> int:
        """Epochs since the best one."""
        best = self.best()
        return 0 if best is None else self.rows[-1]["epoch"] - best["epoch"]

    def __call__(self, epoch: int, logs: dict[str, float]) -> None:
        rate = current_rate(networks_of(self.model)[0].optimizer)
        seconds = round(self.before + time.perf_counter() - self.started, 2)
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, "learning_rate": rate, **logs})
        self.folder.write_metrics(self.rows)
        for part, writer in self.writers.items():
            with writer.as_default(step=epoch + 1):
                for name, value in logs.items():
                    if name.startswith("val_") == (part == "validation"):
                        tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value)
                if part == "train":
                    tf.summary.scalar("learning_rate", rate)
            writer.flush()
        self.folder.save_checkpoint("last", self.model, epoch + 1)
        if self.best() is self.rows[-1]:
            self.folder.save_checkpoint("best", self.model, epoch + 1)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()
        if self.rows:
            names = [k for k in self.rows[-1] if k not in NOT_METRICS]
            history = {k: [row[k] for row in self.rows if k in row] for k in names}
            with atomic(self.folder / "curves.png") as beside:
                pictures.curves(history, beside, self.folder.path.name)


def stopper(recorder: Recorder, patience: int) -> Callable[[int, Any], str | None]:
    """An action: a reason to stop where the best epoch is `patience` epochs ago. It comes after the recorder."""

    def stop(epoch: int, _: Any) -> str | None:
        if recorder.stale() < patience:
            return None
        return f"{recorder.monitor[0]} has not improved for {patience} epoch{'s' * (patience > 1)}"

    return stop


def samplers(folder: RunFolder, model: keras.Model, layer: Any) -> list[Callable[[int, Any], None]]:
    """Actions of every epoch that show what a network makes: of a generator samples/, always of the same noise."""
    if not isinstance(layer, NoiseLayer):
        return []
    noise = tf.constant(noise_of(SAMPLES, layer.spec.noise, seed=0))
    (folder / "samples").mkdir(exist_ok=True)

    def sample(epoch: int, _: Any) -> None:
        images = to_pixels(model(noise, training=False), layer.spec).numpy()
        for path in (folder / "samples" / f"epoch-{epoch + 1:03d}.png", folder / "samples.png"):
            with atomic(path) as beside:
                pictures.sample_grid(images, beside)

    return [sample]


def show_batch(folder: RunFolder, batch: Any, labels: Sequence[str], layer: Any) -> None:
    """One training batch as the network sees it: a picture of images, a text of tokens."""
    if layer is None:
        return
    x, y, *_ = batch
    if isinstance(layer, TextLayer | PairLayer):
        _write_tokens(folder, x, y, labels, layer)
        return
    if y.shape.rank == 1 or y.shape[-1] == 1:
        titles = [labels[int(k)] if labels else str(k) for k in y.numpy().reshape(-1)[:32]]
    else:
        titles = [""] * 32
    title = f"one training batch as the network sees it, {x.shape[1]}x{x.shape[2]}"
    with atomic(folder / "batch.png") as beside:
        pictures.image_grid(x.numpy()[:32], titles, beside, title)


def _write_tokens(folder: RunFolder, x: Any, y: Any, labels: Sequence[str], layer: Any) -> None:
    """batch.txt: the tokens of up to 32 examples, padding left out."""
    shown = lambda side, row: " ".join(side.spec.vocabulary[k] for k in row if k)
    lines = []
    if isinstance(layer, PairLayer):
        for source, target in zip(x["source"].numpy()[:32], y.numpy()[:32], strict=True):
            lines += [f"source: {shown(layer.source, source)}", f"target: {shown(layer.target, target)}", ""]
    else:
        for row, label in zip(x.numpy()[:32], y.numpy().reshape(-1)[:32], strict=True):
            lines += [f"{labels[int(label)] if labels else label}: {shown(layer, row)}", ""]
    with atomic(folder / "batch.txt") as beside:
        beside.write_text("one training batch as the network sees it\n\n" + "\n".join(lines), encoding="utf-8")


def _write_translations(folder: RunFolder, model: keras.Model, validation: Batches) -> None:
    """predictions.txt: what the translator says of the first validation pairs that it can read."""
    limit, pairs = validation.layer.source.spec.length, []
    for source, target, *_ in validation.split.take(16).as_numpy_iterator():
        if 0 < int(validation.layer.source.counts(tf.constant([source]))[0]) <= limit:
            pairs.append((source.decode(), target.decode()))
    if not pairs:
        return
    loaded = Loaded(model, model.name, validation.layer.spec, (), "translation", {})
    options = {"beams": BEAMS, "length_penalty": LENGTH_PENALTY, "batch_size": len(pairs)}
    found = translate(loaded, [source for source, _ in pairs], **options)
    lines = [
        f"source:    {source}\nsaid:      {one.text}\nreference: {target}\n"
        for (source, target), one in zip(pairs, found, strict=True)
    ]
    with atomic(folder / "predictions.txt") as beside:
        beside.write_text("\n".join(lines), encoding="utf-8")


def show_predictions(folder: RunFolder, model: keras.Model, validation: Batches | None, labels: Sequence[str]) -> None:
    """What the network says of some of the validation examples, the wrong ones marked."""
    if validation is not None and isinstance(validation.layer, PairLayer):
        _write_translations(folder, model, validation)
    if validation is None or validation.layer is None or not labels:
        return
    x, y, *_ = next(iter(validation.epoch(0)))
    x, y = x[:32], y.numpy().reshape(-1)[:32]
    scores = np.asarray(model(x, training=False))
    if scores.ndim != 2:
        return
    labels = [*labels, *map(str, range(len(labels), max(scores.shape[1], 2)))]
    guess = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0.5).astype(int)
    wrong = guess != y
    texts = isinstance(validation.layer, TextLayer)
    said = "{} (is {})" if texts else "{}\n(is {})"
    titles = [said.format(labels[g], labels[t]) if w else labels[g] for g, t, w in zip(guess, y, wrong, strict=True)]
    if texts:
        texts = [t.decode() for t in validation.layer.text(x).numpy()]
        with atomic(folder / "predictions.txt") as beside:
            lines = [f"{title}: {text}" for title, text in zip(titles, texts, strict=True)]
            beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    with atomic(folder / "predictions.png") as beside:
        pictures.image_grid(x.numpy(), titles, beside, "predictions on validation; wrong ones in orange", wrong)


def run_card(run: Run, recorder: Recorder) -> str:
    """card.md of a run: the plan and what came of it."""
    lines = [f"# {run.path.name}", ""]
    lines += [f"- {label}: {text}" for label, text in run.plan.lines()]
    lines += ["", "## Result", ""]
    if recorder.rows:
        last, best = recorder.rows[-1], recorder.best()
        lines.append(f"- {last['epoch']:.0f} epochs in {last['seconds']:.0f} s on {', '.join(run.plan.devices)}")
        lines += [f"- {name}: {value:.4f}" for name, value in last.items() if name not in NOT_METRICS]
        if best is not None:
            name = recorder.monitor[0]
            lines.append(f"- best epoch by {name}: {best['epoch']:.0f} ({best[name]:.4f})")
        lines += [f"- {run.stopped}"] * bool(run.stopped)
        if run.weights_of is not None:
            lines.append(f"- weights of epoch {run.weights_of} of {last['epoch']:.0f}")
    return "\n".join(lines) + "\n"


def run_config(
    model: keras.Model, data: Data, layer: Any, labels: Sequence[str], options: dict[str, Any]
) -> dict[str, Any]:
    """config.json: what it takes to build the model and read the data again."""
    info = model_info(model)
    return {
        "kzoo": kzoo.__version__,
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "model": info.to_config() if info else None,
        "task": info.task if info else data.info.task,
        "preprocess": preprocess_config(layer.spec if layer else None),
        "labels": labels,
        "data": data.info.arguments,
        "options": plain_options(options),
    }


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Without a strategy given as an object, which a file cannot hold."""
    return {k: v for k, v in options.items() if not isinstance(v, tf.distribute.Strategy)}
