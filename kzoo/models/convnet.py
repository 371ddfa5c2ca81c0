"""What the convolutional families share: the top, the normalization of 2012, the inputs of each lineage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras import layers, ops

from kzoo.models.block import Block, registering
from kzoo.records import CAFFE, TF, TORCH, ImageInputs

register = registering("convnet")


def top(
    include_top: bool,
    pooling: str | None,
    classes: int,
    classifier_activation: str | None,
    dropout: float = 0.0,
) -> list[layers.Layer]:
    """The end of a network without fully connected layers: global average pooling, dropout, one dense layer.

    Without it the feature map, or its average or maximum over the positions.
    """
    if not include_top:
        return pooled(pooling)
    stages = [layers.GlobalAveragePooling2D(name="avg_pool")]
    if dropout:
        stages.append(layers.Dropout(dropout, name="dropout"))
    return [*stages, layers.Dense(classes, activation=classifier_activation, name="predictions")]


def pooled(pooling: str | None) -> list[layers.Layer]:
    """The end of a network without its top."""
    kinds = {None: [], "avg": [layers.GlobalAveragePooling2D], "max": [layers.GlobalMaxPooling2D]}
    return [kind(name=f"{pooling}_pool") for kind in kinds[pooling]]


def images(mode: str, size: int) -> ImageInputs:
    """The preprocessing of keras.applications' modes: "caffe", "torch" and "tf"."""
    return replace({"caffe": CAFFE, "torch": TORCH, "tf": TF}[mode], size=(size, size))


@register
class LocalResponseNormalization(Block):
    """b = a / (k + alpha * sum of a^2 over `size` neighbouring channels)^beta; [..., channels] -> the same.

    Krizhevsky et al. 2012, section 3.3, with its constants. The sum is not divided by `size`, as Caffe's is. In float32
    under every policy: squares pass float16's largest number. Plain Keras operations: a functional model loads without
    kzoo.
    """

    def __init__(self, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = {"size": size, "k": k, "alpha": alpha, "beta": beta}
        self.multiply = layers.Multiply(name=f"{self.name}_output")

    def call(self, a: Any) -> Any:
        size, k, alpha, beta = self.config.values()
        channels, before = a.shape[-1], size // 2
        squares = ops.pad(
            ops.square(ops.cast(a, "float32")), [[0, 0]] * (len(a.shape) - 1) + [[before, size - 1 - before]]
        )
        total = squares[..., :channels]
        for i in range(1, size):
            total = total + squares[..., i : i + channels]
        return self.multiply([a, ops.cast(ops.power(k + alpha * total, -beta), a.dtype)])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}
