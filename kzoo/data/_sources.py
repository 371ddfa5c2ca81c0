"""Where data comes from: embedded sets, folders of images or texts, files, TensorFlow Datasets.

A source gives `Examples` for each split it has; `load_data` keeps only some classes if asked, takes test and validation
out of train where there are none, keeps only some images of each class if asked, and says all of it in the notes.
"""

from __future__ import annotations

import gzip
import numbers
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data._data import SPLITS, Data, DataInfo, Examples, counts_of, imbalance, some_of_each, stratified
from kzoo.data._images import SPLIT_FOLDERS, image_folder, labels_csv
from kzoo.data._texts import check_task, is_table, text_file, text_folder, tfds_texts
from kzoo.errors import KzooError, unknown, whole_number
from kzoo.spec import TASKS

VALIDATION = 0.1


def load_data(
    name: str | os.PathLike[str] = "digits",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    only: Sequence[str | int] | None = None,
    validation: float | None = None,
    test: float | None = None,
    per_class: int | None = None,
    split_seed: int = 0,
    task: str | None = None,
    languages: str | None = None,
) -> Data:
    """Read a data set into splits of raw examples.

    Args:
        name: `"digits"` (scikit-learn's 1,797 handwritten digits, embedded), `"and"`, `"or"`, `"xor"` (four rows), a
            TensorFlow Datasets name (`"mnist"`), or a path: a folder with one subfolder of images a class, with or
            without train/validation/test above; a folder of images with a `labels.csv` of file, label (and split, under
            a header; separated by commas, semicolons or tabs); the four MNIST `*-ubyte` files, gzipped or not; a
            `.npz`. Texts: a `.tsv` or `.csv` (or `.gz`, `.xz` of it) of text
            and label, or of source and target; a folder of these named train, val, test; a folder of parallel files
            `train.en`, `train.de`, …; a folder with one subfolder of `.txt` files a class.
        data_dir: Where prepared TensorFlow Datasets lie; default the environment's TFDS_DATA_DIR, then TFDS' own.
        download: Let TensorFlow Datasets fetch a set that is not there. Nothing is fetched otherwise.
        only: Keep only these classes, by name or number; they are numbered anew in the order given.
        validation: Share of train that is taken for validation where the source has none; default 0.1, and 0 leaves
            all of it for training.
        test: Share of train that is taken for test where the source has none; default none.
        per_class: Train on only so many examples of each class. What is left over is not used.
        split_seed: Another one takes other examples.
        task: How a table of two columns without a header is read: `"text-classification"` or `"translation"`; guessed
            otherwise, and `info.notes` says so. Any other task than the data's is refused.
        languages: Direction of translations, `"en-de"` from English to German.

    The order: `only` leaves out classes; `test`, then `validation`, are taken of what train has then, both shares of
    that same whole; `per_class` picks from the rest. So test and validation are the same whatever `per_class` is, and
    the examples for a smaller `per_class` are among those for a larger one. What is taken is stratified: a part gets
    one example at least of each class that then has two or more; a class with a single one keeps it in train.

    Returns:
        Data with train, validation and, where the source has one or `test` takes one, test; `info.notes` says what was
        done.

    Raises:
        KzooError: An unknown name, no such path, nothing readable in it, a class left without images, a line of text
            that does not fit, by its number.

    >>> load_data("digits").info.counts
    {'train': 1295, 'validation': 143, 'test': 359}
    """
    name = os.fspath(name)
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    if languages is not None and not isinstance(languages, str):
        raise KzooError(f"languages must be text like 'en-de' (source-target); received {languages!r}")
    drawn = Drawn(test, validation, per_class, split_seed)
    is_path = False
    if name in EMBEDDED:
        splits, info = EMBEDDED[name]()
    elif _is_path(name, data_dir):
        is_path = True
        splits, info = _from_path(Path(name), task, languages)
    else:
        splits, info = _tfds(name, data_dir, download, task, languages)
    check_task(name, info.task, task, None if info.languages else languages)
    arguments: dict[str, Any] = {"name": str(Path(name).absolute()) if is_path else name}
    given = {"only": list(only) if only else None, **drawn.arguments(), "task": task, "languages": languages}
    arguments |= {"data_dir": str(Path(data_dir).absolute())} if data_dir else {}
    arguments |= {key: value for key, value in given.items() if value is not None}

    notes = list(info.notes)
    classes = list(info.classes)
    indices = {split: np.arange(len(e.labels)) for split, e in splits.items()}
    renumber = None
    if only and not classes:
        raise KzooError(f"only={list(only)!r} keeps classes, and {name!r} has none; leave it out")
    if only:
        kept = [_class_number(c, classes, name) for c in only]
        renumber = np.full(len(classes), -1)
        renumber[kept] = np.arange(len(kept))
        indices = {split: np.flatnonzero(np.isin(e.labels, kept)) for split, e in splits.items()}
        classes = [classes[k] for k in kept]
        notes.append(f"only the classes {', '.join(classes)}")
    if info.task in ("image-classification", "text-classification") and len(classes) < 2:
        raise KzooError(f"{name!r} has one class only, {classes[0]!r}; a classifier needs at least two")
    if splits["train"].files is not None:
        _check_every_class(name, splits["train"].labels[indices["train"]], info, classes)
    notes += drawn.draw(name, splits, indices, classes, info.task)
    labels = {split: splits[split].labels[rows] for split, rows in indices.items()}
    labels = labels if renumber is None else {split: renumber[y] for split, y in labels.items()}
    counts = {split: counts_of(y, len(classes)) for split, y in labels.items()} if classes else {}
    notes += drawn.shortages(counts, classes)
    if info.task in ("image-classification", "text-classification"):
        notes += [line] if (line := imbalance(counts["train"], classes)) else []
    data, files = {}, {}
    for split in (name for name in SPLITS if name in splits):
        data[split] = splits[split].select(indices[split])
        if renumber is not None:
            table = tf.constant(renumber)
            data[split] = data[split].map(lambda x, y, table=table: (x, tf.gather(table, tf.cast(y, tf.int64))))
        if splits[split].files is not None:
            files[split] = tuple(splits[split].files[i] for i in indices[split])
    info = replace(
        info,
        classes=tuple(classes),
        shape=tuple(splits["train"].shape) if splits["train"].shape else None,
        notes=tuple(notes),
        arguments=arguments,
        class_counts={split: counts[split] for split in data if counts.get(split)},
        files=files,
    )
    return Data(data["train"], data.get("validation"), data.get("test"), info)


class Drawn:
    """What is drawn of a source's examples: test and validation where it has none, so many of each class."""

    def __init__(self, test: Any, validation: Any, per_class: Any, seed: Any) -> None:
        for part, share in (("validation", validation), ("test", test)):
            number = isinstance(share, numbers.Real) and not isinstance(share, bool)
            if share is not None and (not number or not 0 <= share < 1):
                raise KzooError(f"{part} must be a share of train from 0 to below 1; received {share!r}")
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or seed < 0:
            raise KzooError(f"split_seed must be a whole number of at least 0; received {seed!r}")
        self.given = {"test": test, "validation": validation}
        self.per_class = None if per_class is None else whole_number("per_class", per_class)
        self.seed = int(seed)
        self.parts: list[str] = []  # those that were taken of train

    def arguments(self) -> dict[str, Any]:
        return {**self.given, "per_class": self.per_class, "split_seed": self.seed or None}

    def draw(
        self, name: str, splits: dict[str, Examples], indices: dict[str, np.ndarray], classes: list[str], task: str
    ) -> list[str]:
        """Add to `splits` and `indices` what is taken of train, and leave there what stays; what was done, as notes."""
        for part, share in self.given.items():
            if share is not None and part in splits:
                raise KzooError(f"{part}={share:g}, but {name!r} has a {part} split of its own; leave it out")
            if share and task == "tabular-classification":
                rows = len(splits["train"].labels)
                raise KzooError(f"{part}={share:g}: {name!r} is trained on whole, it has {rows} rows")
        if self.per_class is not None and not classes:
            raise KzooError(f"per_class={self.per_class} goes with classes, and {name!r} has none; leave it out")
        shares = {"test": self.given["test"] or 0, "validation": self.given["validation"]}
        if shares["validation"] is None:
            shares["validation"] = 0 if task == "tabular-classification" else VALIDATION
        shares = {part: share for part, share in shares.items() if share and part not in splits}
        left, notes = 1.0, []
        if sum(shares.values()) >= 1:
            given = " and ".join(f"{part}={share:g}" for part, share in shares.items())
            raise KzooError(f"{given} leave nothing to train on; together they must be below 1")
        for part, share in shares.items():
            rest, held = stratified(splits["train"].labels[indices["train"]], share / left, self.seed)
            if not len(held):
                notes.append(f"{part}: none, train is too small to give any")
                continue
            splits[part] = splits["train"]
            indices[part], indices["train"] = indices["train"][held], indices["train"][rest]
            left -= share
            self.parts.append(part)
            notes.append(f"{part}: {100 * share:g}% of train, {'stratified, ' if classes else ''}seed {self.seed}")
        if self.per_class is not None:
            labels = splits["train"].labels[indices["train"]]
            indices["train"] = indices["train"][some_of_each(labels, self.per_class, self.seed)]
            notes.append(f"train: only {self.per_class} examples of each class, seed {self.seed}")
        elif self.seed and not self.parts:
            raise KzooError(f"split_seed={self.seed}: {name!r} has its own splits, nothing is drawn; leave it out")
        return notes

    def shortages(self, counts: dict[str, tuple[int, ...]], classes: list[str]) -> list[str]:
        """Notes on classes too small for what was drawn."""
        few = lambda names: f"{', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        notes = []
        for part in self.parts if classes else ():
            absent = [
                c for c, there, here in zip(classes, counts["train"], counts[part], strict=True) if there > here == 0
            ]
            if absent:
                notes.append(f"{part} has no example of {few(absent)}: it has too few for every part")
        if self.per_class is not None:
            small = [f"{c} has {n}" for c, n in zip(classes, counts["train"], strict=True) if n < self.per_class]
            if small:
                notes.append(f"train: fewer than {self.per_class} there are: {few(small)}")
        return notes


def _check_every_class(name: str, labels: np.ndarray, info: DataInfo, classes: list[str]) -> None:
    """Of files: a class without one that can be read is a mistake, unless `only` leaves it out."""
    there = set(np.unique(labels).tolist())
    empty = [c for c in classes if info.classes.index(c) not in there]
    if empty:
        why = f"; skipped: {'; '.join(info.skipped[:3])}" if info.skipped else ""
        raise KzooError(
            f"no readable image of {', '.join(map(repr, empty[:5]))} in the train part of {name!r}{why}; mend or remove"
            " it, or name the other classes with only=…"
        )


def _is_path(name: str, data_dir: Any) -> bool:
    """A path is written like one or is there; TensorFlow's `glue/sst2` and `mnist:3.0.1` are names all the same."""
    path = Path(name)
    if name.startswith(".") or path.is_absolute():
        return True
    written = os.sep in name or "/" in name or path.suffix
    if written and path.exists() and not data_dir:
        return True
    return bool(written or path.exists()) and not _is_tfds(name)


def load_for(task: str, name: str | os.PathLike[str], languages: str | None = None, **arguments: Any) -> Data:
    """`load_data` for a model of that task: files of two columns are read as it needs them."""
    texts = {"task": task} if task in ("text-classification", "translation") and Path(name).exists() else {}
    return load_data(name, languages=languages, **texts, **arguments)


def _class_number(wanted: str | int, classes: list[str], name: str) -> int:
    if str(wanted) in classes:
        return classes.index(str(wanted))
    raise unknown(f"class of {name}", str(wanted), classes)


# ----------------------------------------------------------------------------------------------------------------------
# Embedded
# ----------------------------------------------------------------------------------------------------------------------


def _digits() -> tuple[dict[str, Examples], DataInfo]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.round(digits.images * (255 / 16)).astype("uint8")[..., None]  # ink 0 to 16 -> 0 to 255
    y = digits.target.astype("int64")
    train, test = stratified(y, 0.2, seed=0)
    info = DataInfo(
        name="digits",
        task="image-classification",
        classes=tuple(map(str, range(10))),
        source="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; by way of scikit-learn",
        licence="CC BY 4.0",
        notes=("test: 20 % of scikit-learn's 1,797, stratified, seed 0", "ink of 0 to 16 rescaled to 0 to 255"),
    )
    return {"train": Examples.of_arrays(x[train], y[train]), "test": Examples.of_arrays(x[test], y[test])}, info


def _truth_table(name: str, outputs: tuple[int, ...]) -> Callable[[], tuple[dict[str, Examples], DataInfo]]:
    def read() -> tuple[dict[str, Examples], DataInfo]:
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
        y = np.array(outputs, "int64")
        note = "the four rows are the whole truth: train repeats them 100 times, test has them once"
        info = DataInfo(name=name, task="tabular-classification", classes=("0", "1"), notes=(note,))
        train = Examples.of_arrays(np.tile(x, (100, 1)), np.tile(y, 100))
        return {"train": train, "test": Examples.of_arrays(x, y)}, info

    return read


EMBEDDED: dict[str, Callable[[], tuple[dict[str, Examples], DataInfo]]] = {
    "digits": _digits,
    "and": _truth_table("and", (0, 0, 0, 1)),
    "or": _truth_table("or", (0, 1, 1, 1)),
    "xor": _truth_table("xor", (0, 1, 1, 0)),
}


# ----------------------------------------------------------------------------------------------------------------------
# Paths
# ----------------------------------------------------------------------------------------------------------------------


def _from_path(path: Path, task: str | None, languages: str | None) -> tuple[dict[str, Examples], DataInfo]:
    if not path.exists():
        raise KzooError(f"no file or folder {str(path)!r}")
    if path.is_file():
        if path.suffix == ".npz":
            return _npz(path)
        if is_table(path):
            return text_file(path, task, languages)
        raise KzooError(
            f"cannot read {str(path)!r} as data; allowed: a .npz file, or a folder, or texts as .tsv or .csv (.gz, .xz)"
        )
    images = bool(_idx_files(path)) or (path / "labels.csv").is_file()
    texts = None if images else text_folder(path, task, languages)
    if texts is not None:
        return texts
    check_task(str(path), "image-classification", task, languages)  # before every image is decoded
    if _idx_files(path):
        return _idx(path)
    if (path / "labels.csv").is_file():
        return labels_csv(path)
    return image_folder(path)


def _npz(path: Path) -> tuple[dict[str, Examples], DataInfo]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
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
        if x.dtype.kind not in "uif":
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
    splits, scaled = {}, False
    for split in SPLITS:
        if f"x_{split}" not in arrays or f"y_{split}" not in arrays:
            continue
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"].ravel()
        if len(x) != len(y):
            raise KzooError(f"{str(path)!r}: x_{split} has {len(x)} rows and y_{split} has {len(y)}")
        if x.dtype.kind == "f" and x.ndim >= 3 and x.size and x.min() >= 0 and x.max() <= 1:
            x, scaled = x * 255, True
        y = np.searchsorted(labels, y) if labels.dtype.kind == "U" else y.astype("int64")
        splits[split] = Examples.of_arrays(x[..., None] if x.ndim == 3 else x, y)
    task = "image-classification" if len(splits["train"].shape) == 3 else "tabular-classification"
    notes = ("pixels of 0 to 1 are rescaled to 0 to 255",) if scaled else ()
    return splits, DataInfo(name=path.stem, task=task, classes=names, notes=notes)


IDX = {
    "train": ("train-images", "train-labels"),
    "test": ("t10k-images", "t10k-labels"),
}


def _idx_files(folder: Path) -> dict[str, Path]:
    """{"train-images": path, …} of the `*-ubyte` and `*-ubyte.gz` files in the folder."""
    found = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.removesuffix(".gz")
        if stem.endswith("-ubyte") or stem.endswith(".ubyte"):
            for part in (p for parts in IDX.values() for p in parts):
                if stem.startswith(part):
                    found.setdefault(part, path)
    return found


def _idx(folder: Path) -> tuple[dict[str, Examples], DataInfo]:
    files = _idx_files(folder)
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
    return splits, DataInfo(name=folder.resolve().name, task="image-classification", classes=classes)


def _read_idx(path: Path) -> np.ndarray:
    """The idx format of LeCun's MNIST page: two zero bytes, the type, the rank, the sizes (big-endian), the values."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if raw[:3] != b"\0\0\x08":
            raise ValueError("it does not start as an idx file of unsigned bytes")
        rank = raw[3]
        sizes = np.frombuffer(raw, ">i4", rank, offset=4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(sizes)
    except (ValueError, OSError, EOFError, IndexError) as error:
        raise KzooError(f"{str(path)!r} is not a whole idx file: {error}") from error


# ----------------------------------------------------------------------------------------------------------------------
# TensorFlow Datasets
# ----------------------------------------------------------------------------------------------------------------------


def _is_tfds(name: str) -> bool:
    import tensorflow_datasets as tfds

    return name.split("/")[0].split(":")[0] in tfds.list_builders(with_community_datasets=False)


def _tfds(
    name: str, data_dir: Any, download: bool, task: str | None, languages: str | None
) -> tuple[dict[str, Examples], DataInfo]:
    import tensorflow_datasets as tfds

    if not _is_tfds(name):
        known = [*EMBEDDED, *tfds.list_builders(with_community_datasets=False)]
        raise unknown("data set", name, known, "Give a TensorFlow Datasets name, or the path of a folder or .npz file")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError) as error:
        raise KzooError(f"cannot open the TensorFlow data set {name!r}: {str(error).splitlines()[0]}") from error
    if not builder.info.splits:
        folder = Path(builder.data_dir)
        place = f"place a prepared copy in {str(folder)!r}, or point --data-dir (TFDS_DATA_DIR) at its folder"
        if not download:
            raise KzooError(
                f"the data set {name!r} is not on this machine; fetch it with --download (download=True), or {place}"
            )
        _download(builder, name, place)
    features, keys = builder.info.features, builder.info.supervised_keys
    if keys and isinstance(keys[0], str) and isinstance(features[keys[0]], tfds.features.Image):
        if not isinstance(features[keys[1]], tfds.features.ClassLabel):
            raise KzooError(f"{name!r} is not an image-classification set: its target {keys[1]!r} is not a class label")
        check_task(name, "image-classification", task, languages)
        image, label = keys[:2]
        splits = {
            SPLIT_FOLDERS[split]: _tfds_split(tfds, builder, split, image, label)
            for split in builder.info.splits
            if split in SPLIT_FOLDERS
        }
        info = DataInfo(name, "image-classification", tuple(features[label].names))
    else:
        splits, info = tfds_texts(builder, name, task, languages)
    if "train" not in splits:
        raise KzooError(f"{name!r} has no train split; it has {', '.join(builder.info.splits)}")
    source = f"TensorFlow Datasets {builder.info.full_name}; {builder.info.homepage}".rstrip("; ")
    licence = builder.info.redistribution_info.license or ""
    return splits, replace(info, name=name.replace("/", "-"), source=source, licence=licence)


def _tfds_split(tfds: Any, builder: Any, split: str, image: str, label: str) -> Examples:
    undecoded = {image: tfds.decode.SkipDecoding()}
    rows = builder.as_dataset(split=split, decoders=undecoded)
    labels = np.concatenate(list(rows.map(lambda row: row[label]).batch(4096).as_numpy_iterator())).astype("int64")

    def select(indices: np.ndarray) -> tf.data.Dataset:
        wanted = np.zeros(len(labels), bool)
        wanted[indices] = True
        mask = tf.constant(wanted)
        rows = builder.as_dataset(split=split, decoders=undecoded).enumerate()
        if len(indices) < len(labels):
            rows = rows.filter(lambda i, row: mask[i])
        decode = builder.info.features[image].decode_example
        rows = rows.map(lambda i, row: (decode(row[image]), row[label]), num_parallel_calls=tf.data.AUTOTUNE)
        return rows.apply(tf.data.experimental.assert_cardinality(len(indices)))

    return Examples(labels, select, builder.info.features[image].shape)


def _download(builder: Any, name: str, place: str) -> None:
    """TensorFlow Datasets retries for minutes where there is no network: ask for the host's address first."""
    import socket

    import requests

    if not (os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")):
        try:
            socket.getaddrinfo("storage.googleapis.com", 443)
        except OSError as error:
            raise KzooError(f"no network to fetch {name!r} ({error.strerror or error}); {place}") from error
    try:
        builder.download_and_prepare()
    except (requests.RequestException, OSError) as error:
        raise KzooError(f"could not fetch {name!r}: {str(error).splitlines()[0]}; {place}") from error
