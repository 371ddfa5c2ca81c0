"""What a kind of work is: what its networks read, learn by, are judged by, answer, show and serve, said once.

Everything that differs between kinds of work is asked of the task; each has one file here, named as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.engine import (
    Choices,
    Compiled,
    Objective,
    Supervised,
    compile_supervised,
    scaled,
)
from kzoo.errors import KzooError
from kzoo.inputs import Reader, reader_of
from kzoo.keras_internals import layers_in
from kzoo.models import attach_info, feature_extractor, input_shape_of, model_info
from kzoo.records import Inputs, ModelInfo, ModelSpec, Options, Printed
from kzoo.report import Picture, Shown
from kzoo.tasks.outputs import as_taken, has_head, input_spec, named

LOOKUPS = (keras.layers.TextVectorization, keras.layers.StringLookup, keras.layers.IntegerLookup)


@dataclass(frozen=True)
class Score:
    """What the best epoch, patience, searches and tables go by.

    Attributes:
        epochs: (metric of an epoch, whether more is better), the first that an epoch has; among equal ones the loss of
            the same split decides.
    """

    epochs: tuple[tuple[str, bool], ...] = (
        ("val_accuracy", True), ("val_binary_accuracy", True), ("val_loss", False), ("accuracy", True), ("loss", False),
    )  # fmt: skip

    def of(self, row: Mapping[str, float]) -> tuple[str, bool] | None:
        """(metric, whether more is better) that an epoch is ranked by; None where it has none of them."""
        return next(((name, more) for name, more in self.epochs if name in row), None)

    def rank(self, row: Mapping[str, float], by: tuple[str, bool] | None = None) -> tuple[float, float]:
        """The better an epoch, the larger.

        Args:
            by: What `of` gave for one of the epochs that are compared; default this one's own.
        """
        name, more = by or self.of(row) or self.epochs[0]
        loss = "val_loss" if name.startswith("val_") else "loss"
        worst = float("-inf")
        known = lambda key, sign: sign * row[key] if key in row and row[key] == row[key] else worst  # nan is not itself
        return known(name, 1 if more else -1), known(loss, -1)

    def best(self, rows: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
        """The first of the best epochs, by what the last one is ranked by; None where nothing ranks them."""
        by = self.of(rows[-1]) if rows else None
        return max(rows, key=lambda row: self.rank(row, by)) if by is not None else None


@dataclass(frozen=True)
class Result(Printed):
    """What comes of evaluating, predicting or generating.

    `str(result)` is what the command line prints, `to_config()` what `--json` prints, `shown` what is written beside.
    """

    def to_config(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "shown"}

    def rows(self) -> list[dict[str, str | float]]:
        """As a table of answers has it: {column: text or number} of each row.

        Raises:
            KzooError: It fits into none.
        """
        raise KzooError(f"{type(self).__name__} fits into no table; use --json")


@dataclass(frozen=True)
class Evaluated(Result):
    """How good a model is on one split.

    Attributes:
        notes: What was done to the data.
        files: Where pictures and figures lie, once they are written.
        shown: Pictures and tables that go beside the figures.
    """

    name: str
    data: str
    split: str
    examples: int
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    files: dict[str, str] = field(default_factory=dict, kw_only=True)
    shown: tuple[Shown, ...] = field(default=(), kw_only=True, repr=False)

    @property
    def score(self) -> tuple[str, float] | None:
        """(name, value) that models are compared by; None where there is none."""
        return None


@dataclass(frozen=True)
class Signature:
    """A function of an export, and of a server.

    Attributes:
        call: Takes tensors by the names of `takes`, or the only one, and gives a dict of tensors.
        takes: {name: what it takes}.
        keeps: Objects with variables or tables, beside the model, which the export must hold.
        notes: What must be said of it, for the export's card.
    """

    call: Callable[..., dict[str, tf.Tensor]]
    takes: Mapping[str, tf.TensorSpec]
    keeps: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()


def of_raw(
    call: Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]],
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """What serves raw examples, strings [n] or numbers [n, …], of none too: on an empty batch convolutions fail on CPU.

    Args:
        call: Raw examples to (outputs [n, …] by name, bool [n]: whether each could be read). Of one that could not,
            numbers become 0, whole numbers -1, strings empty; `valid` says which.
    """

    def serve(raw: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(raw)[0]
        one = tf.concat([[tf.cast(count == 0, tf.int32)], tf.shape(raw)[1:]], 0)
        outputs, valid = call(
            tf.concat([raw, tf.fill(one, tf.constant("" if raw.dtype == tf.string else 0, raw.dtype))], 0)
        )

        def answered(value: tf.Tensor) -> tf.Tensor:
            nothing = "" if value.dtype == tf.string else -1 if value.dtype.is_integer else 0.0
            read = tf.reshape(valid, [-1] + [1] * (value.shape.rank - 1))
            return tf.where(read, value, tf.constant(nothing, value.dtype))

        made = {**{name: answered(value) for name, value in outputs.items()}, "valid": valid}
        return {name: value[:count] for name, value in made.items()}

    return serve


def of_served(model: keras.Model, served: Any, outputs: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Signature:
    """Raw examples, as the reader's `served` takes them, to `outputs` of what the network gives."""

    def answered(raw: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        read, valid = served.prepare(raw)
        return outputs(model(read, training=False)), valid

    return Signature(of_raw(answered), {served.takes.name: served.takes}, keeps=served.keeps, notes=served.notes)


@dataclass(frozen=True)
class Reading:
    """How a network reads a data set: the readers of x and of y, the plan's line about it, and notes on what
    changes.
    """

    reader: Any
    targets: Any
    line: str
    notes: list[str]

    @property
    def specs(self) -> tuple[Any, Any]:
        """The records of x and of y; None of what is taken as it is."""
        return self.reader.spec, self.targets.spec if self.targets is not None else None


@dataclass(frozen=True)
class NoOptions(Options):
    """Of a task whose verbs take nothing beyond the common."""


class Task:
    """A subclass is a kind of work; an instance of it is registered by its name.

    Attributes:
        name: `image-classification`.
        holds: What its data is, as `DataInfo.holds` says it.
        is_default: Whether a model of the user's own, on such data, is of this task.
        verb: `predict` or `generate`.
        score: None where the epochs of a training cannot be ranked.
        transfers: Whether `fine_tune` can give its networks a new head.
        asks_export: What the command line says of asking an export, whose place is {}; "" where only a run answers.
        Options: A frozen record of what `predict` or `generate` takes beyond the common; see `options`.
    """

    name: ClassVar[str]
    holds: ClassVar[str] = ""
    is_default: ClassVar[bool] = False
    verb: ClassVar[str] = "predict"
    score: ClassVar[Score | None] = Score()
    transfers: ClassVar[bool] = False
    asks_export: ClassVar[str] = "predict {} image.png"
    Options: ClassVar[type[Options]] = NoOptions

    def options(self, verb: str) -> type[Options]:
        """What a verb (evaluate, predict, generate, export) takes for this task beyond the common."""
        return self.Options if verb == self.verb else NoOptions

    # --- before training ------------------------------------------------------------------------------------------

    def arguments(self, spec: ModelSpec, data: Data) -> dict[str, Any]:
        """Of the builder, for a model given by its name: what the data decides."""
        return {}

    def augments(self, info: ModelInfo) -> bool:
        """Whether augmentations can be tried on what the model reads."""
        return bool(reader_of(info.inputs).augmentations)

    def check(self, model: keras.Model, data: Data) -> None:
        """
        Raises:
            KzooError: The model cannot learn this data, and would do so without a word.
        """

    def reading(self, model: keras.Model, data: Data) -> Reading:
        """How the model reads raw data; what its inputs learn of the data is noted on the model.

        Raises:
            KzooError: The data is not what it reads.
        """
        info = model_info(model)
        if info is None or info.inputs is None:
            return self.reading_of_own(model, data)
        reader = reader_of(info.inputs)
        reader.check(model.name, data)
        learned = reader.learn(data)
        if learned != info.inputs:
            if getattr(model, "optimizer", None) is not None and int(model.optimizer.iterations):
                raise KzooError(
                    f"{model.name} was trained on a vocabulary that it does not carry; give its run (kzoo.load_model)"
                )
            fits(model, learned, data.info.name)
            attach_info(model, replace(info, inputs=learned))
            reader = reader_of(learned)
        else:
            fits(model, learned, data.info.name)
        targets = reader_of(info.targets) if info.targets is not None else None
        return Reading(reader, targets, learned.describe(), reader.changes(data.train.element_spec))

    def reading_of_own(self, model: keras.Model, data: Data, preprocess: str | None = None) -> Reading:
        """Of a model that kzoo knows no inputs of: examples are taken as they are.

        Args:
            preprocess: What the user says that the model is given of images.
        """
        if preprocess is not None:
            raise KzooError(f"preprocess={preprocess!r} goes with images; {data.info.name} gives {data.info.holds}")
        spec, expected = data.train.element_spec[0], input_shape_of(model)
        if isinstance(spec, tf.TensorSpec) and spec.dtype == tf.string:
            reads = getattr(model, "inputs", None)
            if reads and len(reads) == 1 and reads[0].dtype != "string":
                raise KzooError(
                    f"{model.name} reads {reads[0].dtype} {list(expected or ())}, but {data.info.name} gives texts; a"
                    " model of your own takes them with keras.layers.TextVectorization as its first layer"
                )
            return Reading(Reader(), None, "texts, as the data gives them", [])
        if expected is not None and isinstance(spec, tf.TensorSpec) and not spec.shape.is_compatible_with(expected):
            raise KzooError(f"{model.name} reads {expected}, but {data.info.name} gives {tuple(spec.shape)}")
        return Reading(Reader(), None, "as the data gives it", [])

    def labels(self, data: Data) -> tuple[str, ...]:
        """Names of the classes that the network learns; () where it learns none."""
        return ()

    def class_weights(self, weights: Mapping[int, float], data: Data) -> tuple[float, ...]:
        """The weight of each class, in the order of their numbers."""
        raise KzooError("class_weight goes with classifiers; this model learns no classes")

    def made_up(self, model: keras.Model | ModelSpec, count: int, tokens: int) -> Data | None:
        """Random raw examples to time a training on, of texts with so many tokens at most; None where the network takes
        them ready, as arrays of the shapes of its inputs.

        Args:
            model: A ModelSpec where it is built for the data.
        """
        return None

    def question(self, model: keras.Model, data: Any, count: int) -> Any:
        """So many of the examples that a training is timed on, as `predict` or `generate` takes them; again and again
        where there are fewer.

        Args:
            data: What `made_up` gave, or arrays (x, y).
        """
        if not isinstance(data, Data):
            return keras.tree.map_structure(lambda part: part[np.arange(count) % len(part)], data[0])
        rows = [x for x, *_ in data.train.repeat().take(count).as_numpy_iterator()]
        return [x.decode() for x in rows] if isinstance(rows[0], bytes) else np.stack(rows)

    # --- training -------------------------------------------------------------------------------------------------

    def compile(self, model: keras.Model, choices: Choices) -> Compiled:
        """Give the networks their losses, optimizers and metrics."""
        return compile_supervised(model, choices)

    def objective(self, model: keras.Model, precision: str | None = None) -> Objective:
        """What trains the compiled model."""
        info = model_info(model)
        return Supervised(model, scaled(model.optimizer, precision), info.outputs if info is not None else ())

    # --- what a trained network does ------------------------------------------------------------------------------

    def evaluate(self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any) -> Evaluated:
        """How good it is on a split."""
        raise KzooError(f"{predictor.name} cannot be evaluated: its task {self.name} says no figures")

    def answer(self, predictor: Any, given: Any, *, batch_size: int, **options: Any) -> list[Result]:
        """What it says of, or makes of, what a user gives."""
        raise KzooError(f"{predictor.name} gives no answers: its task {self.name} says none")

    def as_read(self, predictor: Any, text: str) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
        """(what the network is given of one text, the tokens that it reads, those that it says), a batch of one."""
        if self.holds not in ("texts", "prose"):
            raise KzooError(f"{predictor.name} reads no texts")
        if not getattr(predictor.reader.spec, "known", False):
            raise KzooError(f"{predictor.name} has no vocabulary: it was not trained; give its run")
        ids = np.asarray(predictor.reader.prepare(tf.constant([text])))
        return ids, tuple(predictor.reader.spec.vocabulary[k] for k in ids[0]), ()

    def picture(self, results: Sequence[Result]) -> Picture | None:
        """All answers in one picture, for answers that are images."""
        return None

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """The functions of an export; the first is the network alone, and is what other formats hold."""
        model, spec = predictor.model, input_spec(predictor.model)
        single = isinstance(spec, tf.TensorSpec)
        takes = {spec.name: spec} if single else dict(spec)
        forward = lambda x: named(model, model(x, training=False))
        call = forward if single else lambda **inputs: forward(as_taken(model, inputs))
        lookups = tuple(y for y in layers_in(model) if isinstance(y, LOOKUPS))  # tables of a model of the user's
        found = {"serving_default": Signature(call, takes, keeps=lookups)}
        trunk = feature_extractor(model) if single and has_head(model) else None
        if trunk is not None and isinstance(trunk.output, keras.KerasTensor):  # some heads read several tensors
            features = lambda x: {"features": tf.cast(trunk(x, training=False), tf.float32)}
            found["features"] = Signature(features, takes, keeps=(trunk,))
        return found

    # --- what a run shows -----------------------------------------------------------------------------------------

    def show_batch(self, batch: Any, reading: Reading, labels: Sequence[str]) -> list[Shown]:
        """One training batch as the network sees it."""
        return []

    def show_epoch(self, predictor: Any, epoch: int) -> list[Shown]:
        """What the network makes after that epoch."""
        return []

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """What the trained network says of some of the validation split."""
        return []


def read_by(model: keras.Model | ModelSpec) -> Any:
    """The record of one of kzoo's models' inputs."""
    return model.inputs if isinstance(model, ModelSpec) else model_info(model).inputs


def fits(model: keras.Model, inputs: Inputs, data: str) -> None:
    """Whether a network has room for a vocabulary that was taken from data."""
    if (found := model_info(model).misfit(inputs)) is None:
        return
    name, built, value = found
    if name in inputs.equal:
        raise KzooError(f"{model.name} was built with {name}={built}, but {data} needs {name}={value}; build it so")
    raise KzooError(f"{model.name} was built with {name}={built:,}, but the vocabulary has {value:,}")
