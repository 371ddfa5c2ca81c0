"""Images with a labels.csv: a file and a label in each row, and perhaps the split."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from kzoo.data.data import DataInfo, Examples
from kzoo.data.images import Pair, examples_of, many, relative
from kzoo.data.labels import check_classes, ordered, refuse_alike, unquoted
from kzoo.data.names import FILES, LABELS, SPLITS, places, split_of, subfolders
from kzoo.errors import KzooError, listed
from kzoo.inputs import IMAGE_SUFFIXES, SEPARATOR_LINE, is_hidden

Rows = list[tuple[int, list[str]]]  # (number in the file, cells)
LOOKED_AT = 50  # rows that tell which column names files, where no header does


def labels_csv(folder: Path, columns: Mapping[str, str | int] | None = None) -> tuple[dict[str, Examples], DataInfo]:
    """A file and a label in each row, separated by commas, semicolons or tabs; columns in any order under a header.

    A column named split says train, validation or test. Labels may be one-hot: a column a class, with one 1 in each
    row. Files are looked for in the folder and those in it, with or without their suffix; absolute paths, and those
    that lead out of it, are read as well: the table is the user's own, and images often lie on another disk.
    """
    path, find = folder / "labels.csv", _Files(folder)
    rows = _rows(path)
    if not rows:
        raise KzooError(f"{str(path)!r} names no files; expected a file and a label in each row")
    table = _table(path, rows, columns, find)
    if not table.rows:
        raise KzooError(f"{str(path)!r} names no files; expected a file and a label in each row")
    seen: dict[Path, tuple[str, str]] = {}  # {path: (label, split)}
    repeated = 0
    for number, row in table.rows:
        cell = lambda k, row=row: row[k].strip() if k is not None and k < len(row) else ""
        name, label, split = cell(table.file), unquoted(table.label(row)), cell(table.split)
        if not name or not label:
            raise KzooError(f"row {number} of {str(path)!r} must have a file and a label; it has {','.join(row)!r}")
        if table.split is not None and split_of(split) is None:
            raise KzooError(
                f"row {number} of {str(path)!r} has the split {split!r}; allowed: train, validation, test and words"
                " such as training, val, testing"
            )
        image, split = find(name, f"row {number} of {str(path)!r}"), split_of(split) or "train"
        if image in seen:
            if seen[image][0] != label:
                raise KzooError(
                    f"row {number} of {str(path)!r} labels {name!r} {label!r}, an earlier one {seen[image][0]!r}"
                )
            if seen[image][1] != split:
                raise KzooError(
                    f"row {number} of {str(path)!r} puts {name!r} in {split}, an earlier one in {seen[image][1]}"
                )
            repeated += 1
        seen.setdefault(image, (label, split))
    classes = ordered({label for label, _ in seen.values()})
    check_classes(classes, len(seen), str(path))
    refuse_alike(classes, f"labels of {str(path)!r}")
    numbers = {label: k for k, label in enumerate(classes)}
    pairs: dict[str, list[Pair]] = {}
    for image, (label, split) in seen.items():
        pairs.setdefault(split, []).append(Pair(image, numbers[label], relative(image, folder)))
    notes, top = table.notes, os.path.realpath(folder)
    real = [os.path.realpath(image) for image in seen]
    outside = sum(not place.startswith(top + os.sep) for place in real)
    if outside:
        notes.append(f"labels.csv: {many(outside, 'image')} outside the folder")
    if repeated:
        notes.append(f"labels.csv: {many(repeated, 'row')} said again what an earlier one says")
    parents = {image.parent for image in seen}
    if unlisted := _unlisted(folder, parents, seen, set(real)):
        shown = listed([relative(image, folder) for image in unlisted], 3)
        notes.append(f"labels.csv is read; {many(len(unlisted), 'image')} that it does not name left out: {shown}")
    named = set(map(os.path.realpath, parents))
    if beside := [child.name for child in subfolders(folder) if _unnamed(child, named)]:
        notes.append(f"labels.csv is read; folders of images that it does not name are left out: {listed(beside, 5)}")
    return examples_of(pairs, classes, folder, notes)


def _unlisted(folder: Path, parents: set[Path], seen: Container[Path], real: set[str]) -> list[Path]:
    """Images beside those that the table names, in the same folders; not those that it names by another path."""
    beside = (path for parent in sorted(parents) if parent.is_relative_to(folder) and parent.is_dir()
              for path in sorted(parent.iterdir()))  # fmt: skip
    return [p for p in beside if _is_image(p.name) and p not in seen and os.path.realpath(p) not in real]


def _unnamed(child: Path, named: set[str]) -> bool:
    """Whether a folder has images, and none that the table names."""
    inside = [Path(here) for here, _, names in os.walk(child) if any(map(_is_image, names))]
    return bool(inside) and not any(os.path.realpath(here) in named for here in inside)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


class _Files:
    """Finds the file that a cell names: in the folder, or in one below it, by its name or what comes before the
    suffix; also where it was written down on another system, with backslashes or other accents.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._below: dict[str, list[Path]] | None = None

    def __call__(self, name: str, where: str) -> Path:
        """The file, or where it would lie.

        Raises:
            KzooError: Several files have that name.
        """
        if (found := self._right_there(name)) is not None:
            return found
        others = self._others(name)
        if len(others) > 1:
            both = " and ".join(relative(other, self.folder) for other in others[:2])
            raise KzooError(f"{where} names {name!r}, which is {both}; say which with its folder and suffix")
        return others[0] if others else Path(os.path.normpath(self.folder / name))

    def there(self, name: str) -> bool:
        return bool(name) and (self._right_there(name) is not None or bool(self._others(name)))

    def _right_there(self, name: str) -> Path | None:
        for other in dict.fromkeys((name, name.replace("\\", "/"))):
            for form in (None, "NFC", "NFD"):
                path = self.folder / (unicodedata.normalize(form, other) if form else other)
                if path.is_file():
                    return Path(os.path.normpath(path))
        return None

    def _others(self, name: str) -> list[Path]:
        if self._below is None:
            self._below = {}
            for here, folders, names in os.walk(self.folder):
                folders[:] = sorted(other for other in folders if not is_hidden(other))
                for other in filter(_is_image, names):
                    path = Path(here, other)
                    for key in {other, path.stem}:
                        self._below.setdefault(unicodedata.normalize("NFC", key), []).append(path)
        wanted = name.replace("\\", "/")
        found = self._below.get(unicodedata.normalize("NFC", wanted.rsplit("/", 1)[-1]), [])
        ends = [path for path in found if path.as_posix().endswith("/" + wanted)] if "/" in wanted else []
        return ends or ([] if "/" in wanted and len(found) > 1 else found)


class _Table:
    """The rows of a table, and which of their cells are what."""

    def __init__(
        self, rows: Rows, file: int, label: Callable[[Sequence[str]], str], split: int | None, notes: list[str]
    ) -> None:
        self.rows, self.file, self.label, self.split, self.notes = rows, file, label, split, notes


def _rows(path: Path) -> Rows:
    """The rows that have any cells; the separator is the one that cuts all rows alike. Excel's line `sep=;` says it."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KzooError(f"{str(path)!r} is not CSV in UTF-8: {error}; save it as CSV UTF-8") from error
    marks, first = ",;\t", 1
    if said := SEPARATOR_LINE.match(text):
        text, marks, first = text[said.end() :], said[1], 2
    try:
        cells = lambda mark: csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
        read = {mark: [(k, row) for k, row in enumerate(cells(mark), first) if any(row)] for mark in marks}
    except csv.Error as error:
        raise KzooError(f"{str(path)!r} is not CSV in UTF-8: {error}; save it as CSV UTF-8") from error
    for rows in read.values():
        if rows and len(rows[0][1]) > 1 and len({len(row) for _, row in rows}) == 1:
            return rows
    widest = max(read, key=lambda mark: len(read[mark][0][1]) if read[mark] else 0)
    return read[widest]


def _table(path: Path, rows: Rows, columns: Mapping[str, str | int] | None, find: _Files) -> _Table:
    head = [unquoted(cell) for cell in rows[0][1]]
    cell = lambda k: lambda row: row[k] if k < len(row) else ""
    if columns is not None:
        if not {"file", "label"} <= columns.keys():
            raise KzooError(f"columns of {str(path)!r} must say file and label; received {dict(columns)!r}")
        found, named = places(columns, head, str(path))
        return _Table(rows[1:] if named else rows, found["file"], cell(found["label"]), found.get("split"), [])
    if any(_is_image(name) for name in head[:1]):  # no header: a file and a label
        wide = max(len(row) for _, row in rows) - 2
        notes = [f"labels.csv: {many(wide, 'column')} after the second left out"] * (wide > 0)
        return _Table(rows, 0, cell(1), None, notes)
    lower = [name.lower() for name in head]
    place = lambda names: next((lower.index(name) for name in names if name in lower), None)
    file, label, split, notes = place(FILES), place(LABELS), place(SPLITS), []
    if file is not None and file == label:
        file = None
    if file is None:
        file = _names_files(rows[1:], {label, split}, find)
        if file is not None:
            notes.append(f"labels.csv: the files are those of the column {head[file] or f'number {file + 1}'!r}")
    classes = _one_hot(rows[1:], head, {file, split}) if file is not None and label is None else []
    if file is None or (label is None and not classes):
        raise KzooError(
            f"{str(path)!r} has the columns {', '.join(head)}; name them file and label in row 1, or give"
            " columns={'file': …, 'label': …} (--columns file=NAME)"
        )
    used = {file, label, split, *classes}
    if left := [head[k] or f"number {k + 1}" for k in range(len(head)) if k not in used]:
        notes.append(f"labels.csv: columns left out: {', '.join(left)}")
    if classes:
        notes.append(f"labels.csv: labels are one-hot, in {listed([head[k] for k in classes], 5)}")
        return _Table(rows[1:], file, lambda row: next(head[k] for k in classes if float(row[k]) == 1), split, notes)
    return _Table(rows[1:], file, cell(label), split, notes)


def _names_files(rows: Rows, others: set[int | None], find: _Files) -> int | None:
    """The one column whose cells are names of images that are there."""
    looked = [row for _, row in rows[:LOOKED_AT]]
    wide = max((len(row) for row in looked), default=0)
    found = [
        k for k in range(wide)
        if k not in others and sum(find.there(row[k].strip()) for row in looked if k < len(row)) > len(looked) / 2
    ]  # fmt: skip
    return found[0] if len(found) == 1 else None


def _one_hot(rows: Rows, head: Sequence[str], others: set[int | None]) -> list[int]:
    """The columns of which each row has one 1 and else zeros; [] where there are no such."""

    def numbers(k: int) -> list[float] | None:
        try:
            return [float(row[k]) for _, row in rows]
        except (ValueError, IndexError):
            return None

    zeros_and_ones = [
        k for k in range(len(head)) if k not in others and (v := numbers(k)) is not None and set(v) <= {0.0, 1.0}
    ]
    sums = [sum(float(row[k]) for k in zeros_and_ones) for _, row in rows]
    return zeros_and_ones if len(zeros_and_ones) > 1 and set(sums) == {1.0} else []
