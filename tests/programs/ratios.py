"""Classes by a hinge loss, with metrics that are ratios of sums: F1, R2, cosines and correlations."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="softplus"), layers.Dense(3)])
    metrics = [
        keras.metrics.F1Score(average="weighted", name="f1"),
        keras.metrics.R2Score(name="r2"),
        keras.metrics.CosineSimilarity(name="cosine"),
        keras.metrics.PearsonCorrelation(name="pearson"),
    ]
    model.compile(keras.optimizers.Adadelta(0.5), loss=keras.losses.CategoricalHinge(), metrics=metrics)
    return model


def data():
    rng = np.random.default_rng(51)
    return batches(rng.normal(size=(35, 6)).astype("float32"), np.eye(3, dtype="float32")[rng.integers(0, 3, 35)])


PROGRAM = Program(build, data)
