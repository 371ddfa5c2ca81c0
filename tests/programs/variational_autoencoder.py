"""A variational autoencoder: a layer draws with a seed of its own and adds its divergence, the rest is the loss."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Sampling(layers.Layer):
    """A point near the mean; adds the divergence from a normal distribution."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, inputs):
        mean, log_variance = inputs
        divergence = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        self.add_loss(0.1 * ops.mean(ops.sum(divergence, axis=1)))
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seeds)


def build():
    inputs = keras.Input((16,))
    x = layers.Dense(8, activation="relu")(inputs)
    drawn = Sampling()([layers.Dense(2)(x), layers.Dense(2)(x)])
    outputs = layers.Dense(16, activation="sigmoid")(layers.Dense(8, activation="relu")(drawn))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="binary_crossentropy")
    return model


def data():
    images = np.random.default_rng(22).random((27, 16), dtype="float32")
    return batches(images, images)


PROGRAM = Program(
    build, data, drawn=True,
    held={"mirrored": "what is drawn differs between replicas", "xla": "TensorFlow draws other numbers under XLA"},
)  # fmt: skip
