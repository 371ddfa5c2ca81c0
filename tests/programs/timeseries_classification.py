"""Classes of series by 1-D convolutions with batch normalization, each replica with its own statistics."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    x = inputs = keras.Input((20, 1))
    for _ in range(2):
        x = layers.Conv1D(6, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    outputs = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.SGD(0.05)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    return model


def data():
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 2, 27)
    return batches(np.sin(np.arange(20)[None, :, None] / (2 + labels[:, None, None])).astype("float32"), labels)


PROGRAM = Program(build, data, held={"mirrored": "batch normalization has each replica's own statistics"})
