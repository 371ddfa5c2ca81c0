"""Windows of a series: what is read, and what comes next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.inputs.batches import Batches
from kzoo.inputs.reader import Reader, Served
from kzoo.inputs.table import all_finite, finite, moments
from kzoo.records.series import SeriesInputs


class Series(Reader):
    """A window is `length` moments of all columns; learned are the `horizon` moments of the targets behind it."""

    unit, reads, as_given = "windows", "a series", False

    def __init__(self, spec: SeriesInputs) -> None:
        super().__init__(spec)
        self.mean, self.std = np.array(spec.mean, "float32"), np.array(spec.std, "float32")
        self.places = spec.places if spec.known else []

    def check(self, name: str, data: Any) -> None:
        spec = next(iter(data.splits.values())).element_spec[0]
        if data.info.holds != "series" or spec.shape.rank != 1:
            raise KzooError(
                f"{name} reads {self.reads}, but {data.info.name} holds {data.info.holds}; give a .csv whose first"
                " column is a time"
            )
        if self.spec.known and data.info.columns != self.spec.columns:
            raise KzooError(
                f"{name} reads {', '.join(self.spec.columns)}, but {data.info.name} has {', '.join(data.info.columns)}"
            )

    def learn(self, data: Any) -> SeriesInputs:
        if self.spec.known:
            return self.spec
        mean, std = moments(moments_in(data.train), data.info.name)
        found = replace(self.spec, columns=data.info.columns, targets=data.info.measured, mean=mean, std=std)
        for split, rows in data.splits.items():  # before anything is built
            known = len(history_of(rows)[-found.length :])
            windows_in(int(rows.cardinality()) + known, found, split, data.info.name)
        return found

    def prepare(self, raw: Any) -> tf.Tensor:
        """Moments [..., columns] to float32 [..., columns]."""
        return (tf.cast(raw, tf.float32) - self.mean) / self.std

    def restored(self, forecast: Any) -> tf.Tensor:
        """Targets [..., targets], scaled, in their own units."""
        return tf.cast(forecast, tf.float32) * self.std[self.places] + self.mean[self.places]

    def batches(self, split: tf.data.Dataset, batch_size: int | None, **options: Any) -> Batches:
        """Every window whose forecast lies in the split as a whole, one moment after the other; what is read for the
        first ones came before the split.
        """
        spec, before = self.spec, history_of(split)
        moments = moments_in(split)
        moments = np.concatenate([before[-spec.length :], moments]) if len(before) else moments
        moments = self.prepare(moments).numpy()
        count = windows_in(len(moments), spec, "split", "the data")
        views = np.lib.stride_tricks.sliding_window_view
        x = views(moments[: len(moments) - spec.horizon], spec.length, axis=0).swapaxes(1, 2)
        y = views(moments[spec.length :, self.places], spec.horizon, axis=0).swapaxes(1, 2)
        data = tf.data.Dataset.from_tensor_slices((np.ascontiguousarray(x[:count]), np.ascontiguousarray(y[:count])))
        return Batches(data, batch_size, Reader(), **options)

    def served(self) -> Served | None:
        if not self.spec.known:
            return None
        takes = tf.TensorSpec([None, self.spec.length, len(self.spec.columns)], tf.float32, name="series")
        read = lambda rows: (self.prepare(finite(rows)), all_finite(rows))
        notes = (
            f"{self.spec.length} moments of {', '.join(self.spec.columns)}, in their own units; one with nan or"
            " infinity is not valid.",
        )
        return Served("serve_series", takes, read, notes=notes)


HISTORY = "kzoo_history"  # beside the attributes of a data set


def with_history(split: tf.data.Dataset, rows: np.ndarray) -> tf.data.Dataset:
    """A part of a series that knows what came before it, [time, columns]."""
    vars(split)[HISTORY] = rows
    return split


def history_of(split: tf.data.Dataset) -> np.ndarray:
    return vars(split).get(HISTORY, np.zeros((0, 0), "float32"))


def moments_in(split: tf.data.Dataset) -> np.ndarray:
    """[time, columns]."""
    parts = [x.numpy() for x, *_ in split.batch(4096)]
    if not parts:
        raise KzooError("the split is empty")
    return np.concatenate(parts)


def windows_in(rows: int, spec: SeriesInputs, split: str, name: str) -> int:
    """
    Raises:
        KzooError: There is none.
    """
    count = rows - spec.length - spec.horizon + 1
    if count < 1:
        raise KzooError(
            f"the {split} part of {name} has {rows} moments, and a window has {spec.length} + {spec.horizon}; take"
            f" shorter ones (input_shape=({max(min(spec.length, rows - spec.horizon), 1)}, {len(spec.columns)})), or"
            " cut the series otherwise (test=…, validation=…)"
        )
    return count


READER = Series
