"""A recurrent layer with a cell and a learning rate schedule of the user's own."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class MinimalCell(layers.Layer):
    """One gate between the old state and a new one."""

    def __init__(self, units):
        super().__init__()
        self.units = self.state_size = units
        self.gate, self.new = layers.Dense(units, activation="sigmoid"), layers.Dense(units, activation="tanh")

    def build(self, shape):
        self.gate.build((None, shape[-1] + self.units))
        self.new.build((None, shape[-1]))

    def call(self, inputs, states):
        gate = self.gate(ops.concatenate([inputs, states[0]], axis=-1))
        state = gate * states[0] + (1 - gate) * self.new(inputs)
        return state, [state]


class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Rises for some steps, then falls."""

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1
        return 0.1 * ops.minimum(1 / ops.sqrt(step), step / 4**1.5)


def build():
    inputs = keras.Input((7, 3))
    x = layers.RNN(MinimalCell(6))(inputs)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(InverseSquareRoot(), momentum=0.9), loss=keras.losses.Huber())
    return model


def data():
    rng = np.random.default_rng(45)
    x = rng.normal(size=(27, 7, 3)).astype("float32")
    return batches(x, x.sum(axis=(1, 2))[:, None])


PROGRAM = Program(build, data)
