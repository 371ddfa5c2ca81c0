"""What comes next in a series. Networks learn it scaled; forecasts are in the units of the series.

How good it is: the mean squared and the mean absolute error of scaled numbers (a deviation of the training rows is 1),
as papers have them, beside the naive forecast: that what was last stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from kzoo.data import Data, DataInfo, forecast_from
from kzoo.errors import KzooError
from kzoo.inputs import Columns, are_paths
from kzoo.models import input_shape_of, model_info
from kzoo.records import ModelSpec
from kzoo.report import Picture, Shown, pictures
from kzoo.tasks.task import Evaluated, Reading, Result, Score, Signature, Task, of_served, read_by


@dataclass(frozen=True)
class Forecast(Result):
    """What comes after one piece of a series.

    Attributes:
        times: Of each moment; "+1", "+2", … where no times are known.
        columns: What is forecast.
        values: float32 [horizon, columns], in their own units.
    """

    input: str
    times: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray = field(repr=False)

    def to_config(self) -> dict[str, Any]:
        return {**super().to_config(), "values": self.values.tolist()}

    def rows(self) -> list[dict[str, str | float]]:
        return [
            {"series": self.input, "time": moment, **dict(zip(self.columns, map(float, row), strict=True))}
            for moment, row in zip(self.times, self.values, strict=True)
        ]

    def __str__(self) -> str:
        wide = max(map(len, self.times))
        head = f"{self.input}\n{'':{wide}}  " + "  ".join(f"{c:>10}" for c in self.columns)
        lines = [
            f"{moment:{wide}}  " + "  ".join(f"{value:10.5g}" for value in row)
            for moment, row in zip(self.times, self.values, strict=True)
        ]
        return "\n".join([head, *lines])


@dataclass(frozen=True)
class ForecastEvaluation(Evaluated):
    """How far off the forecasts of all windows of a split are; `examples` are windows.

    Attributes:
        mse, mae: Of scaled numbers, over all moments and columns.
        naive_mse, naive_mae: Of the forecast that what was last stays.
        errors: {column: (mae, naive mae)} in its own unit.
    """

    mse: float
    mae: float
    naive_mse: float
    naive_mae: float
    errors: dict[str, tuple[float, float]] = field(repr=False)

    @property
    def score(self) -> tuple[str, float]:
        return "MSE", self.mse

    def __str__(self) -> str:
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} windows",
            f"{'':10} {'MSE':>9} {'MAE':>9} of scaled numbers",
            f"{'model':10} {self.mse:9.4f} {self.mae:9.4f}",
            f"{'naive':10} {self.naive_mse:9.4f} {self.naive_mae:9.4f} (what was last stays)",
            "",
            f"{'MAE in units of':24} {'model':>10} {'naive':>10}",
            *(f"{name:24} {mae:10.5g} {naive:10.5g}" for name, (mae, naive) in self.errors.items()),
            *(f"{'note':10} {note}" for note in self.notes),
        ]
        return "\n".join(lines)


class Forecasting(Task):
    name, holds = "forecasting", "series"
    asks_export = "predict {} table.csv"
    score: ClassVar[Score | None] = Score((("val_loss", False), ("loss", False)))

    def arguments(self, spec: ModelSpec, data: Data) -> dict[str, Any]:
        if data.info.holds != "series":
            return {}
        places = tuple(data.info.columns.index(name) for name in data.info.measured)
        return {"input_shape": (spec.input_shape[0], len(data.info.columns)), "targets": places}

    def reading(self, model: keras.Model, data: Data) -> Reading:
        found = super().reading(model, data)
        info, spec = model_info(model), found.reader.spec
        _, columns = input_shape_of(model)
        if columns != len(spec.columns):
            raise KzooError(
                f"{model.name} reads {columns} numbers a moment, but {data.info.name} has {len(spec.columns)}"
                f" ({', '.join(spec.columns)}); build it with input_shape=({spec.length}, {len(spec.columns)})"
            )
        if (spec.length, spec.horizon) != (input_shape_of(model)[0], info.settings["horizon"]):
            raise ValueError(f"{model.name} was built for other windows than {spec} says")
        if list(info.settings["targets"]) != spec.places:
            raise KzooError(
                f"{model.name} forecasts the columns {list(info.settings['targets'])}, but {data.info.name} says"
                f" {', '.join(spec.targets)}, {spec.places}; build it with targets={tuple(spec.places)}"
            )
        return found

    def made_up(self, model: Any, count: int, tokens: int) -> Data:
        spec, rng = read_by(model), np.random.default_rng(0)
        shape = model.input_shape if isinstance(model, ModelSpec) else input_shape_of(model)
        moments = count + spec.length + spec.horizon
        x = rng.normal(size=(moments, shape[1])).cumsum(axis=0).astype("float32")
        names = tuple(str(k + 1) for k in range(shape[1]))
        settings = model_info(model).settings if not isinstance(model, ModelSpec) else {"targets": (0,)}
        measured = tuple(names[k] for k in settings["targets"])
        info = DataInfo("random", "series", shape=(shape[1],), columns=names, measured=measured)
        return Data((x, np.zeros(moments, np.int64)), info=info)

    def question(self, model: keras.Model, data: Any, count: int) -> Any:
        length = read_by(model).length
        rows = np.stack([x for x, *_ in data.train.take(length + count).as_numpy_iterator()])
        return np.stack([rows[(k + np.arange(length)) % len(rows)] for k in range(count)])

    def evaluate(
        self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any
    ) -> ForecastEvaluation:
        reader = predictor.reader
        reader.check(predictor.name, data)
        found, true, naive = over(predictor, reader.batches(data[split], batch_size))
        if not np.isfinite(found).all():
            raise KzooError(f"{predictor.name} gives no numbers: it holds nan, or the training diverged")
        off, last = found - true, naive - true
        names = [str(k) for k in places_of(predictor)] if reader.as_given else reader.spec.targets
        units = np.ones(len(names)) if reader.as_given else reader.std[reader.places]
        errors = {
            name: (float(np.abs(off[..., k]).mean() * units[k]), float(np.abs(last[..., k]).mean() * units[k]))
            for k, name in enumerate(names)
        }
        title = f"{predictor.name} on {data.info.name}, {split}"
        shown = [] if reader.as_given else drawn(reader, found, true, title, "forecasts.png")
        return ForecastEvaluation(
            predictor.name, data.info.name, split, len(found), float((off**2).mean()), float(np.abs(off).mean()),
            float((last**2).mean()), float(np.abs(last).mean()), errors, notes=data.info.notes, shown=tuple(shown),
        )  # fmt: skip

    def answer(self, predictor: Any, given: Any, *, batch_size: int, **options: Any) -> list[Forecast]:
        """Of the end of a series in a file; of an array [time, columns], or of several [n, time, columns]."""
        spec, reader = predictor.reader.spec, predictor.reader
        if reader.as_given or not spec.known:
            raise KzooError(f"{predictor.name} was not trained on a series that kzoo read: it knows no scale")
        pieces, times = [], None
        if are_paths(given):
            for path in [given] if not isinstance(given, list | tuple) else given:
                rows, times = forecast_from(Columns.of(Path(path)), spec.columns)
                pieces.append((Path(path).name, rows, times))
        else:
            array = np.asarray(given)
            array = array[None] if array.ndim == 2 else array
            if (
                array.dtype.kind not in "uif"
                or array.ndim != 3
                or array.shape[2] != len(spec.columns)
                or not len(array)
            ):
                raise KzooError(
                    f"{predictor.name} takes a .csv, or numbers [time, {len(spec.columns)}]; received {array.dtype}"
                    f" {list(np.shape(given))}"
                )
            pieces = [(str(k), piece.astype("float32"), None) for k, piece in enumerate(array)]
        for name, rows, _ in pieces:
            if len(rows) < spec.length:
                raise KzooError(f"{name} has {len(rows)} moments; {predictor.name} reads {spec.length}")
            if not np.isfinite(rows[-spec.length :]).all():
                raise KzooError(f"{name} has nan or infinity among its last {spec.length} moments; fill them")
        made = []
        for i in range(0, len(pieces), batch_size):
            part = pieces[i : i + batch_size]
            windows = np.stack([rows[-spec.length :] for _, rows, _ in part])
            values = reader.restored(predictor.forward(reader.prepare(windows))).numpy()
            for (name, _, times), value in zip(part, values, strict=True):
                after = times.after(spec.horizon) if times is not None else [f"+{k + 1}" for k in range(spec.horizon)]
                made.append(Forecast(name, tuple(after), spec.targets, value))
        return made

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Moments in their own units in, those that come next out, beside the network alone."""
        found, served = super().signatures(predictor), predictor.reader.served()
        if served is None:
            return found
        forecast = lambda made: {"forecast": predictor.reader.restored(made)}
        return {**found, served.name: of_served(predictor.model, served, forecast)}

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """The validation series, and what was forecast of it one window after the other."""
        if predictor.reader.as_given:
            return []
        found, true, _ = over(predictor, validation)
        return drawn(predictor.reader, found, true, "validation", "predictions.png")


def places_of(predictor: Any) -> list[int]:
    """Columns that are forecast."""
    if not predictor.reader.as_given:
        return predictor.reader.places
    return list(model_info(predictor.model).settings["targets"])


def over(predictor: Any, batches: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(forecasts, what came, the naive forecasts) of all windows, scaled, float64 [windows, horizon, targets]."""
    places, found, true, naive = places_of(predictor), [], [], []
    for x, y, *_ in batches.epoch(0):
        found.append(np.asarray(predictor.forward(x), "float64"))
        true.append(y.numpy().astype("float64"))
        naive.append(np.repeat(x.numpy()[:, -1:, places].astype("float64"), y.shape[1], axis=1))
    return np.concatenate(found), np.concatenate(true), np.concatenate(naive)


def drawn(reader: Any, found: np.ndarray, true: np.ndarray, title: str, name: str) -> list[Shown]:
    """Each column over time: what came, and the forecasts of windows that follow one another without overlap."""
    horizon = found.shape[1]
    every = range(0, len(found), horizon)
    both = [reader.restored(np.concatenate([part[k] for k in every])).numpy() for part in (true, found)]
    draw = lambda path: pictures.series(*both, reader.spec.targets, horizon, path, title)
    return [Picture(name, draw)]


TASK = Forecasting()
