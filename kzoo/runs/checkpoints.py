"""Checkpoints: everything that training changes, by name, after whole epochs and between batches.

    checkpoints/0003-000000/       after three whole epochs; 0003-000120: and 120 batches of the fourth
        state.safetensors          arrays: weights, statistics, slots, seeds, callbacks' lists, metrics between batches
        state.json                 the place in the data, what callbacks remember
        manifest.json              {file: its size and sha256}; read first
    checkpoints/left/              what the model was left with, where that is not the newest: an average, or the
                                   weights of an earlier epoch
    checkpoints/best.json          which of them is the best epoch's

A folder is written beside and renamed: one that is there is whole. The newest two are kept, and the best epoch's: one
whose files are not as its manifest says is named and left aside, and the one before it is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kzoo.engine import RATE, Place
from kzoo.errors import KzooError
from kzoo.files import atomic
from kzoo.records import to_json
from kzoo.weights import read_tensors, write_tensors

NAME = re.compile(r"(\d{4,})-(\d{6,})")
FILES = ("state.safetensors", "state.json")  # which the manifest names
LEFT = "left"


class Checkpoints:
    """Of one run; `path` is made when the first one is saved."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, place: Place, tensors: Mapping[str, np.ndarray], remembered: Mapping[str, Any]) -> str:
        """A checkpoint of that place, beside the one before it and the best one; returns its name."""
        name = f"{place.epoch:04d}-{place.step:06d}"
        self._write(name, place, tensors, remembered)
        self._drop(name)
        return name

    def leave(self, place: Place, tensors: Mapping[str, np.ndarray]) -> None:
        """What the model is left with; training goes on from the newest all the same."""
        self._write(LEFT, place, tensors, {})

    def go_on(self) -> None:
        """The model is not left as it was any more."""
        shutil.rmtree(self.path / LEFT, ignore_errors=True)

    def mark_best(self, name: str) -> None:
        with atomic(self.path / "best.json") as beside:
            beside.write_text(to_json({"checkpoint": name}) + "\n", encoding="utf-8")
        self._drop(name)

    @property
    def best(self) -> str | None:
        try:
            return json.loads((self.path / "best.json").read_text(encoding="utf-8"))["checkpoint"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def newest(self) -> str | None:
        """The last whole one; those that are damaged are named on stderr."""
        for name in reversed(self._names()):
            if not (why := self._damage(name)):
                return name
            print(f"{self.path / name} is damaged ({why}); it is left aside", file=sys.stderr)
        return None

    def find(self, kind: str) -> str:
        """The name of the `"best"`, or of the `"last"`: what the model was left with.

        Raises:
            KzooError: There is none.
        """
        name = self.best if kind == "best" else LEFT if (self.path / LEFT).is_dir() else self.newest
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
        told = json.loads((self.path / name / "state.json").read_text(encoding="utf-8"))
        place = Place(told["epoch"], told["step"], told["total"], {})
        return place, read_tensors(self.path / name / "state.safetensors"), told["callbacks"]

    def _drop(self, newest: str) -> None:
        """All but the newest, the one before it and the best."""
        names = self._names()
        before = names[: names.index(newest)][-1:]  # those behind it are of a training that was taken up before them
        for other in names:
            if other not in (newest, self.best, *before):
                shutil.rmtree(self.path / other)

    def _names(self) -> list[str]:
        if not self.path.is_dir():
            return []
        return sorted((p.name for p in self.path.iterdir() if NAME.fullmatch(p.name)), key=_place_in)

    def _write(self, name: str, place: Place, tensors: Mapping[str, np.ndarray], remembered: Mapping[str, Any]) -> None:
        beside, final = self.path / f".{os.getpid()}-{name}", self.path / name
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            write_tensors(beside / "state.safetensors", tensors)
            told = {"epoch": place.epoch, "step": place.step, "total": place.total, "callbacks": remembered}
            (beside / "state.json").write_text(to_json(told), encoding="utf-8")
            files = {path.name: _digest(path) for path in sorted(beside.iterdir())}
            (beside / "manifest.json").write_text(to_json(files), encoding="utf-8")
            if final.is_dir():  # of the same place, from before a kill; the new one is whole
                shutil.rmtree(final)
            os.replace(beside, final)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _damage(self, name: str) -> str:
        """What is wrong with it; "" where nothing is."""
        folder = self.path / name
        try:
            files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            digests = {file: files[file] for file in FILES}
        except (OSError, ValueError, KeyError, TypeError):
            return "its manifest cannot be read"
        for file, digest in digests.items():
            if not (folder / file).is_file():
                return f"{file} is missing"
            if _digest(folder / file) != digest:
                return f"{file} is not what was written"
        return ""


def _place_in(name: str) -> tuple[int, int]:
    epoch, step = NAME.fullmatch(name).groups()
    return int(epoch), int(step)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


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
