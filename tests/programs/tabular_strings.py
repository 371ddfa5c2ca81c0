"""Rows whose strings are looked up in the model itself."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    price, kind = keras.Input((1,), name="price"), keras.Input((1,), dtype="string", name="kind")
    lookup = layers.StringLookup(vocabulary=["red", "white", "rose"], output_mode="multi_hot")
    x = layers.Concatenate()([price, lookup(kind)])
    outputs = layers.Dense(3, activation="softmax")(layers.Dense(6, activation="relu")(x))
    model = keras.Model({"price": price, "kind": kind}, outputs)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(10)
    rows = {"price": rng.random((21, 1), dtype="float32"), "kind": rng.choice(["red", "white", "other"], (21, 1))}
    return batches(rows, rng.integers(0, 3, 21))


PROGRAM = Program(build, data, held={"xla": "XLA cannot compile the layer"})
