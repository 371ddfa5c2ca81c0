"""Checkpoints: everything that training changes, by name, after whole epochs and between batches.

    checkpoints/0003-000000/       after three whole epochs; 0003-000120: and 120 batches of the fourth
        state.safetensors          arrays: weights, statistics, slots, seeds, callbacks' lists, metrics between batches
        state.json                 the place in the data, what callbacks remember
        manifest.json              of which run and place, and {file: its size and sha256}; read first
    checkpoints/left/              what the model was left with, where that is not the newest: an average, or the
                                   weights of an earlier epoch
    checkpoints/marks.json         which of them is the newest, and which the best epoch's

A folder is written beside and renamed: one that is there is whole. The newest two are kept, and the best epoch's: one
whose files are not as its manifest says is named and left aside, and the one before it is taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kzoo.engine import RATE, Place
from kzoo.errors import KzooError, say
from kzoo.files import (
    ALWAYS,
    MANIFEST,
    atomic,
    atomic_folder,
    damage,
    digest_of,
    read_sealed,
    read_small,
    removed,
    sealed,
)
from kzoo.records import to_json
from kzoo.weights import read_tensors, write_tensors

NAME = re.compile(r"(\d{4,})-(\d{6,})")
FILES = ("state.safetensors", "state.json")  # which the manifest names
LEFT, MARKS = "left", "marks.json"


class Checkpoints:
    """Of one run; `path` is made when the first one is saved.

    Args:
        run: The run's id: a checkpoint of another run is none of this one's.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self.path, self.run = path, run

    def save(
        self, place: Place, tensors: Mapping[str, np.ndarray], remembered: Mapping[str, Any], best: bool = False,
        stopping: bool = False,
    ) -> str:  # fmt: skip
        """A checkpoint of that place, beside the one before it and the best one; returns its name.

        Args:
            stopping: Whether a callback has ended the training here.
        """
        name = name_of(place)
        self._write(name, place, tensors, remembered, stopping)
        self._mark(newest=name, **({"best": name} if best else {}))
        self._drop(name)
        return name

    def leave(self, place: Place, tensors: Mapping[str, np.ndarray]) -> None:
        """What the model is left with; training goes on from the newest all the same."""
        self._write(LEFT, place, tensors, {})
        self._mark(left=True)

    def go_on(self) -> None:
        """The model is not left as it was any more."""
        if self._marks().get("left"):
            self._mark(left=False)
        if (self.path / LEFT).is_dir():
            removed(self.path / LEFT)

    def mark_best(self, name: str) -> None:
        """Nothing changes where it is known already, or is not there any more."""
        if name != self.best and (self.path / name).is_dir():
            self._mark(best=name)
            self._drop(self._names()[-1])

    def taken_up(self, name: str, best: str | None) -> None:
        """Training goes on from that one: what a kill kept from being marked, or dropped, is now."""
        if self._marks().get("newest") != name:
            self._mark(newest=name)
        if best is not None:
            self.mark_best(best)
        self._drop(name)

    @property
    def best(self) -> str | None:
        return self._marks().get("best")

    @property
    def newest(self) -> str | None:
        """The last whole one; those that are damaged or gone are named on stderr."""
        names, marked = self._names(), self._marks().get("newest")
        if self._read_marks() is None:
            say(f"{self.path / MARKS} is damaged or missing; the newest checkpoint is taken")
        if marked and marked not in names:
            say(f"{self.path / marked} is missing; the one before it is taken")
        for name in reversed(names):
            if not (why := self._damage(name)):
                return name
            say(f"{self.path / name} is damaged ({why}); it is left aside")
        return None

    def find(self, kind: str) -> str:
        """The name of the `"best"`, or of the `"last"`: what the model was left with.

        Raises:
            KzooError: There is none.
        """
        left = self._marks().get("left") or (self.path / LEFT).is_dir()
        name = self.best if kind == "best" else LEFT if left else self.newest
        if kind == "best" and self._read_marks() is None:
            raise KzooError(f"{str(self.path / MARKS)!r} is damaged or missing: which checkpoint is the best is lost")
        if name is None or not (self.path / name).is_dir():
            raise KzooError(
                f"{str(self.path.parent)!r} has no {kind} checkpoint; it has {', '.join(self._names()) or 'none'}"
            )
        return name

    def read(self, name: str) -> tuple[Place, dict[str, np.ndarray], dict[str, Any]]:
        """(place, arrays, what callbacks remember).

        Raises:
            KzooError: It is damaged.
        """
        if why := self._damage(name):
            raise KzooError(f"the checkpoint {str(self.path / name)!r} is damaged: {why}; it cannot be used")
        told = json.loads(read_small(self.path / name / FILES[1], ALWAYS))
        place = Place(told["epoch"], told["step"], told["total"], {})
        return place, read_tensors(self.path / name / "state.safetensors"), told["callbacks"]

    def stopping(self, name: str) -> bool:
        """Whether a callback ended the training there."""
        try:
            return bool(json.loads(read_small(self.path / name / FILES[1], ALWAYS)).get("stopping"))
        except (OSError, ValueError):
            return False

    def _drop(self, newest: str) -> None:
        """All but the newest, the one before it and the best."""
        names, best = self._names(), self.best
        before = names[: names.index(newest)][-1:]  # those behind it are of a training that was taken up before them
        for other in names:
            if other not in (newest, best, *before):
                removed(self.path / other)

    def _names(self) -> list[str]:
        if not self.path.is_dir():
            return []
        return sorted((p.name for p in self.path.iterdir() if NAME.fullmatch(p.name)), key=_place_in)

    def _marks(self) -> dict[str, Any]:
        return self._read_marks() or {}

    def _read_marks(self) -> dict[str, Any] | None:
        """None: damaged, or missing though there are checkpoints."""
        try:
            marks = read_sealed(self.path / MARKS)
            return marks if marks.get("run") == self.run else None
        except FileNotFoundError:
            return None if self._names() else {}
        except (OSError, ValueError, RecursionError):
            return None

    def _mark(self, **marks: Any) -> None:
        told = {k: v for k, v in self._marks().items() if k != "files"}
        with atomic(self.path / MARKS) as beside:
            beside.write_text(sealed({}, **{**told, "run": self.run, **marks}), encoding="utf-8")

    def _write(
        self, name: str, place: Place, tensors: Mapping[str, np.ndarray], remembered: Mapping[str, Any],
        stopping: bool = False,
    ) -> None:  # fmt: skip
        with atomic_folder(self.path / name, sum(np.asarray(v).nbytes for v in tensors.values())) as beside:
            write_tensors(beside / FILES[0], tensors)
            told = {"epoch": place.epoch, "step": place.step, "total": place.total, "callbacks": remembered,
                    "stopping": stopping}  # fmt: skip
            (beside / FILES[1]).write_text(to_json(told), encoding="utf-8")
            files = {file: digest_of(beside / file) for file in FILES}
            (beside / MANIFEST).write_text(sealed(files, run=self.run, name=name), encoding="utf-8")

    def _damage(self, name: str) -> str:
        """What is wrong with it; "" where nothing is."""
        folder = self.path / name
        try:
            read = read_sealed(folder / MANIFEST)
            digests = {file: read["files"][file] for file in FILES}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return f"its {MANIFEST} cannot be read"
        if (read.get("run"), read.get("name")) != (self.run, name):
            return (
                f"it is {read.get('name')} of another run" if read.get("run") != self.run else f"it is {read['name']}"
            )
        return next(filter(None, (damage(folder, file, digest) for file, digest in digests.items())), "")


def name_of(place: Place) -> str:
    return f"{place.epoch:04d}-{place.step:06d}"


def _place_in(name: str) -> tuple[int, int]:
    epoch, step = NAME.fullmatch(name).groups()
    return int(epoch), int(step)


def put(state: Mapping[str, keras.Variable], values: Mapping[str, np.ndarray], source: str) -> None:
    """The arrays into the variables of their names.

    Raises:
        KzooError: One lacks, or has another shape; nothing has changed then.
    """
    state = {k: v for k, v in state.items() if k in values or k.rpartition("/")[2] != RATE}  # a schedule gave the rate
    wrong = [k for k, v in state.items() if k not in values or tuple(values[k].shape) != tuple(v.shape)]
    if wrong:
        raise KzooError(f"{source} is of another model: {len(wrong)} of its arrays do not fit, {wrong[0]} first")
    for key, variable in state.items():
        variable.assign(values[key])
