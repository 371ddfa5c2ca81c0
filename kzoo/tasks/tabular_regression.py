"""Rows of numbers to a number each. Networks learn it scaled; errors and answers are in its own unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.errors import KzooError
from kzoo.inputs import reader_of
from kzoo.models import attach_info, input_shape_of, model_info
from kzoo.records import ModelSpec
from kzoo.report import Picture, Shown, pictures
from kzoo.tasks.tabular_classification import random_rows, width_of
from kzoo.tasks.task import Evaluated, Reading, Result, Score, Signature, Task, of_served


@dataclass(frozen=True)
class Estimate(Result):
    """The number that is expected of one row."""

    input: str
    value: float
    measured: str = ""

    def rows(self) -> list[dict[str, str | float]]:
        return [{"row": self.input, self.measured or "value": self.value}]

    def __str__(self) -> str:
        return f"{self.input}: {self.value:.6g}"


@dataclass(frozen=True)
class RegressionEvaluation(Evaluated):
    """How far from the numbers of a split the estimates are, in their unit.

    Attributes:
        mse, mae: Mean of the squared, and of the absolute error.
        baseline_mse, baseline_mae: Of always saying the mean of what was trained on.
        r2: Share of the numbers' variance that is explained; 0 says no more than their mean, below is worse.
    """

    mse: float
    mae: float
    baseline_mse: float
    baseline_mae: float
    r2: float
    measured: str = field(default="", kw_only=True)

    @property
    def score(self) -> tuple[str, float]:
        return "MAE", self.mae

    def __str__(self) -> str:
        of = f" of {self.measured}" if self.measured else ""
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} rows",
            f"{'':10} {'MAE':>12} {'MSE':>12}{of}",
            f"{'model':10} {self.mae:12.5g} {self.mse:12.5g}",
            f"{'baseline':10} {self.baseline_mae:12.5g} {self.baseline_mse:12.5g} (always the mean of the training)",
            f"{'R2':10} {self.r2:12.4f}",
            *(f"{'note':10} {note}" for note in self.notes),
        ]
        return "\n".join(lines)


class TabularRegression(Task):
    name, holds, is_default = "tabular-regression", "measurements", False
    asks_export = "predict {} table.csv"
    score: ClassVar[Score | None] = Score((("val_loss", False), ("loss", False)))

    def arguments(self, spec: ModelSpec, data: Data) -> dict[str, Any]:
        return width_of(spec, data)

    def check(self, model: keras.Model, data: Data) -> None:
        y = data.train.element_spec[1] if len(data.train.element_spec) > 1 else None
        if data.info.classes or not isinstance(y, tf.TensorSpec) or not y.dtype.is_floating:
            what = "classes" if data.info.classes else y.dtype.name if isinstance(y, tf.TensorSpec) else "no labels"
            raise KzooError(
                f"{model.name} learns a number a row, and {data.info.name} has {what}; give floating-point numbers, or"
                " name their column with columns={'target': …} (--columns target=…)"
            )
        if y.shape.rank not in (0, 1) or (y.shape.rank == 1 and y.shape[0] != 1):
            raise KzooError(f"{model.name} learns one number a row; {data.info.name} has {list(y.shape)}")

    def reading(self, model: keras.Model, data: Data) -> Reading:
        """Scaled by what the training rows have, on both sides."""
        found = super().reading(model, data)
        info = model_info(model)
        if info is None or info.targets is None:
            return found
        learned = reader_of(info.targets).learn(data)
        if learned != info.targets:
            attach_info(model, replace(info, targets=learned))
        return replace(found, targets=reader_of(learned))

    def made_up(self, model: Any, count: int, tokens: int) -> Data | None:
        return random_rows(model, count, classes=0)

    def evaluate(
        self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any
    ) -> RegressionEvaluation:
        reader = predictor.reader
        reader.check(predictor.name, data)
        self.check(predictor.model, data)
        targets, found, true = targets_of(predictor), [], []
        for x, y, *_ in data[split].batch(batch_size):
            found.append(in_units(predictor, predictor.forward(reader.prepare(x))).numpy())
            true.append(y.numpy().ravel())
        if not found:
            raise KzooError("the split is empty")
        found, true = np.concatenate(found).astype("float64"), np.concatenate(true).astype("float64")
        if not np.isfinite(found).all():
            raise KzooError(
                f"{predictor.name} gives no number for row {int(np.argmin(np.isfinite(found)))}: it holds nan"
            )
        error, mean = found - true, true - (true.mean() if targets is None else targets.mean[0])
        spread = float(((true - true.mean()) ** 2).mean())
        measured = measured_of(predictor)
        title = f"{predictor.name} on {data.info.name}, {split}"
        draw = lambda path: pictures.scatter(true, found, path, title, measured)
        mse = float((error**2).mean())
        return RegressionEvaluation(
            predictor.name, data.info.name, split, len(true), mse, float(np.abs(error).mean()),
            float((mean**2).mean()), float(np.abs(mean).mean()), 1 - mse / spread if spread else float("nan"),
            measured=measured, notes=data.info.notes, shown=(Picture("estimates.png", draw),),
        )  # fmt: skip

    def answer(self, predictor: Any, given: Any, *, batch_size: int, **options: Any) -> list[Estimate]:
        made, measured, shape = [], measured_of(predictor), input_shape_of(predictor.model)
        for names, rows in predictor.reader.examples(given, batch_size, predictor.name, shape):
            values = in_units(predictor, predictor.forward(tf.constant(rows))).numpy()
            made += [Estimate(name, float(value), measured) for name, value in zip(names, values, strict=True)]
        return made

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Raw rows in, numbers in their own unit out, beside the network alone."""
        found, served = super().signatures(predictor), predictor.reader.served()
        if served is None:
            return found
        estimate = lambda made: {"value": in_units(predictor, made)}
        return {**found, served.name: of_served(predictor.model, served, estimate)}

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """The estimates of the validation rows beside what they are."""
        if predictor.reader.as_given:
            return []
        data = list(validation.split.take(1000).batch(256))
        if not data:
            return []
        forward, reader = predictor.forward, predictor.reader
        found = np.concatenate([in_units(predictor, forward(reader.prepare(x))).numpy() for x, *_ in data])
        true = np.concatenate([y.numpy().ravel() for _, y, *_ in data])
        draw = lambda path: pictures.scatter(true, found, path, "validation", measured_of(predictor))
        return [Picture("predictions.png", draw)]


def targets_of(predictor: Any) -> Any:
    """The reader of what was learned; None of a network that was fed with arrays as they are."""
    if predictor.targets is None:
        return None
    if not predictor.targets.known:
        raise KzooError(f"{predictor.name} does not know the scale of its numbers: it was not trained; give its run")
    return reader_of(predictor.targets)


def in_units(predictor: Any, outputs: Any) -> tf.Tensor:
    """float32 [n] in the unit of what was learned, of the network's outputs [n, 1]."""
    targets = targets_of(predictor)
    return tf.reshape(outputs if targets is None else targets.restored(outputs), [-1])


def measured_of(predictor: Any) -> str:
    """What was learned, in a word."""
    targets = targets_of(predictor)
    return targets.spec.columns[0] if targets is not None and targets.spec.columns else ""


TASK = TabularRegression()
