"""A classifier with dropout, with a seed: drawn alike on one device."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.5, seed=2),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(33)
    return batches(rng.normal(size=(29, 8)).astype("float32"), rng.integers(0, 3, 29))


PROGRAM = Program(build, data, held={"mirrored": "what is drawn differs between replicas"})
