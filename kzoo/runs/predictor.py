"""A model that answers, with what belongs to it, and what was compiled for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras

from kzoo.engine import compiled
from kzoo.inputs import own_reader, reader_of
from kzoo.keras_internals import layers_in
from kzoo.models import model_info
from kzoo.runs.folder import RunFolder
from kzoo.tasks import Task, output_kind, task_of

KEPT = "kzoo_kept"  # beside Keras' attributes, which would take a network in it for a part of the model


@dataclass
class Predictor:
    """What evaluates, predicts, generates and exports.

    What it compiles is kept with the Keras model: a second call traces nothing, also of another Predictor.

    Attributes:
        model: A Keras model, without auxiliary outputs.
        name: As a person would call it.
        reader: Prepares raw examples.
        labels: Names of the classes; empty where not known.
        data: `load_data`'s arguments of the training data; empty where not known.
        run: The run folder, if it comes from one.
        export: The SavedModel, if it comes from one.
        scores: What the outputs are, where that is known already; see `output_kind`.
        learned: Of an export, the record of what its network was taught to give; see `targets`.
    """

    model: keras.Model
    name: str
    reader: Any
    labels: tuple[str, ...]
    task: Task
    data: Mapping[str, Any]
    run: RunFolder | None = None
    export: Any = None
    scores: str = ""
    learned: Any = None

    @classmethod
    def of(cls, model: keras.Model, name: str = "", reader: Any = None, holds: str = "rows") -> Predictor:
        """Of a Keras model as it is. One that kzoo did not build is taken for what its data holds."""
        info = model_info(model)
        if reader is None:
            reader = _kept_reader(model, info.inputs) if info is not None else own_reader(model)
        labels = info.labels or () if info is not None else ()
        return cls(
            model, name or (info.model if info is not None else model.name), reader, labels, task_of(model, holds), {}
        )

    @property
    def signatures(self) -> Mapping[str, Any] | None:
        """An export's functions by name; None of anything else."""
        return self.export.signatures if self.export is not None else None

    @property
    def targets(self) -> Any:
        """The record of what the network was taught to give; None where that was taken as it was."""
        info = model_info(self.model)
        return info.targets if info is not None else self.learned

    @cached_property
    def kind(self) -> str:
        return self.scores or output_kind(self.model)

    def forward(self, x: Any) -> Any:
        """The network's outputs, in inference mode."""
        return self.function("forward", lambda: lambda x: self.model(x, training=False))(x)

    def function(self, key: Any, make: Callable[[], Callable[..., Any]], keep: bool = True) -> Callable[..., Any]:
        """What `make` gives, compiled; kept by a key, which names all that it depends on."""
        made = lambda: compiled(make())
        return self.kept(("function", key, self._policies()), made) if keep else made()

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once a model."""
        kept = vars(self.model).setdefault(KEPT, {})
        if key not in kept:
            kept[key] = make()
        return kept[key]

    def _policies(self) -> tuple[str, ...]:
        """Precision is a matter of the layers, and is another while a model trains."""
        return tuple(layer.dtype_policy.name for layer in layers_in(self.model))


def _kept_reader(model: keras.Model, inputs: Any) -> Any:
    """The reader that was made for the model before, with its tables, as long as the model reads the same."""
    kept = vars(model).setdefault(KEPT, {})
    if "reader" not in kept or kept["reads"] is not inputs:
        kept["reads"], kept["reader"] = inputs, reader_of(inputs)
    return kept["reader"]
