"""Series: numbers that follow one another at equal distances in time. A row is a moment, a column a quantity."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import tensorflow as tf

from kzoo.data.data import DataInfo, Examples
from kzoo.data.names import TIMES
from kzoo.errors import KzooError
from kzoo.inputs import Columns, with_history
from kzoo.records import Number

VALIDATION, TEST = 0.1, 0.2  # shares of a series where nothing is said, of its end
MONTH = re.compile(r"(\d{4})[-/](\d{1,2})")
CLOCK = "ISO 8601, as 2016-07-01 00:00:00, 2016-07-01 or 2016-07; or whole numbers"


@dataclass(frozen=True)
class Times:
    """Moments at equal distances.

    Attributes:
        last: The last moment: a datetime, or a number of months or of steps.
        step: From one to the next.
        unit: "time", "month" or "step".
        day: Of each month; None where only the month is written.
    """

    last: datetime | int
    step: timedelta | int
    unit: str
    day: int | None = None
    clock: bool = True  # whether hours are written

    def after(self, count: int) -> list[str]:
        """The next moments, as they are written."""
        return [self.written(self.last + self.step * (k + 1)) for k in range(count)]

    def written(self, moment: datetime | int) -> str:
        if self.unit == "step":
            return str(moment)
        if self.unit == "month":
            year, month = divmod(moment, 12)
            return f"{year:04d}-{month + 1:02d}" + ("" if self.day is None else f"-{self.day:02d}")
        return moment.isoformat(" ") if self.clock else moment.date().isoformat()

    @property
    def described(self) -> str:
        every = {"step": f"{self.step}", "month": "a month" if self.step == 1 else f"{self.step} months"}
        if self.unit == "time" and self.step % timedelta(1) == timedelta(0):
            return "a day" if self.step.days == 1 else f"{self.step.days} days"
        return every.get(self.unit, str(self.step))


def time_column(table: Columns) -> int | None:
    """The first column, where it holds times; whole numbers by the column's name, where they follow evenly."""
    cells = table.cells(0)[:20]
    if table.named and table.names[0].lower() in TIMES and all(re.fullmatch(r"\d{1,15}", cell) for cell in cells):
        steps = {int(b) - int(a) for a, b in zip(cells, cells[1:], strict=False)}
        return 0 if len(steps) == 1 and min(steps) > 0 else None
    return 0 if all(_moment(cell) is not None and not cell.isdecimal() for cell in cells) else None


def _moment(cell: str) -> datetime | int | None:
    """A datetime; of a month alone its number; of a whole number that."""
    if cell.isdecimal() and len(cell) < 8:
        return int(cell)
    if (month := MONTH.fullmatch(cell)) and 1 <= int(month[2]) <= 12:
        return int(month[1]) * 12 + int(month[2]) - 1
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def times_of(table: Columns, place: int) -> Times:
    """
    Raises:
        KzooError: A cell is no time, or their distances are not equal: by the line.
    """
    cells, where = table.cells(place), repr(str(table.path))
    moments = [_moment(cell) for cell in cells]
    # Of those with and those without a time zone nobody knows how far they are apart.
    kind_of = lambda moment: (type(moment), getattr(moment, "tzinfo", None) is None)
    kinds = [kind_of(moment) for moment in moments]
    kind = kinds[0] if moments[0] is not None else max(set(kinds) - {kind_of(None)}, key=kinds.count, default=None)
    for line, cell, moment in zip(table.lines, cells, moments, strict=True):
        if moment is None or kind_of(moment) != kind:
            raise KzooError(f"line {line} of {where} has {cell[:40]!r} where a time stands; write {CLOCK}")
    if len(moments) < 2:
        raise KzooError(f"{where} has one row; a series needs more")
    unit, day, clock = "time", None, any(len(cell) > 10 for cell in cells)
    if kind[0] is int:
        unit = "month" if MONTH.fullmatch(cells[0]) else "step"
    elif len({(m.day, m.time()) for m in moments}) == 1 and moments[1] - moments[0] >= timedelta(28) and not clock:
        unit, day = "month", moments[0].day
        moments = [m.year * 12 + m.month - 1 for m in moments]
    steps = [b - a for a, b in zip(moments, moments[1:], strict=False)]
    step = max(set(steps), key=steps.count)
    times = Times(moments[-1], step, unit, day, clock)
    none = timedelta(0) if unit == "time" else 0
    for k, found in enumerate(steps):
        if found != step or found <= none:
            what = "the same time twice" if found == none else "a step back" if found < none else "a gap"
            if found > none and found < step:
                what = "an uneven step"
            raise KzooError(
                f"line {table.lines[k + 1]} of {where}: {what}, from {cells[k]} to {cells[k + 1]}, where the others"
                f" follow at {times.described}; fill or mend it, or give the file without its time column"
            )
    return times


def series(table: Columns, name: str, roles: Mapping[str, int]) -> tuple[dict[str, Examples], DataInfo]:
    """All rows in one part; `in_time` cuts it."""
    if "label" in roles:
        raise KzooError("columns of a series are time and target; received label")
    place = roles.get("time", time_column(table))
    others = [k for k in range(len(table.names)) if k != place]
    if not others:
        raise KzooError(f"{str(table.path)!r} has times and no numbers; a series needs a column of them")
    notes = ["no column of times: the rows are taken as equally far apart"]
    if place is not None:
        times = times_of(table, place)
        notes = [f"a row each {times.described}, to {times.written(times.last)}"]
    elif table.named and table.names[0].lower() in TIMES and not re.fullmatch(r"[-+.\d]+", cell := table.cells(0)[0]):
        where = f"line {table.lines[0]} of {str(table.path)!r}"
        raise KzooError(
            f"{where} has {cell[:40]!r} in the column {table.names[0]!r}, where a time stands; write {CLOCK}"
        )
    x = table.numbers(others).astype("float32")
    names = tuple(table.names[k] for k in others)
    target = roles.get("target")
    if target is not None and target == place:
        raise KzooError(f"columns: the target is {table.names[target]!r}, which is the time; name a column of numbers")
    measured = (table.names[target],) if target is not None else names
    info = DataInfo(name, "series", notes=tuple(notes), columns=names, measured=measured)
    return {"train": in_order(x)}, info


def in_order(x: np.ndarray) -> Examples:
    """Moments float32 [time, columns]; the label is 0: what is learned is what comes next."""
    y = np.zeros(len(x), "int64")
    select = lambda i: with_history(tf.data.Dataset.from_tensor_slices((x[i], y[i])), x[: i[0] if len(i) else 0])
    return Examples(y, select, x.shape[1:])


def in_time(whole: Examples, test: float | None, validation: float | None) -> tuple[dict[str, np.ndarray], list[str]]:
    """({part: its places}, notes): the beginning is train, the end is test, validation lies between them."""
    shares = {"validation": VALIDATION if validation is None else validation, "test": TEST if test is None else test}
    for part, share in shares.items():
        Number(at_least=0, below=1).check(part, share)
    if sum(shares.values()) >= 1:
        given = " and ".join(f"{part}={share:g}" for part, share in shares.items())
        raise KzooError(f"{given} leave nothing to train on; together they must be below 1")
    rows = len(whole.labels)
    counts = {part: round(rows * share) for part, share in shares.items()}
    border = rows - sum(counts.values())
    parts = {"train": np.arange(border)}
    for part, count in counts.items():
        if count:
            parts[part] = np.arange(border, border + count)
            border += count
    said = ", ".join(f"{part} {100 * shares[part]:g}%" for part in counts if part in parts)
    return parts, [f"cut in time: {said} of the rows, at the end"] if said else []


def forecast_from(table: Columns, names: Sequence[str]) -> tuple[np.ndarray, Times | None]:
    """(float32 [time, columns] of the columns `names`, their times where there are any)."""
    place = time_column(table)
    if set(names) <= set(table.names):
        places = [table.names.index(name) for name in names]
    else:
        places = [k for k in range(len(table.names)) if k != place]
        if len(places) != len(names) or table.named:
            has = ", ".join(table.names)
            raise KzooError(f"{str(table.path)!r} has the columns {has}; this model reads {', '.join(names)}")
    times = times_of(table, place) if place is not None else None
    return table.numbers(places).astype("float32"), times
