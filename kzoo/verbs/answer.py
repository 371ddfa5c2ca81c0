"""predict and generate: what a model says of, or makes of, what it is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import inputs_of
from kzoo.errors import KzooError, in_a_line
from kzoo.inputs import are_paths, notes_what_is_left_out
from kzoo.keras_internals import build_by_shapes, layers_in
from kzoo.models import input_shape_of
from kzoo.records import VERBS, Answering, takes
from kzoo.runs import Predictor, load
from kzoo.tasks import Result, asked
from kzoo.verbs.feed import check_own_methods, reading_images


@takes(*VERBS["predict"])
def predict(model: Any, inputs: Any, **options: Any) -> list[Any]:
    """Classify image files, texts or raw examples; the outputs of a model of your own that names no single class.

    Args:
        model: As for `evaluate`.
        inputs: Paths of image files, folders of them with all that lies in them, patterns such as `photos/*.jpg`, a
            .txt file that names some; texts, or the path of a .txt file with one a line ("-": stdin has); the path
            of a .csv file of rows of numbers, or of a series; or an array of raw examples [n, ...], as `load_data`
            gives them (images in 0 to 255), or a tf.data.Dataset or PyDataset of such, of which x is read; of a model
            of your own with several inputs {name: array}.

    Returns:
        One Prediction an input, in order. Scores are probabilities: logits and distances go through softmax. Of a row
        whose number is learned an Estimate (`value`), of a series a Forecast (`values`, `times`). Of a model of your
        own that names no single class one Outputs, with `outputs`: {name: array}.

    Raises:
        KzooError: No such file, nothing that can be read. One of several that cannot be is left out, named on stderr
            and in `left_out` of what is returned.
    """
    return _answers("predict", model, inputs, options)


@takes(*VERBS["generate"])
def generate(model: Any, inputs: Any = None, **options: Any) -> list[Any]:
    """What a model makes: a translator a text of each text, a language model what comes after it, a generator images.

    Args:
        model: As for `evaluate`.
        inputs: For translators and language models: texts, or the path of a .txt file with one a line. For a
            generator: noise, float32 [n, noise], or nothing.

    Returns:
        What the task says, in order: a Translation a text (`text`, `score`), a Written a beginning (`text` without it,
        `score`), a Made an image (`pixels`).

    Raises:
        KzooError: A model of another task, an empty text, one longer than the model reads.
    """
    return _answers("generate", model, inputs, options)


class Answers(list[Any]):
    """Results, in order.

    Attributes:
        left_out: A line for each input that has no answer: what, and why.
    """

    def __init__(self, results: Iterable[Any], left_out: list[str]) -> None:
        super().__init__(results)
        self.left_out = tuple(left_out)


def _answers(verb: str, model: Any, inputs: Any, options: dict[str, Any]) -> list[Result]:
    chosen = Answering.of(options)
    predictor = load(model, checkpoint=chosen.checkpoint)
    if not all(layer.built for layer in layers_in(predictor.model)) and not are_paths(inputs):
        with in_a_line(f"cannot build {predictor.name!r} on the inputs"):
            build_by_shapes(predictor.model, keras.tree.map_structure(np.asarray, inputs))
        predictor = Predictor.of(predictor.model)
    predictor = reading_images(predictor, chosen.preprocess, are_paths(inputs))
    task = predictor.task
    if task.verb != verb:
        does = "names no classes" if verb == "predict" else "does not generate"
        raise KzooError(f"{predictor.name} {does} (its task is {task.name}); use kzoo {task.verb}")
    own = asked(verb, task, options, Answering)
    check_own_methods(predictor.model, ("predict_step", "predict", "make_predict_function"))
    if isinstance(inputs, tf.data.Dataset | keras.utils.PyDataset):
        inputs = inputs_of(inputs, input_shape_of(predictor.model))
    with notes_what_is_left_out() as left_out:
        return Answers(task.answer(predictor, inputs, batch_size=chosen.batch_size, **own), left_out)
