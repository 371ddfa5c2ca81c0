"""A mixture of experts: a gate weighs them, and a loss in the layer keeps each of them busy."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Experts(layers.Layer):
    """What the experts say, weighed by the gate; adds what an example's gate differs from an even one."""

    def __init__(self, count, units):
        super().__init__()
        self.count, self.units, self.gate = count, units, layers.Dense(count, activation="softmax")

    def build(self, shape):
        self.gate.build(shape)
        self.kernels = self.add_weight(shape=(self.count, shape[-1], self.units), initializer="glorot_uniform")

    def call(self, inputs):
        gates = self.gate(inputs)
        self.add_loss(0.01 * ops.mean(ops.sum(ops.square(gates - 1 / self.count), axis=-1)))
        said = ops.einsum("bi,eio->beo", inputs, self.kernels)
        return ops.einsum("be,beo->bo", gates, ops.relu(said))


def build():
    inputs = keras.Input((6,))
    outputs = layers.Dense(3, activation="softmax")(Experts(4, 8)(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(27)
    return batches(rng.normal(size=(29, 6)).astype("float32"), rng.integers(0, 3, 29))


PROGRAM = Program(build, data)
