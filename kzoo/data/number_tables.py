"""Tables of numbers in `.csv` and `.tsv`: a row an example, one column what is learned of it, a class or a number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from kzoo.data.data import DataInfo, Examples
from kzoo.data.labels import MANY, check_classes, ordered, refuse_alike, unquoted
from kzoo.data.names import LABELS, MEASURED, SOURCES, TEXTS, places
from kzoo.data.series import series, time_column
from kzoo.errors import KzooError
from kzoo.inputs import Columns, first_row, unpacked

NUMERIC = ("rows", "measurements", "series")


def holds_numbers(path: Path, asked: bool) -> bool:
    """Whether a table whose first line names no texts is one of numbers: all columns but one, and two at least, or one
    beside a time; where numbers are asked for, always.
    """
    head = [cell.strip().lower() for cell in first_row(path)]
    if set(head) & {*TEXTS, *SOURCES}:
        return False
    if asked:
        return True
    table = Columns.of(path)
    numeric = [table.is_numbers(k) for k in range(len(table.names))]
    if sum(numeric) < len(numeric) - 1:
        return False
    return sum(numeric) > 1 or time_column(table) is not None


def number_file(
    path: Path, holds: str | None, columns: Mapping[str, str | int] | None
) -> tuple[dict[str, Examples], DataInfo]:
    """What `holds` says, else what is seen: a series where the first column is a time; a number for each row where the
    last column (or the one of such a name) has many different ones; else a class.
    """
    named = None
    if columns is not None and any(isinstance(column, str) for column in columns.values()):
        named = True
    table = Columns.of(path, named)
    roles = places(columns, table.names, repr(str(path)))[0] if columns is not None else {}
    if strange := [role for role in roles if role not in ("time", "label", "target")]:
        raise KzooError(f"columns of a table of numbers are time, label or target; received {strange[0]}")
    name = Path(unpacked(path)).stem
    if holds is None and ("time" in roles or (not roles and time_column(table) is not None)):
        holds = "series"
    if holds == "series":
        return series(table, name, roles)
    return _rows(table, name, holds, roles)


def _rows(
    table: Columns, name: str, holds: str | None, roles: Mapping[str, int]
) -> tuple[dict[str, Examples], DataInfo]:
    """Each row's numbers, and its class or its number."""
    wanted = {"rows": "label", "measurements": "target"}.get(holds)
    if roles and (set(roles) - {"label", "target"} or len(roles) > 1 or (wanted and wanted not in roles)):
        role = wanted or "label or target"
        raise KzooError(f"columns of {str(table.path)!r} must say {role} alone; received {', '.join(roles)}")
    place = next(iter(roles.values())) if roles else _learned(table)
    if holds is None:
        holds = {"label": "rows", "target": "measurements"}.get(next(iter(roles), "")) or _seen(table, place)
    others = [k for k in range(len(table.names)) if k != place]
    x = table.numbers(others).astype("float32")
    names = tuple(table.names[k] for k in others)
    what = repr(table.names[place]) if table.named else f"column {place + 1}"
    if holds == "measurements":
        y = table.numbers([place]).astype("float32")  # [rows, 1]
        info = DataInfo(
            name, holds, notes=(f"learned: the number in {what}",), columns=names, measured=(table.names[place],)
        )  # fmt: skip
        return {"train": measured(x, y)}, info
    labels = [unquoted(cell) for cell in table.cells(place)]
    if (empty := next((n for n, cell in zip(table.lines, labels, strict=True) if not cell), None)) is not None:
        raise KzooError(f"line {empty} of {str(table.path)!r} has an empty label ({what}); fill it or delete the row")
    classes = ordered(set(labels))
    check_classes(classes, len(labels), table.path.name)
    refuse_alike(classes, f"labels of {table.path.name!r}")
    numbers = {label: k for k, label in enumerate(classes)}
    y = np.array([numbers[label] for label in labels], "int64")
    info = DataInfo(name, holds, tuple(classes), notes=(f"learned: the class in {what}",), columns=names)
    return {"train": Examples.of_arrays(x, y)}, info


def measured(x: np.ndarray, y: np.ndarray) -> Examples:
    """Rows float32 [n, columns] with a number each, float32 [n, 1]: there are no classes to keep in proportion."""
    select = lambda i: tf.data.Dataset.from_tensor_slices((x[i], y[i]))
    return Examples(np.zeros(len(x), "int64"), select, x.shape[1:], content=lambda i: x[i].tobytes() + y[i].tobytes())


def _learned(table: Columns) -> int:
    """The column that is learned: of such a name, the only one without numbers, or the last."""
    names = [name.lower() for name in table.names] if table.named else []
    for known in (*LABELS, *MEASURED):
        if known in names:
            return names.index(known)
    words = [k for k in range(len(table.names)) if not table.is_numbers(k)]
    return words[0] if len(words) == 1 else len(table.names) - 1


def _seen(table: Columns, place: int) -> str:
    """Words are classes; so are few different whole numbers."""
    if not table.is_numbers(place):
        return "rows"
    values = table.numbers([place]).ravel()
    whole = (values == np.round(values)).all()
    return "rows" if whole and len(np.unique(values)) <= MANY else "measurements"
