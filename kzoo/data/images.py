"""Image files with their labels to examples: every file is decoded once; what cannot be is named and left out."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.data.data import DataInfo, Examples
from kzoo.errors import KzooError
from kzoo.inputs import IMAGE_SUFFIXES, LARGE_PIXELS, Unreadable, decode_image, no_size_warnings, open_image

IN_MEMORY = 1 << 30  # bytes of decoded images of one size that are kept as an array


class Found(NamedTuple):
    """What was seen of an image: its size, whether it is grey, the digest of its file, whether a graph decodes it."""

    size: tuple[int, int]
    grey: bool
    digest: bytes
    in_graph: bool


class Pair(NamedTuple):
    """A file, its label's number, and its name as the user knows it."""

    path: Path
    label: int
    name: str


def examples_of(
    pairs: dict[str, list[Pair]], classes: list[str], folder: Path, notes: list[str]
) -> tuple[dict[str, Examples], DataInfo]:
    """Decode every file once: what cannot be read is named, counted and left out."""
    skipped: list[str] = []
    splits, digests = {}, {}
    for split, files in pairs.items():
        with no_size_warnings(), ThreadPoolExecutor() as pool:
            looked = list(pool.map(lambda pair: _look(pair.path), files))
        good = [(pair, found) for pair, found in zip(files, looked, strict=True) if not isinstance(found, str)]
        skipped += [f"{p.name}: {found}" for p, found in zip(files, looked, strict=True) if isinstance(found, str)]
        digests[split] = good
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
        notes=(*notes, *_twice(digests, classes)),
        skipped=tuple(skipped),
    )
    return splits, info


def _twice(good: dict[str, list[tuple[Pair, Found]]], classes: Sequence[str]) -> list[str]:
    """Notes on files that are the same, byte for byte: under two labels, in two splits, twice in one of them."""
    alike: dict[bytes, list[tuple[str, Pair]]] = {}
    for split, examples in good.items():
        for pair, found in examples:
            alike.setdefault(found.digest, []).append((split, pair))
    groups = [group for group in alike.values() if len(group) > 1]
    labels = [{pair.label: f"{pair.name} ({classes[pair.label]})" for _, pair in group} for group in groups]
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


def _look(path: Path) -> Found | str:
    """What an image that decodes is like; otherwise why not."""
    if path.suffix.lower() not in IMAGE_SUFFIXES and path.is_file():
        return f"not an image ({path.suffix or 'no suffix'})"
    try:
        image = open_image(path)
    except Unreadable as error:
        return str(error)
    digest = hashlib.blake2b(image.contents, digest_size=16).digest()
    return Found(tuple(image.pixels.shape[:2]), image.grey, digest, image.in_graph)


def _decoded(good: list[tuple[Pair, Found]]) -> Examples:
    """As one array where all images have one size and fit; otherwise decoded when they are read."""
    paths = np.array([os.fsencode(pair.path) for pair, _ in good], object)
    labels = np.array([pair.label for pair, _ in good], "int64")
    files = tuple(pair.name for pair, _ in good)
    sizes = {found.size for _, found in good}
    channels = 1 if all(found.grey for _, found in good) else 3

    others = tf.constant([os.fsencode(pair.path) for pair, found in good if not found.in_graph] or [b""])

    def by_pillow(path: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda name: open_image(Path(os.fsdecode(name))).pixels.numpy(), [path], tf.uint8)

    def read(path: tf.Tensor) -> tf.Tensor:
        in_graph = lambda: decode_image(tf.io.read_file(path))
        other = tf.reduce_any(path == others)
        pixels = (
            in_graph()
            if all(found.in_graph for _, found in good)
            else tf.cond(other, lambda: by_pillow(path), in_graph)
        )
        return tf.ensure_shape(pixels, [None, None, 3])[..., :channels]

    if len(sizes) == 1:
        (height, width) = next(iter(sizes))
        if len(good) * height * width * channels <= IN_MEMORY:
            images = np.empty((len(good), height, width, channels), "uint8")

            def fill(k: int) -> None:
                images[k] = read(tf.constant(paths[k])).numpy()

            with ThreadPoolExecutor() as pool:
                list(pool.map(fill, range(len(good))))
            return Examples.of_arrays(images, labels, files)

    large = max(height * width for height, width in sizes) >= LARGE_PIXELS

    def select(indices: np.ndarray) -> tf.data.Dataset:
        rows = tf.data.Dataset.from_tensor_slices((paths[indices], labels[indices]))
        at_once = 1 if large else tf.data.AUTOTUNE
        return rows.map(lambda path, label: (read(path), label), num_parallel_calls=at_once)

    return Examples(labels, select, (None, None, channels), files)


def relative(path: Path, folder: Path) -> str:
    """As `DataInfo.files` has it."""
    return printable(path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.absolute().as_posix())


def printable(text: str) -> str:
    """A name that can be written down: bytes of a file name that are no UTF-8 become escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
