"""Layers that add losses: a scalar, one for each example, of activities, of weights."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Sparse(layers.Layer):
    """Adds a mean over the batch and, beside it, a number for each example."""

    def call(self, inputs):
        self.add_loss(0.1 * ops.mean(ops.abs(inputs)))
        self.add_loss(0.01 * ops.sum(ops.square(inputs), axis=-1))
        return inputs


def build():
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-3))(inputs)
    x = Sparse()(x)
    x = layers.Dense(8, activation="tanh", bias_regularizer="l2")(x)
    outputs = layers.Dense(1)(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss="mae")
    return model


def data():
    rng = np.random.default_rng(28)
    return batches(rng.normal(size=(29, 6)).astype("float32"), rng.normal(size=(29, 1)).astype("float32"))


PROGRAM = Program(build, data)
