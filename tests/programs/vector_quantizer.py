"""A vector-quantized autoencoder: gradients go straight through, two losses are added in the layer."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Quantizer(layers.Layer):
    """The nearest of some learned vectors."""

    def build(self, shape):
        self.codes = self.add_weight(shape=(8, shape[-1]), initializer="random_uniform", name="codes")

    def call(self, inputs):
        flat = ops.reshape(inputs, (-1, inputs.shape[-1]))
        apart = ops.sum(ops.square(flat[:, None] - self.codes[None]), axis=-1)
        chosen = ops.matmul(ops.one_hot(ops.argmin(apart, axis=-1), 8), self.codes)
        chosen = ops.reshape(chosen, ops.shape(inputs))
        self.add_loss(0.25 * ops.mean(ops.square(ops.stop_gradient(chosen) - inputs)))
        self.add_loss(ops.mean(ops.square(chosen - ops.stop_gradient(inputs))))
        return inputs + ops.stop_gradient(chosen - inputs)


def build():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
    x = Quantizer()(x)
    outputs = layers.Conv2DTranspose(1, 3, strides=2, padding="same")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss="mse")
    return model


def data():
    images = np.random.default_rng(43).random((19, 8, 8, 1), dtype="float32")
    return batches(images, images)


PROGRAM = Program(build, data)
