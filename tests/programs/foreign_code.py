"""A layer that calls NumPy, which XLA cannot compile."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from program import Program, batches


class Ranks(layers.Layer):
    """The place of each number among those of its row."""

    def call(self, inputs):
        ranks = tf.numpy_function(lambda x: x.argsort(1).argsort(1).astype("float32"), [inputs], tf.float32)
        return tf.ensure_shape(ranks, inputs.shape)


def build():
    inputs = keras.Input((5,))
    x = layers.Concatenate()([inputs, Ranks()(inputs)])
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(50)
    return batches(rng.normal(size=(19, 5)).astype("float32"), rng.integers(0, 3, 19))


PROGRAM = Program(build, data, held={"xla": "XLA cannot compile"})
