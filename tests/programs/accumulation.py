"""Gradients of three batches are accumulated for one update."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(10, activation="tanh", kernel_regularizer="l2"), layers.Dense(1)]
    )
    optimizer = keras.optimizers.Adam(0.01, gradient_accumulation_steps=3)
    model.compile(optimizer, loss="mse", metrics=[keras.metrics.RootMeanSquaredError(name="rmse")])
    return model


def data():
    rng = np.random.default_rng(24)
    return batches(rng.normal(size=(37, 6)).astype("float32"), rng.normal(size=(37, 1)).astype("float32"))


PROGRAM = Program(build, data, epochs=3)
