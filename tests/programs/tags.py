"""Several tags an example: binary cross-entropy on a multi-hot vector, area under the curve."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [keras.Input((20,)), layers.Dense(12, activation="relu"), layers.Dense(6, activation="sigmoid")]
    )
    model.compile(
        keras.optimizers.Adamax(0.01),
        loss="binary_crossentropy",
        metrics=["binary_accuracy", keras.metrics.AUC(num_thresholds=20, multi_label=True, num_labels=6, name="auc")],
    )
    return model


def data():
    rng = np.random.default_rng(31)
    words = rng.poisson(0.5, (35, 20)).astype("float32")
    return batches(words, (rng.random((35, 6)) < 0.4).astype("float32"))


PROGRAM = Program(build, data)
