"""Parts that are drawn of a source's examples: test and validation where it has none, so many of each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from kzoo.data.data import Examples
from kzoo.errors import KzooError, listed
from kzoo.records import Number, Whole

VALIDATION = 0.1


class Shares:
    """What is drawn of a source's examples: test and validation where it has none, so many of each class."""

    def __init__(self, test: Any, validation: Any, per_class: Any, seed: Any) -> None:
        for part, share in (("validation", validation), ("test", test)):
            if share is not None:
                Number(at_least=0, below=1).check(part, share)
        self.given = {"test": test, "validation": validation}
        self.per_class = None if per_class is None else Whole().check("per_class", per_class)
        self.seed = Whole(0).check("split_seed", seed)
        self.parts: list[str] = []  # those that were taken of train

    def arguments(self) -> dict[str, Any]:
        return {**self.given, "per_class": self.per_class, "split_seed": self.seed or None}

    def draw(
        self, name: str, splits: dict[str, Examples], indices: dict[str, np.ndarray], classes: list[str], whole: bool
    ) -> list[str]:
        """Add to `splits` and `indices` what is taken of train, and leave there what stays; what was done, as notes.

        Args:
            whole: Nothing may be taken: the rows are all that there is.
        """
        for part, share in self.given.items():
            if share is not None and part in splits:
                raise KzooError(f"{part}={share:g}, but {name!r} has a {part} split of its own; leave it out")
            if share and whole:
                rows = len(splits["train"].labels)
                raise KzooError(f"{part}={share:g}: {name!r} is trained on whole, it has {rows} rows")
        if self.per_class is not None and not classes:
            raise KzooError(f"per_class={self.per_class} goes with classes, and {name!r} has none; leave it out")
        shares = {"test": self.given["test"] or 0, "validation": self.given["validation"]}
        if shares["validation"] is None:
            shares["validation"] = 0 if whole else VALIDATION
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
        notes = []
        for part in self.parts if classes else ():
            absent = [
                c for c, there, here in zip(classes, counts["train"], counts[part], strict=True) if there > here == 0
            ]
            if absent:
                notes.append(f"{part} has no example of {listed(absent, 5)}: it has too few for every part")
        if self.per_class is not None:
            small = [f"{c} has {n}" for c, n in zip(classes, counts["train"], strict=True) if n < self.per_class]
            if small:
                notes.append(f"train: fewer than {self.per_class} there are: {listed(small, 5)}")
        return notes


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two parts, the second with `fraction` of each class (at least one of every class with two examples).

    Both are in ascending order; the same labels, fraction and seed give the same parts.
    """
    rng = np.random.default_rng(seed)
    second = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(len(members) * fraction)
        if len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        second[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~second), np.flatnonzero(second)


def some_of_each(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of `count` examples of each class (all of a smaller one), ascending.

    Those for a smaller count are among those for a larger one: experiments with more and more images add to them.
    """
    rng = np.random.default_rng(seed)
    kept = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(kept))
