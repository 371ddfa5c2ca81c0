"""Images in folders: one subfolder a class, or a labels.csv. Every file is decoded once; what cannot be is named."""

from __future__ import annotations

import csv
import hashlib
import os
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from kzoo.data._data import DataInfo, Examples
from kzoo.errors import KzooError
from kzoo.preprocess import IMAGE_SUFFIXES, decode_image

IN_MEMORY = 1 << 30  # bytes of decoded images of one size that are kept as an array
MAX_PIXELS = 100_000_000  # a larger image would take gigabytes to decode
LARGE_PIXELS = 10_000_000  # such images are decoded one at a time: a few at once would take gigabytes, too
SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
# What operating systems leave in folders. It is nobody's data, so nobody is told; nor of names that begin with a dot.
SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found")
# Names of the columns of a labels.csv.
FILE_COLUMNS = ("file", "filename", "file_name", "filepath", "path", "image", "image_path", "name")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "target")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")

_one_large_image = threading.Lock()


class Unreadable(ValueError):
    """Why a file is no image that can be used."""


class Found(NamedTuple):
    """What was seen of an image: its size, whether it is grey, the digest of its file."""

    size: tuple[int, int]
    grey: bool
    digest: bytes


class Pair(NamedTuple):
    """A file, its label's number, and its name as the user knows it."""

    path: Path
    label: int
    name: str


def is_hidden(name: str) -> bool:
    """Files and folders of the system's: `.DS_Store`, `Thumbs.db`, `__MACOSX`, `._photo.jpg`."""
    return name.startswith(".") or name.lower() in SYSTEM


# ----------------------------------------------------------------------------------------------------------------------
# labels.csv
# ----------------------------------------------------------------------------------------------------------------------


def labels_csv(folder: Path) -> tuple[dict[str, Examples], DataInfo]:
    """A file and a label in each row, separated by commas, semicolons or tabs; columns in any order under a header.

    A column named split says train, validation or test. Files are looked for in the folder; absolute paths, and those
    that lead out of it, are read as well: the table is the user's own, and images often lie on another disk.
    """
    path = folder / "labels.csv"
    rows = _rows(path)
    if not rows:
        raise KzooError(f"{str(path)!r} names no files; expected a file and a label in each row")
    columns, rows, notes = _columns(folder, path, rows)
    if not rows:
        raise KzooError(f"{str(path)!r} names no files; expected a file and a label in each row")
    seen: dict[Path, tuple[str, str]] = {}  # {path: (label, split)}
    repeated = 0
    for number, row in rows:
        cells = [row[k].strip() if k is not None and k < len(row) else "" for k in columns]
        name, label, split = cells
        if not name or not label:
            raise KzooError(f"row {number} of {str(path)!r} must have a file and a label; it has {','.join(row)!r}")
        if columns[2] is not None and split.lower() not in SPLIT_FOLDERS:
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
    _refuse_alike(classes, f"labels of {str(path)!r}")
    pairs: dict[str, list[Pair]] = {}
    for image, (label, split) in seen.items():
        pairs.setdefault(split, []).append(Pair(image, classes.index(label), _relative(image, folder)))
    if "train" not in pairs:
        raise KzooError(f"{str(path)!r} has rows for {', '.join(pairs)}, but none for train")
    top = os.path.realpath(folder)
    outside = sum(not os.path.realpath(image).startswith(top + os.sep) for image in seen)
    if outside:
        notes.append(f"labels.csv: {_many(outside, 'image')} outside the folder")
    if repeated:
        notes.append(f"labels.csv: {_many(repeated, 'row')} said again what an earlier one says")
    return _images(pairs, classes, folder, notes)


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
    folder: Path, path: Path, rows: list[tuple[int, list[str]]]
) -> tuple[tuple[int, int, int | None], list[tuple[int, list[str]]], list[str]]:
    """((file, label, split) columns, the rows without a header, notes)."""
    head = [cell.strip().lower() for cell in rows[0][1]]
    place = lambda names: next((head.index(name) for name in names if name in head), None)
    file, label, split = place(FILE_COLUMNS), place(LABEL_COLUMNS), place(SPLIT_COLUMNS)
    is_image = lambda cell: cell.strip().lower().endswith(IMAGE_SUFFIXES)
    if file is not None and not any(map(is_image, head)):
        others = [k for k in range(len(head)) if k not in (file, split)]
        if label is None and len(others) != 1:
            raise KzooError(
                f"{str(path)!r} has the columns {', '.join(rows[0][1])}; name one of them label (or class, category)"
            )
        label = others[0] if label is None else label
        left = [rows[0][1][k].strip() for k in others if k != label]
        return (file, label, split), rows[1:], [f"labels.csv: columns left out: {', '.join(left)}"] if left else []
    notes = []
    # Without names that are known, a file's is told by its end.
    body = [row for _, row in rows if len(row) > 1]
    swapped = bool(body) and all(is_image(row[1]) for row in body[1:] or body) and not any(is_image(r[0]) for r in body)
    file, label = (1, 0) if swapped else (0, 1)
    if len(rows) > 1 and len(head) > 1 and not any(map(is_image, head)) and not (folder / rows[0][1][file]).is_file():
        notes.append(f"labels.csv: its first row is taken for a header: {', '.join(rows[0][1])}")
        rows = rows[1:]
    if swapped:
        notes.append("labels.csv: files are in its second column, labels in its first")
    wide = max(len(row) for _, row in rows) - 2
    if wide > 0:
        notes.append(f"labels.csv: {_many(wide, 'column')} after the second left out")
    return (file, label, None), rows, notes


def _listed(folder: Path, name: str) -> Path:
    """The file of that name, also where it was written down on another system: with backslashes, other accents."""
    for other in (name, name.replace("\\", "/")):
        for form in (None, "NFC", "NFD"):
            path = folder / (unicodedata.normalize(form, other) if form else other)
            if path.is_file():
                return Path(os.path.normpath(path))
    return Path(os.path.normpath(folder / name))


# ----------------------------------------------------------------------------------------------------------------------
# One folder a class
# ----------------------------------------------------------------------------------------------------------------------


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
    notes = [f"folders beside {', '.join(roots)} are left out: {', '.join(beside)}"] if beside else []
    roots = roots or {"train": folder}
    loops: list[str] = []
    children = {split: _class_folders(root, folder, loops) for split, root in roots.items()}
    classes = sorted({_name(child.name) for found in children.values() for child in found})
    if not classes:
        raise KzooError(
            f"{str(folder)!r} has no subfolders; expected one folder of images a class, images with a labels.csv,"
            " or MNIST's *-ubyte files"
        )
    _refuse_alike(classes, f"class folders of {str(folder)!r}")
    loose = sum(
        path.is_file() and not is_hidden(path.name) and path.suffix.lower() in IMAGE_SUFFIXES
        for root in dict.fromkeys([folder, *roots.values()])
        for path in root.iterdir()
    )
    if loose:
        notes.append(f"{_many(loose, 'image')} beside the class folders left out")
    pairs: dict[str, list[Pair]] = {}
    for split, found in children.items():
        pairs[split] = [
            Pair(path, classes.index(_name(child.name)), _relative(path, folder))
            for child in found
            for path in _files_below(child, folder, loops)
        ]
    if loops:
        notes.append(f"links that lead back into the folder are not followed: {', '.join(loops)}")
    return _images(pairs, classes, folder, notes)


def _subfolders(folder: Path) -> list[Path]:
    """Without hidden ones, and without kzoo's own runs/, should it lie there."""
    ours = lambda p: p.name == "runs" and any(p.glob("*/plan.json"))
    return sorted(p for p in folder.iterdir() if not is_hidden(p.name) and p.is_dir() and not ours(p))


def _class_folders(root: Path, folder: Path, loops: list[str]) -> list[Path]:
    """Without links to what they lie in; those are added to `loops`."""
    above = {os.path.realpath(root), *map(os.path.realpath, root.absolute().parents)}
    found = []
    for child in _subfolders(root):
        if os.path.realpath(child) in above:
            loops.append(_relative(child, folder))
        else:
            found.append(child)
    return found


def _files_below(child: Path, folder: Path, loops: list[str]) -> Iterable[Path]:
    """Files in a class folder and the folders in it, links followed, each folder once."""
    seen = {os.path.realpath(child), *map(os.path.realpath, child.absolute().parents)}
    files = []
    for here, folders, names in os.walk(child, followlinks=True):
        kept = []
        for name in folders:
            inside = Path(here, name)
            if is_hidden(name):
                continue
            if os.path.realpath(inside) in seen:
                loops.append(_relative(inside, folder))
            else:
                seen.add(os.path.realpath(inside))
                kept.append(name)
        folders[:] = kept  # os.walk goes on into these
        files += [Path(here, name) for name in names if not is_hidden(name)]
    return sorted(files)


def _refuse_alike(classes: Sequence[str], where: str) -> None:
    """Names that other systems take for one: "Cat" and "cat", or one accent written in two ways."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            raise KzooError(
                f"the {where} {' and '.join(map(repr, names))} differ in case or accents only, and are one on other"
                " systems; rename or merge them"
            )


def _relative(path: Path, folder: Path) -> str:
    """As `DataInfo.files` has it."""
    return _name(path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.absolute().as_posix())


def _name(text: str) -> str:
    """A name that can be written down: bytes of a file name that are no UTF-8 become escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


# ----------------------------------------------------------------------------------------------------------------------
# Files
# ----------------------------------------------------------------------------------------------------------------------


def _images(
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
    if "train" not in splits:
        why = f"; skipped: {'; '.join(skipped[:3])}" if skipped else ""
        raise KzooError(f"no readable image in the train part of {str(folder)!r}{why}")
    if skipped:
        shown = f"{'; '.join(skipped[:5])}{' …' if len(skipped) > 5 else ''}"
        notes = [f"{_many(len(skipped), 'file')} skipped: {shown}", *notes]
    info = DataInfo(
        name=folder.resolve().name,
        task="image-classification",
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
            notes.append(f"{_many(len(found), 'image')} {are} there {what}, byte for byte: {shown}")
    shared = Counter(tuple(sorted({split for split, _ in group})) for group in groups)
    notes += [f"{_many(n, 'image')} the same in {' and '.join(s)}" for s, n in shared.items() if len(s) > 1]
    return notes


def _in_one(group: list[tuple[str, Pair]]) -> bool:
    """Whether a split has the same image twice under one label: a part drawn of it may hold the other one."""
    return max(Counter((split, pair.label) for split, pair in group).values()) > 1


@contextmanager
def no_size_warnings() -> Iterator[None]:
    """Pillow warns of images a little smaller than those refused here. Not thread-safe: for the main thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def open_image(path: Path) -> tuple[tf.Tensor, bool, bytes]:
    """(uint8 [height, width, 3], whether it is grey, the file's bytes).

    Raises:
        Unreadable: No such file, no image, cut short or damaged (never half an image), too many pixels.
    """
    try:
        if not path.is_file():
            raise Unreadable("no such file")
        if path.stat().st_size == 0:
            raise Unreadable("empty file")
        with Image.open(path) as header:
            pixels = header.width * header.height
            if pixels > MAX_PIXELS:
                raise Unreadable(f"{header.width}x{header.height} pixels are too many (at most {MAX_PIXELS:,})")
            grey = header.mode in ("1", "L", "LA", "I", "I;16", "F")
        contents = path.read_bytes()
        if pixels < LARGE_PIXELS:
            return decode_image(tf.constant(contents)), grey, contents
        with _one_large_image:
            return decode_image(tf.constant(contents)), grey, contents
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"too many pixels (at most {MAX_PIXELS:,})") from error
    except PermissionError as error:
        raise Unreadable("no permission to read it") from error
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise Unreadable("corrupt image") from error


def _look(path: Path) -> Found | str:
    """What an image that decodes is like; otherwise why not."""
    if path.suffix.lower() not in IMAGE_SUFFIXES and path.is_file():
        return f"not an image ({path.suffix or 'no suffix'})"
    try:
        image, grey, contents = open_image(path)
    except Unreadable as error:
        return str(error)
    return Found((image.shape[0], image.shape[1]), grey, hashlib.blake2b(contents, digest_size=16).digest())


def _decoded(good: list[tuple[Pair, Found]]) -> Examples:
    """As one array where all images have one size and fit; otherwise decoded when they are read."""
    paths = np.array([os.fsencode(pair.path) for pair, _ in good], object)
    labels = np.array([pair.label for pair, _ in good], "int64")
    files = tuple(pair.name for pair, _ in good)
    sizes = {found.size for _, found in good}
    channels = 1 if all(found.grey for _, found in good) else 3

    def read(path: tf.Tensor) -> tf.Tensor:
        return decode_image(tf.io.read_file(path))[..., :channels]

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
