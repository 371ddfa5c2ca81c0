"""Rows of numbers as networks read them: each column with mean 0 and deviation 1 in training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.inputs.reader import Reader, Served, are_paths, as_examples
from kzoo.inputs.table_files import Columns, is_table
from kzoo.records.table import TableInputs


class Table(Reader):
    unit, reads, as_given = "rows", "rows of numbers", False

    def __init__(self, spec: TableInputs) -> None:
        super().__init__(spec)
        self.mean, self.std = np.array(spec.mean, "float32"), np.array(spec.std, "float32")

    def check(self, name: str, data: Any) -> None:
        spec = next(iter(data.splits.values())).element_spec[0]
        if not isinstance(spec, tf.TensorSpec) or spec.shape.rank != 1 or spec.dtype == tf.string:
            gives = f"{spec.dtype.name} {list(spec.shape)}" if isinstance(spec, tf.TensorSpec) else str(spec)
            raise KzooError(f"{name} reads {self.reads}, but {data.info.name} gives {gives}")
        if self.spec.known and spec.shape[0] not in (None, len(self.spec.mean)):
            raise KzooError(
                f"{name} reads rows of {len(self.spec.mean)} numbers, but {data.info.name} gives {spec.shape[0]}"
            )

    def learn(self, data: Any) -> TableInputs:
        """With mean and deviation of each column of the training rows."""
        if self.spec.known:
            return self.spec
        mean, std = moments(np.stack([row for row, *_ in data.train.as_numpy_iterator()]), data.info.name)
        return replace(self.spec, columns=data.info.columns, mean=mean, std=std)

    def prepare(self, raw: tf.Tensor) -> tf.Tensor:
        """Rows [n, columns] to float32 [n, columns]."""
        return (tf.cast(raw, tf.float32) - self.mean) / self.std

    def restored(self, prepared: Any) -> tf.Tensor:
        """What `prepare` was given."""
        return tf.cast(prepared, tf.float32) * self.std + self.mean

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        """Of rows, or of a table of them in a file, which may have more columns beside these."""
        if are_paths(given):
            path = Path(given if isinstance(given, str | os.PathLike) else given[0])
            if not isinstance(given, str | os.PathLike) and len(given) > 1:
                raise KzooError(f"{name} reads one table at a time; received {len(given)} paths")
            rows, names = self._of_file(path)
        else:
            rows = as_examples(given, name, shape)
            names = [str(k) for k in range(len(rows))]
            check_finite(rows, name)
        for i in range(0, len(rows), batch_size):
            yield names[i : i + batch_size], self.prepare(tf.constant(rows[i : i + batch_size], tf.float32))

    def _of_file(self, path: Path) -> tuple[np.ndarray, list[str]]:
        """(the numbers, the line of each row)."""
        if not path.is_file() or not is_table(path):
            raise KzooError(f"a table of rows is a .csv or .tsv file; received {str(path)!r}")
        table = Columns.of(path)
        known = self.spec.columns
        if table.named and known and set(known) <= set(table.names):
            places = [table.names.index(column) for column in known]
        elif table.named and known and not known[0].isdecimal():
            missing = [column for column in known if column not in table.names]
            raise KzooError(f"{str(path)!r} has no column {missing[0]!r}; it has {', '.join(table.names)}")
        elif not table.named and all(column.isdecimal() for column in known) and len(table.names) <= len(known) + 1:
            places = [int(column) - 1 for column in known]  # where they stood in training, if there was a header or not
            places = list(range(len(known))) if max(places, default=0) >= len(table.names) else places
        else:
            places = list(range(len(table.names)))
        if len(places) != len(self.spec.mean):
            raise KzooError(f"{str(path)!r} has {len(table.names)} columns; the model reads {len(self.spec.mean)}")
        return table.numbers(places), [f"{path.name}:{line}" for line in table.lines]

    def served(self) -> Served | None:
        if not self.spec.known:
            return None
        takes = tf.TensorSpec([None, len(self.spec.mean)], tf.float32, name="rows")
        read = lambda rows: (self.prepare(finite(rows)), all_finite(rows))
        columns = f", {', '.join(self.spec.columns)}" if self.spec.columns else ""
        notes = (f"Rows of {len(self.spec.mean)} numbers{columns}; one with nan or infinity is not valid.",)
        return Served("serve_rows", takes, read, notes=notes)


def moments(rows: np.ndarray, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, deviation) of each column of [n, columns].

    Raises:
        KzooError: A number is none.
    """
    check_finite(rows, name)
    rows = rows.astype("float64")
    std = rows.std(axis=0)
    return tuple(rows.mean(axis=0).tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def check_finite(rows: np.ndarray, name: str) -> None:
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        place = np.argwhere(~np.isfinite(rows))[0]
        raise KzooError(
            f"row {place[0]} of {name} has {rows[tuple(place)]} in place {place[-1]}; fill it or leave the row out"
        )


def all_finite(rows: tf.Tensor) -> tf.Tensor:
    """bool [n] of [n, …]."""
    return tf.reduce_all(tf.math.is_finite(rows), axis=list(range(1, rows.shape.rank)))


def finite(rows: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.math.is_finite(rows), rows, 0.0)


READER = Table
