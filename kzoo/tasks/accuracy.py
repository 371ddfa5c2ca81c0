"""How right a classification is: accuracy, each class' figures, the confusion matrix, every mistake."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn import metrics

from kzoo.data import Data
from kzoo.errors import KzooError, cell, listed
from kzoo.inputs import Reader, no_size_warnings, open_image
from kzoo.report import Picture, Shown, Text, pictures
from kzoo.tasks.task import Evaluated

TOP = 5
SHOWN = 32  # of a batch or of mistakes


@dataclass(frozen=True)
class Mistake:
    """An example whose likeliest class is not its own.

    Attributes:
        index: Its place in the split, from 0.
        true, guess: Names of the classes.
        probability: Of the guess.
        input: Its file, relative to the data's folder, or its text; "" where it has neither.
    """

    index: int
    true: str
    guess: str
    probability: float
    input: str = ""


@dataclass(frozen=True)
class Evaluation(Evaluated):
    """The figures of one split.

    Attributes:
        accuracy: Share of examples whose first guess is right.
        top5: Share whose label is among the first five guesses; None with five classes or fewer.
        baseline: Accuracy of always saying the split's commonest class.
        per_class: {class: precision, recall, f1, support}.
        confusion: int [classes, classes], true classes in rows.
        mistakes: All wrong examples, those of which the model is surest first.
    """

    accuracy: float
    top5: float | None
    baseline: float
    baseline_class: str
    labels: tuple[str, ...]
    per_class: dict[str, dict[str, float]] = field(repr=False)
    confusion: np.ndarray = field(repr=False)
    mistakes: tuple[Mistake, ...] = field(default=(), repr=False)

    @property
    def score(self) -> tuple[str, float]:
        return "accuracy", self.accuracy

    def to_config(self) -> dict[str, Any]:
        """For JSON; of the mistakes the first 32, as in the picture: `mistakes-*.csv` has all."""
        worst = [mistake.__dict__ for mistake in self.mistakes[:SHOWN]]
        return {**super().to_config(), "confusion": self.confusion.tolist(), "mistakes": worst}

    def __str__(self) -> str:
        width = max(9, *(len(label) for label in self.labels))
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} examples",
            f"accuracy   {self.accuracy:.4f}",
            *(f"note       {note}" for note in self.notes),
            *([f"top-5      {self.top5:.4f}"] if self.top5 is not None else []),
            f"baseline   {self.baseline:.4f} (always {self.baseline_class!r})",
            "",
            f"{'class':{width}}  precision  recall      f1  examples",
        ]
        lines += [
            f"{label:{width}}  {row['precision']:9.4f}  {row['recall']:6.4f}  {row['f1']:6.4f}  {row['support']:8d}"
            for label, row in self.per_class.items()
        ]
        if len(self.labels) <= 20:
            cell = max(
                4, *(len(str(n)) + 1 for n in self.confusion.ravel()), *(min(len(x), 8) + 1 for x in self.labels)
            )
            lines += ["", "confusion matrix, true classes in rows"]
            lines.append(" " * width + "".join(f"{label[:8]:>{cell}}" for label in self.labels))
            for label, row in zip(self.labels, self.confusion, strict=True):
                lines.append(f"{label:{width}}" + "".join(f"{n or '.':>{cell}}" for n in row))
        return "\n".join(lines)


class Names:
    """Which of a model's classes each class of the data is: the one of the same name, where any name is shared.

    Attributes:
        names: Of the model's classes, in the order of its outputs.
        numbers: int64: of each class of the data the model's, -1 where it has none; None where numbers are the same.
        notes: What is to be said of it first.
    """

    def __init__(self, predictor: Any, data: Data, columns: int) -> None:
        known, given = tuple(predictor.labels or ()), data.info.classes
        self.numbers, self.notes = None, []
        if known and given and (shared := shared_names(known, given)):
            self.numbers = np.array([known.index(shared[c]) if c in shared else -1 for c in given], "int64")
            if other := [f"{c} as {shared[c]}" for c in given if shared.get(c, c) != c]:
                self.notes = [f"classes that are written otherwise are taken for the same: {listed(other)}"]
        elif known and given and len(known) != len(given):
            raise KzooError(
                f"{predictor.name} knows {len(known)} classes and {data.info.name} has {len(given)}, of other names;"
                " evaluate it on data with the same classes"
            )
        elif known and given:
            self.notes = [
                f"no class has the same name: {listed(given)} are taken for {listed(known)}, in the order of their"
                " numbers"
            ]
        names = known or given or tuple(map(str, range(columns)))
        if len(names) > columns:
            raise KzooError(f"{predictor.name} has {columns} outputs, but {data.info.name} has {len(names)} classes")
        self.names = (*names, *map(str, range(len(names), columns)))

    def of(self, y: np.ndarray, predictor: Any, data: Data) -> np.ndarray:
        """The data's labels as the model's.

        Raises:
            KzooError: One is of no class of the model's.
        """
        count = len(self.names) if self.numbers is None else len(self.numbers)
        if y.min() < 0 or y.max() >= count:
            wrong = y.min() if y.min() < 0 else y.max()
            raise KzooError(f"the labels of {data.info.name} reach {wrong}, but {predictor.name} has {count} classes")
        if self.numbers is None:
            return y
        found = self.numbers[y]
        if (found < 0).any():
            strange = [data.info.classes[k] for k in np.unique(y[found < 0])]
            raise KzooError(
                f"{data.info.name} has examples of {listed(list(map(repr, strange)))}, which {predictor.name} does not"
                f" know; it knows {listed(self.names)}: leave them out with only=… (--only)"
            )
        return found


def shared_names(known: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """{name in the data: the model's}: the same, or the same but for case, spaces and the form of its accents.

    >>> shared_names(("Cow", "bee"), ("bee", "cow", "ant"))
    {'bee': 'bee', 'cow': 'Cow'}
    """
    plain = lambda name: " ".join(unicodedata.normalize("NFC", name).casefold().split())
    alike: dict[str, list[str]] = {}
    for name in known:
        alike.setdefault(plain(name), []).append(name)
    found = {}
    for name in given:
        others = alike.get(plain(name), [])
        if name in known:
            found[name] = name
        elif len(others) == 1 and others[0] not in given:
            found[name] = others[0]
    return found


def figures(
    predictor: Any, data: Data, split: str, scores: np.ndarray, y: np.ndarray, order: np.ndarray, notes: list[str]
) -> Evaluation:
    matched = Names(predictor, data, scores.shape[1])
    names, y = matched.names, matched.of(y, predictor, data)
    numbers = np.arange(len(names))
    guess = scores.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, guess, labels=numbers, zero_division=0)
    top5 = None
    if len(names) > TOP:
        top5 = float((np.argsort(-scores, axis=1, kind="stable")[:, :TOP] == y[:, None]).any(axis=1).mean())
    counts = np.bincount(y, minlength=len(names))
    accuracy, confusion = float((guess == y).mean()), metrics.confusion_matrix(y, guess, labels=numbers)
    mistakes = _mistakes(data, split, scores, guess, y, order, names)
    title = f"{predictor.name} on {data.info.name}, {split}"
    return Evaluation(
        name=predictor.name,
        data=data.info.name,
        split=split,
        examples=len(y),
        accuracy=accuracy,
        top5=top5,
        baseline=float(counts.max() / len(y)),
        baseline_class=names[int(counts.argmax())],
        labels=names,
        per_class={
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in zip(names, precision, recall, f1, support, strict=True)
        },
        confusion=confusion,
        mistakes=mistakes,
        notes=(*matched.notes, *data.info.notes, *notes),
        shown=(
            Picture(
                "confusion.png",
                lambda path: pictures.confusion(confusion, names, path, f"{title}: accuracy {accuracy:.4f}"),
            ),
            Text("mistakes.csv", _table(mistakes)),
            *_worst(predictor.reader, data, split, mistakes, title),
        ),
    )


def _mistakes(
    data: Data,
    split: str,
    scores: np.ndarray,
    guess: np.ndarray,
    y: np.ndarray,
    order: np.ndarray,
    names: tuple[str, ...],
) -> tuple[Mistake, ...]:
    sure = scores.max(axis=1)
    wrong = np.flatnonzero(guess != y)
    wrong = wrong[np.lexsort((order[wrong], -sure[wrong]))]
    inputs = dict(enumerate(data.info.files.get(split, ())))
    if len(wrong) and data[split].element_spec[0].dtype == tf.string:
        inputs = {i: text.decode("utf-8", "replace") for i, text in _examples_at(data, split, order[wrong])}
    return tuple(
        Mistake(int(order[k]), names[y[k]], names[guess[k]], float(sure[k]), inputs.get(int(order[k]), ""))
        for k in wrong
    )


def _table(mistakes: Sequence[Mistake]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "true", "guess", "probability", "input"])
    for m in mistakes:
        writer.writerow([m.index, cell(m.true), cell(m.guess), f"{m.probability:.6f}", cell(m.input)])
    return text.getvalue()


def _worst(reader: Reader, data: Data, split: str, mistakes: Sequence[Mistake], title: str) -> list[Shown]:
    """The mistakes of which the model is surest, as the user has them."""
    shown = mistakes[:SHOWN]
    if not shown or data[split].element_spec[0].dtype == tf.string:  # mistakes.csv has the texts
        return []
    which = f"the {len(shown)} surest of {len(mistakes):,} mistakes"
    if len(mistakes) == len(shown):
        which = f"all {len(mistakes)} mistakes, the surest first" if len(mistakes) > 1 else "the only mistake"
    said = [(m.guess, m.true, m.probability) for m in shown]
    raw = lambda: _raw(data, split, shown)
    return reader.shown_raw(raw, said, "worst", f"{title}: {which}")


def _examples_at(data: Data, split: str, places: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """(place, raw input), in the split's order."""
    wanted = set(map(int, places))
    rows = data[split].map(lambda x, *_: x).take(max(wanted) + 1)
    yield from ((i, x) for i, x in enumerate(rows.as_numpy_iterator()) if i in wanted)


def _raw(data: Data, split: str, mistakes: Sequence[Mistake]) -> list[Any]:
    """The examples as the user has them: read from their files, or else found in the split."""
    if split in data.info.files:
        paths = [Path(data.info.arguments.get("name", ".")) / mistake.input for mistake in mistakes]
        if all(path.is_file() for path in paths):  # a name that is no UTF-8 is written with marks in it
            with no_size_warnings():
                return [open_image(path).pixels.numpy() for path in paths]
    found = dict(_examples_at(data, split, [mistake.index for mistake in mistakes]))
    return [found[mistake.index] for mistake in mistakes]
