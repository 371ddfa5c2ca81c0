"""A sparse autoencoder: a regulariser of activities, which Keras divides by the examples."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((12,))
    code = layers.Dense(6, activation="relu", activity_regularizer=keras.regularizers.L1(1e-2))(inputs)
    code = layers.ActivityRegularization(l2=1e-2)(code)
    model = keras.Model(inputs, layers.Dense(12, activation="sigmoid")(code))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
    return model


def data():
    images = np.random.default_rng(29).random((29, 12), dtype="float32")
    return batches(images, images)


PROGRAM = Program(build, data)
