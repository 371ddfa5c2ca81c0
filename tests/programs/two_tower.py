"""Retrieval by two towers: the other rows of a batch are the negatives, and the loss is added in a layer."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class InBatchNegatives(layers.Layer):
    """Each query shall choose its own item among those of the batch."""

    def call(self, inputs):
        query, item = inputs
        scores = ops.matmul(query, ops.transpose(item)) / 0.2
        own = ops.arange(ops.shape(scores)[0])
        losses = keras.losses.sparse_categorical_crossentropy(own, scores, from_logits=True)
        self.add_loss(ops.mean(losses))
        return ops.sum(query * item, axis=-1)


def build():
    query, item = keras.Input((6,), name="query"), keras.Input((5,), name="item")
    towers = [keras.Sequential([layers.Dense(8, activation="tanh"), layers.UnitNormalization()]) for _ in range(2)]
    model = keras.Model({"query": query, "item": item}, InBatchNegatives()([towers[0](query), towers[1](item)]))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    return model


def data():
    rng = np.random.default_rng(13)
    rows = {"query": rng.normal(size=(21, 6)), "item": rng.normal(size=(21, 5))}
    return batches({name: x.astype("float32") for name, x in rows.items()})


PROGRAM = Program(
    build, data,
    held={"mirrored": "each replica's negatives are the rows of its own part"},
)  # fmt: skip
