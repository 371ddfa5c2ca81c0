"""Moving averages of the weights, which are left in the model at the end."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(10, activation="tanh"), layers.Dense(3, activation="softmax")]
    )
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(23)
    return batches(rng.normal(size=(37, 6)).astype("float32"), rng.integers(0, 3, 37))


PROGRAM = Program(build, data)
