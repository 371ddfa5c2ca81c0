"""evaluate: how good is it, on which classes, and is it better than saying the commonest class every time."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data import Data, load_data
from kzoo.data._images import no_size_warnings, open_image
from kzoo.data._sequences import Sequences, batches_of
from kzoo.data._sources import load_for
from kzoo.errors import KzooError, whole_number
from kzoo.inspection import pictures
from kzoo.models._styles import input_shape_of
from kzoo.preprocess import layer_of
from kzoo.runs._folder import RunFolder, atomic
from kzoo.runs._load import Loaded, check_checkpoint, load
from kzoo.runs._play import evaluate_players
from kzoo.runs._translate import evaluate_translation
from kzoo.spec import BEAMS, LENGTH_PENALTY
from kzoo.text import TextLayer
from kzoo.training.step import compiled

TOP = 5
OTHERS = {
    "translation": evaluate_translation,
    "image-generation": evaluate_players,
}  # tasks that are not classification


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
class Evaluation:
    """The figures of one split.

    Attributes:
        accuracy: Share of examples whose first guess is right.
        top5: Share whose label is among the first five guesses; None with five classes or fewer.
        baseline: Accuracy of always saying the split's commonest class.
        per_class: {class: precision, recall, f1, support}.
        confusion: int [classes, classes], true classes in rows.
        mistakes: All wrong examples, those of which the model is surest first.
        notes: What was done to the data: images resized, files skipped, classes of other names.
        files: Where the pictures and the figures lie.
    """

    name: str
    data: str
    split: str
    examples: int
    accuracy: float
    top5: float | None
    baseline: float
    baseline_class: str
    labels: tuple[str, ...]
    per_class: dict[str, dict[str, float]] = field(repr=False)
    confusion: np.ndarray = field(repr=False)
    mistakes: tuple[Mistake, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    def to_config(self) -> dict[str, Any]:
        """For JSON; of the mistakes the first 32, as in the picture: `mistakes-*.csv` has all."""
        worst = [mistake.__dict__ for mistake in self.mistakes[: pictures.SHOWN]]
        return {**self.__dict__, "confusion": self.confusion.tolist(), "mistakes": worst}

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


def evaluate(
    model: Any,
    data: Data | str | os.PathLike[str] | None = None,
    *,
    split: str = "test",
    batch_size: int = 256,
    checkpoint: str = "last",
    data_dir: str | None = None,
    languages: str | None = None,
    beams: int = BEAMS,
    length_penalty: float = LENGTH_PENALTY,
    output_dir: str | os.PathLike[str] | None = None,
) -> Any:
    """How good a model is at its task: a classifier's accuracy, a translator's BLEU, what two players think.

    Args:
        model: A run, an export, a `.keras` file, `"lenet5@mnist"`, a Run or a Keras model; see `load_model`.
        data: Data, or what `load_data` takes; default the data that the run was trained on.
        split: `"train"`, `"validation"` or `"test"`. Where the data has no test split, ask for another by name.
        batch_size: Of the forward passes.
        checkpoint: Of a run: `"last"` or `"best"`.
        data_dir, languages: For `load_data`.
        beams, length_penalty: Of a translator's beam search; an export has its own inside.
        output_dir: Where `evaluation-*.json`, `confusion-*.png`, `mistakes-*.csv` and, of images, `mistakes-*.png` go;
            default the run folder, otherwise nowhere.

    Returns:
        Evaluation, TranslationEvaluation or PlayersEvaluation.

    Raises:
        KzooError: No such model, data or split, or classes that do not fit.
    """
    check_checkpoint(checkpoint)
    whole_number("batch_size", batch_size)
    if output_dir is not None and Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise KzooError(f"output_dir {str(output_dir)!r} is a file; give a folder")
    loaded = load(model, checkpoint=checkpoint)
    data = read_data(loaded, data, data_dir, languages)
    if split == "test" and "test" not in data.splits:
        raise KzooError(
            f"{data.info.name} has no test split; evaluate split={' or '.join(repr(s) for s in data.splits)}"
        )
    examples = data[split]
    folder = Path(output_dir) if output_dir is not None else loaded.run.path if loaded.run else None
    if loaded.task in OTHERS:
        evaluation = OTHERS[loaded.task](
            loaded, data, split, batch_size=batch_size, beams=beams, length_penalty=length_penalty
        )
        if folder is not None:
            _write_figures(evaluation, folder, checkpoint if loaded.run else None)
        return evaluation
    scores, y, order, notes = scores_of(loaded, examples, batch_size)
    evaluation = _figures(loaded, data, split, scores, y, order, notes)
    if folder is not None:
        _write(evaluation, data, folder, checkpoint if loaded.run else None)
    return evaluation


def read_data(loaded: Loaded, data: Any, data_dir: str | None, languages: str | None = None) -> Data:
    if isinstance(data, Data):
        return data
    if isinstance(data, tuple) and len(data) in (2, 3):
        return Data(data, test=data)
    if data is not None and not isinstance(data, str | os.PathLike):
        raise KzooError(f"data must be a name, a path, kzoo.Data or arrays (x, y); received {type(data).__name__}")
    if data is None:
        if not loaded.data:
            raise KzooError(f"{loaded.name} does not say what it was trained on; give data=… (--data)")
        return load_data(**({**loaded.data, "data_dir": data_dir} if data_dir else loaded.data))
    if languages is None and Path(data).is_dir():  # of parallel files, as in training
        languages = loaded.data.get("languages")
    return load_for(loaded.task, data, data_dir=data_dir, languages=languages)


def scores_of(
    loaded: Loaded, examples: tf.data.Dataset, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """(scores [n, classes], labels [n], places in the split [n], notes on the texts).

    Texts come sorted by length, anything else in the split's order. A model with one output gets two columns.
    """
    if int(examples.cardinality()) == 0:
        raise KzooError("the split is empty")
    layer = layer_of(loaded.preprocess)
    check_input(loaded, examples.element_spec[0], layer)
    batches = batches_of(examples, batch_size, layer)
    forward = compiled(lambda x: loaded.model(x, training=False))
    scores, labels = [], []
    for x, y, *_ in batches.epoch(0):
        scores.append(single_output(loaded, forward(x)).numpy().astype("float32"))
        labels.append(y.numpy())
    found = np.concatenate(scores)
    if found.ndim != 2:
        raise KzooError(f"{loaded.name} is no classifier: its output for one example is {found.shape[1:]}")
    y = np.concatenate(labels)
    if y.ndim == 2 and y.shape[1] > 1:  # one-hot
        y = y.argmax(axis=1)
    order = batches.order(0) if isinstance(batches, Sequences) else np.arange(len(y))
    return loaded.probabilities(found), y.reshape(-1).astype("int64"), order, getattr(batches, "notes", [])


def single_output(loaded: Loaded, outputs: Any) -> tf.Tensor:
    if not tf.is_tensor(outputs):
        raise KzooError(
            f"{loaded.name} has several outputs; evaluate and predict take a model with one: use"
            " kzoo.load_model(…).predict, or a model of one of its outputs"
        )
    return outputs


def check_input(loaded: Loaded, spec: tf.TensorSpec, layer: Any) -> None:
    """Images for a model that reads images; without preprocessing, exactly what the model reads."""
    if isinstance(layer, TextLayer):
        if spec.dtype != tf.string:
            raise KzooError(f"{loaded.name} reads texts, but the data gives {spec.dtype.name} {tuple(spec.shape)}")
        return
    if layer is not None and spec.shape.rank != 3:
        raise KzooError(f"{loaded.name} reads images, but the data gives {tuple(spec.shape)}")
    expected = input_shape_of(loaded.model)
    if layer is None and expected is not None and not spec.shape.is_compatible_with(expected):
        raise KzooError(f"{loaded.name} reads {expected}, but the data gives {tuple(spec.shape)}")


def class_names(loaded: Loaded, data: Data, columns: int) -> tuple[str, ...]:
    if data.info.classes and loaded.labels and len(data.info.classes) != len(loaded.labels):
        raise KzooError(
            f"{loaded.name} knows {len(loaded.labels)} classes and {data.info.name} has {len(data.info.classes)};"
            " evaluate it on data with the same classes"
        )
    names = data.info.classes or loaded.labels or tuple(map(str, range(columns)))
    if len(names) > columns:
        raise KzooError(f"{loaded.name} has {columns} outputs, but {data.info.name} has {len(names)} classes")
    return tuple(names) + tuple(map(str, range(len(names), columns)))


def _figures(
    loaded: Loaded, data: Data, split: str, scores: np.ndarray, y: np.ndarray, order: np.ndarray, notes: list[str]
) -> Evaluation:
    from sklearn import metrics

    names = class_names(loaded, data, scores.shape[1])
    if y.min() < 0 or y.max() >= len(names):
        raise KzooError(f"the labels of {data.info.name} reach {y.max()}, but {loaded.name} has {len(names)} classes")
    numbers = np.arange(len(names))
    guess = scores.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, guess, labels=numbers, zero_division=0)
    top5 = None
    if len(names) > TOP:
        top5 = float((np.argsort(-scores, axis=1, kind="stable")[:, :TOP] == y[:, None]).any(axis=1).mean())
    counts = np.bincount(y, minlength=len(names))
    return Evaluation(
        name=loaded.name,
        data=data.info.name,
        split=split,
        examples=len(y),
        accuracy=float((guess == y).mean()),
        top5=top5,
        baseline=float(counts.max() / len(y)),
        baseline_class=names[int(counts.argmax())],
        labels=names,
        per_class={
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in zip(names, precision, recall, f1, support, strict=True)
        },
        confusion=metrics.confusion_matrix(y, guess, labels=numbers),
        mistakes=_mistakes(data, split, scores, guess, y, order, names),
        notes=(*data.info.notes, *_notes(loaded, data, split), *notes),
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


def _examples_at(data: Data, split: str, places: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """(place, raw input), in the split's order."""
    wanted = set(map(int, places))
    rows = data[split].map(lambda x, *_: x).take(max(wanted) + 1)
    yield from ((i, x) for i, x in enumerate(rows.as_numpy_iterator()) if i in wanted)


def _raw_images(data: Data, split: str, mistakes: Sequence[Mistake]) -> list[np.ndarray]:
    """The images as the user has them: read from their files, or else found in the split."""
    if split in data.info.files:
        paths = [Path(data.info.arguments.get("name", ".")) / mistake.input for mistake in mistakes]
        if all(path.is_file() for path in paths):  # a name that is no UTF-8 is written with marks in it
            with no_size_warnings():
                return [open_image(path)[0].numpy() for path in paths]
    found = dict(_examples_at(data, split, [mistake.index for mistake in mistakes]))
    return [found[mistake.index] for mistake in mistakes]


def _notes(loaded: Loaded, data: Data, split: str) -> list[str]:
    notes = []
    if hasattr(loaded.preprocess, "changes"):
        notes += loaded.preprocess.changes(tuple(data[split].element_spec[0].shape))
    if loaded.labels and data.info.classes and loaded.labels != data.info.classes:
        notes.append(f"classes are named as in the data; {loaded.name} calls them {', '.join(loaded.labels[:10])}")
    return notes


def _write(evaluation: Evaluation, data: Data, folder: Path, checkpoint: str | None) -> None:
    end = _end(evaluation, checkpoint)
    png, table, worst = (
        folder / name for name in (f"confusion-{end}.png", f"mistakes-{end}.csv", f"mistakes-{end}.png")
    )
    shown = evaluation.mistakes[: pictures.SHOWN]
    drawn = bool(shown) and data[evaluation.split].element_spec[0].shape.rank == 3
    evaluation.files.update(confusion=str(png), mistakes=str(table))
    if drawn:
        evaluation.files.update(worst=str(worst))
    _write_figures(evaluation, folder, checkpoint)
    title = f"{evaluation.name} on {evaluation.data}, {evaluation.split}: accuracy {evaluation.accuracy:.4f}"
    with atomic(png) as beside:
        pictures.confusion(evaluation.confusion, evaluation.labels, beside, title)
    with atomic(table) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "true", "guess", "probability", "input"])
        writer.writerows([m.index, m.true, m.guess, f"{m.probability:.6f}", m.input] for m in evaluation.mistakes)
    if not drawn:
        worst.unlink(missing_ok=True)  # of an earlier evaluation: it would show mistakes that are none now
        return
    count = len(evaluation.mistakes)
    which = f"the {len(shown)} surest of {count:,} mistakes"
    if count == len(shown):
        which = f"all {count} mistakes, the surest first" if count > 1 else "the only mistake"
    with atomic(worst) as beside:
        pictures.mistakes(
            _raw_images(data, evaluation.split, shown),
            [(m.guess, m.true, m.probability) for m in shown],
            beside,
            f"{evaluation.name} on {evaluation.data}, {evaluation.split}: {which}",
        )


def _write_figures(evaluation: Any, folder: Path, checkpoint: str | None) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KzooError(f"output_dir {str(folder)!r} cannot be made: {error.strerror}") from error
    figures = folder / f"evaluation-{_end(evaluation, checkpoint)}.json"
    evaluation.files.update(figures=str(figures))
    RunFolder(folder).write_json(figures.name, evaluation.to_config())


def _end(evaluation: Any, checkpoint: str | None) -> str:
    return f"{evaluation.data}-{evaluation.split}{'-best' if checkpoint == 'best' else ''}"
