"""Names that splits, folders and columns go by; others are said by `columns=`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError, unknown
from kzoo.inputs import is_hidden

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "validate", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
BESIDE_SPLITS = ("set", "data", "dataset", "split", "images", "image", "imgs", "img", "seg")  # test_set, seg_train, …
# Of a header, in lower case; of several of one role the first in this order is taken.
FILES = ("file", "filename", "file_name", "filenames", "filepath", "file_path", "path", "image", "image_path",
         "img_path", "image_name", "imagename", "img_name", "image_file", "img", "photo", "picture", "image_id",
         "img_id", "images", "name", "id")  # fmt: skip
LABELS = ("label", "labels", "class", "class_name", "category", "sentiment", "polarity", "intent", "topic", "emotion",
          "rating", "stars", "score", "target")  # fmt: skip
# Columns of a number that is learned, and of times.
MEASURED = ("target", "y", "value", "price")
TIMES = ("time", "date", "datetime", "timestamp", "month", "year", "day", "hour", "step")
SPLITS = ("split", "set", "subset", "partition")
TEXTS = ("text", "texts", "sentence", "review", "comment", "tweet", "message", "document", "content", "phrase",
         "utterance", "query", "question")  # fmt: skip
SOURCES, TARGETS = ("source", "src"), ("target", "tgt", "trg")


def split_of(name: str) -> str | None:
    """The split that a name means, of a folder, a file or a cell.

    >>> [split_of(name) for name in ("Training", "test_set", "trainset", "seg_pred", "images-val", "test2017")]
    ['train', 'test', 'train', None, 'validation', None]
    """
    if any(letter.isdecimal() for letter in name):
        return None
    words = re.split(r"[\W_]+", name.strip().lower())
    words = [word.removesuffix("set") if word.removesuffix("set") in SPLIT_WORDS else word for word in words]
    words = [word for word in words if word not in BESIDE_SPLITS]
    return SPLIT_WORDS.get(words[0]) if len(words) == 1 else None


def subfolders(folder: Path) -> list[Path]:
    """Without hidden ones, and without kzoo's own runs/, should it lie there."""
    ours = lambda p: p.name == "runs" and any(p.glob("*/plan.json"))
    return sorted(p for p in folder.iterdir() if not is_hidden(p.name) and p.is_dir() and not ours(p))


def check_columns(columns: Any) -> dict[str, str | int] | None:
    """`columns=` in its plain form: {role: the column's name, or its number from 1}."""
    if columns is None:
        return None
    roles = ("file", "label", "split", "text", "source", "target", "time")
    if not isinstance(columns, Mapping) or not columns:
        raise KzooError(
            f"columns must be {{role: column}}, such as {{'text': 'review', 'label': 2}}; received {columns!r}"
        )
    found = {}
    for role, column in columns.items():
        if role not in roles:
            raise unknown("role in columns", role, roles)
        if isinstance(column, str) and column.isdecimal():
            column = int(column)
        if not isinstance(column, str | int) or isinstance(column, bool) or column in ("", 0):
            raise KzooError(f"columns names a column, or gives its number from 1; {role} is {column!r}")
        found[role] = column
    if len({isinstance(column, int) for column in found.values()}) > 1:
        raise KzooError(f"columns are all named, or all numbered where there is no header; received {dict(columns)!r}")
    return found


def places(columns: Mapping[str, str | int], head: Sequence[str], where: str) -> tuple[dict[str, int], bool]:
    """({role: place from 0}, whether the first row is a header) of `columns=` in a table whose first row is `head`.

    Columns by name stand in a header; columns by number need none.
    """
    names = [name.strip() for name in head]
    found, named = {}, any(isinstance(column, str) for column in columns.values())
    for role, column in columns.items():
        if isinstance(column, int):
            if column > len(names):
                raise KzooError(f"columns: {role} is number {column}, and {where} has {len(names)}")
            found[role] = column - 1
        elif column in names:
            found[role] = names.index(column)
        else:
            raise unknown(f"column of {where}", column, names)
    return found, named
