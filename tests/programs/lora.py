"""Low-rank adaptation of a dense layer: its own kernel is frozen."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(12, activation="relu"), layers.Dense(3)])
    for layer in model.layers:
        layer.enable_lora(2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.2, momentum=0.9), loss, metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(52)
    return batches(rng.normal(size=(27, 8)).astype("float32"), rng.integers(0, 3, 27))


PROGRAM = Program(build, data)
