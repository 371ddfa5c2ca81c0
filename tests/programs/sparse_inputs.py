"""Bags of words as sparse tensors."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((30,), sparse=True)
    x = layers.Dense(8, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(49)
    words = (rng.random((21, 30)) < 0.2).astype("float32")
    return batches(words, rng.integers(0, 3, 21)).map(lambda x, y: (tf.sparse.from_dense(x), y))


PROGRAM = Program(
    build, data, held={"xla": "XLA cannot compile SparseFillEmptyRows", "mirrored": "replicas cannot share out sparse"}
)
