"""What networks on token ids share. Padding is explicit: ids of 0, and a mask that travels with what they become."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from kzoo.models.block import Block, registering

register = registering("tokens")


@register
class PaddingMask(layers.Layer):
    """int32 ids [batch, time] -> bool [batch, time], False where they are padding."""

    def call(self, ids: Any) -> Any:
        return ops.not_equal(ids, 0)

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        return keras.KerasTensor(ids.shape, dtype="bool")


@register
class TokenEmbedding(Block):
    """int32 ids [batch, time] -> {"x": float32 [batch, time, width], "mask": bool [batch, time]}."""

    def __init__(self, vocabulary: int, width: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.width, self.rate = vocabulary, width, dropout
        self.embedding = layers.Embedding(vocabulary, width, name=self.name)
        self.mask = PaddingMask(name=f"{self.name}_mask")
        self.dropout = layers.Dropout(dropout, name=f"{self.name}_dropout")

    def call(self, ids: Any) -> dict[str, Any]:
        return {"x": self.dropout(self.embedding(ids)), "mask": self.mask(ids)}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(), "vocabulary": self.vocabulary, "width": self.width, "dropout": self.rate
        }  # fmt: skip
