"""A model in mixed float16, whose optimizer scales the loss."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((6,))
    x = layers.Dense(12, activation="relu", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", dtype="float32")(x))
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9), initial_scale=1024.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(48)
    return batches(rng.normal(size=(27, 6)).astype("float32"), rng.integers(0, 3, 27))


ROUNDED = "float16 has three digits, and sums in another order round otherwise"
PROGRAM = Program(build, data, held=dict.fromkeys(("xla", "mirrored"), ROUNDED))
