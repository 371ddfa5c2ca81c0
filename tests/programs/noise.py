"""A classifier with noise on its inputs and spatial dropout, by seeds of their own."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((8, 3))
    x = layers.GaussianNoise(0.1, seed=1)(inputs)
    x = layers.SpatialDropout1D(0.4, seed=2)(layers.Conv1D(8, 3, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x)))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(55)
    return batches(rng.normal(size=(29, 8, 3)).astype("float32"), rng.integers(0, 3, 29))


PROGRAM = Program(
    build, data,
    held={"mirrored": "what is drawn differs between replicas", "xla": "TensorFlow draws other numbers under XLA"},
)  # fmt: skip
