"""Plain text: a `.txt` file, or a folder with train.txt and, where there are any, val.txt and test.txt."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from kzoo.data.data import DataInfo, Examples
from kzoo.data.names import split_of
from kzoo.data.texts import chosen, labelled
from kzoo.errors import KzooError
from kzoo.inputs import decoded, unpacked


def is_plain(path: Path) -> bool:
    return Path(unpacked(path)).suffix.lower() == ".txt"


def plain_files(folder: Path) -> dict[str, Path]:
    """{stem: path} of the `.txt` files that are named after splits; {} where train is not among them."""
    found = {Path(unpacked(p)).stem: p for p in sorted(folder.iterdir()) if p.is_file() and is_plain(p)}
    found = {stem: path for stem, path in found.items() if split_of(stem)}
    return found if any(split_of(stem) == "train" for stem in found) else {}


def plain_text(path: Path) -> tuple[dict[str, Examples], DataInfo]:
    """A passage an example, whole with what ends it, in the order of the file; the label is 0: prose has none."""
    if path.is_file():
        return {"train": prose(decoded(path))}, DataInfo(Path(unpacked(path)).stem, "prose")
    files = plain_files(path)
    if not files:
        raise KzooError(
            f"{str(path)!r} holds no prose; give a .txt file, a table with a column text, or a folder with a train.txt"
            " or train.csv"
        )
    stems, notes = chosen(files, repr(str(path)))
    splits = {split: prose(decoded(files[stem])) for split, stem in stems.items()}
    return splits, DataInfo(path.resolve().name, "prose", notes=notes)


def prose(text: str) -> Examples:
    """Passages end at blank lines; where there are none, at the ends of lines."""
    text = text.replace("\r\n", "\n")
    blank = re.search(r"\n\s*\n", text.strip()) is not None
    found = re.findall(r"(?s).+?(?:\n\s*\n|\Z)" if blank else r".+\n*", text)
    return labelled(found, np.zeros(len(found), "int64"))
