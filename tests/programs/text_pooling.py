"""Sentiment of token ids by an embedding and pooling, with Adam."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [
            keras.Input((10,), dtype="int32"),
            layers.Embedding(30, 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(8, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(4)
    return batches(rng.integers(0, 30, (27, 10)), rng.integers(0, 2, (27, 1)))


# Keras' Adam squares the gradient of each of a row's places alone; on replicas they are added first.
PROGRAM = Program(
    build, data, options={way: {"repeated_rows": "keras"} for way in ("one", "xla")},
    held={"mirrored": "rows that a batch reads several times learn from the sum of their gradients"},
)  # fmt: skip
