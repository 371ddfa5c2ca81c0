"""A model of the user's own that does not name one class an example: of several inputs or outputs, of numbers, of a
class a pixel. It is judged by the losses and metrics that it was compiled with, answers with its outputs, and is served
by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.engine import Share, Supervised, batches_checked, compiled, unchanged
from kzoo.errors import KzooError, in_a_line
from kzoo.keras_internals import compiled_by
from kzoo.tasks.classification import Classification
from kzoo.tasks.outputs import as_taken, input_spec, named
from kzoo.tasks.task import Evaluated, Result, Task


@dataclass(frozen=True)
class Measures(Evaluated):
    """The model's own losses and metrics on one split."""

    measures: dict[str, float]

    @property
    def score(self) -> tuple[str, float] | None:
        """The loss; the smaller, the better."""
        return ("loss", self.measures["loss"])

    def __str__(self) -> str:
        lines = [f"{self.name} on {self.data}, {self.split}: {self.examples:,} examples"]
        lines += [f"{name:16} {value:.4f}" for name, value in self.measures.items()]
        return "\n".join([*lines, *(f"{'note':16} {note}" for note in self.notes)])


@dataclass(frozen=True)
class Outputs(Result):
    """What the network gives for one example.

    Attributes:
        input: Its number.
        outputs: {name: array}.
    """

    input: str
    outputs: dict[str, np.ndarray]

    def __str__(self) -> str:
        return f"{self.input}: " + ", ".join(f"{name} {_short(value)}" for name, value in self.outputs.items())

    def to_config(self) -> dict[str, Any]:
        return {"input": self.input, "outputs": {name: value.tolist() for name, value in self.outputs.items()}}


def _short(value: np.ndarray) -> str:
    text = np.array2string(value, precision=4, threshold=8, edgeitems=2, separator=", ", suppress_small=True)
    return " ".join(text.split())


class OwnModel(Task):
    name = "own-model"
    class_weights = Classification.class_weights

    def evaluate(self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any) -> Measures:
        """By the model's own losses and metrics."""
        model, examples = predictor.model, data[split]
        if not getattr(model, "compiled", False):
            raise KzooError(
                f"{predictor.name} is not compiled, and so has no loss or metric to be judged by; compile it, or give"
                " its run"
            )
        batches = predictor.reader.batches(examples, batch_size)
        if int(examples.cardinality()) == 0:
            raise KzooError("the split is empty")
        objective, step = _measuring(predictor, next(iter(batches.epoch(0))))

        def whole() -> dict[str, float]:
            objective.reset()
            for batch in batches.epoch(0):
                step(batch)
            return objective.results()

        found = batches_checked(whole)
        return Measures(
            predictor.name, data.info.name, split, int(objective.mean_loss.count), found,
            notes=tuple(predictor.reader.changes(examples.element_spec)),
        )  # fmt: skip

    def answer(self, predictor: Any, given: Any, *, batch_size: int, **options: Any) -> list[Outputs]:
        """The outputs of examples, given as arrays: of several inputs {name: array}."""
        inputs, count = _arrays(predictor, given)
        found: dict[str, list[np.ndarray]] = {}
        for start in range(0, count, batch_size):
            part = tf.nest.map_structure(lambda a, start=start: tf.constant(a[start : start + batch_size]), inputs)
            for name, value in named(predictor.model, predictor.forward(as_taken(predictor.model, part))).items():
                found.setdefault(name, []).append(value.numpy())
        whole = {name: np.concatenate(parts) for name, parts in found.items()}
        return [Outputs(str(k), {name: value[k] for name, value in whole.items()}) for k in range(count)]


def _measuring(predictor: Any, batch: Any) -> tuple[Supervised, Any]:
    """(the objective of a compiled model, its compiled pass over a batch), made once after a `compile`."""
    kept, by = predictor.kept("own-model", dict), compiled_by(predictor.model)
    structure = tf.nest.map_structure(lambda part: None, batch)
    if kept.get("by") is not by or kept["structure"] != structure:
        objective = Supervised(predictor.model)
        with in_a_line(f"cannot evaluate {predictor.name!r}"), unchanged([predictor.model]):
            objective.prepare(batch)
        step = compiled(lambda batch: objective.test(batch, Share.whole(batch)))
        kept.update(by=by, structure=structure, made=(objective, step))
    return kept["made"]


def _is_one_an_input(given: Any, inputs: int) -> bool:
    """A tuple, or a list of arrays as Keras takes it, of as many as there are inputs; any other list has rows."""
    whole = isinstance(given, tuple) or (isinstance(given, list) and all(hasattr(part, "shape") for part in given))
    return whole and len(given) == inputs


def _arrays(predictor: Any, given: Any) -> tuple[Any, int]:
    """(arrays as the network takes them, how many examples).

    Raises:
        KzooError: They are not what it takes.
    """
    spec = input_spec(predictor.model)
    specs = {spec.name: spec} if isinstance(spec, tf.TensorSpec) else spec
    if isinstance(given, Mapping):
        arrays = dict(given)
    elif len(specs) > 1 and _is_one_an_input(given, len(specs)):
        arrays = dict(zip(specs, given, strict=True))
    else:
        arrays = {next(iter(specs)): given}
    wanted = ", ".join(f"{name} [n, {', '.join(map(str, s.shape[1:]))}]" for name, s in specs.items())
    if arrays.keys() != specs.keys():
        raise KzooError(f"{predictor.name} takes {wanted}; received {', '.join(map(str, arrays)) or 'nothing'}")
    made, lengths = {}, set()
    for name, one in specs.items():
        array = np.asarray(arrays[name])
        kind = "OSU" if one.dtype == tf.string else "buif"
        if array.dtype.kind not in kind or array.ndim == 0 or not one.shape.is_compatible_with(array.shape):
            raise KzooError(f"{predictor.name} takes {wanted}; received {name} {array.dtype} {list(array.shape)}")
        made[name] = array if one.dtype == tf.string else array.astype(one.dtype.as_numpy_dtype)
        lengths.add(len(array))
    if len(lengths) != 1 or 0 in lengths:
        raise KzooError(f"the inputs must have an equal number of examples; received {sorted(lengths)}")
    return (next(iter(made.values())) if isinstance(spec, tf.TensorSpec) else made), lengths.pop()


TASK = OwnModel()
