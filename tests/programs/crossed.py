"""Numbers cut into ranges, and pairs of features crossed, before the model."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    ranges, crossed = keras.Input((5,), name="ranges"), keras.Input((8,), name="crossed")
    x = layers.Concatenate()([ranges, crossed])
    outputs = layers.Dense(1)(layers.Dense(6, activation="elu")(x))
    model = keras.Model({"ranges": ranges, "crossed": crossed}, outputs)
    model.compile(keras.optimizers.Ftrl(0.1), loss="mape", metrics=["mse"])
    return model


def data():
    rng = np.random.default_rng(30)
    cut = layers.Discretization([18, 30, 45, 65], output_mode="one_hot")
    cross = layers.HashedCrossing(8, output_mode="one_hot")

    def encode(x, y):
        return {"ranges": cut(x["age"]), "crossed": cross((x["city"], x["kind"]))}, y

    rows = {
        "age": rng.integers(10, 80, (27, 1)).astype("float32"),
        "city": rng.choice(["Rome", "Oslo", "Lima"], (27, 1)),
        "kind": rng.choice(["a", "b"], (27, 1)),
    }
    return batches(rows, rng.uniform(1, 2, (27, 1)).astype("float32")).map(encode)


PROGRAM = Program(build, data)
