"""A wide and a deep part, as a subclass that takes two inputs in a tuple."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


class WideAndDeep(keras.Model):
    """A linear part of crossed features, and a network of dense ones."""

    def __init__(self):
        super().__init__()
        self.hidden = [layers.Dense(8, activation="relu"), layers.Dense(8, activation="relu")]
        self.deep, self.wide = layers.Dense(1), layers.Dense(1, use_bias=False)

    def call(self, inputs):
        wide, x = inputs
        for layer in self.hidden:
            x = layer(x)
        return keras.ops.sigmoid(self.wide(wide) + self.deep(x))


def build():
    model = WideAndDeep()
    model((np.zeros((1, 12), "float32"), np.zeros((1, 5), "float32")))
    model.compile(keras.optimizers.Adagrad(0.1), loss="binary_crossentropy", metrics=["binary_accuracy"])
    return model


def data():
    rng = np.random.default_rng(11)
    crossed = rng.integers(0, 2, (27, 12)).astype("float32")
    return batches((crossed, rng.normal(size=(27, 5)).astype("float32")), rng.integers(0, 2, (27, 1)))


PROGRAM = Program(build, data)
