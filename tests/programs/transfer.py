"""Transfer: a frozen trunk with batch normalization in inference mode, bytes scaled in the model, a new head."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    trunk = keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, activation="relu"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    trunk.trainable = False
    inputs = keras.Input((10, 10, 3), dtype="uint8")
    x = trunk(layers.Rescaling(1 / 127.5, offset=-1)(inputs), training=False)
    model = keras.Model(inputs, layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(39)
    return batches(rng.integers(0, 256, (21, 10, 10, 3)).astype("uint8"), rng.integers(0, 3, 21))


PROGRAM = Program(build, data)
