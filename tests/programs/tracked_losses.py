"""A model that notes the parts of its loss in metrics of its own, as variational autoencoders do."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Coder(keras.Model):
    """Codes and back; the loss is what is lost and how large codes are."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = layers.Dense(3, activation="tanh"), layers.Dense(10)
        self.lost, self.size = keras.metrics.Mean(name="lost"), keras.metrics.Mean(name="size")

    def call(self, inputs):
        return self.decoder(self.encoder(inputs))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        lost = ops.mean(ops.square(x - y_pred), axis=-1)
        size = ops.mean(ops.abs(self.encoder(x)), axis=-1)
        self.lost.update_state(lost)
        self.size.update_state(size)
        return ops.mean(lost) + 0.1 * ops.mean(size)


def build():
    model = Coder()
    model(np.zeros((1, 10), "float32"))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    return model


def data():
    return batches(np.random.default_rng(41).normal(size=(27, 10)).astype("float32"))


PROGRAM = Program(build, data)
