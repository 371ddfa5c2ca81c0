"""LSTM classifiers of sentences.

Sepp Hochreiter, Jürgen Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8), with the forget gate of
Gers, Schmidhuber, Cummins (2000), "Learning to Forget", and in both directions after Graves, Schmidhuber (2005),
"Framewise Phoneme Classification with Bidirectional LSTM".

    tokens -> embedding -> LSTM forwards and backwards, the last state of each -> label

Four gates of `units` cells read the embedding, the last output and a bias: 4 (width + units + 1) units weights a
direction.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from kzoo.models._block import Block, register
from kzoo.models._registry import register_model
from kzoo.models._styles import Definition
from kzoo.models._tokens import TokenEmbedding
from kzoo.spec import ModelSpec, Recipe, TextPreprocess

PAPER = "Hochreiter, Schmidhuber 1997, Long Short-Term Memory, https://doi.org/10.1162/neco.1997.9.8.1735"


@register
class LastState(Block):
    """{"x": [batch, time, width], "mask": [batch, time]} -> [batch, units], in both directions [batch, 2 units].

    Padding is skipped: the last state is that after the last real token (and before the first, backwards).
    """

    def __init__(self, units: int, bidirectional: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.bidirectional = units, bidirectional
        self.lstm = layers.LSTM(units, name=self.name)
        if bidirectional:
            self.lstm = layers.Bidirectional(self.lstm, name=self.name)

    def call(self, inputs: dict[str, Any]) -> Any:
        return self.lstm(inputs["x"], mask=inputs["mask"])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "bidirectional": self.bidirectional}


@register
class LSTMClassifier(Definition):
    """int32 ids [batch, time], 0 is padding -> float32 [batch, classes]."""

    @staticmethod
    def define(
        vocabulary: int = 20_000,
        width: int = 128,
        units: int = 64,
        bidirectional: bool = True,
        dropout: float = 0.5,
        include_top: bool = True,
        classes: int = 2,
        classifier_activation: str | None = "softmax",
    ) -> list[layers.Layer]:
        stages = [
            TokenEmbedding(vocabulary, width, dropout, name="embedding"),  # {"x": [time, width], "mask": [time]}
            LastState(units, bidirectional, name="lstm"),                  # [2 units]
        ]  # fmt: skip
        if include_top:
            stages += [
                layers.Dropout(dropout, name="dropout"),
                layers.Dense(classes, activation=classifier_activation, name="output"),
            ]
        return stages


for name, summary, config, preprocess, hidden in (
    ("lstm_classifier", "Sentences to labels by a bidirectional LSTM", {}, TextPreprocess(), False),
    (
        "lstm_classifier_tiny", "lstm_classifier for tests", {"vocabulary": 50, "width": 8, "units": 6},
        TextPreprocess(size=50, length=20), True,
    ),
):  # fmt: skip
    register_model(
        ModelSpec(
            name=name,
            family="lstm",
            task="text-classification",
            definition=LSTMClassifier,
            summary=summary,
            config=config,
            input_shape=(None,),
            input_name="tokens",
            input_dtype="int32",
            classes=2,
            preprocess=preprocess,
            hidden=hidden,
            recipe=Recipe(
                loss="sparse_categorical_crossentropy",
                metrics=("accuracy",),
                learning_rate=2e-3,
                schedule="cosine",
                batch_size=64,
                epochs=6,
            ),
            paper=PAPER,
        )
    )
