"""Images in folders, one a class, with or without train, validation and test above."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kzoo.data.data import DataInfo, Examples
from kzoo.data.images import Pair, examples_of, many, printable, refuse_alike, relative
from kzoo.data.names import SPLIT_FOLDERS, subfolders
from kzoo.errors import KzooError
from kzoo.inputs import IMAGE_SUFFIXES, is_hidden


def image_folder(folder: Path) -> tuple[dict[str, Examples], DataInfo]:
    roots = {}
    for child in subfolders(folder):
        if child.name.lower() in SPLIT_FOLDERS:
            split = SPLIT_FOLDERS[child.name.lower()]
            if split in roots:
                raise KzooError(f"{str(folder)!r} has two {split} folders: {roots[split].name} and {child.name}")
            roots[split] = child
    if roots and "train" not in roots:
        raise KzooError(f"{str(folder)!r} has {', '.join(r.name for r in roots.values())}, but no train folder")
    beside = [child.name for child in subfolders(folder) if roots and child not in roots.values()]
    notes = [f"folders beside {', '.join(roots)} are left out: {', '.join(beside)}"] if beside else []
    roots = roots or {"train": folder}
    loops: list[str] = []
    children = {split: _class_folders(root, folder, loops) for split, root in roots.items()}
    classes = sorted({printable(child.name) for found in children.values() for child in found})
    if not classes:
        raise KzooError(
            f"{str(folder)!r} has no subfolders; expected one folder of images a class, images with a labels.csv,"
            " or MNIST's *-ubyte files"
        )
    refuse_alike(classes, f"class folders of {str(folder)!r}")
    loose = sum(
        path.is_file() and not is_hidden(path.name) and path.suffix.lower() in IMAGE_SUFFIXES
        for root in dict.fromkeys([folder, *roots.values()])
        for path in root.iterdir()
    )
    if loose:
        notes.append(f"{many(loose, 'image')} beside the class folders left out")
    pairs: dict[str, list[Pair]] = {}
    for split, found in children.items():
        pairs[split] = [
            Pair(path, classes.index(printable(child.name)), relative(path, folder))
            for child in found
            for path in _files_below(child, folder, loops)
        ]
    if loops:
        notes.append(f"links that lead back into the folder are not followed: {', '.join(loops)}")
    return examples_of(pairs, classes, folder, notes)


def _class_folders(root: Path, folder: Path, loops: list[str]) -> list[Path]:
    """Without links to what they lie in; those are added to `loops`."""
    above = {os.path.realpath(root), *map(os.path.realpath, root.absolute().parents)}
    found = []
    for child in subfolders(root):
        if os.path.realpath(child) in above:
            loops.append(relative(child, folder))
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
                loops.append(relative(inside, folder))
            else:
                seen.add(os.path.realpath(inside))
                kept.append(name)
        folders[:] = kept  # os.walk goes on into these
        files += [Path(here, name) for name in names if not is_hidden(name)]
    return sorted(files)
