"""LSTM classifiers of sentences.

Sepp Hochreiter, Jürgen Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8), with the forget gate of
Gers, Schmidhuber, Cummins (2000), "Learning to Forget", and in both directions after Graves, Schmidhuber (2005),
"Framewise Phoneme Classification with Bidirectional LSTM".

    tokens -> embedding -> LSTM forwards and backwards -> the greatest value of each unit over time -> label

The summary over time is that of Conneau, Kiela, Schwenk, Barrault, Bordes (2017), "Supervised Learning of Universal
Sentence Representations", section 3.2.2: in long texts the last state forgets.

Four gates of `units` cells read the embedding, the last output and a bias: 4 (width + units + 1) units weights a
direction.
"""

from __future__ import annotations

from typing import Any, Literal

from keras import layers, ops

from kzoo.models.arguments import Activation, Dropout
from kzoo.models.block import Block, registering
from kzoo.models.styles import Definition
from kzoo.models.tokens import TokenEmbedding
from kzoo.records import ModelSpec, Recipe, TextInputs

COURSE = 9
register = registering("lstm")
PAPER = "Hochreiter, Schmidhuber 1997, Long Short-Term Memory, https://doi.org/10.1162/neco.1997.9.8.1735"


@register
class SentenceLSTM(Block):
    """{"x": [batch, time, width], "mask": [batch, time]} -> [batch, units], in both directions [batch, 2 units].

    Of the states at all real tokens `summary` takes the greatest value of each unit (`max`), or the state at the end of
    reading (`last`), after the last real token forwards and the first backwards. Padding is skipped.
    """

    def __init__(self, units: int, bidirectional: bool = True, summary: str = "max", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.bidirectional, self.summary = units, bidirectional, summary
        lstm = layers.LSTM(units, return_sequences=summary == "max", name=self.name)
        self.lstm = layers.Bidirectional(lstm, name=self.name) if bidirectional else lstm
        self.greatest = MaxOverTime(name=f"{self.name}_max") if summary == "max" else None

    def call(self, inputs: dict[str, Any]) -> Any:
        states = self.lstm(inputs["x"], mask=inputs["mask"])
        return states if self.greatest is None else self.greatest(states, inputs["mask"])

    def get_config(self) -> dict[str, Any]:
        own = {"units": self.units, "bidirectional": self.bidirectional, "summary": self.summary}
        return {**super().get_config(), **own}


@register
class MaxOverTime(layers.Layer):
    """float [batch, time, units] in -1 to 1, bool [batch, time] -> [batch, units]; of no real tokens 0."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Explicit masks only."""

    def call(self, states: Any, mask: Any) -> Any:
        greatest = ops.max(ops.where(ops.expand_dims(mask, -1), states, -1.0), axis=1)
        return ops.where(ops.any(mask, axis=1, keepdims=True), greatest, 0.0)

    def compute_output_shape(self, states_shape: Any, mask_shape: Any = None) -> tuple[int | None, int]:
        return (states_shape[0], states_shape[2])


@register
class LSTMClassifier(Definition):
    """int32 ids [batch, time], 0 is padding -> float32 [batch, classes]."""

    @staticmethod
    def define(
        vocabulary: int = 20_000,
        width: int = 128,
        units: int = 64,
        bidirectional: bool = True,
        summary: Literal["max", "last"] = "max",
        dropout: Dropout = 0.5,
        include_top: bool = True,
        classes: int = 2,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        stages = [
            TokenEmbedding(vocabulary, width, dropout, name="embedding"),  # {"x": [time, width], "mask": [time]}
            SentenceLSTM(units, bidirectional, summary, name="lstm"),      # [2 units]
        ]  # fmt: skip
        if include_top:
            stages += [
                layers.Dropout(dropout, name="dropout"),
                layers.Dense(classes, activation=classifier_activation, name="output"),
            ]
        return stages


RECIPE = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    learning_rate=2e-3,
    schedule="cosine",
    batch_size=64,
    epochs=3,
)
TINY = {"vocabulary": 50, "width": 8, "units": 6, "dropout": 0.2}
VARIANTS = tuple(
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
        inputs=inputs,
        hidden=name.endswith("_tiny"),
        recipe=RECIPE,
        paper=PAPER,
    )
    for name, summary, config, inputs in (
        ("lstm_classifier", "Sentences to labels by a bidirectional LSTM", {}, TextInputs(length=400)),
        ("lstm_classifier_tiny", "lstm_classifier for tests", TINY, TextInputs(size=50, length=20)),
    )
)
