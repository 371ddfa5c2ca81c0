"""Segmentation by a small U-Net: a class a pixel, sparse labels."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def block(x, filters):
    x = layers.SeparableConv2D(filters, 3, padding="same")(x)
    return layers.Activation("relu")(layers.GroupNormalization(2)(x))


def build():
    inputs = keras.Input((8, 8, 3))
    first = block(inputs, 4)
    second = block(layers.MaxPooling2D()(first), 6)
    x = block(layers.MaxPooling2D()(second), 8)
    for skipped, filters in ((second, 6), (first, 4)):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x)
        x = block(layers.Concatenate()([x, skipped]), filters)
    outputs = layers.Conv2D(3, 1, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(2)
    return batches(rng.random((13, 8, 8, 3), dtype="float32"), rng.integers(0, 3, (13, 8, 8)), size=5)


PROGRAM = Program(build, data)
