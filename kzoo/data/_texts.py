"""Texts: tables of texts and labels or of pairs, parallel files, a folder of texts a class, TensorFlow Datasets.

What cannot be read is an error that names the line, never left out: pairs out by one line would be learned as well.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data._data import DataInfo, Examples
from kzoo.data._images import SPLIT_FOLDERS, _subfolders
from kzoo.errors import KzooError, unknown
from kzoo.preprocess import IMAGE_SUFFIXES

CLASSIFICATION, TRANSLATION = "text-classification", "translation"
TEXT_TASKS = (CLASSIFICATION, TRANSLATION)
SEPARATORS = {".tsv": "tabs (none inside a text)", ".csv": "commas (a text with a comma stands in double quotes)"}
PACKED: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
SPLIT_STEMS = SPLIT_FOLDERS | {"dev": "validation"}
OTHER_TESTS = re.compile(r"test[\W_\d]")  # test_2016_flickr, test2017, …
REMEDY = "name the columns in line 1: text and label, or source and target"

# Of a header, in lower case. Of several labels the first of this order is taken; two texts are refused.
TEXTS = ("text", "texts", "sentence", "review", "comment", "tweet", "message", "document", "content", "phrase",
         "utterance", "query", "question")  # fmt: skip
LABELS = ("label", "labels", "class", "category", "sentiment", "polarity", "intent", "topic", "emotion", "rating",
          "stars", "score")  # fmt: skip
SOURCES, TARGETS = ("source", "src"), ("target", "tgt", "trg")
HEADER_LANGUAGE = re.compile(r"[a-z]{2}([-_][a-z]{2,4})?")
# The last part of a parallel file's name: two or three letters, perhaps a region; and what is no language there.
LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
NOT_LANGUAGES = ("txt", "tsv", "csv", "npz", "npy", "zip", "tar", "gz", "xz", "pkl", "xml", "log", "md", "py", "sh",
                 "bin", "png", "jpg", "gif", "bmp", "pdf")  # fmt: skip

# A last column is guessed to hold labels when it has few distinct values and each stands, on average, for several rows.
MOST_LABELS, ROWS_A_LABEL = 100, 5

LOOK_AT = 2000  # rows whose letters decide between words and characters
# Written without spaces: Han, Hiragana, Katakana, Thai, Lao, Tibetan, Myanmar, Khmer.
SPACELESS = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


def check_task(name: str, has: str, task: str | None, languages: str | None = None) -> None:
    """Refuse a `task` other than that of the data, and `languages` for data that names none."""
    if task is not None and task != has:
        raise KzooError(f"task={task!r} cannot be read from {name!r}; it holds {has} (leave task out)")
    if languages is not None:
        raise KzooError(f"languages={languages!r} picks a direction, but {name!r} names no languages; leave it out")


def units_of(column: Iterable[str | bytes]) -> str:
    """What a column is cut into: characters where most letters are of a script written without spaces, else words.

    >>> units_of(["A dog runs."]), units_of(["一只狗在跑。"]), units_of(["개가 달린다."])
    ('words', 'characters', 'words')
    """
    letters = _letters(column)
    spaceless = sum(n for letter, n in letters.items() if SPACELESS.match(letter))
    return "characters" if 2 * spaceless > letters.total() else "words"


def _letters(column: Iterable[str | bytes]) -> Counter[str]:
    some = itertools.islice(column, LOOK_AT)
    text = "".join(t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in some)
    return Counter({c: n for c, n in Counter(text).items() if c.isalpha()})


def _strings(values: Sequence[str | bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _labelled(texts: Sequence[str | bytes], labels: Sequence[int]) -> Examples:
    return Examples.of_arrays(_strings(texts), np.asarray(labels, "int64"))


def _paired(source: Sequence[str | bytes], target: Sequence[str | bytes]) -> Examples:
    """Labels all equal: pairs have no classes to keep in proportion."""
    x, y = _strings(source), _strings(target)
    return Examples(np.zeros(len(x), "int64"), lambda i: tf.data.Dataset.from_tensor_slices((x[i], y[i])))


# ----------------------------------------------------------------------------------------------------------------------
# Files
# ----------------------------------------------------------------------------------------------------------------------


def _unpacked(path: Path) -> str:
    """The file's name without .gz or .xz."""
    return path.name[: -len(path.suffix)] if path.suffix.lower() in PACKED else path.name


def _decoded(path: Path) -> str:
    """The whole text, without a byte order mark."""
    try:
        with PACKED.get(path.suffix.lower(), open)(path, "rb") as file:
            raw = file.read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise KzooError(f"cannot read {str(path)!r}: {error}; check that the file is whole") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise KzooError(
            f"line {line} of {str(path)!r} is not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8"
        ) from error
    if not text.strip():
        raise KzooError(f"{str(path)!r} is empty; a file of texts needs at least one")
    return text


def _lines(path: Path) -> list[str]:
    """By line feeds alone, since texts hold other line separators of Unicode; a carriage return before it goes too."""
    return [line.removesuffix("\r") for line in _decoded(path).removesuffix("\n").split("\n")]


def _chosen(stems: Iterable[str], where: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """({split: stem}, notes); where there is no plain test, the first of test_… is."""
    chosen: dict[str, str] = {}
    others = []
    for stem in sorted(stems):
        split = SPLIT_STEMS.get(stem.lower())
        if split is None:
            others.append(stem)
        elif split in chosen:
            raise KzooError(f"{where} has two {split} parts, {chosen[split]} and {stem}; keep one")
        else:
            chosen[split] = stem
    if "train" not in chosen:
        raise KzooError(f"{where} has {', '.join([*chosen.values(), *others])}, but no train file")
    if "test" not in chosen and others:
        chosen["test"] = others.pop(0)
    notes = [f"test is {chosen['test']}"] if chosen.get("test", "test").lower() != "test" else []
    notes += [f"test sets left out: {', '.join(others)}"] if others else []
    return chosen, tuple(notes)


# ----------------------------------------------------------------------------------------------------------------------
# Tables
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    """What line 1 names: a task ("" for texts without labels), and its columns, by role or by language."""

    task: str
    columns: dict[str, int]
    beside: tuple[str, ...] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        return () if "source" in self.columns or self.task != TRANSLATION else tuple(self.columns)


@dataclass(frozen=True)
class _Table:
    path: Path
    header: _Header | None
    lines: tuple[int, ...]  # numbers, one a row
    rows: list[list[str]]

    def column(self, index: int, role: str) -> list[str]:
        values = [row[index] for row in self.rows]
        for line, value in zip(self.lines, values, strict=True):
            if not value.strip():
                raise KzooError(
                    f"line {line} of {str(self.path)!r} has an empty {role} (column {index + 1}); fill it or delete"
                    " the row"
                )
        return values


def is_table(path: Path) -> bool:
    return Path(_unpacked(path)).suffix.lower() in SEPARATORS


def text_file(path: Path, task: str | None, languages: str | None) -> tuple[dict[str, Examples], DataInfo]:
    """One table: text and label, or source and target."""
    return _tables({"train": path}, Path(_unpacked(path)).stem, str(path), task, languages)


def _table(path: Path, split: str) -> _Table:
    suffix = Path(_unpacked(path)).suffix.lower()
    if suffix == ".csv":
        rows = list(_csv_rows(path))
    else:
        rows = [(n, line.split("\t")) for n, line in enumerate(_lines(path), start=1)]
    header = _header([cells for _, cells in rows], path, split)
    width = len(rows[0][1]) if header else 2
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            raise KzooError(f"line {line} of {str(path)!r} is empty; delete it")
        if len(cells) > width and line == 1:
            raise KzooError(f"line 1 of {str(path)!r} has {len(cells)} columns and none of the known names; {REMEDY}")
        if len(cells) != width:
            raise KzooError(
                f"line {line} of {str(path)!r} has {len(cells)} column{'s' * (len(cells) > 1)}, not {width}; separate"
                f" them by {SEPARATORS[suffix]}"
            )
    rows = rows[1:] if header else rows
    if not rows:
        raise KzooError(f"{str(path)!r} has a header and no rows; a file of texts needs at least one")
    return _Table(path, header, tuple(n for n, _ in rows), [cells for _, cells in rows])


def _csv_rows(path: Path) -> Iterable[tuple[int, list[str]]]:
    """(number of its first line, cells) of each row."""
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # a text may be longer than the 131,072 characters that csv allows
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise KzooError(
            f"line {line} of {str(path)!r} is not CSV ({error}); a double quote inside a quoted text is written twice"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _header(rows: list[list[str]], path: Path, split: str) -> _Header | None:
    """What the first row names, or None where it is data: a name that comes again in its column is a value."""
    names = [name.strip().lower() for name in rows[0]]

    def named(known: Sequence[str]) -> list[int]:
        found = sorted((known.index(name), i) for i, name in enumerate(names) if name in known)
        return [i for _, i in found if not again(i)]

    def again(i: int) -> bool:
        return any(len(row) > i and row[i].strip().lower() == names[i] for row in rows[1:])

    def header(task: str, **columns: int) -> _Header:
        return _Header(task, columns, tuple(n for i, n in enumerate(names) if i not in columns.values()))

    texts, labels, sources, targets = named(TEXTS), named(LABELS), named(SOURCES), named(TARGETS)
    if len(texts) == 1 and labels:
        return header(CLASSIFICATION, text=texts[0], label=labels[0])
    if sources and targets and not texts:
        return header(TRANSLATION, source=sources[0], target=targets[0])
    if len(texts) == 1 and targets:
        return header(CLASSIFICATION, text=texts[0], label=targets[0])
    if len(texts) == 1 and split == "test":
        return header("", text=texts[0])  # without labels, as GLUE's
    if texts or labels or sources or targets:
        raise KzooError(
            f"line 1 of {str(path)!r} looks like a header, {', '.join(rows[0])[:60]!r}, but not of one text and one"
            f" label, or of source and target; {REMEDY} (if it is data, put such a line before it)"
        )
    languages = len(set(names)) == len(names) > 1 and all(HEADER_LANGUAGE.fullmatch(name) for name in names)
    if languages and not any(again(i) for i in range(len(names))):
        return _Header(TRANSLATION, {name.strip(): i for i, name in enumerate(rows[0])})
    return None


def _tables(
    paths: dict[str, Path], name: str, where: str, task: str | None, languages: str | None
) -> tuple[dict[str, Examples], DataInfo]:
    tables = {split: _table(path, split) for split, path in paths.items()}
    train = tables["train"]
    if train.header is None and task in TEXT_TASKS:
        found, notes = task, []
    elif train.header is None:
        found, note = _guess(train)
        notes = [note]
    else:
        found, notes = train.header.task, []
        if train.header.beside:
            notes.append(f"columns left out: {', '.join(train.header.beside)}")
    coded = train.header.languages if train.header else ()
    check_task(where, found, task, None if coded else languages)
    pair = _direction(languages, coded, where, coded if len(coded) == 2 else None) if coded else ()
    if set(pair) < set(coded):
        notes.append(f"languages left out: {', '.join(code for code in coded if code not in pair)}")

    roles = ("text", "label") if found == CLASSIFICATION else ("source", "target")
    columns: dict[str, tuple[list[str], list[str]]] = {}
    for split, table in tables.items():
        header = table.header
        if header is not None and not header.task:
            notes.append(f"{table.path.name} is left out: it has no labels")
            continue
        if header is None and train.header is not None:
            raise KzooError(f"{str(table.path)!r} has no header as {train.path.name} has one; write the same line 1")
        if header is not None and (header.task != found or not set(pair or roles) <= set(header.columns)):
            raise KzooError(
                f"line 1 of {str(table.path)!r} names {', '.join(header.columns)}; expected {', '.join(pair or roles)}"
                f" as in {train.path.name}"
            )
        places = [header.columns[role] for role in pair or roles] if header else [0, 1]
        first, second = (table.column(i, role) for i, role in zip(places, roles, strict=True))
        columns[split] = first, second

    units = [units_of(columns["train"][0])]
    if found == TRANSLATION:
        units.append(units_of(columns["train"][1]))
        splits = {split: _paired(*both) for split, both in columns.items()}
        return splits, DataInfo(name, TRANSLATION, notes=tuple(notes), units=tuple(units), languages=pair)
    if train.header is None:
        _check_order(train, *columns["train"])
    classes = _ordered({label.strip() for label in columns["train"][1]})
    numbers = {label: k for k, label in enumerate(classes)}
    splits = {}
    for split, (texts, labels) in columns.items():
        for line, label in zip(tables[split].lines, labels, strict=True):
            if label.strip() not in numbers:
                raise KzooError(
                    f"line {line} of {str(tables[split].path)!r} has the label {label.strip()[:40]!r}, which"
                    f" {train.path.name} has not; allowed: {_some(classes)}"
                )
        splits[split] = _labelled(texts, [numbers[label.strip()] for label in labels])
    return splits, DataInfo(name, CLASSIFICATION, tuple(classes), notes=tuple(notes), units=tuple(units))


def _some(names: Sequence[str]) -> str:
    return ", ".join(" ".join(name.split())[:40] for name in names[:10]) + (" …" if len(names) > 10 else "")


def _few(values: list[str]) -> bool:
    distinct = len(set(values))
    return distinct <= MOST_LABELS and distinct * ROWS_A_LABEL <= len(values)


def _guess(table: _Table) -> tuple[str, str]:
    """(task, what was guessed) of two columns without a header."""
    first, last = ([row[i] for row in table.rows] for i in (0, 1))
    task = CLASSIFICATION if _few(last) else TRANSLATION
    _check_order(table, first, last)
    for number, column in enumerate((first, last)[: 1 if task == CLASSIFICATION else 2], start=1):
        if not _letters(column):
            raise KzooError(
                f"column {number} of {str(table.path)!r} holds no letters, so it is not read as texts; {REMEDY}, or"
                " give task='text-classification' or 'translation'"
            )
    if task == CLASSIFICATION:
        return task, (
            f"no header: the last column has {len(set(last))} distinct values and is read as labels;"
            " task='translation' reads it as texts"
        )
    return task, (
        "no header: the columns are read as source and target; task='text-classification' reads the last as labels"
    )


def _check_order(table: _Table, first: list[str], last: list[str]) -> None:
    """Refuse what a missing header hides: labels before the texts, or a header whose names are not known."""
    path = str(table.path)
    if _few(first) and not _few(last):
        raise KzooError(f"the first column of {path!r} looks like labels, the last does not; {REMEDY}")
    if len(last) > 1 and not _whole(last[0]) and all(map(_whole, last[1:])):
        raise KzooError(
            f"line 1 of {path!r} has the label {last[0].strip()[:40]!r} and all others are whole numbers; if it is a"
            f" header, {REMEDY}"
        )


def _whole(label: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", label.strip()) is not None


def _ordered(labels: set[str]) -> list[str]:
    """Whole numbers by their value, names by the alphabet."""
    return sorted(labels, key=lambda label: (int(label), label)) if all(map(_whole, labels)) else sorted(labels)


# ----------------------------------------------------------------------------------------------------------------------
# Folders
# ----------------------------------------------------------------------------------------------------------------------


def text_folder(folder: Path, task: str | None, languages: str | None) -> tuple[dict[str, Examples], DataInfo] | None:
    """Tables or parallel files named after splits, or a tree of .txt files; None for a folder that is not of texts."""
    if task == "image-classification":
        return None
    asked = task in TEXT_TASKS or languages is not None
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    tables, beside = _split_tables(files)
    parallel = _parallel(files)
    several = len({language for sides in parallel.values() for language in sides}) > 1
    if not several and not asked and _subfolders(folder):
        parallel = {}  # a lone train.xyz beside folders is not text
    # A table beside folders of images describes them, unless texts were asked for.
    if (tables or parallel) and (asked or not _has_images(folder)):
        if parallel and (languages is not None or not tables):
            return _parallel_folder(folder, parallel, task, languages)
        chosen, notes = _chosen(tables, repr(str(folder)))
        paths = {split: tables[stem] for split, stem in chosen.items()}
        splits, info = _tables(paths, folder.resolve().name, str(folder), task, languages)
        notes += (f"files beside are left out: {', '.join(beside)}",) if beside else ()
        return splits, replace(info, notes=(*info.notes, *notes))
    tree = _text_tree(folder, task, languages)
    if tree is not None:
        return tree
    if beside and not _subfolders(folder):
        raise KzooError(
            f"{str(folder)!r} has {_some(beside)}; name the parts train, val and test (train{Path(beside[0]).suffix}),"
            " or give the path of one file"
        )
    if asked:
        raise KzooError(
            f"{str(folder)!r} holds no texts; expected train.tsv or train.csv, parallel files (train.en, train.de), or"
            " one folder of .txt files a class"
        )
    return None


def _split_tables(files: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """({stem: table} of those named after a split, names of the others)."""
    tables: dict[str, Path] = {}
    beside = []
    for path in filter(is_table, files):
        stem = Path(_unpacked(path)).stem
        if stem.lower() not in SPLIT_STEMS and not OTHER_TESTS.match(stem.lower()):
            beside.append(path.name)
        elif stem in tables:
            raise KzooError(f"{str(path.parent)!r} has both {tables[stem].name} and {path.name}; keep one")
        else:
            tables[stem] = path
    return tables, beside


def _has_images(folder: Path) -> bool:
    inside = (path for child in _subfolders(folder) for path in child.rglob("*"))
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in inside)


def _parallel(files: list[Path]) -> dict[str, dict[str, Path]]:
    """{stem: {language: path}} of the files named `<split>.<language>[.gz|.xz]`."""
    found: dict[str, dict[str, Path]] = {}
    for path in files:
        stem, _, language = _unpacked(path).rpartition(".")
        of_split = stem.lower() in SPLIT_STEMS or OTHER_TESTS.match(stem.lower())
        if of_split and LANGUAGE.fullmatch(language) and language.lower() not in NOT_LANGUAGES:
            sides = found.setdefault(stem, {})
            if language in sides:
                raise KzooError(f"{str(path.parent)!r} has both {sides[language].name} and {path.name}; keep one")
            sides[language] = path
    return found


def _parallel_folder(
    folder: Path, found: dict[str, dict[str, Path]], task: str | None, languages: str | None
) -> tuple[dict[str, Examples], DataInfo]:
    where = str(folder)
    check_task(where, TRANSLATION, task)
    train = next((sides for stem, sides in found.items() if stem.lower() == "train"), None)
    if train is not None and len(train) < 2:
        raise KzooError(
            f"{where!r} has {next(iter(train.values())).name} alone; pairs need a second language beside it"
        )
    pair = _direction(languages, sorted(train), where) if train else ()
    whole = {stem for stem, sides in found.items() if set(pair) <= set(sides)}
    for stem, sides in found.items():
        if stem not in whole and stem.lower() in SPLIT_STEMS and set(pair) & set(sides):
            (there,), (missing,) = set(pair) & set(sides), set(pair) - set(sides)
            raise KzooError(f"{where!r} has {sides[there].name} without its {stem}.{missing}; add it or take both away")
    chosen, notes = _chosen(whole, repr(where))
    columns = {split: _parallel_lines(*(found[stem][side] for side in pair)) for split, stem in chosen.items()}
    units = tuple(map(units_of, columns["train"]))
    splits = {split: _paired(*both) for split, both in columns.items()}
    return splits, DataInfo(folder.resolve().name, TRANSLATION, notes=notes, units=units, languages=pair)


def _parallel_lines(source: Path, target: Path) -> tuple[list[str], list[str]]:
    sides = _lines(source), _lines(target)
    for path, lines in zip((source, target), sides, strict=True):
        empty = next((n for n, line in enumerate(lines, start=1) if not line.strip()), None)
        if empty:
            raise KzooError(f"line {empty} of {str(path)!r} is empty; fill it, or delete that line from both languages")
    if len(sides[0]) != len(sides[1]):
        raise KzooError(
            f"{str(source)!r} has {len(sides[0]):,} lines and {target.name} {len(sides[1]):,}; line n of one must be"
            " the translation of line n of the other"
        )
    return sides


def _direction(
    languages: str | None, known: Sequence[str], where: str, default: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """(source, target) of "en-de", both among the known; the default where nothing is given."""
    pairs = {f"{a}-{b}": (a, b) for a, b in itertools.permutations(known, 2)}
    if languages is None:
        if default:
            return default
        choices = " or ".join(map(repr, pairs)) if len(known) == 2 else f"two of {', '.join(known)} as 'source-target'"
        raise KzooError(f"{where!r} can be read in several directions; give languages={choices}")
    if languages not in pairs:
        raise unknown("languages", languages, pairs, f"{where!r} has {', '.join(known)}: give 'source-target'")
    return pairs[languages]


def _text_tree(folder: Path, task: str | None, languages: str | None) -> tuple[dict[str, Examples], DataInfo] | None:
    """One folder a class, one .txt file a text, with or without train/val/test above; None where it is not that."""
    children = _subfolders(folder)
    roots = [child for child in children if child.name.lower() in SPLIT_STEMS] or [folder]
    # aclImdb keeps its unlabelled reviews among the classes.
    held = {root: [child for child in _subfolders(root) if child.name != "unsup"] for root in roots}
    if not _only_txt(child for classes in held.values() for child in classes):
        return None
    check_task(str(folder), CLASSIFICATION, task, languages)
    chosen, notes = {"train": folder}, []
    if folder not in held:
        stems, _ = _chosen([root.name for root in roots], repr(str(folder)))
        chosen = {split: folder / stem for split, stem in stems.items()}
        beside = [child.name for child in children if child not in held]
        notes += [f"folders beside {', '.join(chosen)} are left out: {', '.join(beside)}"] if beside else []
    unlabelled = [str((root / "unsup").relative_to(folder)) for root in roots if (root / "unsup").is_dir()]
    notes += [f"without labels, left out: {', '.join(unlabelled)}"] if unlabelled else []
    classes = [child.name for child in held[chosen["train"]]]
    columns: dict[str, tuple[list[str], list[int]]] = {}
    for split, root in chosen.items():
        columns[split] = texts, labels = [], []
        for child in held[root]:
            if child.name not in classes:
                raise KzooError(f"{str(child)!r} is a class that train has not; allowed: {_some(classes)}")
            paths = sorted(child.glob("[!.]*"))
            if not paths and split == "train":
                raise KzooError(
                    f"{str(child)!r} has no .txt file; every class needs at least one, or delete the folder"
                )
            texts += [_decoded(path).rstrip("\r\n") for path in paths]
            labels += [classes.index(child.name)] * len(paths)
    splits = {split: _labelled(*both) for split, both in columns.items() if both[0]}
    units = (units_of(columns["train"][0]),)
    return splits, DataInfo(folder.resolve().name, CLASSIFICATION, tuple(classes), notes=tuple(notes), units=units)


def _only_txt(folders: Iterable[Path]) -> bool:
    """Whether they hold .txt files, and nothing else that is visible."""
    visible = [path for folder in folders for path in itertools.islice(folder.glob("[!.]*"), 1)]
    if not visible or any(path.suffix.lower() != ".txt" for path in visible):
        return False  # found by the first file of each folder, where it holds images
    inside = {path.parent for path in visible}
    return all(path.suffix.lower() == ".txt" and path.is_file() for folder in inside for path in folder.glob("[!.]*"))


# ----------------------------------------------------------------------------------------------------------------------
# TensorFlow Datasets
# ----------------------------------------------------------------------------------------------------------------------


def tfds_texts(
    builder: Any, name: str, task: str | None, languages: str | None
) -> tuple[dict[str, Examples], DataInfo]:
    """A prepared set of one text and one class label an example, or of translations."""
    import tensorflow_datasets as tfds

    features, keys = builder.info.features, builder.info.supervised_keys
    translations = {key: f for key, f in features.items() if isinstance(f, tfds.features.Translation)}
    if isinstance(features, tfds.features.Translation):
        translations = {"": features}
    texts = [key for key, f in features.items() if isinstance(f, tfds.features.Text)]
    labels = [key for key, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    if len(translations) == 1:
        (key, translation), *_ = translations.items()
        known = translation.languages
        check_task(name, TRANSLATION, task)
        default = tuple(keys[:2]) if keys and all(key in known for key in keys[:2]) else None
        pair = _direction(languages, known, name, default)
        read = lambda row: tuple((row[key] if key else row)[language] for language in pair)
        columns, notes = _tfds_columns(builder, read, texts=2)
        units = tuple(units_of(columns["train"][i]) for i in (0, 1)) if "train" in columns else ()
        splits = {split: _paired(*both) for split, both in columns.items()}
        return splits, DataInfo(name, TRANSLATION, notes=notes, units=units, languages=pair)
    if keys and keys[0] in texts and keys[1] in labels:
        text, label = keys[:2]
    elif len(texts) == len(labels) == 1:
        (text,), (label,) = texts, labels
    else:
        raise KzooError(
            f"{name!r} is not a set that kzoo reads: an image or a text with one class label, or translations; its"
            f" features are {', '.join(features)}"
        )
    check_task(name, CLASSIFICATION, task, languages)
    columns, notes = _tfds_columns(builder, lambda row: (row[text], row[label]), texts=1)
    others = [key for key in (*texts, *labels) if key not in (text, label)]
    notes += (f"features left out: {', '.join(others)}",) if others else ()
    splits = {split: _labelled(*both) for split, both in columns.items()}
    units = (units_of(columns["train"][0]),) if "train" in columns else ()
    return splits, DataInfo(name, CLASSIFICATION, tuple(features[label].names), notes=notes, units=units)


def _tfds_columns(
    builder: Any, read: Any, texts: int
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """({split: two columns, the first `texts` of them text}, notes). Rows without a text or a label are left out."""
    columns, notes, left_out = {}, [], []
    for split in builder.info.splits:
        if split not in SPLIT_FOLDERS:
            left_out.append(split)
            continue
        batches = list(builder.as_dataset(split=split).map(read).batch(4096).as_numpy_iterator())
        if not batches:
            continue
        both = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
        labelled = both[1] >= 0 if texts == 1 else np.ones(len(both[1]), bool)
        if not labelled.any():
            left_out.append(f"{split} (it has no labels)")
            continue
        whole = labelled & np.all([[bool(t.strip()) for t in column] for column in both[:texts]], axis=0)
        if not whole.all():
            notes.append(f"{split}: {(~whole).sum():,} rows without a text or a label are left out")
        if whole.any():
            columns[SPLIT_FOLDERS[split]] = tuple(column[whole] for column in both)
    notes += [f"splits left out: {', '.join(left_out)}"] if left_out else []
    return columns, tuple(notes)
