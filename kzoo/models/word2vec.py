"""word2vec: a vector for each word, learned from which words stand around it.

Tomas Mikolov, Kai Chen, Greg Corrado, Jeffrey Dean (2013), "Efficient Estimation of Word Representations in Vector Space",
https://arxiv.org/abs/1301.3781; Tomas Mikolov, Ilya Sutskever, Kai Chen, Greg Corrado, Jeffrey Dean (2013), "Distributed
Representations of Words and Phrases and their Compositionality", https://arxiv.org/abs/1310.4546.

    a word -> its vector v       another word -> its other vector u       u v: whether they stand together

The skip-gram model with negative sampling (equation 4 of the second): log sigmoid(u v) of each pair that stands together,
log sigmoid(-u v) of pairs that were drawn. Each word has two vectors; the first is what one keeps.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from kzoo.models.block import Block, registering
from kzoo.models.styles import Definition
from kzoo.records import ModelSpec, Recipe, from_config

COURSE = 10
register = registering("word2vec")
PAPER = "Mikolov, Sutskever, Chen, Corrado, Dean 2013, Distributed Representations of Words and Phrases and their Compositionality, https://arxiv.org/abs/1310.4546"


@register
class Together(Block):
    """{"word": int32 [batch, 1], "context": int32 [batch, pairs]} -> logits [batch, pairs, 1]."""

    def __init__(self, vocabulary: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.width = vocabulary, width
        start = keras.initializers.RandomUniform(-0.5 / width, 0.5 / width)
        self.embedding = layers.Embedding(vocabulary, width, embeddings_initializer=start, name="embedding")
        self.context = layers.Embedding(vocabulary, width, embeddings_initializer=start, name="context_embedding")

    def call(self, inputs: dict[str, Any]) -> Any:
        v, u = self.embedding(inputs["word"]), self.context(inputs["context"])  # [1, width], [pairs, width]
        return ops.sum(v * u, axis=-1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "vocabulary": self.vocabulary, "width": self.width}


@register
class Word2Vec(Definition):
    @staticmethod
    def define(vocabulary: int = 20_000, width: int = 100) -> list[layers.Layer]:
        return [Together(vocabulary, width, name="together")]  # [pairs, 1]


RECIPE = Recipe(
    loss="binary_crossentropy_from_logits", metrics=(), optimizer="adam", learning_rate=2e-3, schedule="cosine",
    batch_size=512, epochs=5,
)  # fmt: skip
VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="word2vec",
        task="word-vectors",
        definition=Word2Vec,
        summary=summary,
        config=config,
        input_shape={"word": (1,), "context": (None,)},
        input_dtype="int32",
        classifier_activation=None,
        head="together",
        inputs=from_config({"kind": "skipgrams", "size": config["vocabulary"]}),
        hidden=name.endswith("_tiny"),
        recipe=RECIPE,
        paper=PAPER,
    )
    for name, summary, config in (
        ("word2vec", "A vector for each word: the skip-gram model with negative sampling", {"vocabulary": 20_000}),
        ("word2vec_tiny", "word2vec for tests", {"vocabulary": 60, "width": 8}),
    )
)
