"""Images in folders: one subfolder a class, or a labels.csv. Every file is decoded once; what cannot be is named."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from kzoo.data._data import DataInfo, Examples
from kzoo.errors import KzooError
from kzoo.preprocess import IMAGE_SUFFIXES, decode_image

IN_MEMORY = 1 << 30  # bytes of decoded images of one size that are kept as an array
MAX_PIXELS = 100_000_000  # a larger image would take gigabytes to decode
HEADERS = ("file", "filename", "file_name", "path", "image", "name")  # of the first column of a labels.csv
SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}


def labels_csv(folder: Path) -> tuple[dict[str, Examples], DataInfo]:
    path = folder / "labels.csv"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise KzooError(f"{str(path)!r} is not CSV in UTF-8: {error}") from error
    if rows and rows[0][1][0].strip().lower() in HEADERS:
        rows = rows[1:]
    if not rows:
        raise KzooError(f"{str(path)!r} names no files; expected a file and a label in each row")
    seen: dict[Path, str] = {}
    for number, row in rows:
        if len(row) < 2 or not row[0].strip() or not row[1].strip():
            raise KzooError(f"row {number} of {str(path)!r} must have a file and a label; it has {','.join(row)!r}")
        image, label = folder / row[0].strip(), row[1].strip()
        if seen.setdefault(image, label) != label:
            raise KzooError(
                f"row {number} of {str(path)!r} labels {row[0].strip()!r} {label!r}, an earlier one {seen[image]!r}"
            )
    classes = sorted(set(seen.values()))
    return _images({"train": [(image, classes.index(label)) for image, label in seen.items()]}, classes, folder)


def image_folder(folder: Path) -> tuple[dict[str, Examples], DataInfo]:
    roots = {}
    for child in _subfolders(folder):
        if child.name.lower() in SPLIT_FOLDERS:
            split = SPLIT_FOLDERS[child.name.lower()]
            if split in roots:
                raise KzooError(f"{str(folder)!r} has two {split} folders: {roots[split].name} and {child.name}")
            roots[split] = child
    if roots and "train" not in roots:
        raise KzooError(f"{str(folder)!r} has {', '.join(r.name for r in roots.values())}, but no train folder")
    beside = [child.name for child in _subfolders(folder) if roots and child not in roots.values()]
    roots = roots or {"train": folder}
    classes = sorted({child.name for root in roots.values() for child in _subfolders(root)})
    if not classes:
        raise KzooError(
            f"{str(folder)!r} has no subfolders; expected one folder of images a class, images with a labels.csv,"
            " or MNIST's *-ubyte files"
        )
    pairs: dict[str, list[tuple[Path, int]]] = {}
    for split, root in roots.items():
        pairs[split] = [
            (path, classes.index(child.name))
            for child in _subfolders(root)
            for path in sorted(child.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        ]
    splits, info = _images(pairs, classes, folder)
    if beside:
        info = replace(
            info, notes=(*info.notes, f"folders beside {', '.join(roots)} are left out: {', '.join(beside)}")
        )
    return splits, info


def _subfolders(folder: Path) -> list[Path]:
    """Without hidden ones, and without kzoo's own runs/, should it lie there."""
    ours = lambda p: p.name == "runs" and any(p.glob("*/plan.json"))
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and not ours(p))


def _images(
    pairs: dict[str, list[tuple[Path, int]]], classes: list[str], folder: Path
) -> tuple[dict[str, Examples], DataInfo]:
    """Decode every file once: what cannot be read is named, counted and left out."""
    skipped: list[str] = []
    splits = {}
    for split, files in pairs.items():
        with ThreadPoolExecutor() as pool:
            looked = list(pool.map(lambda pair: _look(pair[0]), files))
        good = [
            (path, label, found)
            for (path, label), found in zip(files, looked, strict=True)
            if not isinstance(found, str)
        ]
        skipped += [
            f"{path.relative_to(folder) if path.is_relative_to(folder) else path}: {found}"
            for (path, _), found in zip(files, looked, strict=True)
            if isinstance(found, str)
        ]
        empty = [c for k, c in enumerate(classes) if not any(label == k for _, label, _ in good)]
        if empty and split == "train":
            why = f"; skipped: {'; '.join(skipped[:3])}" if skipped else ""
            raise KzooError(
                f"no readable image of {', '.join(map(repr, empty))} in the {split} part of {str(folder)!r}{why}"
            )
        if good:
            splits[split] = _decoded(good)
    notes = (
        (f"{len(skipped)} files skipped: {'; '.join(skipped[:5])}{' …' if len(skipped) > 5 else ''}",)
        if skipped
        else ()
    )
    info = DataInfo(
        name=folder.resolve().name,
        task="image-classification",
        classes=tuple(classes),
        notes=notes,
        skipped=tuple(skipped),
    )
    return splits, info


def _look(path: Path) -> tuple[tuple[int, int], bool] | str:
    """((height, width), is grey) of an image that decodes; otherwise why not."""
    try:
        if not path.is_file():
            return "no such file"
        if path.stat().st_size == 0:
            return "empty file"
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return f"not an image ({path.suffix or 'no suffix'})"
        with Image.open(path) as header:
            if header.width * header.height > MAX_PIXELS:
                return f"{header.width}x{header.height} pixels are too many (at most {MAX_PIXELS:,})"
            grey = header.mode in ("1", "L", "LA", "I", "I;16", "F")
        image = decode_image(tf.io.read_file(str(path)))
        return (image.shape[0], image.shape[1]), grey
    except Image.DecompressionBombError:
        return f"too many pixels (at most {MAX_PIXELS:,})"
    except (OSError, ValueError, tf.errors.OpError):
        return "corrupt image"


def _decoded(good: list[tuple[Path, int, tuple[tuple[int, int], bool]]]) -> Examples:
    """As one array where all images have one size and fit; otherwise decoded when they are read."""
    paths = np.array([str(path) for path, _, _ in good])
    labels = np.array([label for _, label, _ in good], "int64")
    sizes = {size for _, _, (size, _) in good}
    channels = 1 if all(grey for _, _, (_, grey) in good) else 3

    def read(path: tf.Tensor) -> tf.Tensor:
        return decode_image(tf.io.read_file(path))[..., :channels]

    if len(sizes) == 1:
        (height, width) = next(iter(sizes))
        if len(good) * height * width * channels <= IN_MEMORY:
            with ThreadPoolExecutor() as pool:
                images = np.stack(list(pool.map(lambda path: read(path).numpy(), paths)))
            return Examples.of_arrays(images, labels)

    def select(indices: np.ndarray) -> tf.data.Dataset:
        rows = tf.data.Dataset.from_tensor_slices((paths[indices], labels[indices]))
        return rows.map(lambda path, label: (read(path), label), num_parallel_calls=tf.data.AUTOTUNE)

    return Examples(labels, select, (None, None, channels))
