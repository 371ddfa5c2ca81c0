"""Regression by a loss function of the user's own, and a metric function."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


def pinball(y_true, y_pred):
    """The pinball loss of three quantiles, one number an example."""
    quantiles = ops.convert_to_tensor([0.1, 0.5, 0.9])
    error = y_true - y_pred
    return ops.sum(ops.maximum(quantiles * error, (quantiles - 1) * error), axis=-1)


def inside(y_true, y_pred):
    """Whether the outer quantiles hold the value."""
    low, high = y_pred[:, :1], y_pred[:, 2:]
    return ops.cast(ops.logical_and(y_true >= low, y_true <= high), "float32")


def build():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(12, activation="gelu"), layers.Dense(3)])
    model.compile(keras.optimizers.Nadam(0.01), loss=pinball, metrics=[inside])
    return model


def data():
    rng = np.random.default_rng(17)
    x = rng.normal(size=(35, 5)).astype("float32")
    return batches(x, x[:, :1] * 2 + rng.normal(size=(35, 1)).astype("float32"))


PROGRAM = Program(build, data)
