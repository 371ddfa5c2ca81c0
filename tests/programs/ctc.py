"""Reading of short words off images: columns go through a recurrent layer, and CTC aligns them."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((16, 8, 1))
    x = layers.Conv2D(4, 3, activation="relu", padding="same")(inputs)
    x = layers.MaxPooling2D((1, 2))(x)
    x = layers.Reshape((16, 16))(x)
    x = layers.Bidirectional(layers.GRU(6, return_sequences=True))(x)
    model = keras.Model(inputs, layers.Dense(6)(x))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss=keras.losses.CTC())
    return model


def data():
    rng = np.random.default_rng(16)
    return batches(rng.random((13, 16, 8, 1), dtype="float32"), rng.integers(1, 6, (13, 4)), size=5)


PROGRAM = Program(build, data)
