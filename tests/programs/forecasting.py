"""The next value of a series by a GRU, from windows of the values before it."""

import keras
import numpy as np
from keras import layers
from program import Program


def build():
    inputs = keras.Input((12, 2))
    x = layers.GRU(8, recurrent_dropout=0.0)(inputs)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile(keras.optimizers.RMSprop(0.01), loss="mse", metrics=["mae"])
    return model


def data():
    steps = np.arange(45)
    series = np.stack([np.sin(steps / 3), np.cos(steps / 5)], axis=1).astype("float32")
    return keras.utils.timeseries_dataset_from_array(series, series[12:, :1], 12, batch_size=8)


PROGRAM = Program(build, data)
