"""A convolutional classifier of small images, with batch normalization, which replicas synchronise."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((12, 12, 1))
    x = inputs
    for filters in (4, 8):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D()(x)
    outputs = layers.Dense(4, activation="softmax")(layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.SGD(0.02, momentum=0.9)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(0)
    return batches(rng.random((29, 12, 12, 1), dtype="float32"), rng.integers(0, 4, 29), size=9)


PROGRAM = Program(build, data, options={"mirrored": {"sync_batch_norm": True}})
