"""A convolutional autoencoder: the labels are the inputs."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(padding="same"),
            layers.Conv2DTranspose(4, 3, strides=2, activation="relu", padding="same"),
            layers.Conv2D(1, 3, activation="sigmoid", padding="same"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy")
    return model


def data():
    images = np.random.default_rng(3).random((25, 8, 8, 1), dtype="float32")
    return batches(images, images)


PROGRAM = Program(build, data)
