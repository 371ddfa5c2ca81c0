"""The head alone, trained on features that were computed once: what the frozen part gives does not change."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data, DataInfo
from kzoo.data._sequences import batches_of
from kzoo.errors import KzooError
from kzoo.models._registry import model_info, model_spec
from kzoo.models._styles import feature_extractor, input_shape_of
from kzoo.preprocess import layer_of
from kzoo.training.step import compiled
from kzoo.weights.store import weights_by_name

LIMIT = 1 << 30  # bytes of features that are kept in memory


def split_at(model: keras.Model, fresh: Collection[str]) -> tuple[keras.Model, keras.Model] | None:
    """(the frozen part, the head), sharing no weights: the head starts before the first layer of `fresh`, with the
    dropout in front of it. None where the first is inside a Block, or nothing comes before it.
    """
    info = model_info(model)
    spec = model_spec(info.model)
    accepted = inspect.signature(spec.definition.define).parameters
    config = {**spec.config, **{k: v for k, v in info.arguments.items() if k in accepted}}
    stages = spec.definition.define(**config)
    place = next((k for k, stage in enumerate(stages) if stage.name in fresh), None)
    while place and isinstance(stages[place - 1], keras.layers.Dropout):
        place -= 1
    if not place:
        return None
    trunk = feature_extractor(model, stages[place - 1].name)
    shape = trunk(tf.zeros([1, *(n or 2 for n in input_shape_of(model))])).shape[1:]
    head = keras.Sequential([keras.Input(shape), *stages[place:]], name=f"{model.name}_head")
    theirs = weights_by_name(model)
    if set(weights_by_name(head)) != {key for key in theirs if key.split("/")[0] in fresh}:
        return None
    for key, variable in weights_by_name(head).items():
        variable.assign(theirs[key].value)
    return trunk, head


def give_back(head: keras.Model, model: keras.Model) -> None:
    """The head's weights into the whole model."""
    mine = weights_by_name(model)
    for key, variable in weights_by_name(head).items():
        mine[key].assign(variable.value)


def features(trunk: keras.Model, model: keras.Model, data: Data, batch_size: int) -> Data:
    """Of the train and the validation split, in their order: float32 arrays in the place of the images."""
    layer = layer_of(model_info(model).preprocess)
    forward = compiled(lambda x: trunk(x, training=False))

    def one(split: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        made, labels = [], []
        for x, y, *_ in batches_of(split, batch_size, layer).epoch(0):
            made.append(forward(x).numpy())
            labels.append(y.numpy())
            if sum(part.nbytes for part in made) > LIMIT:
                raise KzooError(f"the features of {data.info.name} take more than {LIMIT >> 20} MiB; give cache=False")
        return np.concatenate(made), np.concatenate(labels)

    held = one(data.validation) if data.validation is not None else None
    info = DataInfo(name=f"{data.info.name} (features)", task="", classes=data.info.classes)
    found = Data(one(data.train), held, info=info)
    return Data(found.train, found.validation, info=replace(info, counts={}))
