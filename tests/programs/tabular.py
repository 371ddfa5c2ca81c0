"""Rows of numbers and categories as named inputs, encoded before the model."""

import keras
import numpy as np
from keras import layers
from program import Program, batches

NAMES = ["normal", "fixed", "reversible"]


def build():
    inputs = {
        "age": keras.Input((1,), name="age"),
        "pressure": keras.Input((1,), name="pressure"),
        "thal": keras.Input((4,), name="thal"),
        "city": keras.Input((6,), name="city"),
    }
    normal = layers.Normalization(mean=[50.0], variance=[80.0])
    x = layers.Concatenate()([normal(inputs["age"]), inputs["pressure"], inputs["thal"], inputs["city"]])
    outputs = layers.Dense(1, activation="sigmoid")(layers.Dense(8, activation="relu")(x))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(9)
    lookup = layers.StringLookup(vocabulary=NAMES, output_mode="one_hot")
    hashing = layers.Hashing(6, output_mode="one_hot")
    rows = {
        "age": rng.normal(50, 9, (27, 1)).astype("float32"),
        "pressure": rng.normal(0, 1, (27, 1)).astype("float32"),
        "thal": rng.choice([*NAMES, "unknown"], (27, 1)),
        "city": rng.choice(["Rome", "Oslo", "Lima", "Quito"], (27, 1)),
    }
    encode = lambda x: {**x, "thal": lookup(x["thal"]), "city": hashing(x["city"])}
    return batches(rows, rng.integers(0, 2, 27)).map(lambda x, y: (encode(x), y))


PROGRAM = Program(build, data)
