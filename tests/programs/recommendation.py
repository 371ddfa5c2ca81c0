"""Ratings of films by users: two embeddings, their dot product and biases."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Recommender(keras.Model):
    """How a user likes a film, in 0 to 1."""

    def __init__(self):
        super().__init__()
        regular = {"embeddings_initializer": "he_normal", "embeddings_regularizer": keras.regularizers.l2(1e-4)}
        self.user, self.film = layers.Embedding(9, 5, **regular), layers.Embedding(11, 5, **regular)
        self.user_bias, self.film_bias = layers.Embedding(9, 1), layers.Embedding(11, 1)

    def call(self, inputs):
        user, film = inputs[:, 0], inputs[:, 1]
        dot = ops.sum(self.user(user) * self.film(film), axis=-1, keepdims=True)
        return ops.sigmoid(dot + self.user_bias(user) + self.film_bias(film))


def build():
    model = Recommender()
    model(np.zeros((1, 2), "int32"))
    model.compile(keras.optimizers.SGD(0.5), loss="binary_crossentropy")
    return model


def data():
    rng = np.random.default_rng(12)
    pairs = np.stack([rng.integers(0, 9, 45), rng.integers(0, 11, 45)], axis=1).astype("int32")
    return batches(pairs, rng.random((45, 1), dtype="float32"), size=16)


PROGRAM = Program(build, data, held={"evaluate": "no classes"})
