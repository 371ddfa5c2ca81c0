"""A loss whose reduction is the sum, beside a regulariser."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.Dense(2, kernel_regularizer="l2", activation="softmax")(inputs))
    model.compile(keras.optimizers.SGD(0.01), loss=keras.losses.CategoricalCrossentropy(reduction="sum"))
    return model


def data():
    rng = np.random.default_rng(47)
    return batches(rng.normal(size=(19, 5)).astype("float32"), np.eye(2, dtype="float32")[rng.integers(0, 2, 19)])


PROGRAM = Program(build, data)
