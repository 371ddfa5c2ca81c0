"""A Sequential without an input: Keras builds it with the first batch of `fit`."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(38)
    return batches(rng.normal(size=(19, 5)).astype("float32"), rng.integers(0, 3, 19))


PROGRAM = Program(build, data)
