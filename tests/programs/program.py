"""What a program is: a compiled model and its data; and how its training by kzoo is compared with Keras' own."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kzoo

WAYS = ("one", "xla", "mirrored")
TOLERANCE = 1e-5  # of a value, or absolute below one


@dataclass(frozen=True)
class Program:
    """A training script, cut down to its model and its data.

    Attributes:
        build: Gives the compiled model, with the same weights after the same seed.
        data: Gives batches in one order, the last of them smaller.
        held: {way: what is refused or not held, in a line}; ways are one, xla, mirrored, evaluate, predict, export.
        options: {way: what `kzoo.fit` is given beside}.
        drawn: Whether its answers are drawn at random, and so no two are the same.
        averaged: Keys of the history that Keras averages over batches and kzoo over examples, and so are not compared.
    """

    build: Callable[[], keras.Model]
    data: Callable[[], tf.data.Dataset]
    epochs: int = 2
    held: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    averaged: tuple[str, ...] = ()
    drawn: bool = False


@dataclass(frozen=True)
class Trained:
    """What a training left: the history, the weights, and kzoo's run where it was kzoo's."""

    history: Mapping[str, list[float]]
    weights: list[np.ndarray]
    run: Any = None


@functools.cache
def strategy(way: str) -> Any:
    return kzoo.strategy("mirrored", devices=2) if way == "mirrored" else kzoo.strategy("default")


@functools.cache
def programs() -> dict[str, Program]:
    """Those of this folder, by the names of their files."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if "PROGRAM = " in path.read_text(encoding="utf-8") and path.name != Path(__file__).name:
            spec = importlib.util.spec_from_file_location(f"program_{path.stem}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found[path.stem] = module.PROGRAM
    return found


def batches(*parts: Any, size: int = 8) -> tf.data.Dataset:
    """Arrays, or structures of them, as batches in their order."""
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(size)


def first_batch(program: Program) -> Any:
    """As arrays; what is sparse is filled up."""
    dense = lambda t: (tf.sparse.to_dense(t) if isinstance(t, tf.SparseTensor) else t).numpy()
    return tf.nest.map_structure(dense, next(iter(program.data())))


def run(program: Program, way: str = "keras", folder: str | Path | None = None) -> Trained:
    """Train by Keras on one device, or by kzoo in one of the ways.

    Args:
        folder: Of the run; default a temporary one, which is removed.
    """
    with _working(folder) as place:
        keras.utils.set_random_seed(0)
        model, data = program.build(), program.data()
        if way == "keras":
            history = model.fit(data, epochs=program.epochs, shuffle=False, verbose=0).history
            return Trained(history, model.get_weights())
        xla = "on" if way == "xla" else "off"
        found = kzoo.fit(
            model, data, epochs=program.epochs, verbose=False, xla=xla, strategy=strategy(way),
            run_dir=str(Path(place) / "run"), **program.options.get(way, {}),
        )  # fmt: skip
        return Trained(found.history, model.get_weights(), found)


@contextlib.contextmanager
def _working(folder: str | Path | None) -> Iterator[str]:
    """Work in the folder, or in a temporary one."""
    with contextlib.ExitStack() as stack:
        place = str(folder) if folder is not None else stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.chdir(place))
        yield place


def difference(program: Program, found: Trained, expected: Trained) -> tuple[float, float]:
    """The largest differences of histories and of weights, of a value or absolute below one.

    Raises:
        ValueError: A history without one of Keras' keys.
    """
    keys = [key for key in expected.history if key not in program.averaged]
    if missing := [key for key in keys if key not in found.history]:
        raise ValueError(f"the history has no {', '.join(missing)}")
    pairs = ((found.history[key], expected.history[key]) for key in keys)
    histories = max(_apart(a, b) for a, b in pairs)
    weights = max(_apart(a, b) for a, b in zip(found.weights, expected.weights, strict=True))
    return histories, weights


def _apart(one: Any, other: Any) -> float:
    """Largest difference; infinite where shapes differ or a number is none."""
    one, other = np.asarray(one, "float64"), np.asarray(other, "float64")
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    return float(np.max(np.abs(one - other) / np.maximum(1, np.abs(other)), initial=0))


def compare(program: Program, ways: tuple[str, ...] = WAYS) -> dict[str, float | str]:
    """{way: largest difference from Keras on one device, or the line of a refusal}."""
    expected, told = run(program), {}
    for way in ways:
        try:
            told[way] = max(difference(program, run(program, way), expected))
        except kzoo.KzooError as error:
            told[way] = str(error)
    return told
