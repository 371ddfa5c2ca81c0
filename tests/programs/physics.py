"""A physics-informed network in float64: the residual of u' = -u, by a tape in `compute_loss`."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from program import Program, batches


class Decay(keras.Model):
    """u(t) with u' = -u and u(0) = 1."""

    def __init__(self):
        super().__init__(dtype="float64")
        self.hidden = layers.Dense(8, activation="tanh", dtype="float64")
        self.out = layers.Dense(1, dtype="float64")

    def call(self, inputs):
        return self.out(self.hidden(inputs))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        with tf.GradientTape() as tape:
            tape.watch(x)
            u = self(x)
        residual = tape.gradient(u, x) + u
        start = ops.square(self(ops.zeros_like(x)) - 1)
        return ops.mean(ops.square(residual)) + ops.mean(start) + ops.mean(ops.square(u - y))


def build():
    model = Decay()
    model(np.zeros((1, 1), "float64"))
    model.compile(keras.optimizers.Adam(0.02))
    return model


def data():
    times = np.linspace(0, 2, 29)[:, None]
    return batches(times, np.exp(-times))


PROGRAM = Program(build, data)
