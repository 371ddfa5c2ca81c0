"""What networks of attention are made of: positions, attention by heads, sub-layers on a residual road, masks.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin 2017, "Attention Is All You Need",
https://arxiv.org/abs/1706.03762; sections and equations are those of this paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kzoo.models.block import registering
from kzoo.models.decode import masked_softmax

register = registering("transformer")  # as the files of the first versions have it


def check_heads(d_model: int, heads: int) -> None:
    """
    Raises:
        ValueError: The heads cannot share the width.
    """
    if d_model % heads:
        raise ValueError(f"d_model={d_model} must be a multiple of heads={heads}")


def sinusoids(positions: int, d_model: int) -> np.ndarray:
    """float32 [positions, d_model]: sin(pos / 10000^(2i / d_model)) in even places, cos in odd ones (section 3.5)."""
    angle = np.arange(positions)[:, None] / 10_000 ** (np.arange(0, d_model, 2) / d_model)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(positions, -1)[:, :d_model].astype("float32")


@register
class TiedEmbedding(layers.Layer):
    """int32 ids [batch, time] -> float32 [batch, time, d_model], times sqrt(d_model) if `scaled`; and the matrix itself."""

    def __init__(self, vocabulary: int, d_model: int, scaled: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.d_model, self.scaled = vocabulary, d_model, scaled

    @property
    def input_dim(self) -> int:
        """As keras.layers.Embedding calls it."""
        return self.vocabulary

    def build(self, *_: Any) -> None:
        # The scaled embedding, and the logits, begin near one; GPT's begins small.
        scale = self.d_model**-0.5 if self.scaled else 0.02
        self.embeddings = self.add_weight(
            shape=(self.vocabulary, self.d_model), initializer=keras.initializers.RandomNormal(stddev=scale),
            name="embeddings",
        )  # fmt: skip

    def call(self, ids: Any) -> tuple[Any, Any]:
        table = ops.cast(self.embeddings, self.compute_dtype)
        x = ops.take(table, ids, axis=0)
        return x * self.d_model**0.5 if self.scaled else x, table

    def compute_output_spec(self, ids: Any) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        return (
            keras.KerasTensor((*ids.shape, self.d_model), self.compute_dtype),
            keras.KerasTensor((self.vocabulary, self.d_model), self.compute_dtype),
        )

    def get_config(self) -> dict[str, Any]:
        own = {"vocabulary": self.vocabulary, "d_model": self.d_model, "scaled": self.scaled}
        return {**super().get_config(), **own}


@register
class Positions(layers.Layer):
    """[batch, time, d_model] plus the sinusoids of its places, of which there are `length` at most."""

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def build(self, input_shape: Any) -> None:
        self.d_model = input_shape[-1]

    @property
    def vectors(self) -> np.ndarray:
        """float32 [length, d_model]: what is added at each place."""
        return sinusoids(self.length, self.d_model)

    def call(self, x: Any) -> Any:
        table = ops.convert_to_tensor(sinusoids(self.length, x.shape[-1]), dtype=x.dtype)
        return x + table[: ops.shape(x)[1]]

    def at(self, x: Any, place: Any) -> Any:
        """[batch, d_model] at the places int32 [batch]."""
        table = ops.convert_to_tensor(sinusoids(self.length, x.shape[-1]), dtype=x.dtype)
        return x + ops.take(table, place, axis=0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "length": self.length}


@register
class ScaledDotProductAttention(layers.Layer):
    """softmax(Q K^T / sqrt(d_k)) V (equation 1) of h heads that lie side by side in the last axis.

    `queries` [batch, q, h d_k], `keys` and `values` [batch, k, h d_k], `mask` bool [batch or 1, q or 1, k], True where a
    key may be looked at -> [batch, q, h d_k] and the weights [batch, h, q, k].
    """

    gives_weights = True  # for who wants to see them

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, queries: Any, keys: Any, values: Any, mask: Any) -> tuple[Any, Any]:
        d_k = queries.shape[-1] // self.heads
        split = lambda x: ops.transpose(
            ops.reshape(x, (ops.shape(x)[0], ops.shape(x)[1], self.heads, d_k)), (0, 2, 1, 3)
        )
        q, k, v = split(queries), split(keys), split(values)  # [batch, h, time, d_k]
        scores = ops.matmul(q * d_k**-0.5, ops.transpose(k, (0, 1, 3, 2)))  # [batch, h, q, k]
        weights = masked_softmax(scores, ops.expand_dims(mask, 1))
        heads = ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))  # [batch, q, h, d_k]
        return ops.reshape(heads, (ops.shape(queries)[0], ops.shape(queries)[1], self.heads * d_k)), weights

    def compute_output_spec(self, queries: Any, keys: Any, values: Any, mask: Any) -> tuple[Any, Any]:
        batch, q, width = queries.shape
        return (
            keras.KerasTensor((batch, q, width), self.compute_dtype),
            keras.KerasTensor((batch, self.heads, q, keys.shape[1]), self.compute_dtype),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}


class MultiHeadAttention:
    """Concat(head_1, ..., head_h) W^O, head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V) (section 3.2.2): its four layers.

    Args:
        projection: What layers.Dense takes beside the width; without, no biases.
        last: The same of the output's alone.
    """

    def __init__(
        self, heads: int, d_model: int, name: str, projection: Mapping[str, Any] | None = None,
        last: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        of_all = {"use_bias": False} if projection is None else projection
        project = lambda part, more: layers.Dense(d_model, name=f"{name}_{part}", **{**of_all, **(more or {})})
        self.query, self.key, self.value = project("query", None), project("key", None), project("value", None)
        self.attention = ScaledDotProductAttention(heads, name=name)
        self.output = project("output", last)

    @property
    def layers(self) -> list[layers.Layer]:
        return [self.query, self.key, self.value, self.attention, self.output]

    def __call__(self, queries: Any, memory: Any, mask: Any) -> Any:
        return self.attend(queries, self.key(memory), self.value(memory), mask)[0]

    def attend(self, queries: Any, keys: Any, values: Any, mask: Any) -> tuple[Any, Any]:
        """With keys and values that were projected already."""
        heads, weights = self.attention(self.query(queries), keys, values, mask)
        return self.output(heads), weights


def put(kept: Any, now: Any, place: Any) -> Any:
    """[batch, length, d_model], what is kept of all places, with `now` [batch, 1, d_model] at the place int32 [batch]."""
    here = ops.expand_dims(places_of(kept) == ops.expand_dims(place, 1), -1)  # [batch, length, 1]
    return ops.where(here, now, kept)


def up_to(kept: Any, place: Any) -> Any:
    """bool [batch, 1, length]: the places that one at int32 [batch] may look at."""
    return ops.expand_dims(places_of(kept) <= ops.expand_dims(place, 1), 1)


def places_of(kept: Any) -> Any:
    """int32 [1, length]"""
    return ops.expand_dims(ops.arange(ops.shape(kept)[1], dtype="int32"), 0)


class Residual:
    """LayerNorm(x + Dropout(Sublayer(x))) (sections 3.1 and 5.4)."""

    def __init__(self, dropout: float, name: str, epsilon: float = 1e-6) -> None:
        self.dropout = layers.Dropout(dropout, name=f"{name}_dropout")
        self.add = layers.Add(name=f"{name}_add")
        self.norm = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm")

    @property
    def layers(self) -> list[layers.Layer]:
        return [self.dropout, self.add, self.norm]

    def __call__(self, x: Any, sublayer: Any) -> Any:
        return self.norm(self.add([x, self.dropout(sublayer)]))


class FeedForward:
    """max(0, x W_1 + b_1) W_2 + b_2 (equation 2), or with another activation and other first values."""

    def __init__(
        self, d_model: int, d_ff: int, name: str, activation: Any = "relu", inner: Any = None, outer: Any = None
    ) -> None:
        self.inner = layers.Dense(d_ff, activation=activation, name=f"{name}_inner", **(inner or {}))
        self.outer = layers.Dense(d_model, name=f"{name}_outer", **(outer or {}))

    @property
    def layers(self) -> list[layers.Layer]:
        return [self.inner, self.outer]

    def __call__(self, x: Any) -> Any:
        return self.outer(self.inner(x))


@register
class CausalMask(layers.Layer):
    """[batch, time, d_model] -> bool [1, time, time]: a place may look at itself and at what came before."""

    def call(self, x: Any) -> Any:
        place = ops.arange(ops.shape(x)[1])
        return ops.expand_dims(ops.expand_dims(place, 1) >= place, 0)

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        return keras.KerasTensor((1, x.shape[1], x.shape[1]), dtype="bool")
