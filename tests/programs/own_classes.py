"""A Loss and a Metric of the user's own; the metric keeps sums."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Smoothed(keras.losses.Loss):
    """Cross-entropy against labels that leave a little to every class."""

    def __init__(self, smoothing=0.1):
        super().__init__(name="smoothed_crossentropy")
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        target = ops.one_hot(ops.cast(y_true, "int32"), classes) * (1 - self.smoothing) + self.smoothing / classes
        return -ops.sum(target * ops.log_softmax(y_pred), axis=-1)


class TruePositives(keras.metrics.Metric):
    """How many examples of a class were found, weighted."""

    def __init__(self, label=1, name="true_positives"):
        super().__init__(name=name)
        self.label = label
        self.found = self.add_variable((), initializer="zeros", name="found")

    def update_state(self, y_true, y_pred, sample_weight=None):
        hit = ops.logical_and(ops.argmax(y_pred, axis=-1) == self.label, ops.cast(y_true, "int64") == self.label)
        hit = ops.cast(hit, "float32")
        self.found.assign_add(ops.sum(hit if sample_weight is None else hit * sample_weight))

    def result(self):
        return self.found


def build():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(10, activation="swish"), layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss=Smoothed(), weighted_metrics=[TruePositives()])
    return model


def data():
    rng = np.random.default_rng(18)
    x, weights = rng.normal(size=(35, 6)).astype("float32"), rng.random(35, dtype="float32")
    return batches(x, rng.integers(0, 3, 35), weights)


PROGRAM = Program(build, data)
