"""Translation of characters by an encoder and a decoder of LSTM, the decoder fed with what it shall say."""

import keras
import numpy as np
from keras import layers
from program import Program, batches

SIGNS = 7


def build():
    source, target = keras.Input((None, SIGNS), name="source"), keras.Input((None, SIGNS), name="target")
    _, hidden, cell = layers.LSTM(8, return_state=True)(source)
    x, _, _ = layers.LSTM(8, return_sequences=True, return_state=True)(target, initial_state=[hidden, cell])
    model = keras.Model([source, target], layers.Dense(SIGNS, activation="softmax")(x))
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(7)
    one_hot = np.eye(SIGNS, dtype="float32")
    source, target = one_hot[rng.integers(0, SIGNS, (19, 6))], one_hot[rng.integers(0, SIGNS, (19, 5))]
    return batches((source, np.roll(target, 1, axis=1)), target)


PROGRAM = Program(build, data)
