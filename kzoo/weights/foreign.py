"""Weights by a table: what each is called in another library and here, and how one becomes the other, both ways.

The rows stand in the family's file. A transform has a name and two directions: of what a row names there it makes what
it names here, or the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from kzoo.records import ModelInfo

Arrays = Sequence[np.ndarray]


def _swapped(a: np.ndarray) -> np.ndarray:
    """Three gates in the last axis, the first two in the other order: PyTorch has r, z, n and Keras z, r, h."""
    r, z, n = np.split(a, 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)


# {name: (theirs -> ours, ours -> theirs)}
TRANSFORMS = {
    "same": (lambda arrays: list(arrays), lambda arrays: list(arrays)),
    "transposed": (lambda arrays: [a.T for a in arrays], lambda arrays: [a.T for a in arrays]),
    # One matrix of queries, keys and values side by side.
    "thirds": (
        lambda arrays: np.split(arrays[0], 3, axis=-1),
        lambda arrays: [np.concatenate(list(arrays), axis=-1)],
    ),
    # The same with the outputs first.
    "thirds, transposed": (
        lambda arrays: [a.T for a in np.split(arrays[0], 3, axis=0)],
        lambda arrays: [np.concatenate([a.T for a in arrays], axis=0)],
    ),
    # PyTorch adds two biases, of which Keras has the sum.
    "summed": (
        lambda arrays: [arrays[0] + arrays[1]],
        lambda arrays: [arrays[0], np.zeros_like(arrays[0])],
    ),
    "gates": (lambda arrays: [_swapped(a.T) for a in arrays], lambda arrays: [_swapped(a).T for a in arrays]),
    "two biases": (
        lambda arrays: [np.stack([_swapped(a) for a in arrays])],
        lambda arrays: [_swapped(a) for a in arrays[0]],
    ),
}


def read(tensors: Mapping[str, np.ndarray], info: ModelInfo) -> dict[str, np.ndarray]:
    """{kzoo's key: array}; what no row names keeps its own name, and so does what would be needed beside it."""
    table = info.spec.foreign
    left = {_newer(name.removeprefix(table.prefix), table.older): value for name, value in tensors.items()}
    left = {name: value for name, value in left.items() if not any(re.fullmatch(p, name) for p in table.ignored)}
    found = {}
    for theirs, ours, how in table.rows(info.settings):
        if all(name in left for name in theirs):
            try:
                made = TRANSFORMS[how][0]([left[name] for name in theirs])
            except ValueError:  # of shapes that no such matrix has: they are told under their own names
                continue
            found |= dict(zip(ours, made, strict=True))
            left = {name: value for name, value in left.items() if name not in theirs}
    return found | left


def _newer(name: str, older: Mapping[str, str]) -> str:
    ending = next((ending for ending in older if name.endswith(ending)), None)
    return name if ending is None else name.removesuffix(ending) + older[ending]


def written(values: Mapping[str, np.ndarray], info: ModelInfo) -> dict[str, np.ndarray]:
    """{their name: array} of all weights of a model."""
    table = info.spec.foreign
    found = {}
    for theirs, ours, how in table.rows(info.settings):
        made = TRANSFORMS[how][1]([values[key] for key in ours])
        whole = (n if any(re.fullmatch(p, n) for p in table.outside) else table.prefix + n for n in theirs)
        found |= dict(zip(whole, made, strict=True))
    return found
