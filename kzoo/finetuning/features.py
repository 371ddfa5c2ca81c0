"""The head alone, trained on features that were computed once: what the frozen part gives does not change.

The numbers are those of the whole network, to rounding; with dropout in the head its masks are others.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data, DataInfo
from kzoo.engine import compiled, named_layers
from kzoo.inputs import Reader
from kzoo.keras_internals import layers_in
from kzoo.models import feature_extractor, input_shape_of, model_info
from kzoo.weights import weights_by_name

LIMIT = 1 << 30  # bytes of features that are kept in memory without being asked to


def split_at(model: keras.Model, fresh: Collection[str]) -> tuple[keras.Model, keras.Model] | None:
    """(what gives the same for an image in every epoch, the rest), sharing no weights.

    The rest starts before the first stage that has a layer of `fresh` or drops something in training: dropout works in
    a frozen part too. It reads vectors: features of another shape are flattened, and get their shape back in it. None
    where nothing comes before it.
    """
    info = model_info(model)
    stages = info.spec.definition.stages_of(info.config, info.arguments["input_shape"])
    place = next(k for k, stage in enumerate(stages) if any(_changes(y, fresh) for y in layers_in(stage)))
    if not place:
        return None
    trunk = feature_extractor(model, stages[place - 1].name)
    shape = _shape(trunk)
    front = [keras.layers.Reshape(shape, name="features")] if len(shape) > 1 else []
    rest = keras.Sequential([keras.Input((math.prod(shape),)), *front, *stages[place:]], name=f"{model.name}_head")
    theirs = weights_by_name(model)
    for key, variable in weights_by_name(rest).items():
        variable.assign(theirs[key].value)
    learning = named_layers(model)
    for name, layer in named_layers(rest).items():
        layer.trainable = learning[name].trainable
    return trunk, rest


def _changes(layer: keras.layers.Layer, fresh: Collection[str]) -> bool:
    return layer.name in fresh or (isinstance(layer, keras.layers.Dropout) and layer.rate > 0)


def _shape(trunk: keras.Model) -> tuple[int, ...]:
    return tuple(trunk(tf.zeros([1, *(n or 32 for n in input_shape_of(trunk))])).shape[1:])


def give_back(head: keras.Model, model: keras.Model) -> None:
    """The head's weights into the whole model."""
    mine = weights_by_name(model)
    for key, variable in weights_by_name(head).items():
        mine[key].assign(variable.value)


def size_of(trunk: keras.Model, data: Data) -> int | None:
    """Bytes of the features of train and validation; None where their number is not known."""
    counts = [data.info.counts.get(split, 0) for split in ("train", "validation")]
    return None if min(counts) < 0 else 4 * sum(counts) * math.prod(_shape(trunk))


def features(trunk: keras.Model, reader: Reader, data: Data, batch_size: int) -> Data:
    """Of the train and the validation split, in their order: vectors in the place of the images."""
    forward = compiled(lambda x: trunk(x, training=False))

    def one(split: tf.data.Dataset) -> tuple[np.ndarray, ...]:
        made = []
        for x, *rest in reader.batches(split, batch_size).epoch(0):
            found = forward(x).numpy()
            made.append((found.reshape(len(found), -1), *(part.numpy() for part in rest)))
        return tuple(np.concatenate(parts) for parts in zip(*made, strict=True))

    info = DataInfo(name=f"{data.info.name} (features)", holds="rows", classes=data.info.classes)
    found = Data(one(data.train), one(data.validation), info=info)
    return Data(found.train, found.validation, info=replace(info, counts={}))
