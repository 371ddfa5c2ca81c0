"""Sentiment of padded token ids by two layers of bidirectional LSTM."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 6, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(4))(x)
    outputs = layers.Dense(1, activation="sigmoid")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="binary_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(5)
    tokens = rng.integers(1, 20, (19, 7))
    tokens[np.arange(7) >= rng.integers(2, 8, (19, 1))] = 0
    return batches(tokens, rng.integers(0, 2, 19))


PROGRAM = Program(build, data)
