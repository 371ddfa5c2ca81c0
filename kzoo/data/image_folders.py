"""Images in folders, one a class, with or without train, validation and test above."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kzoo.data.data import DataInfo, Examples
from kzoo.data.images import Pair, examples_of, many, relative
from kzoo.data.labels import refuse_alike
from kzoo.data.names import split_of, subfolders
from kzoo.errors import KzooError, listed, printable
from kzoo.inputs import IMAGE_SUFFIXES, is_hidden


def image_folder(folder: Path) -> tuple[dict[str, Examples], DataInfo]:
    given, folder, notes = folder, *_inside(folder)
    roots = _splits(folder)
    beside = [child.name for child in subfolders(folder) if roots and child not in roots.values()]
    notes += [f"folders beside {', '.join(roots)} are left out: {', '.join(beside)}"] if beside else []
    roots = roots or {"train": folder}
    loops: list[str] = []
    children = {split: _class_folders(root, folder, loops) for split, root in roots.items()}
    files = {child: _files_below(child, folder, loops) for found in children.values() for child in found}
    strange = [child for child, inside in files.items() if inside and not any(map(_is_image, inside))]
    if strange and len(strange) < len(files):
        notes.append(f"folders without images are left out: {', '.join(relative(c, folder) for c in strange)}")
        children = {split: [c for c in found if c not in strange] for split, found in children.items()}
    classes = sorted({printable(child.name) for found in children.values() for child in found})
    if not classes and any(map(_has_images, roots.values())):
        return _flat(given, roots, notes)
    if not classes:
        raise KzooError(
            f"{str(folder)!r} has no subfolders; expected one folder of images a class, images with a labels.csv,"
            " or MNIST's *-ubyte files"
        )
    refuse_alike(classes, f"class folders of {str(folder)!r}")
    loose = sum(
        path.is_file() and not is_hidden(path.name) and _is_image(path)
        for root in dict.fromkeys([folder, *roots.values()])
        for path in root.iterdir()
    )
    if loose:
        notes.append(f"{many(loose, 'image')} beside the class folders left out")
    deeper = Counter(
        relative(path.parent, folder)
        for found in children.values() for child in found for path in files[child]
        if path.parent != child and _is_image(path)
    )  # fmt: skip
    if deeper:
        inside = [f"{name} ({count:,})" for name, count in sorted(deeper.items())]
        notes.append(f"images in folders inside a class folder are taken for that class: {listed(inside, 5)}")
    pairs: dict[str, list[Pair]] = {}
    for split, found in children.items():
        pairs[split] = [
            Pair(path, classes.index(printable(child.name)), relative(path, given))
            for child in found
            for path in files[child]
        ]
    if loops:
        notes.append(f"links that lead back into the folder are not followed: {', '.join(dict.fromkeys(loops))}")
    return examples_of(pairs, classes, given, notes)


def _flat(folder: Path, roots: dict[str, Path], notes: list[str]) -> tuple[dict[str, Examples], DataInfo]:
    """Images right in a folder, or in the folders of its parts: without labels."""
    there = lambda root: sorted(path for path in root.iterdir() if not is_hidden(path.name) and _is_image(path))
    pairs = {split: [Pair(path, 0, relative(path, folder)) for path in there(root)] for split, root in roots.items()}
    splits, info = examples_of(pairs, [], folder, notes)
    return splits, replace(info, unlabelled=True, notes=(*info.notes, "no folders of classes: images without labels"))


def _inside(folder: Path) -> tuple[Path, list[str]]:
    """(the folder that the classes or splits lie in, notes): archives often have one folder around them."""
    here = folder
    while True:
        children = subfolders(here)
        single = [child for child in children if subfolders(child) and not _has_images(child)]
        others = [child for child in children if child not in single and any(map(_is_image, _all_below(child)))]
        if len(single) != 1 or others or split_of(single[0].name) or _has_images(here):
            break
        here = single[0]
    return here, [f"read in {relative(here, folder)}, the only folder with images in it"] if here != folder else []


def _splits(folder: Path) -> dict[str, Path]:
    """{split: its folder}. One of a split has folders of classes in it: one of images may be a class of that name."""
    found: dict[str, list[Path]] = {}
    for child in subfolders(folder):
        if (split := split_of(child.name)) and subfolders(child):
            found.setdefault(split, []).append(child)
    for split, roots in found.items():
        if len(roots) > 1:
            raise KzooError(f"{str(folder)!r} has two {split} folders: {roots[0].name} and {roots[1].name}")
    return {split: roots[0] for split, roots in found.items()}


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _has_images(folder: Path) -> bool:
    """Right in it."""
    return any(_is_image(path) and not is_hidden(path.name) for path in folder.iterdir())


def _all_below(folder: Path) -> Iterable[Path]:
    return (Path(here, name) for here, _, names in os.walk(folder) for name in names)


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


def _files_below(child: Path, folder: Path, loops: list[str]) -> list[Path]:
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
