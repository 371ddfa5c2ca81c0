"""The Transformer.

Ashish Vaswani, Noam Shazeer, Niki Parmar, Jakob Uszkoreit, Llion Jones, Aidan N. Gomez, Łukasz Kaiser, Illia Polosukhin
(2017), "Attention Is All You Need", https://arxiv.org/abs/1706.03762

    source -> embedding + positions -> N x (self-attention, feed-forward) -> memory
    target -> embedding + positions -> N x (masked self-attention, attention to the memory, feed-forward) -> logits

Each sub-layer is LayerNorm(x + Dropout(Sublayer(x))) (section 3.1: post-norm). One matrix serves both embeddings and the
pre-softmax transformation (section 3.4); it travels from stage to stage with what it embeds, for a stage is saved alone.
Masks are explicit: padding of the source, and in the decoder what comes after a place. PyTorch's nn.Transformer has two
things more than the paper: biases in attention's projections, and a norm behind each stack. They are to be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from kzoo.models import torch_rows
from kzoo.models.arguments import Dropout
from kzoo.models.attention import (
    CausalMask,
    FeedForward,
    MultiHeadAttention,
    Positions,
    Residual,
    TiedEmbedding,
    check_heads,
    put,
    up_to,
)
from kzoo.models.block import Block, registering
from kzoo.models.decode import Decoding, State, starts
from kzoo.models.tokens import PaddingMask
from kzoo.records import ForeignTable, ModelSpec, PairInputs, Recipe, TextInputs

COURSE = 14
register = registering("transformer")
PAPER = "Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762"


class _Layer(Block):
    """One of the N layers of a stack: `arguments` are those of `__init__`."""

    def __init__(
        self, heads: int, d_model: int, d_ff: int, dropout: float, attention_bias: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = {
            "heads": heads, "d_model": d_model, "d_ff": d_ff, "dropout": dropout, "attention_bias": attention_bias,
        }  # fmt: skip

    def _attention(self, part: str) -> MultiHeadAttention:
        a = self.arguments
        projection = {"use_bias": a["attention_bias"]}
        return MultiHeadAttention(a["heads"], a["d_model"], f"{self.name}_{part}", projection)

    def _keep(self, *parts: Any) -> None:
        """Keras finds layers that are attributes, or in a list that is one."""
        self.parts = [layer for part in parts for layer in part.layers]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class EncoderLayer(_Layer):
    """{"x": [batch, source, d_model], "mask": bool [batch, 1, source], ...} with another x."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        n, a = self.name, self.arguments
        self.attention = self._attention("attention")
        self.after_attention = Residual(a["dropout"], f"{n}_attention")
        self.feed_forward = FeedForward(a["d_model"], a["d_ff"], f"{n}_ffn")
        self.after_feed_forward = Residual(a["dropout"], f"{n}_ffn")
        self._keep(self.attention, self.after_attention, self.feed_forward, self.after_feed_forward)

    def call(self, inputs: State) -> State:
        x, mask = inputs["x"], inputs["mask"]
        x = self.after_attention(x, self.attention(x, x, mask))
        x = self.after_feed_forward(x, self.feed_forward(x))
        return {**inputs, "x": x}


@register
class DecoderLayer(_Layer):
    """{"y": [batch, target, d_model], "causal", "x": the memory, "mask", ...} with another y."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        n, a = self.name, self.arguments
        self.attention = self._attention("attention")
        self.after_attention = Residual(a["dropout"], f"{n}_attention")
        self.cross = self._attention("cross")
        self.after_cross = Residual(a["dropout"], f"{n}_cross")
        self.feed_forward = FeedForward(a["d_model"], a["d_ff"], f"{n}_ffn")
        self.after_feed_forward = Residual(a["dropout"], f"{n}_ffn")
        self._keep(
            self.attention, self.after_attention, self.cross, self.after_cross, self.feed_forward,
            self.after_feed_forward,
        )  # fmt: skip

    def call(self, inputs: State) -> State:
        y = inputs["y"]
        y = self.after_attention(y, self.attention(y, y, inputs["causal"]))
        y = self.after_cross(y, self.cross(y, inputs["x"], inputs["mask"]))
        y = self.after_feed_forward(y, self.feed_forward(y))
        return {**inputs, "y": y}

    def begin(self, memory: Any, length: Any) -> State:
        """Keys and values of the memory, and room for those of `length` places of the target."""
        room = ops.zeros((ops.shape(memory)[0], length, memory.shape[-1]), memory.dtype)
        found = {"keys": room, "values": room, "memory_keys": self.cross.key(memory),
                 "memory_values": self.cross.value(memory)}  # fmt: skip
        return {f"{self.name}_{k}": v for k, v in found.items()}

    def step(self, y: Any, state: State) -> tuple[Any, State, Any]:
        """[batch, 1, d_model] at the place that `state` is at -> the same, the state, weights [batch, h, 1, source]."""
        keys, values = f"{self.name}_keys", f"{self.name}_values"
        place = state["place"]
        state = {
            **state, keys: put(state[keys], self.attention.key(y), place),
            values: put(state[values], self.attention.value(y), place),
        }  # fmt: skip
        causal = up_to(state[keys], place)  # [batch, 1, length]
        y = self.after_attention(y, self.attention.attend(y, state[keys], state[values], causal)[0])
        memory = state[f"{self.name}_memory_keys"], state[f"{self.name}_memory_values"]
        attended, weights = self.cross.attend(y, *memory, state["mask"])
        y = self.after_cross(y, attended)
        return self.after_feed_forward(y, self.feed_forward(y)), state, weights


@register
class EmbedBoth(Block):
    """{"source", "target"} -> {"x", "y": embedded, "mask": bool [batch, 1, source], "causal", "table"}.

    One TiedEmbedding for both languages where `target_vocabulary` is None; else one each, and the target's is the table.
    """

    def __init__(
        self, source_vocabulary: int, target_vocabulary: int | None, d_model: int, length: int, dropout: float,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.arguments = {
            "source_vocabulary": source_vocabulary, "target_vocabulary": target_vocabulary, "d_model": d_model,
            "length": length, "dropout": dropout,
        }  # fmt: skip
        if target_vocabulary is None:
            self.source = self.target = TiedEmbedding(source_vocabulary, d_model, name="embedding")
        else:
            self.source = TiedEmbedding(source_vocabulary, d_model, name="source_embedding")
            self.target = TiedEmbedding(target_vocabulary, d_model, name="target_embedding")
        self.positions = Positions(length, name="positions")
        self.source_dropout = layers.Dropout(dropout, name="source_dropout")
        self.target_dropout = layers.Dropout(dropout, name="target_dropout")
        self.mask, self.causal = PaddingMask(name="padding_mask"), CausalMask(name="causal_mask")

    def call(self, inputs: State) -> State:
        x, mask = self.encode(inputs["source"])
        y, table = self.target(inputs["target"])
        y = self.target_dropout(self.positions(y))
        return {"x": x, "mask": mask, "y": y, "causal": self.causal(y), "table": table}

    def encode(self, source: Any) -> tuple[Any, Any]:
        x, _ = self.source(source)
        return self.source_dropout(self.positions(x)), ops.expand_dims(self.mask(source), 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class StackNorm(Block):
    """LayerNorm of what a stack has come to: of `part` in {"x", "y", …}."""

    def __init__(self, part: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.part = part
        self.norm = layers.LayerNormalization(epsilon=1e-6, name=self.name)

    def call(self, inputs: State) -> State:
        return {**inputs, self.part: self.norm(inputs[self.part])}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "part": self.part}


@register
class Logits(layers.Layer):
    """{"y": [batch, target, d_model], "table": [vocabulary, d_model]} -> y table^T (section 3.4)."""

    def call(self, inputs: State) -> Any:
        return ops.matmul(inputs["y"], ops.transpose(inputs["table"]))

    def compute_output_spec(self, inputs: State, training: bool | None = None) -> keras.KerasTensor:
        return keras.KerasTensor((*inputs["y"].shape[:-1], inputs["table"].shape[0]), self.compute_dtype)


@register
class Transformer(Decoding):
    """{"source": int32 [batch, source], "target": int32 [batch, target]} -> logits [batch, target, vocabulary]."""

    attends = True

    @staticmethod
    def define(
        source_vocabulary: int = 16_000,
        target_vocabulary: int = 16_000,
        stack: int = 6,
        d_model: int = 512,
        heads: int = 8,
        d_ff: int = 2048,
        dropout: Dropout = 0.1,
        joint: bool = True,
        length: int = 256,
        attention_bias: bool = False,
        final_norm: bool = False,
    ) -> list[layers.Layer]:
        check_heads(d_model, heads)
        if joint and source_vocabulary != target_vocabulary:
            raise ValueError(
                f"joint=True has one vocabulary, but source_vocabulary={source_vocabulary} and"
                f" target_vocabulary={target_vocabulary}"
            )
        parts = {
            "heads": heads, "d_model": d_model, "d_ff": d_ff, "dropout": dropout, "attention_bias": attention_bias,
        }  # fmt: skip
        norm = lambda part, name: [StackNorm(part, name=name)] if final_norm else []
        return [
            EmbedBoth(
                source_vocabulary, None if joint else target_vocabulary, d_model, length, dropout, name="embed"
            ),
            *(EncoderLayer(**parts, name=f"encoder{i + 1}") for i in range(stack)),  # x [source, d_model]
            *norm("x", "encoder_norm"),
            *(DecoderLayer(**parts, name=f"decoder{i + 1}") for i in range(stack)),  # y [target, d_model]
            *norm("y", "decoder_norm"),
            Logits(name="output"),                                                   # [target, vocabulary]
        ]  # fmt: skip

    @property
    def vocabulary(self) -> int:
        return self.stage("embed").target.vocabulary

    def begin(self, source: Any, length: Any, lengths: Any = None) -> tuple[Any, State]:
        x, mask = self.stage("embed").encode(source)
        inputs = {"x": x, "mask": mask}
        for stage in self.stages:
            if isinstance(stage, EncoderLayer) or stage.name == "encoder_norm":
                inputs = stage(inputs)
        caches = [stage.begin(inputs["x"], length) for stage in self.stages if isinstance(stage, DecoderLayer)]
        state = {k: v for cache in caches for k, v in cache.items()}
        return starts(source), {**state, "mask": mask, "place": ops.zeros((ops.shape(source)[0],), "int32")}

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        embed = self.stage("embed")
        y, table = embed.target(ids)
        y = ops.expand_dims(embed.positions.at(y, state["place"]), 1)  # [batch, 1, d_model]
        for stage in self.stages:
            if isinstance(stage, DecoderLayer):
                y, state, weights = stage.step(y, state)
            elif stage.name == "decoder_norm":
                y = stage.norm(y)
        logits = self.stage("output")({"y": y, "table": table})[:, 0]
        # Attention that is shown: of the last layer, the mean of its heads.
        return logits, {**state, "place": state["place"] + 1}, ops.mean(weights, axis=1)[:, 0]


def foreign_rows(config: Mapping[str, Any]) -> torch_rows.Rows:
    """A module of PyTorch with a `transformer`, nn.Transformer, and an `embedding`, or one for each side."""

    def attention(theirs: str, ours: str) -> torch_rows.Rows:
        three = [f"{ours}_{part}" for part in ("query", "key", "value")]
        yield ((f"{theirs}.in_proj_weight",), tuple(f"{k}/kernel" for k in three), "thirds, transposed")
        yield ((f"{theirs}.out_proj.weight",), (f"{ours}_output/kernel",), "transposed")
        if config["attention_bias"]:
            yield ((f"{theirs}.in_proj_bias",), tuple(f"{k}/bias" for k in three), "thirds")
            yield ((f"{theirs}.out_proj.bias",), (f"{ours}_output/bias",), "same")

    for name in ("embedding",) if config["joint"] else ("source_embedding", "target_embedding"):
        yield ((f"{name}.weight",), (f"{name}/embeddings",), "same")
    for side in ("encoder", "decoder"):
        for i in range(config["stack"]):
            there, here = f"transformer.{side}.layers.{i}", f"{side}{i + 1}"
            norms = ["attention", "ffn"] if side == "encoder" else ["attention", "cross", "ffn"]
            yield from attention(f"{there}.self_attn", f"{here}_attention")
            if side == "decoder":
                yield from attention(f"{there}.multihead_attn", f"{here}_cross")
            yield from torch_rows.dense(f"{there}.linear1", f"{here}_ffn_inner")
            yield from torch_rows.dense(f"{there}.linear2", f"{here}_ffn_outer")
            for k, part in enumerate(norms):
                yield from torch_rows.norm(f"{there}.norm{k + 1}", f"{here}_{part}_norm")
        if config["final_norm"]:
            yield from torch_rows.norm(f"transformer.{side}.norm", f"{side}_norm")


FOREIGN = ForeignTable(
    "torch",
    foreign_rows,
    "of PyTorch a module with transformer, an nn.Transformer(layer_norm_eps=1e-6), and embedding; here it has"
    " attention_bias=True and final_norm=True",
)


# Section 5: Adam with beta_2 0.98, the rate of equation 3, label smoothing 0.1. The paper warms up over 4,000 steps of
# about 25,000 tokens a side; the small model over 1,000 of about 800.
def recipe(d_model: int, warmup: int) -> Recipe:
    return Recipe(
        loss="token_crossentropy", metrics=("token_accuracy",), optimizer="adam:beta_2=0.98,epsilon=1e-9",
        learning_rate=(d_model * warmup) ** -0.5, schedule="inverse-sqrt", warmup=warmup, batch_size=64, epochs=12,
        label_smoothing=0.1,
    )  # fmt: skip


BIG = {"d_model": 1024, "heads": 16, "d_ff": 4096, "dropout": 0.3}
SMALL = {"stack": 3, "d_model": 128, "heads": 4, "d_ff": 512, "length": 80}
TINY = {"stack": 2, "d_model": 8, "heads": 2, "d_ff": 12, "length": 30}
# name, summary, changes of `define`'s defaults, entries of a vocabulary, tokens a side, recipe
ROWS = (
    ("transformer", "The Transformer, base model of table 3", {}, 16_000, 128, recipe(512, 4000)),
    ("transformer_big", "The Transformer, big model of table 3", BIG, 16_000, 128, recipe(1024, 4000)),
    ("transformer_small", "A Transformer of 3 layers of 128, for small sets of pairs", SMALL, 12_000, 64, recipe(128, 1000)),
    ("transformer_tiny", "transformer for tests", TINY, 40, 20, recipe(8, 1000)),
)  # fmt: skip
VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="transformer",
        task="translation",
        definition=Transformer,
        summary=summary,
        config={"source_vocabulary": size, "target_vocabulary": size, **config},
        input_shape={"source": (None,), "target": (None,)},
        input_dtype="int32",
        classifier_activation=None,
        inputs=PairInputs(*[TextInputs(size=size, length=length, framed=True)] * 2, joint=True),
        foreign=FOREIGN,
        hidden=name.endswith("_tiny"),
        recipe=of_paper,
        paper=PAPER,
    )
    for name, summary, config, size, length, of_paper in ROWS
)
