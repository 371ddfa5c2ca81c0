"""An image classifier with two outputs, a class and a box, labels by their names."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(inputs)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = layers.Flatten()(x)
    outputs = {
        "kind": layers.Dense(3, activation="softmax", name="kind")(x),
        "box": layers.Dense(4, activation="sigmoid", name="box")(layers.Dense(8, activation="relu")(x)),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        loss={"kind": "sparse_categorical_crossentropy", "box": "huber"},
        loss_weights={"kind": 1.0, "box": 5.0},
        metrics={"kind": ["accuracy"], "box": ["mae"]},
    )
    return model


def data():
    rng = np.random.default_rng(1)
    images = rng.random((21, 12, 12, 3), dtype="float32")
    return batches(images, {"kind": rng.integers(0, 3, 21), "box": rng.random((21, 4), dtype="float32")})


PROGRAM = Program(build, data, averaged=("kind_loss", "box_loss"))
