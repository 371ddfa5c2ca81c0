"""The next frame of a film by convolutional LSTMs."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((None, 6, 6, 1))
    x = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(inputs)
    x = layers.Conv3D(1, 3, activation="sigmoid", padding="same")(x)
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.Adam(0.01), loss="binary_crossentropy")
    return model


def data():
    films = np.random.default_rng(35).random((11, 5, 6, 6, 1), dtype="float32")
    return batches(films[:, :-1], films[:, 1:], size=4)


PROGRAM = Program(build, data)
