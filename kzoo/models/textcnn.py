"""A convolutional network for sentences.

Yoon Kim (2014), "Convolutional Neural Networks for Sentence Classification", https://arxiv.org/abs/1408.5882

    tokens -> embedding -> windows of 3, 4 and 5 words, 100 maps each -> ReLU -> the greatest over time -> dropout -> label

Section 3.1: 100 maps a window, dropout 0.5, the weights of the last layer at most of norm 3, batches of 50; the embedding
is learned from the beginning (CNN-rand). A window stands around each real word; outside the text are zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from kzoo.models.arguments import Activation, Dropout
from kzoo.models.block import Block, registering
from kzoo.models.decode import State
from kzoo.models.styles import Definition
from kzoo.models.tokens import TokenEmbedding
from kzoo.records import ModelSpec, Recipe, TextInputs

COURSE = 10
register = registering("textcnn")
PAPER = "Kim 2014, Convolutional Neural Networks for Sentence Classification, https://arxiv.org/abs/1408.5882"


@register
class Real(layers.Layer):
    """{"x": [batch, time, width], "mask": bool [batch, time]} -> x, zero at padding."""

    def call(self, inputs: State) -> Any:
        return inputs["x"] * ops.cast(ops.expand_dims(inputs["mask"], -1), inputs["x"].dtype)

    def compute_output_shape(self, shapes: Any) -> Any:
        return shapes["x"]


@register
class Windows(Block):
    """{"x": [batch, time, width], "mask": bool [batch, time]} -> [batch, maps x kernels].

    Of each map the greatest value at real words; 0 of none, for ReLU gives nothing below.
    """

    def __init__(self, kernels: Sequence[int], maps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernels, self.maps = tuple(kernels), maps
        self.real = Real(name=f"{self.name}_real")
        self.convolutions = [
            layers.Conv1D(maps, kernel, padding="same", activation="relu", name=f"{self.name}_conv{kernel}")
            for kernel in self.kernels
        ]
        self.reals = [Real(name=f"{self.name}_real{kernel}") for kernel in self.kernels]
        self.pools = [layers.GlobalMaxPooling1D(name=f"{self.name}_max{kernel}") for kernel in self.kernels]
        self.concatenate = layers.Concatenate(name=f"{self.name}_output")

    def call(self, inputs: State) -> Any:
        x, mask = self.real(inputs), inputs["mask"]
        parts = zip(self.convolutions, self.reals, self.pools, strict=True)
        found = [pool(real({"x": conv(x), "mask": mask})) for conv, real, pool in parts]
        return self.concatenate(found) if len(found) > 1 else found[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernels": self.kernels, "maps": self.maps}


@register
class TextCNN(Definition):
    """int32 ids [batch, time], 0 is padding -> float32 [batch, classes]."""

    @staticmethod
    def define(
        vocabulary: int = 20_000,
        width: int = 300,
        kernels: Sequence[int] = (3, 4, 5),
        maps: int = 100,
        dropout: Dropout = 0.5,
        include_top: bool = True,
        classes: int = 2,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        if not kernels or len(set(kernels)) < len(kernels) or min(kernels) < 1:
            raise ValueError(f"kernels={tuple(kernels)} must be different whole numbers above 0, one at least")
        stages = [
            TokenEmbedding(vocabulary, width, name="embedding"),  # {"x": [time, width], "mask": [time]}
            Windows(kernels, maps, name="windows"),               # [maps x kernels]
        ]  # fmt: skip
        if include_top:
            norm = keras.constraints.MaxNorm(3, axis=0)
            stages += [
                layers.Dropout(dropout, name="dropout"),
                layers.Dense(classes, activation=classifier_activation, kernel_constraint=norm, name="output"),
            ]
        return stages


RECIPE = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    learning_rate=1e-3,
    schedule="cosine",
    batch_size=50,
    epochs=4,
)
TINY = {"vocabulary": 50, "width": 8, "kernels": (2, 3), "maps": 5, "dropout": 0.2}
VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="textcnn",
        task="text-classification",
        definition=TextCNN,
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
        ("textcnn", "Sentences to labels by windows of 3, 4 and 5 words", {}, TextInputs(length=400)),
        ("textcnn_tiny", "textcnn for tests", TINY, TextInputs(size=50, length=20)),
    )
)
