"""Image files with their labels to examples, which are decoded when they are needed; what cannot be is left out."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.data.data import DataInfo, Examples
from kzoo.errors import KzooError, printable
from kzoo.inputs import (
    AT_ONCE,
    IMAGE_SUFFIXES,
    LARGE_PIXELS,
    Seen,
    Unreadable,
    look_at,
    no_size_warnings,
    read_later,
    reading,
)


class Pair(NamedTuple):
    """A file, its label's number, and its name as the user knows it."""

    path: Path
    label: int
    name: str


def examples_of(
    pairs: dict[str, list[Pair]], classes: list[str], folder: Path, notes: list[str]
) -> tuple[dict[str, Examples], DataInfo]:
    """Look at every file without decoding it: what cannot be read is named, counted and left out."""
    skipped: list[str] = []
    splits, there = {}, {}
    for split, files in pairs.items():
        with no_size_warnings():
            looked = [_look(pair.path) for pair in files]
        good = [(pair, seen) for pair, seen in zip(files, looked, strict=True) if not isinstance(seen, str)]
        skipped += [f"{p.name}: {seen}" for p, seen in zip(files, looked, strict=True) if isinstance(seen, str)]
        there[split] = [pair for pair, _ in good]
        if good:
            splits[split] = _decoded(good)
    if not splits or ("train" in pairs and "train" not in splits):
        why = f"; skipped: {'; '.join(skipped[:3])}" if skipped else ""
        raise KzooError(f"no readable image in {'the train part of ' * ('train' in pairs)}{str(folder)!r}{why}")
    if skipped:
        shown = f"{'; '.join(skipped[:5])}{' …' if len(skipped) > 5 else ''}"
        notes = [f"{many(len(skipped), 'file')} skipped: {shown}", *notes]
    info = DataInfo(
        name=folder.resolve().name,
        holds="images",
        classes=tuple(classes),
        notes=(*notes, *_twice(there, classes)),
        skipped=tuple(skipped),
    )
    return splits, info


def _twice(there: dict[str, list[Pair]], classes: Sequence[str]) -> list[str]:
    """Notes on files that are the same, byte for byte: under two labels, in two splits, twice in one of them. Of files
    whose lengths differ none is read.
    """
    lengths: dict[int, list[tuple[str, Pair]]] = {}
    for split, pairs in there.items():
        for pair in pairs:
            lengths.setdefault(pair.path.stat().st_size, []).append((split, pair))
    alike: dict[bytes, list[tuple[str, Pair]]] = {}
    for group in lengths.values():
        for split, pair in group if len(group) > 1 else ():
            digest = hashlib.blake2b(pair.path.read_bytes(), digest_size=16).digest()
            alike.setdefault(digest, []).append((split, pair))
    groups = [group for group in alike.values() if len(group) > 1]
    labels = [
        {pair.label: f"{pair.name} ({classes[pair.label]})" if classes else "" for _, pair in group} for group in groups
    ]
    other = [" = ".join(names.values()) for names in labels if len(names) > 1]
    same = [" = ".join(pair.name for _, pair in group[:3]) for group in groups if _in_one(group)]
    notes = []
    for what, found in (("under two labels", other), ("more than once", same)):
        if found:
            are = "are" if len(found) > 1 else "is"
            shown = f"{'; '.join(found[:3])}{' …' if len(found) > 3 else ''}"
            notes.append(f"{many(len(found), 'image')} {are} there {what}, byte for byte: {shown}")
    shared = Counter(tuple(sorted({split for split, _ in group})) for group in groups)
    notes += [f"{many(n, 'image')} the same in {' and '.join(s)}" for s, n in shared.items() if len(s) > 1]
    return notes


def _in_one(group: list[tuple[str, Pair]]) -> bool:
    """Whether a split has the same image twice under one label: a part drawn of it may hold the other one."""
    return max(Counter((split, pair.label) for split, pair in group).values()) > 1


def _look(path: Path) -> Seen | str:
    """What an image is like; otherwise why it cannot be used."""
    if path.suffix.lower() not in IMAGE_SUFFIXES and path.is_file():
        return f"not an image ({path.suffix or 'no suffix'})"
    try:
        return look_at(path)
    except Unreadable as error:
        return str(error)


def _decoded(good: list[tuple[Pair, Seen]]) -> Examples:
    """Decoded when they are read."""
    paths = np.array([os.fsencode(pair.path) for pair, _ in good], object)
    labels = np.array([pair.label for pair, _ in good], "int64")
    files = tuple(pair.name for pair, _ in good)
    sizes = {seen.size for _, seen in good}
    channels = 1 if all(seen.grey for _, seen in good) else 3
    height, width = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    ways = np.array([seen.way for _, seen in good], "int32")

    decoded = reading(ways.tolist())

    def read(path: tf.Tensor, label: tf.Tensor, way: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = decoded(path, way)
        return tf.ensure_shape(pixels if channels == 3 else pixels[..., :1], [height, width, channels]), label

    at_once = 1 if any(h * w >= LARGE_PIXELS for h, w in sizes) else AT_ONCE

    def select(indices: np.ndarray) -> tf.data.Dataset:
        rows = tf.data.Dataset.from_tensor_slices((paths[indices], labels[indices], ways[indices]))
        return read_later(rows, read, [files[i] for i in indices], at_once)

    return Examples(labels, select, (height, width, channels), files)


def relative(path: Path, folder: Path) -> str:
    """As `DataInfo.files` has it."""
    return printable(path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.absolute().as_posix())


def many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
