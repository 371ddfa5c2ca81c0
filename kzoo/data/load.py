"""load_data: a name or a path to splits of raw examples.

A source gives `Examples` for each split it has; `load_data` keeps only some classes if asked, takes test and validation
out of train where there are none, keeps only some examples of each class if asked, and says all of it in the notes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data.arrays import idx, idx_files, npz
from kzoo.data.data import HOLDS, SPLITS, Data, DataInfo, Examples, counts_of, imbalance
from kzoo.data.embedded import READERS
from kzoo.data.image_folders import image_folder
from kzoo.data.image_tables import labels_csv
from kzoo.data.names import check_columns
from kzoo.data.number_tables import NUMERIC, holds_numbers, number_file
from kzoo.data.plain_text import is_plain, plain_files, plain_text
from kzoo.data.prepared import EMBEDDED, means_path
from kzoo.data.remembered import as_before, drawn_parts, read_parts
from kzoo.data.series import in_time
from kzoo.data.shares import Shares
from kzoo.data.text_folders import prose_folder, text_folder
from kzoo.data.text_tables import passages, text_file
from kzoo.data.texts import repeated
from kzoo.data.tfds import from_tfds
from kzoo.errors import KzooError, unknown
from kzoo.inputs import is_table, mapped, unpacked
from kzoo.records import UNITS


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
    languages: str | None = None,
    columns: Mapping[str, str | int] | None = None,
    holds: str | None = None,
    units: str | None = None,
    splits: str | os.PathLike[str] | None = None,
) -> Data:
    """Read a data set into splits of raw examples.

    Args:
        name: `"digits"` (scikit-learn's 1,797 handwritten digits, embedded), `"and"`, `"or"`, `"xor"` (four rows), a
            TensorFlow Datasets name (`"mnist"`), or a path: a folder with one subfolder of images a class, with or
            without train/validation/test above; a folder of images with a `labels.csv` of file, label (and split, under
            a header; separated by commas, semicolons or tabs); the four MNIST `*-ubyte` files, gzipped or not; a
            `.npz`. Texts: a `.tsv` or `.csv` (or `.gz`, `.xz` of it) whose first line names text and label, or source
            and target; a folder of these named train, val, test; a folder of parallel files `train.en`, `train.de`, …;
            a folder with one subfolder of `.txt` files a class. Prose: a `.txt` (or `.gz`, `.xz` of it), or a folder
            of train.txt, val.txt, test.txt. Numbers: a `.csv` or `.tsv` with a class or a number in one column, the
            last one unless its name says otherwise (label, target, …); a series, where the first column is a time.
            `"diabetes"` (scikit-learn's 442 patients with a number each) is embedded.
        data_dir: Where prepared TensorFlow Datasets lie; default the environment's TFDS_DATA_DIR, then TFDS' own.
        download: Let TensorFlow Datasets fetch a set that is not there. Nothing is fetched otherwise.
        only: Keep only these classes, by name or number; they are numbered anew in the order given.
        validation: Share of train that is taken for validation where the source has none; default 0.1, and 0 leaves
            all of it for training.
        test: Share of train that is taken for test where the source has none; default none.
        per_class: Train on only so many examples of each class. What is left over is not used.
        split_seed: Another one takes other examples.
        languages: Direction of translations, `"en-de"` from English to German.
        columns: Which columns of a table are what, where its first line does not say it: {"text": "review", "label":
            "stars"}, or by number from 1 of a table without such a line. Roles are file, label and split of images;
            text and label; source and target; label or target of a table of numbers; time and target of a series.
        holds: What a path is read as where it could be several things: `"images"`, `"texts"`, `"pairs"`, `"prose"`,
            `"rows"` (a class each), `"measurements"` (a number each) or `"series"`. Data that holds anything else is
            refused.
        units: What texts are cut into: `"words"`, `"characters"` or `"subwords"` (common pieces of words, which
            the library `tokenizers` learns); default words, or characters where they are written without spaces.
        splits: A run, or its `splits.json`: each example in the part where it was there, whatever was added or taken
            away since. What is read again for a run is so by itself.

    The order: `only` leaves out classes; `test`, then `validation`, are taken of what train has then, both shares of
    that same whole; `per_class` picks from the rest. So test and validation are the same whatever `per_class` is, and
    the examples for a smaller `per_class` are among those for a larger one. What is taken is stratified: a part gets
    one example at least of each class that then has two or more; a class with a single one keeps it in train. A
    series is cut in time: train, then validation (0.1 of it), then test (0.2).

    Returns:
        Data with train, validation and, where the source has one or `test` takes one, test; `info.notes` says what was
        done.

    Raises:
        KzooError: An unknown name, no such path, nothing readable in it, a class left without images, a line of text
            that does not fit, by its number.

    >>> load_data("digits").info.counts
    {'train': 1295, 'validation': 143, 'test': 359}
    """
    return _load(
        name, data_dir=data_dir, download=download, only=only, validation=validation, test=test, per_class=per_class,
        split_seed=split_seed, languages=languages, columns=columns, holds=holds, units=units, splits=splits,
    )  # fmt: skip


def load_held(name: str | os.PathLike[str], **options: Any) -> Data:
    """As `load_data`, for who only looks how good a model is: of a path without splits all is the test, and a part for
    training need not be there.
    """
    return _load(name, held=True, **options)


def _load(
    name: Any, *, data_dir: Any = None, download: bool = False, only: Any = None, validation: Any = None,
    test: Any = None, per_class: Any = None, split_seed: Any = 0, languages: Any = None, columns: Any = None,
    holds: Any = None, units: Any = None, splits: Any = None, held: bool = False,
) -> Data:  # fmt: skip
    remembered = splits
    drawn = read_parts(remembered) if remembered is not None else None
    name = _named(name)
    if holds is not None and holds not in HOLDS:
        raise unknown("holds", holds, HOLDS)
    if languages is not None and not isinstance(languages, str):
        raise KzooError(f"languages must be text like 'en-de' (source-target); received {languages!r}")
    columns = check_columns(columns)
    shares = Shares(test, validation, per_class, split_seed)
    splits, info, is_path = _read(name, data_dir, download, holds, languages, columns)
    info = cut_into(info, units)
    asked = {"only": list(only) if only else None, **shares.arguments(), "languages": languages, "columns": columns,
             "holds": holds if is_path else None, "units": units}  # fmt: skip
    arguments = _arguments(name, is_path, {"data_dir": data_dir or None, "splits": remembered}, asked)

    notes = list(info.notes)
    classes = list(info.classes)
    held = held and is_path and validation is None and test is None and drawn is None
    if held:
        notes += _as_test(splits)
    elif "train" not in splits:
        raise KzooError(f"{name!r} has {', '.join(splits)}, but no train part")
    indices = {split: np.arange(len(e.labels)) for split, e in splits.items()}
    if info.holds == "series" and not held:
        indices, said = in_time(splits["train"], test, validation)
        splits, notes = dict.fromkeys(indices, splits["train"]), [*notes, *said]
        shares.given = dict.fromkeys(shares.given)  # nothing is left to be drawn
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
    if len(classes) == 1 and not held:
        raise KzooError(f"{name!r} has one class only, {classes[0]!r}; a classifier needs at least two")
    if splits["train"].files is not None and not held:
        _check_every_class(name, splits["train"].labels[indices["train"]], info, classes)
    before, kept_parts = indices["train"], {}
    if drawn is not None:
        said, shares.parts = as_before(remembered, splits, indices, drawn, name)
        notes += said
    else:
        notes += shares.draw(name, splits, indices, classes, info.whole or held)
    if is_path and not held:
        kept_parts = drawn_parts(splits, indices, before, shares.parts)
    labels = {split: splits[split].labels[rows] for split, rows in indices.items()}
    labels = labels if renumber is None else {split: renumber[y] for split, y in labels.items()}
    counts = {split: counts_of(y, len(classes)) for split, y in labels.items()} if classes else {}
    notes += shares.shortages(counts, classes)
    if info.holds == "texts" and all(e.content is not None for e in splits.values()):
        notes += repeated(splits, indices)
    if classes and not info.whole and not held:
        notes += [line] if (line := imbalance(counts["train"], classes)) else []
    data = {split: _selected(splits[split], indices[split], renumber) for split in SPLITS if split in splits}
    files = {split: tuple(e.files[i] for i in indices[split]) for split, e in splits.items() if e.files is not None}
    info = replace(
        info,
        classes=tuple(classes),
        shape=tuple(splits["train"].shape) if splits["train"].shape else None,
        notes=tuple(notes),
        arguments=arguments,
        class_counts={split: counts[split] for split in data if counts.get(split)},
        files=files,
        drawn=kept_parts,
    )
    return Data(data["train"], data.get("validation"), data.get("test"), info)


def cut_into(info: DataInfo, units: str | None) -> DataInfo:
    """Where `units` says what texts are cut into."""
    if units is None:
        return info
    if units not in UNITS:
        raise unknown("units", units, UNITS)
    if not info.units:
        raise KzooError(f"units={units!r} is of texts, and {info.name} holds {info.holds}; leave it out")
    return replace(info, units=(units,) * len(info.units))


def _selected(examples: Examples, rows: np.ndarray, renumber: np.ndarray | None) -> tf.data.Dataset:
    data = examples.select(rows)
    if renumber is None:
        return data
    table = tf.constant(renumber)
    return mapped(data, lambda x, y: (x, tf.gather(table, tf.cast(y, tf.int64))))


def held_by(path: Any, holds: str | None) -> dict[str, str]:
    """What `load_data` is told for a task that works on `holds`: texts may lie beside images in a folder, and a table
    of numbers may be one of classes or of numbers.
    """
    folder = holds in ("texts", "pairs", "prose") and Path(path).is_dir()
    table = holds in (*NUMERIC, "prose") and Path(path).is_file() and is_table(Path(path))
    return {"holds": holds} if folder or table else {}


def _read(
    name: str, data_dir: Any, download: bool, holds: str | None, languages: str | None, columns: Any
) -> tuple[dict[str, Examples], DataInfo, bool]:
    """(the source's own splits, what is known of it, whether it is a path)."""
    is_path = False
    if name in EMBEDDED:
        splits, info = READERS[name]()
    elif means_path(name, data_dir):
        is_path = True
        splits, info = _from_path(Path(name), holds, languages, columns)
    else:
        splits, info = from_tfds(name, data_dir, download, languages)
    _check_read(name, info, holds, languages, None if is_path else columns)
    if is_path or name in EMBEDDED:
        _check_read_here(name, data_dir, download)
    return splits, info, is_path


def _means_numbers(path: Path, holds: str | None, languages: str | None, columns: Any) -> bool:
    """Whether a table is one of numbers."""
    if holds in ("texts", "pairs") or languages is not None or (columns and set(columns) & {"text", "source"}):
        return False
    asked = holds in NUMERIC or bool(columns and "time" in columns)
    return holds_numbers(path, asked)


def _arguments(name: str, is_path: bool, places: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What `load_data` is called with to read the same again; paths are made whole."""
    found = {"name": str(Path(name).absolute()) if is_path else name}
    found |= {key: str(Path(place).absolute()) for key, place in places.items() if place is not None}
    return found | {key: value for key, value in asked.items() if value is not None}


def _as_test(splits: dict[str, Examples]) -> list[str]:
    """Make what is there the test, where nothing is; what was done."""
    if set(splits) == {"train"}:
        splits["test"] = splits["train"]
        return ["no splits: all of it is the test"]
    if "train" not in splits:  # which Data has always
        splits["train"] = next(iter(splits.values()))
    return []


def _check_read(name: str, info: DataInfo, holds: str | None, languages: Any, columns: Any) -> None:
    """What was asked of the data, and it does not have."""
    if holds is not None and info.holds != holds:
        raise KzooError(f"{name!r} holds {info.holds}, not {holds}; give data that holds {holds}")
    if languages is not None and not info.languages:
        raise KzooError(f"languages={languages!r} picks a direction, but {name!r} names no languages; leave it out")
    _check_no_columns(name, columns)


def _check_read_here(name: str, data_dir: Any, download: bool) -> None:
    for option in [option for option, value in (("data_dir", data_dir), ("download", download)) if value]:
        raise KzooError(f"{option} goes with a TensorFlow Datasets name, and {name!r} is none; leave it out")


def _named(name: Any) -> str:
    if not isinstance(name, str | os.PathLike):
        raise KzooError(f"data is named by a name such as 'digits' or a path; received {name!r}")
    if not os.fspath(name):  # Path("") would be the current folder
        raise KzooError("data is '', which names nothing; give a name such as 'digits', or a path ('.' is this folder)")
    return os.fspath(name)


def _check_no_columns(name: Any, columns: Any) -> None:
    if columns is not None:
        raise KzooError(f"columns goes with a table, and {str(name)!r} is none; leave it out")


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


def _class_number(wanted: str | int, classes: list[str], name: str) -> int:
    if str(wanted) in classes:
        return classes.index(str(wanted))
    raise unknown(f"class of {name}", str(wanted), classes)


def _from_path(
    path: Path, holds: str | None, languages: str | None, columns: Mapping[str, str | int] | None
) -> tuple[dict[str, Examples], DataInfo]:
    if not path.exists():
        raise KzooError(f"no file or folder {str(path)!r}")
    if not (path.is_file() or path.is_dir()):  # a pipe, a device
        raise KzooError(f"{str(path)!r} is neither a file nor a folder; write it into a file first")
    if path.is_file() and is_table(path) and holds == "prose":
        return passages({"train": path}, Path(unpacked(path)).stem, columns)
    if path.is_dir() and holds == "prose" and not plain_files(path):
        found = prose_folder(path, columns)
        if found is not None:
            return found
    if path.is_file() and is_table(path):
        if _means_numbers(path, holds, languages, columns):
            return number_file(path, holds, columns)
        return text_file(path, languages, columns)
    if is_plain(path) if path.is_file() else holds == "prose":
        _check_no_columns(path, columns)
        return plain_text(path)
    if path.is_dir() and (path / "labels.csv").is_file() and holds in (None, "images"):
        return labels_csv(path, columns)
    if path.is_dir() and not idx_files(path) and holds in (None, "texts", "pairs"):
        texts = text_folder(path, holds, languages, columns)
        if texts is not None:
            return texts
    _check_no_columns(path, columns)
    if path.is_file() and path.suffix == ".npz":
        return npz(path)
    if path.is_file():
        raise KzooError(
            f"cannot read {str(path)!r} as data; allowed: a .npz file, or a folder, or texts as .tsv, .csv or .txt"
        )
    if idx_files(path):
        return idx(path)
    if holds not in (None, "images"):  # before every image is decoded
        raise KzooError(f"{str(path)!r} holds no {holds}; give data that holds {holds}")
    return image_folder(path)
