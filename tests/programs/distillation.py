"""Knowledge distillation: a frozen teacher beside the student, both losses in `compute_loss`."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Distiller(keras.Model):
    """The student learns the labels and the teacher's softened answers."""

    def __init__(self, student, teacher, alpha=0.3, temperature=3.0):
        super().__init__()
        self.student, self.teacher = student, teacher
        self.teacher.trainable = False
        self.alpha, self.temperature = alpha, temperature

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        hard = super().compute_loss(x, y, y_pred, sample_weight)
        wanted = ops.softmax(self.teacher(x, training=False) / self.temperature)
        given = ops.log_softmax(y_pred / self.temperature)
        soft = -ops.mean(ops.sum(wanted * given, axis=-1)) * self.temperature**2
        return self.alpha * hard + (1 - self.alpha) * soft


def network(units):
    return keras.Sequential([keras.Input((8,)), layers.Dense(units, activation="relu"), layers.Dense(3)])


def build():
    model = Distiller(network(4), network(16))
    model(np.zeros((1, 8), "float32"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(21)
    return batches(rng.normal(size=(27, 8)).astype("float32"), rng.integers(0, 3, 27))


PROGRAM = Program(build, data)
