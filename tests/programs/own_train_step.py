"""A model with a `train_step` of its own, which scales its gradients."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from program import Program, batches


class Halved(keras.Model):
    """Learns by half of each gradient."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x, y, outputs)
        gradients = tape.gradient(loss, [v.value for v in self.trainable_variables])
        self.optimizer.apply([0.5 * g for g in gradients], self.trainable_variables)
        return {"loss": loss}


def build():
    inputs = keras.Input((5,))
    model = Halved(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    return model


def data():
    rng = np.random.default_rng(42)
    return batches(rng.normal(size=(19, 5)).astype("float32"), rng.normal(size=(19, 1)).astype("float32"))


PROGRAM = Program(build, data, held=dict.fromkeys(("one", "xla", "mirrored"), "has a train_step of its own"))
