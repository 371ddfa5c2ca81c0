"""Three outputs in a list, one without a loss, weights of examples for each, weighted metrics."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    inputs = keras.Input((6,))
    x = layers.Dense(10, activation="tanh")(inputs)
    outputs = [layers.Dense(3, activation="softmax", name="kind")(x), layers.Dense(1, name="price")(x)]
    outputs.append(layers.Dense(2, name="unused")(x))
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        loss=["sparse_categorical_crossentropy", "mse", None],
        loss_weights=[1.0, 0.3, None],
        metrics=[["accuracy"], ["mae"], []],
        weighted_metrics=[["accuracy"], [], []],
    )
    return model


def data():
    rng = np.random.default_rng(40)
    labels = (rng.integers(0, 3, 27), rng.normal(size=(27, 1)).astype("float32"), np.zeros((27, 2), "float32"))
    weights = tuple(rng.random(27, dtype="float32") for _ in labels)
    return batches(rng.normal(size=(27, 6)).astype("float32"), labels, weights)


PROGRAM = Program(build, data, averaged=("kind_loss", "price_loss"))
