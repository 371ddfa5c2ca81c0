"""What carries a record of inputs out: from raw examples to what a network reads, in training, answers and exports.

Each kind of inputs has a file here, named as its records call themselves, with a `Reader` in it. Everything that
depends on the kind of a raw example is asked of the reader.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo import records
from kzoo.errors import KzooError
from kzoo.inputs.batches import Batches
from kzoo.report import Shown


@dataclass(frozen=True)
class Served:
    """How raw examples enter an export: the signature's name, what it takes, how that becomes what the network reads.

    Attributes:
        prepare: Raw examples [n] to (what the network reads, bool [n]: whether each can be read). One that cannot fails
            no other.
        keeps: Objects with tables, which the export must hold.
        notes: What it cannot read, for the export's card.
    """

    name: str
    takes: tf.TensorSpec
    prepare: Callable[[tf.Tensor], tuple[Any, tf.Tensor]]
    keeps: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()


class Reader:
    """Carries out `spec`; this one takes examples as they are.

    Attributes:
        unit: What is counted a second.
        reads: What raw examples are, in errors.
        augmentations: Names of those that it knows.
        as_given: Whether `prepare` does nothing.
        geometry: What makes raw examples of different shapes alike, before they are batched and augmented; None where
            nothing is to be done. Then `prepare(x)` is `normalise(geometry(x))`.
    """

    unit, reads, as_given = "examples", "arrays", True
    augmentations: Sequence[str] = ()
    geometry: Callable[[tf.Tensor], tf.Tensor] | None = None

    def __init__(self, spec: Any = None) -> None:
        self.spec = spec

    def learn(self, data: Any) -> Any:
        """The record with what it takes of the training split: a vocabulary.

        Raises:
            KzooError: The data does not hold what is read.
        """
        return self.spec

    def needs_vocabulary(self) -> None:
        """
        Raises:
            KzooError: It has none yet.
        """
        if not self.spec.known:
            raise KzooError("the model has no vocabulary: it was not trained; train it with kzoo fit, or give its run")

    def check(self, name: str, data: Any) -> None:
        """
        Args:
            name: Of the model, for the error.
            data: `kzoo.Data`.

        Raises:
            KzooError: The data does not hold what is read.
        """

    def check_fed(self, name: str, data: Any) -> None:
        """Of what is fed as it is: arrays and batches of the user's.

        Raises:
            KzooError: It cannot be what the network reads.
        """

    def raw(self, data: Any) -> Any:
        """`kzoo.Data`, whose examples are in the numbers that the reader prepares.

        Raises:
            KzooError: They could be in any.
        """
        return data

    def learning_from(self, data: Any) -> Any:
        """The reader that a run keeps, of what `raw` gave."""
        return self

    def changes(self, element_spec: Any) -> list[str]:
        """What must be said of raw examples, (x, y, …) of that kind, becoming inputs."""
        return []

    def prepare(self, raw: Any) -> Any:
        """A batch of raw examples as the network reads it."""
        return raw

    def batches(self, split: tf.data.Dataset, batch_size: int | None, **options: Any) -> Batches:
        """A split ready for a network; see Batches for the options."""
        return Batches(split, batch_size, self, **options)

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        """(names, prepared batch) of what a user gives to predict on.

        Args:
            name: Of the model, for errors.
            shape: Of one example, where the model says it.

        Raises:
            KzooError: It is not what is read.
        """
        raw = as_examples(given, name, shape)
        for i in range(0, len(raw), batch_size):
            part = raw[i : i + batch_size]
            yield [str(k) for k in range(i, i + len(part))], self.prepare(part.astype("float32"))

    def served(self) -> Served | None:
        """How raw examples enter an export; None where it takes what the network reads."""
        return None

    def shown(self, x: Any, titles: Sequence[str], name: str, title: str) -> list[Shown]:
        """Some prepared examples under their titles, as a picture or a text of that name (without suffix)."""
        return []

    def sketch(self, x: Any) -> Any:
        """Of one raw example, as much as `shown_raw` needs."""
        return x

    def shown_raw(
        self, raw: Callable[[], Sequence[Any]], said: Sequence[tuple[str, str, float]], name: str, title: str
    ) -> list[Shown]:
        """What `raw()` gives, raw examples, each under (guess, true class, probability of the guess)."""
        return []


def as_examples(given: Any, name: str, shape: Any) -> np.ndarray:
    """An array [n, *shape] of numbers."""
    if isinstance(given, dict):
        raise KzooError(f"{name} must have one input to be predicted on; received a dict")
    if are_paths(given):
        raise KzooError(f"{name} reads no images; give an array of examples")
    raw = np.asarray(given)
    fits = raw.dtype.kind in "uifb" and raw.ndim > 0 and len(raw)
    if fits and shape is not None:
        fits = tf.TensorShape([None, *shape]).is_compatible_with(raw.shape)
    if not fits:
        wanted = ", ".join("?" if n is None else str(n) for n in shape or ())
        raise KzooError(f"{name} takes an array of examples [n, {wanted}]; received {raw.dtype} {list(raw.shape)}")
    return raw


def are_paths(given: Any) -> bool:
    if isinstance(given, str | os.PathLike):
        return True
    return isinstance(given, Sequence) and len(given) > 0 and all(isinstance(i, str | os.PathLike) for i in given)


@dataclass(frozen=True)
class Inputs(records.Inputs, Reader):
    """A kind of inputs of your own: the record and what carries it out in one class.

    A subclass is a frozen dataclass with a `kind` of its own; its fields are written with a run. What it must say is
    `prepare`; `learn`, `check`, `examples` and the others of `Reader` where raw examples are no plain arrays.
    """

    as_given = False

    @property
    def spec(self) -> Any:
        return self


def reader_of(record: records.Inputs | None) -> Any:
    """What carries a record out: itself, where it does; of kzoo's own the `READER` in the file of its kind.

    Of None, examples are taken as they are.
    """
    if record is None:
        return Reader()
    if isinstance(record, Reader):
        return record
    return importlib.import_module(f"kzoo.inputs.{record.kind}").READER(record)


def own_reader(model: Any) -> Reader:
    """For a model that kzoo knows no inputs of: examples are taken as they are; texts, where it takes strings."""
    inputs = getattr(model, "inputs", None)
    strings = bool(inputs) and len(inputs) == 1 and inputs[0].dtype == "string"
    return importlib.import_module("kzoo.inputs.text").Strings() if strings else Reader()
