"""Images to one class each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from kzoo.data import Data
from kzoo.engine import unchanged
from kzoo.errors import KzooError, say
from kzoo.inputs import reader_of
from kzoo.models import input_shape_of, model_info
from kzoo.records import PREPROCESSINGS, ImageInputs
from kzoo.tasks.classification import Classification
from kzoo.tasks.task import Reading
from kzoo.weights import KERAS_LEARNED_FROM


class ImageClassification(Classification):
    name, holds, is_default = "image-classification", "images", True

    def reading_of_own(self, model: keras.Model, data: Data, preprocess: str | None = None) -> Reading:
        """Images for a model of the user's are resized, and scaled: as the user says, else as the network of
        keras.applications in it does, else to 0 to 1; not at all where the model scales them itself.
        """
        spec, expected = data.train.element_spec[0], input_shape_of(model)
        image = isinstance(spec, tf.TensorSpec) and spec.shape.rank == 3
        if not image or expected is None or len(expected) != 3:
            return super().reading_of_own(model, data, preprocess)
        size = expected[:2] if None not in expected[:2] else tuple(spec.shape[:2])
        if None in size:
            raise KzooError(
                f"{model.name} takes images of any size and {data.info.name} has many; give it an input_shape"
            )
        spec, why = images_of_own(model, (*size, expected[2]), preprocess)
        reader = reader_of(spec)
        reader.check(model.name, data)
        changes = reader.changes(data.train.element_spec)
        return Reading(reader, None, f"{reader.spec.describe()} ({why})", changes)


def images_of_own(model: keras.Model, shape: tuple[int, ...], preprocess: str | None) -> tuple[ImageInputs, str]:
    """(what a model of the user's is given of images, who says so).

    Raises:
        KzooError: What it is given cannot be seen, and nobody says it.
    """
    scaling, why = preprocess, "as you say"
    if preprocess is None:
        scaling, why = "0-1", "kzoo's default for images"
        if inside := own_scaling(model) or (is_opaque(model) and scaling_in_graph(model, shape)):
            scaling, why = "0-255", f"in 0 to 255: {inside} of the model scales them"
        elif of := application_in(model):
            scaling, why = KERAS_LEARNED_FROM[of], f"as {of} of keras.applications is given them"
    form = PREPROCESSINGS[scaling]
    if len({1, len(form.mean), len(form.std), shape[2]}) > 2 or (form.order == "BGR" and shape[2] != 3):
        raise KzooError(f"preprocess={scaling!r} is for RGB images; {model.name} takes {shape[2]} channels")
    return replace(form, size=shape[:2], channels=shape[2]), why


def images_for(model: keras.Model, name: str, preprocess: str | None) -> ImageInputs | None:
    """What a model of the user's is given of image files, said on stderr; None of one that takes no images of one
    size.
    """
    shape = input_shape_of(model)
    if model_info(model) is not None or shape is None or len(shape) != 3 or None in shape or shape[2] not in (1, 3):
        return None
    spec, why = images_of_own(model, tuple(shape), preprocess)
    told = "" if preprocess is not None else "; preprocess=… says otherwise"
    say(f"{name} is given images {spec.describe()} ({why}{told})")
    return spec


SCALES = (keras.layers.Rescaling, keras.layers.Normalization)
ARITHMETIC = ("TrueDivide", "Divide", "Multiply", "Subtract", "Add")  # Keras' operations on tensors, as in a graph


def _first_steps(model: keras.Model) -> Iterator[Any]:
    """What images pass before the first weights, these included; of models in it what they hold."""
    for step in getattr(model, "operations", None) or model.layers:
        if isinstance(step, keras.Model):
            yield step
            yield from _first_steps(step)
        else:
            yield step
        if getattr(step, "weights", None) and not isinstance(step, keras.layers.Normalization):
            return


def own_scaling(model: keras.Model) -> str:
    """What in a model of the user's scales its images before the first weights; "" where nothing does."""
    scales = lambda step: isinstance(step, SCALES) or type(step).__name__ in ARITHMETIC
    return next((step.name for step in _first_steps(model) if scales(step)), "")


def is_opaque(model: keras.Model) -> bool:
    """Whether images pass something before the first weights that its kind does not tell of: a class of the user's, a
    function. To look into it the model is traced, which takes seconds of a large one.
    """
    stock = lambda step: type(step).__module__.startswith("keras.") and not isinstance(step, keras.layers.Lambda)
    return not all(map(stock, [model, *_first_steps(model)]))


def application_in(model: keras.Model) -> str:
    """The name in KERAS_LEARNED_FROM of the network that a model is or begins with; "" of any other."""
    names = [model.name, *(step.name for step in _first_steps(model) if isinstance(step, keras.Model))]
    return next((of for name in names for of in KERAS_LEARNED_FROM if name.startswith(of)), "")


# TensorFlow's operations that images may pass before something scales them, and those that do.
PASSING = ("Identity", "Cast", "Reshape", "Transpose", "Pad", "PadV2", "MirrorPad", "ExpandDims", "Squeeze",
           "ReverseV2", "StridedSlice", "ConcatV2", "ResizeBilinear", "ScaleAndTranslate", "Relu")  # fmt: skip
SCALING = ("Mul", "RealDiv", "Div", "Sub", "AddV2", "Add")
CLOSED = ("PyFunc", "EagerPyFunc")  # what nobody sees into


def scaling_in_graph(model: keras.Model, shape: tuple[int, ...]) -> str:
    """The arithmetic with constants that images pass before the first weights, of a subclass or a Lambda; "" of none.

    Raises:
        KzooError: They pass what nobody sees into.
    """
    try:
        with unchanged([model]):
            traced = tf.function(lambda x: model(x, training=False), autograph=False).get_concrete_function(
                tf.TensorSpec([None, *shape], tf.float32)
            )
    except Exception:  # it is not built, or takes something else: who trains it says so
        return ""
    todo, seen = [traced.inputs[0]], set()
    while todo:
        tensor = todo.pop()
        for operation in tensor.consumers():
            others = [other for other in operation.inputs if other is not tensor]
            if operation.type in SCALING and all(map(_is_constant, others)):
                return operation.name
            if operation.type in CLOSED:
                raise KzooError(
                    f"{operation.name} of {model.name} may scale the images, which nobody sees from outside; say what"
                    f" the model is given: preprocess={' or '.join(map(repr, PREPROCESSINGS))}"
                )
            if operation.type in PASSING and operation.name not in seen:
                seen.add(operation.name)
                todo += operation.outputs
    return ""


def _is_constant(tensor: tf.Tensor) -> bool:
    """Not computed of weights."""
    while tensor.op.type in ("Identity", "Cast", "Reshape", "ExpandDims"):
        tensor = tensor.op.inputs[0]
    return tensor.op.type == "Const" or (tensor.op.type == "Placeholder" and tensor.dtype != tf.resource)


TASK = ImageClassification()
