"""Rare frauds: a focal loss, weights of examples in the data, precision and recall."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [
            keras.Input((7,)),
            layers.Dense(12, activation="relu"),
            layers.Dense(12, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        loss=keras.losses.BinaryFocalCrossentropy(gamma=2.0),
        metrics=[keras.metrics.Precision(name="precision"), keras.metrics.Recall(name="recall")],
        weighted_metrics=[keras.metrics.FalseNegatives(name="missed")],
    )
    return model


def data():
    rng = np.random.default_rng(19)
    labels = (rng.random((37, 1)) < 0.2).astype("float32")
    weights = np.where(labels[:, 0] > 0, 5.0, 1.0).astype("float32")
    return batches(rng.normal(size=(37, 7)).astype("float32"), labels, weights)


PROGRAM = Program(build, data)
