"""Images to one class each."""

from __future__ import annotations

import keras
import tensorflow as tf

from kzoo.data import Data
from kzoo.errors import KzooError
from kzoo.inputs import reader_of
from kzoo.models import input_shape_of
from kzoo.records import ImageInputs
from kzoo.tasks.classification import Classification
from kzoo.tasks.task import Reading


class ImageClassification(Classification):
    name, holds, is_default = "image-classification", "images", True

    def reading_of_own(self, model: keras.Model, data: Data) -> Reading:
        """Images for a model of the user's are resized, and scaled to 0 to 1 where it does not scale them itself."""
        spec, expected = data.train.element_spec[0], input_shape_of(model)
        image = isinstance(spec, tf.TensorSpec) and spec.shape.rank == 3
        if not image or expected is None or len(expected) != 3:
            return super().reading_of_own(model, data)
        size = expected[:2] if None not in expected[:2] else tuple(spec.shape[:2])
        if None in size:
            raise KzooError(
                f"{model.name} takes images of any size and {data.info.name} has many; give it an input_shape"
            )
        scaling = own_scaling(model)
        spec = ImageInputs(size=size, channels=expected[2], **({"scale": 1.0} if scaling else {}))
        reader = reader_of(spec)
        reader.check(model.name, data)
        changes = reader.changes(data.train.element_spec)
        why = f"in 0 to 255: {scaling} of the model scales them" if scaling else "kzoo's default for images"
        return Reading(reader, None, f"{reader.spec.describe()} ({why})", changes)


SCALES = (keras.layers.Rescaling, keras.layers.Normalization)
ARITHMETIC = ("TrueDivide", "Divide", "Multiply", "Subtract", "Add")  # Keras' operations on tensors, as in a graph


def own_scaling(model: keras.Model) -> str:
    """What in a model of the user's scales its images before the first weights; "" where nothing does."""
    steps = getattr(model, "operations", None) or model.layers
    for step in steps:
        if isinstance(step, SCALES) or type(step).__name__ in ARITHMETIC:
            return step.name
        if isinstance(step, keras.Model) and (inside := own_scaling(step)):
            return inside
        if getattr(step, "weights", None) and not isinstance(step, keras.layers.Normalization):
            return ""
    return ""


TASK = ImageClassification()
