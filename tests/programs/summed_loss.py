"""A `compute_loss` that adds up over a batch, where Keras' losses are means."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Summed(keras.Model):
    """Its loss is the sum over the examples."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.sum(ops.square(y - y_pred))


def build():
    inputs = keras.Input((5,))
    model = Summed(inputs, layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(0.005))
    return model


def data():
    rng = np.random.default_rng(46)
    return batches(rng.normal(size=(19, 5)).astype("float32"), rng.normal(size=(19, 1)).astype("float32"))


PROGRAM = Program(build, data)
