"""Files of text and tables as people write them, packed or not: whole texts, lines, rows of cells, numbers in cells."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.errors import KzooError
from kzoo.files import read_all

PACKED: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*(\r\n|\r|\n|$)', re.IGNORECASE)  # Excel's, line 1 of a .csv
SEPARATORS = {".tsv": "tabs (none inside a text)", ".csv": "commas (a text with a comma stands in double quotes)"}


def unpacked(path: Path) -> str:
    """The file's name without .gz or .xz."""
    return path.name[: -len(path.suffix)] if path.suffix.lower() in PACKED else path.name


def is_table(path: Path) -> bool:
    return Path(unpacked(path)).suffix.lower() in SEPARATORS


def decoded(path: Path) -> str:
    """The whole text, without a byte order mark."""
    try:
        with PACKED.get(path.suffix.lower(), open)(path, "rb") as file:
            raw = read_all(file, path)
    except KzooError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise KzooError(f"cannot read {str(path)!r}: {error}; check that the file is whole") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise KzooError(
            f"line {line} of {str(path)!r} is not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8"
        ) from error
    if not text.strip():
        raise KzooError(f"{str(path)!r} is empty; a file of texts needs at least one")
    return text


def lines_of(path: Path) -> list[str]:
    """By line feeds alone, since texts hold other line separators of Unicode; a carriage return before it goes too."""
    return [line.removesuffix("\r") for line in decoded(path).removesuffix("\n").split("\n")]


def rows_of(path: Path, least: int = 2) -> list[tuple[int, list[str]]]:
    """(number of its first line, cells) of each row of a table; all have as many cells, `least` of them or more."""
    rows = list(_numbered(path))
    width = max(len(rows[0][1]), least)
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            raise KzooError(f"line {line} of {str(path)!r} is empty; delete it")
        if len(cells) != width:
            raise KzooError(
                f"line {line} of {str(path)!r} has {len(cells)} column{'s' * (len(cells) > 1)}, not {width}; separate"
                f" them by {SEPARATORS[Path(unpacked(path)).suffix.lower()]}"
            )
    return rows


def first_row(path: Path) -> list[str]:
    """Its cells; the others are not cut."""
    return next(_numbered(path))[1]


def _numbered(path: Path) -> Iterator[tuple[int, list[str]]]:
    if Path(unpacked(path)).suffix.lower() == ".csv":
        return _csv_rows(path)
    return ((n, line.split("\t")) for n, line in enumerate(lines_of(path), start=1))


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = decoded(path)
    said = SEPARATOR_LINE.match(text)
    start, between, before = (said.end(), said[1], 1) if said else (0, ",", 0)
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=between, strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # a text may be longer than the 131,072 characters that csv allows
    line = before + 1
    try:
        for cells in reader:
            yield line, cells
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise KzooError(
            f"line {line} of {str(path)!r} is not CSV ({error}); a double quote inside a quoted text is written twice"
        ) from error
    finally:
        csv.field_size_limit(limit)


def number(cell: str) -> float | None:
    """The number in a cell; None of anything else, of nan and of infinity too.

    >>> [number(cell) for cell in ("-1.5e3", " 7 ", "1_000", "nan", "")]
    [-1500.0, 7.0, None, None, None]
    """
    try:
        value = float(cell) if "_" not in cell else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Columns:
    """A table of numbers and a few names.

    Attributes:
        names: Of the columns, as line 1 says them; else their numbers from 1.
        named: Whether line 1 says them.
        lines: Number of the line of each row.
        rows: Cells.
    """

    path: Path
    names: tuple[str, ...]
    named: bool
    lines: tuple[int, ...]
    rows: list[list[str]]

    @classmethod
    def of(cls, path: Path, named: bool | None = None) -> Columns:
        """
        Args:
            named: Whether line 1 names the columns; default where it has no number in a column that has one in line 2.
        """
        rows = rows_of(path)
        head = [cell.strip() for cell in rows[0][1]]
        if named is None:
            second = rows[1][1] if len(rows) > 1 else []
            named = any(number(a) is None and number(b) is not None for a, b in zip(head, second, strict=False))
        if named and (twice := next((name for k, name in enumerate(head) if name in head[:k]), None)) is not None:
            raise KzooError(f"line 1 of {str(path)!r} names {twice!r} twice; name each column once")
        rows = rows[1:] if named else rows
        if not rows:
            raise KzooError(f"{str(path)!r} has a header and no rows; a table needs at least one")
        names = tuple(head) if named else tuple(str(k + 1) for k in range(len(head)))
        return cls(path, names, named, tuple(line for line, _ in rows), [cells for _, cells in rows])

    def cells(self, place: int) -> list[str]:
        return [row[place].strip() for row in self.rows]

    def is_numbers(self, place: int, look_at: int = 100) -> bool:
        """Whether its first cells are numbers, as far as there is something in them."""
        return all(number(row[place]) is not None for row in self.rows[:look_at] if row[place].strip())

    def numbers(self, places: Sequence[int]) -> np.ndarray:
        """float64 [rows, places].

        Raises:
            KzooError: A cell holds none.
        """
        found = np.empty((len(self.rows), len(places)))
        for i, (line, row) in enumerate(zip(self.lines, self.rows, strict=True)):
            for j, place in enumerate(places):
                value = number(row[place])
                if value is None:
                    what = f"column {place + 1}" + (f" ({self.names[place]!r})" if self.named else "")
                    if not row[place].strip():
                        raise KzooError(
                            f"line {line} of {str(self.path)!r} has nothing in {what}; fill it or delete the row"
                        )
                    raise KzooError(
                        f"line {line} of {str(self.path)!r} has {row[place].strip()[:40]!r} in {what}, where numbers"
                        " stand; mend it, or leave the column out of the file"
                    )
                found[i, j] = value
        return found
