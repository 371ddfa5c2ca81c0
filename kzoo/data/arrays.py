"""Arrays in files: `.npz`, and the idx files of MNIST's page."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from kzoo.data.data import SPLITS, DataInfo, Examples
from kzoo.errors import KzooError
from kzoo.files import check_archive, read_all
from kzoo.inputs import NUMBERS, numbers_of, range_of


def npz(path: Path) -> tuple[dict[str, Examples], DataInfo]:
    try:
        check_archive(path)
        _check_shapes(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except KzooError:
        raise
    except (ValueError, TypeError, EOFError, MemoryError, zlib.error, OSError, zipfile.BadZipFile) as error:
        raise KzooError(f"{str(path)!r} is not a readable .npz file: {error}") from error
    for part in ("x", "y"):  # other names of the same split
        for other in ("val", "valid"):
            if f"{part}_{other}" in arrays:
                arrays.setdefault(f"{part}_validation", arrays.pop(f"{part}_{other}"))
    if {"x", "y"} <= arrays.keys():
        arrays |= {"x_train": arrays["x"], "y_train": arrays["y"]}
    if not {"x_train", "y_train"} <= arrays.keys():
        raise KzooError(
            f"{str(path)!r} must hold x_train and y_train (and x_validation, y_validation, x_test, y_test), or x and y;"
            f" it holds {', '.join(sorted(arrays)) or 'nothing'}"
        )
    shape = arrays["x_train"].shape[1:]
    for split in SPLITS:
        x, y = arrays.get(f"x_{split}"), arrays.get(f"y_{split}")
        if x is None or y is None:
            continue
        if x.ndim < 2 or len(x) == 0:
            raise KzooError(f"x_{split} in {str(path)!r} must be [examples, …] and not empty; its shape is {x.shape}")
        if x.dtype.kind not in "uif" and not (x.dtype.kind == "b" and x.ndim >= 3):
            raise KzooError(f"x_{split} in {str(path)!r} must hold numbers; it is {x.dtype}")
        if x.shape[1:] != shape:
            raise KzooError(f"{str(path)!r}: one row of x_{split} is {x.shape[1:]}, of x_train {shape}")
        if y.ndim > 1 and y.shape[1:] != (1,):
            raise KzooError(
                f"y_{split} in {str(path)!r} must hold one label a row, not {y.shape} (one-hot: take its argmax)"
            )
        if x.ndim == 4 and x.shape[-1] not in (1, 3, 4):
            raise KzooError(
                f"the images in {str(path)!r} have {x.shape[-1]} channels; allowed: 1, 3 or 4, as the last axis"
            )
    labels = np.unique(np.concatenate([arrays[k].ravel() for k in (f"y_{s}" for s in SPLITS) if k in arrays]))
    if labels.dtype.kind not in "iuU" or (labels.dtype.kind in "iu" and labels.min() < 0):
        raise KzooError(f"the labels in {str(path)!r} must be whole numbers from 0, or names; they are {labels.dtype}")
    if labels.dtype.kind in "iu" and labels.max() >= 1000 + 10 * len(labels):
        raise KzooError(
            f"the labels in {str(path)!r} reach {labels.max()} for {len(labels)} classes; number them from 0"
        )
    names = tuple(map(str, labels if labels.dtype.kind == "U" else range(int(labels.max()) + 1)))
    splits, notes, numbers = {}, (), ""
    there = [split for split in SPLITS if f"x_{split}" in arrays and f"y_{split}" in arrays]
    if arrays["x_train"].ndim >= 3:
        images = {split: x[..., None] if (x := arrays[f"x_{split}"]).ndim == 3 else x for split in there}
        ranges = [r for x in images.values() if (r := range_of(x))]
        if numbers := numbers_of(ranges, f"the images in {str(path)!r}"):
            given = NUMBERS[numbers]
            arrays |= {f"x_{split}": np.asarray(given.to_bytes(x)) for split, x in images.items()}
            notes = (given.said,)
    for split in there:
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"].ravel()
        if len(x) != len(y):
            raise KzooError(f"{str(path)!r}: x_{split} has {len(x)} rows and y_{split} has {len(y)}")
        y = np.searchsorted(labels, y) if labels.dtype.kind == "U" else y.astype("int64")
        splits[split] = Examples.of_arrays(x[..., None] if x.ndim == 3 else x, y)
    holds = "images" if len(splits["train"].shape) == 3 else "rows"
    return splits, DataInfo(name=path.stem, holds=holds, classes=names, notes=notes, numbers=numbers)


def _check_shapes(path: Path) -> None:
    """Arrays are made as their heads say before they are read: a head that lies is found first."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                if math.prod(shape) * dtype.itemsize > entry.file_size and not dtype.hasobject:
                    raise ValueError(f"{entry.filename} declares {list(shape)} of {dtype}, and has fewer bytes")


IDX = {
    "train": ("train-images", "train-labels"),
    "test": ("t10k-images", "t10k-labels"),
}


def idx_files(folder: Path) -> dict[str, Path]:
    """{"train-images": path, …} of the `*-ubyte` and `*-ubyte.gz` files in the folder."""
    found = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.removesuffix(".gz")
        if stem.endswith("-ubyte") or stem.endswith(".ubyte"):
            for part in (p for parts in IDX.values() for p in parts):
                if stem.startswith(part):
                    found.setdefault(part, path)
    return found


def idx(folder: Path) -> tuple[dict[str, Examples], DataInfo]:
    files = idx_files(folder)
    if not {"train-images", "train-labels"} <= files.keys():
        raise KzooError(f"{str(folder)!r} has {', '.join(files)}, but not both train-images and train-labels")
    splits = {}
    for split, (images, labels) in IDX.items():
        if images in files and labels in files:
            x, y = _read_idx(files[images]), _read_idx(files[labels])
            if len(x) != len(y):
                raise KzooError(
                    f"{files[images].name} has {len(x)} images and {files[labels].name} has {len(y)} labels"
                )
            splits[split] = Examples.of_arrays(x[..., None], y.astype("int64"))
    classes = tuple(map(str, range(int(max(e.labels.max() for e in splits.values())) + 1)))
    return splits, DataInfo(name=folder.resolve().name, holds="images", classes=classes)


def _read_idx(path: Path) -> np.ndarray:
    """The idx format of LeCun's MNIST page: two zero bytes, the type, the rank, the sizes (big-endian), the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = read_all(file, path)
        if raw[:3] != b"\0\0\x08":
            raise ValueError("it does not start as an idx file of unsigned bytes")
        rank = raw[3]
        sizes = np.frombuffer(raw, ">i4", rank, offset=4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(sizes)
    except KzooError:
        raise
    except (ValueError, OSError, EOFError, IndexError, zlib.error) as error:
        raise KzooError(f"{str(path)!r} is not a whole idx file: {error}") from error
