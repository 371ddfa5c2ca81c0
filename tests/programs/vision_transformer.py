"""A vision transformer: patches, places, attention, layer normalization."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Patches(layers.Layer):
    """Square patches of an image, projected, with their places added."""

    def __init__(self, size, width):
        super().__init__()
        self.size, self.project = size, layers.Dense(width)
        self.places = layers.Embedding(16, width)

    def call(self, images):
        found = ops.image.extract_patches(images, self.size)
        found = ops.reshape(found, (-1, 9, found.shape[-1]))
        return self.project(found) + self.places(ops.arange(9))


def build():
    inputs = keras.Input((9, 9, 3))
    x = Patches(3, 8)(inputs)
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
        y = layers.Dense(16, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = layers.Add()([x, layers.Dense(8)(y)])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    model = keras.Model(inputs, layers.Dense(4)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=1.0), loss, metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(26)
    return batches(rng.random((21, 9, 9, 3), dtype="float32"), rng.integers(0, 4, 21))


PROGRAM = Program(build, data)
