"""evaluate: how good a model is at its task, on a split of data."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from kzoo.data import Data, held, held_by, load_data, load_held, read_again
from kzoo.errors import KzooError
from kzoo.files import DiskError, atomic, computed
from kzoo.models import model_info
from kzoo.records import VERBS, DataOptions, Evaluating, takes, to_json
from kzoo.runs import Predictor, RunFolder, load
from kzoo.tasks import Evaluated, asked, task_of
from kzoo.verbs.feed import check_own_methods, data_of, reading_images


@takes(*VERBS["evaluate"])
def evaluate(model: Any, data: Any = None, **options: Any) -> Evaluated:
    """How good a model is at its task: a classifier's accuracy, a translator's BLEU, what two networks think; a model
    of your own that names no single class an example, by the losses and metrics that it was compiled with.

    Args:
        model: A run, an export, a `.keras` file, `"lenet5@mnist"`, a Run or a Keras model; see `load_model`.
        data: Data, arrays `(x, y[, weight])`, a batched tf.data.Dataset, or what `load_data` takes; default the data
            that the run was trained on. Where it has no test split, ask for another by name.

    Returns:
        What the task says: Evaluation of a classifier, TranslationEvaluation, PlayersEvaluation, Measures of a model of
        your own (`measures`: {name: value}). Figures and pictures lie in `output_dir`: `evaluation-*.json` and what
        belongs to it.

    Raises:
        KzooError: No such model, data or split, or classes that do not fit.
    """
    chosen, reading = Evaluating.of(options), DataOptions.of(options)
    place, split = chosen.output_dir, chosen.split
    if place is not None and Path(place).exists() and not Path(place).is_dir():
        raise KzooError(f"output_dir {str(place)!r} is a file; give a folder")
    predictor = load(model, checkpoint=chosen.checkpoint)
    check_own_methods(predictor.model, ("test_step", "evaluate", "make_test_function"))
    raw = data is None or isinstance(data, str | os.PathLike | Data)  # arrays and batches are fed as they are
    data = read(predictor, data, reading)
    shape = getattr(next(iter(data.splits.values())).element_spec[0], "shape", None)
    predictor = reading_images(predictor, chosen.preprocess, raw and shape is not None and shape.rank == 3)
    data = predictor.reader.raw(data)
    if model_info(predictor.model) is None and predictor.run is None and predictor.export is None:
        predictor = replace(predictor, task=task_of(predictor.model, data.info.holds))
    own = asked("evaluate", predictor.task, options, Evaluating, DataOptions)
    if split == "test" and "test" not in data.splits:
        raise KzooError(
            f"{data.info.name} has no test split; evaluate split={' or '.join(repr(s) for s in data.splits)} (--split)"
        )
    found = predictor.task.evaluate(predictor, data, split, batch_size=chosen.batch_size, **own)
    folder = Path(place) if place is not None else predictor.run.path if predictor.run else None
    if folder is not None:
        best = chosen.checkpoint == "best" and predictor.run is not None
        with computed(found):
            _write(found, RunFolder(folder), f"-{data.info.name}-{split}{'-best' * best}")
    return found


def read(predictor: Predictor, data: Any, reading: DataOptions) -> Data:
    if isinstance(data, tuple) and len(data) in (2, 3):
        return Data(data, test=data)
    if data is None and not predictor.data:
        raise KzooError(f"{predictor.name} does not say what it was trained on; give data=… (--data)")
    named = isinstance(data, str | os.PathLike)
    if data is None or (named and str(Path(data).absolute()) == predictor.data.get("name")):  # which has its splits
        return load_data(**read_again(predictor.data, reading.given()))
    if named:
        if reading.languages is None and Path(data).is_dir() and "languages" in predictor.data:
            reading = replace(reading, languages=predictor.data["languages"])  # of parallel files, as in training
        return load_held(data, **{**held_by(data, predictor.task.holds), **reading.given()})
    found, fed = data_of(held(data), reading, predictor.task.holds)
    if fed:  # batches of the user's: one split, whatever it is called
        examples = found.train.unbatch() if fed == "batches" else found.train
        return Data(examples, test=examples, info=replace(found.info, batched=()))
    return found


def _write(found: Evaluated, folder: RunFolder, end: str) -> None:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"output_dir {str(folder.path)!r} cannot be made: {error.strerror}") from error
    figures = folder / f"evaluation{end}.json"
    if figures.is_file():  # what an earlier evaluation showed may not be so now
        before = map(Path, folder.read_json(figures.name).get("files", {}).values())
        for stale in (folder / path.name for path in before if path.name.endswith(f"{end}{path.suffix}")):
            stale.unlink(missing_ok=True)
    found.files.update(folder.show(found.shown, end), figures=str(figures))
    with atomic(figures) as beside:
        beside.write_text(to_json(found.to_config()) + "\n", encoding="utf-8")
