"""Texts of unlike lengths from a generator, each batch padded to its longest; how many there are is not known."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from program import Program


def build():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 6, mask_zero=True)(inputs)
    x = layers.GRU(5)(x)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def texts():
    rng = np.random.default_rng(44)
    for length in rng.integers(2, 9, 19):
        tokens = rng.integers(1, 20, length)
        yield tokens.astype("int32"), tokens[0] % 2


def data():
    signature = (tf.TensorSpec([None], "int32"), tf.TensorSpec([], "int64"))
    return tf.data.Dataset.from_generator(texts, output_signature=signature).padded_batch(8)


PROGRAM = Program(build, data)
