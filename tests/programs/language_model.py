"""A very small language model: causal attention, weights shared between the embedding and the output."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class LanguageModel(keras.Model):
    """The next token at each place."""

    def __init__(self, words=15, width=8):
        super().__init__()
        self.tokens = layers.ReversibleEmbedding(words, width)
        self.places = layers.Embedding(8, width)
        self.attention, self.norm = layers.MultiHeadAttention(2, 4), layers.LayerNormalization()
        self.wide, self.narrow = layers.Dense(16, activation="gelu"), layers.Dense(width)

    def call(self, inputs, training=None):
        x = self.tokens(inputs) + self.places(ops.arange(8))
        x = self.norm(x + self.attention(x, x, use_causal_mask=True, training=training))
        return self.tokens(x + self.narrow(self.wide(x)), reverse=True)


def build():
    model = LanguageModel()
    model(np.zeros((1, 8), "int32"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["sparse_categorical_accuracy"])
    return model


def data():
    tokens = np.random.default_rng(34).integers(0, 15, (19, 9)).astype("int32")
    return batches(tokens[:, :-1], tokens[:, 1:])


PROGRAM = Program(build, data)
