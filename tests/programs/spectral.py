"""A critic of images with spectral normalization, by the hinge loss, and a constraint on the last weights."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.SpectralNormalization(layers.Conv2D(4, 3, strides=2)),
            layers.LeakyReLU(0.2),
            layers.Flatten(),
            layers.Dense(1, kernel_constraint=keras.constraints.MaxNorm(0.5)),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.5), loss="hinge")
    return model


def data():
    rng = np.random.default_rng(37)
    return batches(rng.random((21, 8, 8, 1), dtype="float32"), rng.choice([-1.0, 1.0], (21, 1)))


PROGRAM = Program(build, data, held={"mirrored": "which learns, as it is called"})
