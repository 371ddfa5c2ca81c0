"""A siamese network, one tower for both images, with a contrastive loss function."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


def contrastive(y_true, y_pred, margin=1.0):
    apart = ops.square(ops.maximum(margin - y_pred, 0))
    return ops.mean((1 - y_true) * ops.square(y_pred) + y_true * apart, axis=-1)


def distance(pair):
    squared = ops.sum(ops.square(pair[0] - pair[1]), axis=1, keepdims=True)
    return ops.sqrt(ops.maximum(squared, 1e-7))


def build():
    tower = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(5, activation="tanh"),
        ]
    )
    first, second = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    apart = layers.Lambda(distance, output_shape=(1,))([tower(first), tower(second)])
    model = keras.Model([first, second], layers.Dense(1, activation="sigmoid")(apart))
    model.compile(keras.optimizers.RMSprop(0.01), loss=contrastive, metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(14)
    first, second = (rng.random((19, 8, 8, 1), dtype="float32") for _ in range(2))
    return batches((first, second), rng.integers(0, 2, (19, 1)).astype("float32"))


PROGRAM = Program(build, data)
