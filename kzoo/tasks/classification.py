"""Naming one class an example: what the classification of images, texts and rows of numbers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.errors import KzooError
from kzoo.models import input_shape_of, model_info
from kzoo.records import ModelSpec, Options, Whole
from kzoo.report import Shown
from kzoo.tasks.accuracy import SHOWN, TOP, Evaluation, figures
from kzoo.tasks.outputs import output_units, to_probabilities
from kzoo.tasks.task import Result, Signature, Task, of_served

LOOK_AT = 64  # validation examples of which the most doubtful are shown


@dataclass(frozen=True)
class Prediction(Result):
    """The best classes of one input, the likeliest first."""

    input: str
    labels: tuple[str, ...]
    class_ids: tuple[int, ...]
    scores: tuple[float, ...]

    def rows(self) -> list[dict[str, str | float]]:
        ranked = enumerate(zip(self.labels, self.scores, strict=True), start=1)
        return [{"file": self.input} | {k: v for i, (n, s) in ranked for k, v in ((f"label{i}", n), (f"score{i}", s))}]

    def __str__(self) -> str:
        return f"{self.input}: " + ", ".join(f"{n} {s:.4f}" for n, s in zip(self.labels, self.scores, strict=True))


@dataclass(frozen=True)
class TopOptions(Options):
    top: Annotated[int, Whole(), "How many classes to give, the likeliest first."] = TOP


class Classification(Task):
    """One class of several an example."""

    transfers = True
    Options: ClassVar[type] = TopOptions

    # --- before training ------------------------------------------------------------------------------------------

    def arguments(self, spec: ModelSpec, data: Data) -> dict[str, Any]:
        if data.info.classes and not spec.fixed_classes and spec.classes > 1:
            return {"classes": len(data.info.classes)}
        return {}

    def check(self, model: keras.Model, data: Data) -> None:
        """Labels beyond the model's outputs would train on nonsense without a word."""
        if data.info.unlabelled:
            raise KzooError(
                f"{data.info.name} has images and no classes; put them in one folder a class, or name their labels in a"
                " labels.csv"
            )
        info = model_info(model)
        outputs = getattr(model, "outputs", None)  # a subclass of the user's does not say
        units = info.arguments["classes"] if info else outputs[0].shape[-1] if outputs and len(outputs) == 1 else None
        classes = len(data.info.classes)
        if classes and info and not info.has_head:
            raise KzooError(f"{model.name} has include_top=False, and so no output for a class; leave that out")
        if not classes or units is None:
            return
        if units == 1 and classes > 2:
            raise KzooError(
                f"{model.name} has one output, for two classes; {data.info.name} has {classes}"
                " (only=…, --only on the command line, keeps some)"
            )
        if 1 < units < classes:
            raise KzooError(f"the labels of {data.info.name} reach {classes - 1}, but {model.name} has classes={units}")

    def labels(self, data: Data) -> tuple[str, ...]:
        return data.info.classes

    def class_weights(self, weights: Mapping[int, float], data: Data) -> tuple[float, ...]:
        spec = data.train.element_spec
        if len(spec) == 3:
            raise KzooError("class_weight and weights in the data exclude each other; multiply them into the data's")
        if not isinstance(spec[1], tf.TensorSpec):
            raise KzooError(
                "class_weight goes with a single output; weigh the examples of each output in the data instead"
            )
        classes = len(data.info.classes)
        if min(weights) < 0 or (classes and max(weights) >= classes):
            to = f"from 0 to {classes - 1}" if classes else "of 0 or more"
            raise KzooError(f"class_weight must name classes {to}; received {sorted(weights)}")
        return tuple(weights.get(k, 1.0) for k in range(classes or max(weights) + 1))  # the others are 1, as in Keras

    # --- what a trained network does ------------------------------------------------------------------------------

    def evaluate(self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any) -> Evaluation:
        """Accuracy beside the baseline, by class, with every mistake."""
        reader, examples = predictor.reader, data[split]
        if int(examples.cardinality()) == 0:
            raise KzooError("the split is empty")
        check_examples(predictor, data)
        batches = reader.batches(examples, batch_size)
        scores, labels = [], []
        for x, y, *_ in batches.epoch(0):
            scores.append(one_output(predictor, predictor.forward(x)).numpy().astype("float32"))
            labels.append(y.numpy())
        found, y = np.concatenate(scores), np.concatenate(labels)
        if found.ndim != 2:
            raise KzooError(f"{predictor.name} is no classifier: its output for one example is {found.shape[1:]}")
        if y.ndim == 2 and y.shape[1] > 1:  # one-hot, or shares of classes
            shares = (y >= 0).all() and np.allclose(y.sum(axis=1), 1, atol=1e-3)
            y = y.argmax(axis=1) if shares else y
        wrong = y[y != np.round(y)] if y.dtype.kind == "f" else y[:0]
        wrong = y.ravel() if y.ndim == 2 and y.shape[1] > 1 and not wrong.size else wrong
        if wrong.size:
            raise KzooError(
                f"the labels of {data.info.name} are numbers such as {wrong[0]:g}, no classes: {predictor.name} cannot"
                " be judged on them by its classes; a model that was compiled with a loss of numbers is by that"
            )
        order = batches.order(0)
        order = np.arange(len(y)) if order is None else order
        y = y.reshape(-1).astype("int64")
        notes = [*reader.changes(examples.element_spec), *batches.notes]
        return figures(predictor, data, split, probabilities(predictor, found), y, order, notes)

    def answer(
        self, predictor: Any, given: Any, *, batch_size: int, top: int = TOP, **options: Any
    ) -> list[Prediction]:
        read, outputs = [], []
        shape = input_shape_of(predictor.model)
        for names, prepared in predictor.reader.examples(given, batch_size, predictor.name, shape):
            read += names
            outputs.append(one_output(predictor, predictor.forward(tf.constant(prepared))).numpy())
        scores = probabilities(predictor, np.concatenate(outputs))
        labels = names_of(predictor.labels, scores.shape[1])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
        return [
            Prediction(n, tuple(labels[k] for k in ids), tuple(int(k) for k in ids), tuple(float(row[k]) for k in ids))
            for n, row, ids in zip(read, scores, best, strict=True)
        ]

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Raw examples in, the best classes out, beside the network alone."""
        found = super().signatures(predictor)
        model, served, units = predictor.model, predictor.reader.served(), output_units(predictor.model)
        kind = predictor.kind
        if served is None or units is None or kind == "numbers":
            return found
        names = names_of(predictor.labels, max(units, 2))
        top = min(TOP, len(names))

        def best_of(made: tf.Tensor) -> dict[str, tf.Tensor]:
            best = tf.math.top_k(to_probabilities(tf.cast(made, tf.float32), kind), top)
            labels = tf.gather(tf.constant(names), best.indices)
            return {"scores": best.values, "labels": labels, "class_ids": best.indices}

        found[served.name] = of_served(model, served, best_of)
        return found

    # --- what a run shows -----------------------------------------------------------------------------------------

    def show_batch(self, batch: Any, reading: Any, labels: Sequence[str]) -> list[Shown]:
        if reading.reader.as_given:  # labels may be a dict, by output
            return []
        x, y, *_ = batch
        if y.shape.rank == 1 or y.shape[-1] == 1:
            titles = [labels[int(k)] if labels else str(k) for k in y.numpy().reshape(-1)[:SHOWN]]
        else:
            titles = [""] * min(SHOWN, int(y.shape[0]))
        return reading.reader.shown(x, titles, "batch", "one training batch as the network sees it")

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """Of the first validation examples, as the user has them, those of which the network is least sure."""
        reader = predictor.reader
        if not labels or reader.as_given or predictor.kind == "numbers":
            return []
        raw, ready, classes = [], [], []
        for x, y, *_ in validation.split.take(LOOK_AT).ignore_errors().as_numpy_iterator():
            raw.append(reader.sketch(x))
            ready.append(x if reader.geometry is None else reader.geometry(x).numpy())
            classes.append(int(np.argmax(y) if np.size(y) > 1 else np.reshape(y, -1)[0]))
        finish = reader.prepare if reader.geometry is None else reader.normalise
        if not raw:
            return []
        parts = [finish(tf.constant(ready[k : k + SHOWN])) for k in range(0, len(ready), SHOWN)]
        scores = np.concatenate([np.asarray(predictor.forward(x), "float32") for x in parts])
        if scores.ndim != 2 or not np.isfinite(scores).all():
            return []
        found = to_probabilities(scores, predictor.kind).numpy()
        labels, guess, sure = names_of(labels, found.shape[1]), found.argmax(axis=1), found.max(axis=1)
        order = np.argsort(sure, kind="stable")[:SHOWN]
        said = [(labels[guess[k]], labels[classes[k]], float(sure[k])) for k in order]
        title = f"validation: of the first {len(raw)}, the {len(order)} most doubtful"
        return reader.shown_raw(lambda: [raw[k] for k in order], said, "predictions", title)


def names_of(labels: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """A name for each of `count` outputs: its number, where the data that was learned has fewer classes.

    >>> names_of(("cat", "dog"), 3)
    ('cat', 'dog', '2')
    """
    labels = tuple(labels or ())
    return (*labels, *map(str, range(len(labels), count)))


def check_examples(predictor: Any, data: Data) -> None:
    """Without a reader of its own, exactly what the model reads."""
    predictor.reader.check(predictor.name, data)
    expected, spec = input_shape_of(predictor.model), next(iter(data.splits.values())).element_spec[0]
    if predictor.reader.as_given and expected is not None and not spec.shape.is_compatible_with(expected):
        raise KzooError(f"{predictor.name} reads {expected}, but the data gives {tuple(spec.shape)}")


def one_output(predictor: Any, outputs: Any) -> tf.Tensor:
    if not tf.is_tensor(outputs):
        raise KzooError(
            f"{predictor.name} has several outputs; evaluate and predict take a model with one: use"
            " kzoo.load_model(…).predict, or a model of one of its outputs"
        )
    return outputs


def probabilities(predictor: Any, scores: np.ndarray) -> np.ndarray:
    """float32 [n, classes] of the model's raw outputs."""
    if predictor.kind == "numbers":
        loss = getattr(predictor.model, "loss", None)
        loss = loss if isinstance(loss, str) else getattr(loss, "name", loss)
        raise KzooError(
            f"{predictor.name} does not name one class an example (it was trained on {loss!r}); for its numbers use"
            " kzoo.load_model(…).predict"
        )
    if not np.isfinite(scores).all():
        bad = int(np.flatnonzero(~np.isfinite(scores).all(axis=tuple(range(1, np.ndim(scores)))))[0])
        raise KzooError(f"{predictor.name} gives no numbers for example {bad}: it holds nan, or the training diverged")
    return to_probabilities(scores, predictor.kind).numpy()
