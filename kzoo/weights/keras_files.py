"""Keras' HDF5 weight files: the legacy `.h5` in which keras.applications publishes, and Keras 3's `.weights.h5`.

Both keep a layer's weights in one order (kernel, bias; gamma, beta, moving mean, moving variance). The legacy file has
layer names and usually weight names. `.weights.h5` numbers layers by class in the order of `model.layers`, and notes
their names beside (Keras 3.8 does, 3.4 did not: such a file is matched by order). InceptionV3's layers are numbered
by the session that made them: they are matched in the order of creation.

Only plain datasets inside the file are read, never links, external or virtual ones, and none before its shape is known
to fit. Sources: keras/src/legacy/saving/legacy_h5_format.py and keras/src/saving/saving_lib.py of Keras 3.15.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras

from kzoo.errors import KzooError
from kzoo.files import check_budget
from kzoo.weights.parts import Parts

Layers = dict[str, dict[str, h5py.Dataset]]  # layer -> weight -> values, in the order of the file

HEADS = ("probs", "fc1000")  # what older releases of keras.applications called `predictions`
OWN = ("optimizer", "compile_metrics", "_compile_metrics", "loss_tracker", "_loss_tracker")  # of a compiled model


def check_inside(file: h5py.File, path: Path) -> None:
    """Of a whole model in HDF5: what Keras is about to read.

    Raises:
        KzooError: A link out of the file, or more bytes than such a file may declare.
    """
    declared = 0

    def visit(group: h5py.Group) -> None:
        nonlocal declared
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise KzooError(f"{str(path)!r} has a link, {group.name.rstrip('/')}/{name}; nothing outside is read")
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise KzooError(
                        f"{str(path)!r} has its values in another file, {item.name}; nothing outside is read"
                    )
                declared += item.nbytes

    visit(file)
    check_budget(path, declared)


@contextmanager
def opened(path: Path, source: str, parts: Parts) -> Iterator[dict[str, Any]]:
    """{kzoo's key: dataset} while the file is open; `dataset[()]` reads it.

    Raises:
        KzooError: Not a whole HDF5 file, or not a weight file of Keras.
    """
    try:
        with h5py.File(path, "r") as file:
            yield _keyed(file, source, parts)
    except (OSError, RuntimeError, KeyError) as error:  # how HDF5 says that bytes are missing or damaged
        reason = str(error).splitlines()[0].strip("'\"")
        raise KzooError(f"{source} is not a whole HDF5 file: {reason}; fetch it again") from error


def _keyed(file: h5py.File, source: str, parts: Parts) -> dict[str, Any]:
    group = file
    if "layer_names" not in file.attrs and "model_weights" in file:  # a whole model in one .h5; only weights are read
        group = _group(file, "model_weights", source)
    if "layer_names" in group.attrs or "layer_names0" in group.attrs:
        layers, named = _legacy(group, source), True
    else:
        layers, named = _numbered(file, source)
    if not layers:
        raise KzooError(f"{source} is an HDF5 file without Keras layers; give a file that model.save_weights wrote")
    layers = _unnested(layers, parts)
    names = _names(layers, named, source, parts)
    values = {}
    for layer, weights in layers.items():
        name = names.get(layer, layer)
        inner = [key.removeprefix(f"{name}/") for key in parts.variables if key.startswith(f"{name}/")]
        # By name where the names are the model's, else by order; what is more than the model has keeps its own name.
        by_name = set(weights) <= set(inner)
        for i, (weight, dataset) in enumerate(weights.items()):
            values[f"{name}/{weight if by_name or i >= len(inner) else inner[i]}"] = dataset
    return values


def _legacy(group: h5py.Group, source: str) -> Layers:
    layers = {}
    for name in _texts(group, "layer_names"):
        inside = _group(group, name, source)
        weights = [(weight, _dataset(inside, weight, source)) for weight in _texts(inside, "weight_names")]
        short = [weight.split("/")[-1].split(":")[0] for weight, _ in weights]
        if len(set(short)) < len(short):
            short = [weight for weight, _ in weights]
        if weights:
            layers[name] = {key: dataset for key, (_, dataset) in zip(short, weights, strict=True)}
    return layers


def _unnested(layers: Layers, parts: Parts) -> Layers:
    """A network that lies in another one is a single layer of a legacy file, its layers in the names of its weights."""
    found: Layers = {}
    for name, weights in layers.items():
        inside = {weight.split("/")[0] for weight in weights}
        if name in parts.mine or not inside & parts.mine or not all("/" in weight for weight in weights):
            found[name] = weights
            continue
        for weight, dataset in weights.items():
            layer, _, rest = weight.partition("/")
            found.setdefault(layer, {})[rest.split("/")[-1]] = dataset
    return found


def _texts(group: h5py.Group, name: str) -> list[str]:
    """A list of names among the attributes, in pieces (`name0`, `name1`, …) where it is long."""
    pieces = [name] if name in group.attrs else []
    while not pieces or pieces[-1] != name:
        piece = f"{name}{len(pieces)}"
        if piece not in group.attrs:
            break
        pieces.append(piece)
    return [t.decode() if isinstance(t, bytes) else str(t) for piece in pieces for t in group.attrs[piece]]


def _numbered(file: h5py.File, source: str) -> tuple[Layers, bool]:
    """The layers of a `.weights.h5` by name, or, where it lacks names, by class and number (`conv2d_3`)."""
    found: list[tuple[str | None, str, dict[str, h5py.Dataset]]] = []
    seen = set()  # a group can hold itself

    def visit(group: h5py.Group, path: list[str]) -> None:
        place = h5py.h5o.get_info(group.id).addr
        if place in seen:
            raise KzooError(f"{source}: the group {'/'.join(path)!r} is in the file twice; Keras writes no such file")
        seen.add(place)
        for name in group:
            if (not path and name in OWN) or name == "seed_generator":
                continue
            if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], h5py.Group):
                if name != "vars":
                    visit(group[name], [*path, name])
                elif len(group[name]):
                    inside = group[name]
                    weights = {i: _dataset(inside, i, source) for i in sorted(inside, key=lambda i: (len(i), i))}
                    found.append((inside.attrs.get("name"), path[-1] if path else "", weights))
            elif name != "vars":
                raise KzooError(f"{source}: {'/'.join([*path, name])!r} is no group; links in HDF5 files are not read")

    visit(file, [])
    named = all(name is not None for name, _, _ in found)
    layers: Layers = {}
    for name, place, weights in found:
        key = str(name) if named else place
        if key in layers:
            raise KzooError(f"{source} has two layers named {key!r}; kzoo cannot tell them apart")
        layers[key] = weights
    return layers, named


def _group(parent: h5py.Group, name: str, source: str) -> h5py.Group:
    for part in name.split("/"):
        _hard(parent, part, source)
        parent = parent[part]
        if not isinstance(parent, h5py.Group):
            raise KzooError(f"{source}: {name!r} is not a group; it is no weight file of Keras")
    return parent


def _dataset(parent: h5py.Group, name: str, source: str) -> h5py.Dataset:
    *groups, last = name.split("/")
    if groups:
        parent = _group(parent, "/".join(groups), source)
    _hard(parent, last, source)
    dataset = parent[last]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise KzooError(f"{source}: {name!r} is not a plain dataset; external and virtual ones are not read")
    if dataset.dtype.kind not in "fiu":
        raise KzooError(f"{source}: {name!r} has numbers of type {dataset.dtype}; save it in float32")
    return dataset


def _hard(parent: h5py.Group, name: str, source: str) -> None:
    """Nothing but what lies in the file itself."""
    if not name or name not in parent:
        raise KzooError(f"{source} names {name!r} and does not hold it: it is damaged; fetch it again")
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise KzooError(f"{source}: {name!r} is a link; links in HDF5 files are not read")


# Layers of a class, as files number them: `conv2d`, `conv2d_1`, …
CLASSES = {
    "conv2d": keras.layers.Conv2D,
    "batch_normalization": keras.layers.BatchNormalization,
    "dense": keras.layers.Dense,
}


def _names(layers: Layers, named: bool, source: str, parts: Parts) -> Mapping[str, str]:
    """{layer in the file: kzoo's layer}; a layer that is not there keeps its name."""
    spec, known = parts.info.spec, parts.info.spec.keras_names
    if named:
        names = {head: spec.head for head in HEADS if head in layers and spec.head not in layers}
        if not names and spec.head not in layers and len(others := sorted(layers.keys() - parts.mine)) == 1:
            names = {others[0]: spec.head}  # a head of the user's, whatever it is called
        if known is not None and known.by_creation:
            names |= {
                theirs: mine
                for kind in ("conv2d", "batch_normalization")
                for theirs, mine in zip(_of_class(layers, kind), parts.of_class(CLASSES[kind]), strict=False)
            }
        return names
    if known is None:
        raise KzooError(
            f"{source} has no layer names: Keras 3.4 or so wrote it; read it by model.load_weights, and save it anew"
        )
    return {
        theirs: mine
        for kind, cls in CLASSES.items()
        for theirs, mine in zip(_of_class(layers, kind), known.order(parts.of_class(cls)), strict=False)
    }


def _of_class(layers: Layers, kind: str) -> list[str]:
    """Those of one class by their number, whatever it starts with."""
    found = [re.fullmatch(rf"{kind}(?:_(\d+))?", name) for name in layers]
    return [m[0] for m in sorted((m for m in found if m), key=lambda m: int(m[1] or 0))]
