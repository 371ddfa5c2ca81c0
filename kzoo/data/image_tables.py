"""Images with a labels.csv: a file and a label in each row, and perhaps the split."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from kzoo.data.data import DataInfo, Examples
from kzoo.data.images import Pair, examples_of, many, refuse_alike, relative
from kzoo.data.names import FILES, LABELS, SPLIT_FOLDERS, SPLITS, places
from kzoo.errors import KzooError
from kzoo.inputs import IMAGE_SUFFIXES


def labels_csv(folder: Path, columns: Mapping[str, str | int] | None = None) -> tuple[dict[str, Examples], DataInfo]:
    """A file and a label in each row, separated by commas, semicolons or tabs; columns in any order under a header.

    A column named split says train, validation or test. Files are looked for in the folder; absolute paths, and those
    that lead out of it, are read as well: the table is the user's own, and images often lie on another disk.
    """
    path = folder / "labels.csv"
    rows = _rows(path)
    if not rows:
        raise KzooError(f"{str(path)!r} names no files; expected a file and a label in each row")
    found, rows, notes = _columns(path, rows, columns)
    if not rows:
        raise KzooError(f"{str(path)!r} names no files; expected a file and a label in each row")
    seen: dict[Path, tuple[str, str]] = {}  # {path: (label, split)}
    repeated = 0
    for number, row in rows:
        cells = [row[k].strip() if k is not None and k < len(row) else "" for k in found]
        name, label, split = cells
        if not name or not label:
            raise KzooError(f"row {number} of {str(path)!r} must have a file and a label; it has {','.join(row)!r}")
        if found[2] is not None and split.lower() not in SPLIT_FOLDERS:
            raise KzooError(
                f"row {number} of {str(path)!r} has the split {split!r}; allowed: {', '.join(SPLIT_FOLDERS)}"
            )
        image, split = _listed(folder, name), SPLIT_FOLDERS.get(split.lower(), "train")
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
    classes = sorted({label for label, _ in seen.values()})
    refuse_alike(classes, f"labels of {str(path)!r}")
    pairs: dict[str, list[Pair]] = {}
    for image, (label, split) in seen.items():
        pairs.setdefault(split, []).append(Pair(image, classes.index(label), relative(image, folder)))
    if "train" not in pairs:
        raise KzooError(f"{str(path)!r} has rows for {', '.join(pairs)}, but none for train")
    top = os.path.realpath(folder)
    outside = sum(not os.path.realpath(image).startswith(top + os.sep) for image in seen)
    if outside:
        notes.append(f"labels.csv: {many(outside, 'image')} outside the folder")
    if repeated:
        notes.append(f"labels.csv: {many(repeated, 'row')} said again what an earlier one says")
    return examples_of(pairs, classes, folder, notes)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """(number, cells) of the rows that have any; the separator is the one that cuts all rows alike."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        read = {
            mark: [(k, row) for k, row in enumerate(csv.reader(text.splitlines(), delimiter=mark), 1) if any(row)]
            for mark in ",;\t"
        }
    except (UnicodeDecodeError, csv.Error) as error:
        raise KzooError(f"{str(path)!r} is not CSV in UTF-8: {error}; save it as CSV UTF-8") from error
    for rows in read.values():
        if rows and len(rows[0][1]) > 1 and len({len(row) for _, row in rows}) == 1:
            return rows
    first = max(read, key=lambda mark: len(read[mark][0][1]) if read[mark] else 0)
    return read[first]


def _columns(
    path: Path, rows: list[tuple[int, list[str]]], columns: Mapping[str, str | int] | None
) -> tuple[tuple[int, int, int | None], list[tuple[int, list[str]]], list[str]]:
    """((file, label, split) columns, the rows without a header, notes)."""
    head = [cell.strip() for cell in rows[0][1]]
    if columns is not None:
        if not {"file", "label"} <= columns.keys():
            raise KzooError(f"columns of {str(path)!r} must say file and label; received {dict(columns)!r}")
        found, named = places(columns, head, str(path))
        return (found["file"], found["label"], found.get("split")), rows[1:] if named else rows, []
    if any(cell.lower().endswith(IMAGE_SUFFIXES) for cell in head[:1]):  # no header: a file and a label
        wide = max(len(row) for _, row in rows) - 2
        return (0, 1, None), rows, [f"labels.csv: {many(wide, 'column')} after the second left out"] * (wide > 0)
    lower = [name.lower() for name in head]
    place = lambda names: next((lower.index(name) for name in names if name in lower), None)
    file, label, split = place(FILES), place(LABELS), place(SPLITS)
    if file is None or label is None:
        raise KzooError(
            f"{str(path)!r} has the columns {', '.join(head)}; name them file and label in row 1, or give"
            " columns={'file': …, 'label': …} (--columns file=NAME)"
        )
    left = [head[k] for k in range(len(head)) if k not in (file, label, split)]
    return (file, label, split), rows[1:], [f"labels.csv: columns left out: {', '.join(left)}"] if left else []


def _listed(folder: Path, name: str) -> Path:
    """The file of that name, also where it was written down on another system: with backslashes, other accents."""
    for other in (name, name.replace("\\", "/")):
        for form in (None, "NFC", "NFD"):
            path = folder / (unicodedata.normalize(form, other) if form else other)
            if path.is_file():
                return Path(os.path.normpath(path))
    return Path(os.path.normpath(folder / name))
