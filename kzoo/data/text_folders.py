"""Folders of texts: a table a split, parallel files in two languages, prose, or one folder of `.txt` files a class."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from kzoo.data.data import DataInfo, Examples
from kzoo.data.names import split_of, subfolders
from kzoo.data.plain_text import plain_files, plain_text
from kzoo.data.text_tables import passages, text_tables
from kzoo.data.texts import chosen, direction, labelled, of_split, paired, some
from kzoo.errors import KzooError
from kzoo.inputs import IMAGE_SUFFIXES, decoded, is_blank, is_table, lines_of, unit_of, unpacked

# The last part of a parallel file's name: two or three letters, perhaps a region; and what is no language there.
LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
NOT_LANGUAGES = ("txt", "tsv", "csv", "npz", "npy", "zip", "tar", "gz", "xz", "pkl", "xml", "log", "md", "py", "sh",
                 "bin", "png", "jpg", "gif", "bmp", "pdf")  # fmt: skip


def text_folder(
    folder: Path, holds: str | None, languages: str | None, columns: Mapping[str, str | int] | None
) -> tuple[dict[str, Examples], DataInfo] | None:
    """Tables, parallel files or prose named after splits, or a tree of .txt files; None for a folder not of texts.

    Args:
        holds: "texts" or "pairs" where these were asked for: a table beside folders of images is read then, too.
    """
    asked = holds is not None or languages is not None
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    tables, beside = _split_tables(files)
    parallel = _parallel(files)
    several = len({language for sides in parallel.values() for language in sides}) > 1
    if not several and not asked and subfolders(folder):
        parallel = {}  # a lone train.xyz beside folders is not text
    # A table beside folders of images describes them, unless texts were asked for.
    if (tables or parallel) and (asked or not _has_images(folder)):
        if parallel and (languages is not None or not tables):
            return _parallel_folder(folder, parallel, languages)
        found, notes = chosen(tables, repr(str(folder)))
        paths = {split: tables[stem] for split, stem in found.items()}
        splits, info = text_tables(paths, folder.resolve().name, str(folder), languages, columns)
        notes += (f"files beside are left out: {', '.join(beside)}",) if beside else ()
        return splits, replace(info, notes=(*info.notes, *notes))
    if not asked and plain_files(folder) and not _has_images(folder):
        return plain_text(folder)
    tree = _text_tree(folder)
    if tree is not None:
        return tree
    if beside and not subfolders(folder):
        raise KzooError(
            f"{str(folder)!r} has {some(beside)}; name the parts train, val and test (train{Path(beside[0]).suffix}),"
            " or give the path of one file"
        )
    if asked:
        raise KzooError(
            f"{str(folder)!r} holds no texts; expected train.tsv or train.csv, parallel files (train.en, train.de), or"
            " one folder of .txt files a class"
        )
    return None


def prose_folder(folder: Path, columns: Mapping[str, str | int] | None) -> tuple[dict[str, Examples], DataInfo] | None:
    """Texts without their labels: a table a split, or a tree of .txt files; None for a folder of none."""
    tables, _ = _split_tables([path for path in sorted(folder.iterdir()) if path.is_file()])
    if any(split_of(stem) == "train" for stem in tables):
        found, notes = chosen(tables, repr(str(folder)))
        splits, info = passages({split: tables[stem] for split, stem in found.items()}, folder.resolve().name, columns)
        return splits, replace(info, notes=(*info.notes, *notes))
    if (tree := _text_tree(folder)) is None:
        return None
    splits, info = tree
    left = {split: replace(examples, labels=0 * examples.labels) for split, examples in splits.items()}
    return left, DataInfo(info.name, "prose", notes=info.notes)


def _split_tables(files: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """({stem: table} of those named after a split, names of the others)."""
    tables: dict[str, Path] = {}
    beside = []
    for path in filter(is_table, files):
        stem = Path(unpacked(path)).stem
        if not of_split(stem):
            beside.append(path.name)
        elif stem in tables:
            raise KzooError(f"{str(path.parent)!r} has both {tables[stem].name} and {path.name}; keep one")
        else:
            tables[stem] = path
    return tables, beside


def _has_images(folder: Path) -> bool:
    inside = (path for child in subfolders(folder) for path in child.rglob("*"))
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in inside)


def _parallel(files: list[Path]) -> dict[str, dict[str, Path]]:
    """{stem: {language: path}} of the files named `<split>.<language>[.gz|.xz]`."""
    found: dict[str, dict[str, Path]] = {}
    for path in files:
        stem, _, language = unpacked(path).rpartition(".")
        if of_split(stem) and LANGUAGE.fullmatch(language) and language.lower() not in NOT_LANGUAGES:
            sides = found.setdefault(stem, {})
            if language in sides:
                raise KzooError(f"{str(path.parent)!r} has both {sides[language].name} and {path.name}; keep one")
            sides[language] = path
    return found


def _parallel_folder(
    folder: Path, found: dict[str, dict[str, Path]], languages: str | None
) -> tuple[dict[str, Examples], DataInfo]:
    where = str(folder)
    train = next((sides for stem, sides in found.items() if split_of(stem) == "train"), None)
    if train is not None and len(train) < 2:
        raise KzooError(
            f"{where!r} has {next(iter(train.values())).name} alone; pairs need a second language beside it"
        )
    pair = direction(languages, sorted(train), where) if train else ()
    whole = {stem for stem, sides in found.items() if set(pair) <= set(sides)}
    for stem, sides in found.items():
        if stem not in whole and split_of(stem) and set(pair) & set(sides):
            (there,), (missing,) = set(pair) & set(sides), set(pair) - set(sides)
            raise KzooError(f"{where!r} has {sides[there].name} without its {stem}.{missing}; add it or take both away")
    stems, notes = chosen(whole, repr(where))
    columns = {split: _parallel_lines(*(found[stem][side] for side in pair)) for split, stem in stems.items()}
    units = tuple(map(unit_of, columns["train"]))
    splits = {split: paired(*both) for split, both in columns.items()}
    return splits, DataInfo(folder.resolve().name, "pairs", notes=notes, units=units, languages=pair)


def _parallel_lines(source: Path, target: Path) -> tuple[list[str], list[str]]:
    sides = lines_of(source), lines_of(target)
    for path, lines in zip((source, target), sides, strict=True):
        empty = next((n for n, line in enumerate(lines, start=1) if is_blank(line)), None)
        if empty:
            raise KzooError(f"line {empty} of {str(path)!r} is empty; fill it, or delete that line from both languages")
    if len(sides[0]) != len(sides[1]):
        raise KzooError(
            f"{str(source)!r} has {len(sides[0]):,} lines and {target.name} {len(sides[1]):,}; line n of one must be"
            " the translation of line n of the other"
        )
    return sides


def _text_tree(folder: Path) -> tuple[dict[str, Examples], DataInfo] | None:
    """One folder a class, one .txt file a text, with or without train/val/test above; None where it is not that."""
    children = subfolders(folder)
    roots = [child for child in children if split_of(child.name)] or [folder]
    # aclImdb keeps its unlabelled reviews among the classes.
    held = {root: [child for child in subfolders(root) if child.name != "unsup"] for root in roots}
    if not _only_txt(child for classes in held.values() for child in classes):
        return None
    parts, notes = {"train": folder}, []
    if folder not in held:
        stems, _ = chosen([root.name for root in roots], repr(str(folder)))
        parts = {split: folder / stem for split, stem in stems.items()}
        beside = [child.name for child in children if child not in held]
        notes += [f"folders beside {', '.join(parts)} are left out: {', '.join(beside)}"] if beside else []
    unlabelled = [str((root / "unsup").relative_to(folder)) for root in roots if (root / "unsup").is_dir()]
    notes += [f"without labels, left out: {', '.join(unlabelled)}"] if unlabelled else []
    classes = [child.name for child in held[parts["train"]]]
    columns: dict[str, tuple[list[str], list[int]]] = {}
    for split, root in parts.items():
        columns[split] = texts, labels = [], []
        for child in held[root]:
            if child.name not in classes:
                raise KzooError(f"{str(child)!r} is a class that train has not; allowed: {some(classes)}")
            paths = sorted(child.glob("[!.]*"))
            if not paths and split == "train":
                raise KzooError(
                    f"{str(child)!r} has no .txt file; every class needs at least one, or delete the folder"
                )
            texts += [decoded(path).rstrip("\r\n") for path in paths]
            labels += [classes.index(child.name)] * len(paths)
    splits = {split: labelled(*both) for split, both in columns.items() if both[0]}
    units = (unit_of(columns["train"][0]),)
    return splits, DataInfo(folder.resolve().name, "texts", tuple(classes), notes=tuple(notes), units=units)


def _only_txt(folders: Iterable[Path]) -> bool:
    """Whether they hold .txt files, and nothing else that is visible."""
    visible = [path for folder in folders for path in itertools.islice(folder.glob("[!.]*"), 1)]
    if not visible or any(path.suffix.lower() != ".txt" for path in visible):
        return False  # found by the first file of each folder, where it holds images
    inside = {path.parent for path in visible}
    return all(path.suffix.lower() == ".txt" and path.is_file() for folder in inside for path in folder.glob("[!.]*"))
