"""Metric learning by a loss of whole batches: each example against the hardest ones beside it."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


def hardest_triplets(y_true, y_pred):
    """One number a batch."""
    apart = 2 - 2 * ops.matmul(y_pred, ops.transpose(y_pred))
    same = ops.cast(ops.equal(ops.reshape(y_true, (-1, 1)), ops.reshape(y_true, (1, -1))), "float32")
    far, near = ops.max(apart * same, axis=1), ops.min(apart + 10 * same, axis=1)
    return ops.mean(ops.relu(far - near + 0.2))


def build():
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, activation="tanh"), layers.Dense(4), layers.UnitNormalization()]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss=hardest_triplets)
    return model


def data():
    rng = np.random.default_rng(54)
    return batches(rng.normal(size=(27, 8)).astype("float32"), rng.integers(0, 3, 27))


PROGRAM = Program(
    build, data,
    held={"mirrored": "a loss of one number a batch is averaged over the replicas' examples"},
)  # fmt: skip
