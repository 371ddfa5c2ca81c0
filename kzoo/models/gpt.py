"""GPT: a language model that is the Transformer's decoder alone.

Alec Radford, Karthik Narasimhan, Tim Salimans, Ilya Sutskever (2018), "Improving Language Understanding by Generative
Pre-Training", https://openai.com/research/language-unsupervised

    ids -> embedding + learned positions -> N x (masked self-attention, feed-forward) -> logits of what comes next

Section 4.1: masked self-attention, GELU, learned positions, the embedding is the output's matrix too. What is the
Transformer's here, in its file: the embedding times sqrt(d_model), attention without biases, LayerNorm after each
sub-layer (post-norm, as GPT has it and GPT-2 no more).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from kzoo.models.arguments import Dropout
from kzoo.models.block import Block, registering
from kzoo.models.decode import Decoding, State
from kzoo.models.transformer import CausalMask, EncoderLayer, Logits, TiedEmbedding
from kzoo.records import ModelSpec, Recipe, from_config

COURSE = 16
register = registering("gpt")
PAPER = "Radford, Narasimhan, Salimans, Sutskever 2018, Improving Language Understanding by Generative Pre-Training, https://openai.com/research/language-unsupervised"


@register
class LearnedPositions(layers.Layer):
    """[batch, time, d_model] plus a learned vector for each of the places, of which there are `length` at most."""

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def build(self, input_shape: Any) -> None:
        start = keras.initializers.RandomNormal(stddev=0.02)
        self.table = self.add_weight(shape=(self.length, input_shape[-1]), initializer=start, name="table")

    def call(self, x: Any) -> Any:
        return x + ops.cast(self.table, x.dtype)[: ops.shape(x)[1]]

    def at(self, x: Any, place: Any) -> Any:
        """[batch, d_model] at the places int32 [batch]."""
        return x + ops.take(ops.cast(self.table, x.dtype), place, axis=0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "length": self.length}


@register
class Embed(Block):
    """int32 ids [batch, time] -> {"x": [batch, time, d_model], "mask": bool [1, time, time], "table"}."""

    def __init__(self, vocabulary: int, d_model: int, length: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = {"vocabulary": vocabulary, "d_model": d_model, "length": length, "dropout": dropout}
        self.embedding = TiedEmbedding(vocabulary, d_model, name="embedding")
        self.positions = LearnedPositions(length, name="positions")
        self.dropout = layers.Dropout(dropout, name="embedding_dropout")
        self.causal = CausalMask(name="causal_mask")

    def call(self, ids: Any) -> State:
        x, table = self.embedding(ids)
        x = self.dropout(self.positions(x))
        return {"x": x, "mask": self.causal(x), "table": table}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class GPTLayer(EncoderLayer):
    """A layer of the Transformer's encoder with GELU, whose mask lets a place look at itself and at what came before."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.feed_forward.inner.activation = keras.activations.gelu

    def step(self, x: Any, state: State) -> tuple[Any, State]:
        """[batch, 1, d_model] at the place that `state` is at, which keeps the keys and values of those before."""
        keys, values = f"{self.name}_keys", f"{self.name}_values"
        places = ops.expand_dims(ops.arange(ops.shape(state[keys])[1]), 0)  # [1, length]
        place = ops.expand_dims(state["place"], 1)
        here = ops.expand_dims(ops.equal(places, place), -1)  # [batch, length, 1]
        state = {
            **state, keys: ops.where(here, self.attention.key(x), state[keys]),
            values: ops.where(here, self.attention.value(x), state[values]),
        }  # fmt: skip
        seen = ops.expand_dims(places <= place, 1)  # [batch, 1, length]
        x = self.after_attention(x, self.attention.attend(x, state[keys], state[values], seen)[0])
        return self.after_feed_forward(x, self.feed_forward(x)), state


@register
class ToLogits(Block):
    """{"x": [batch, time, d_model], "table": [vocabulary, d_model]} -> logits [batch, time, vocabulary]."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.logits = Logits(name=self.name)

    def call(self, inputs: State) -> Any:
        return self.logits({"y": inputs["x"], "table": inputs["table"]})


@register
class GPT(Decoding):
    """int32 ids [batch, time] -> logits of the next token at each place, float32 [batch, time, vocabulary].

    The paper's own is stack 12, d_model 768, heads 12, d_ff 3,072, length 512, on 40,000 pieces of words.
    """

    @staticmethod
    def define(
        vocabulary: int = 40_000,
        stack: int = 12,
        d_model: int = 768,
        heads: int = 12,
        d_ff: int = 3072,
        dropout: Dropout = 0.1,
        length: int = 512,
    ) -> list[layers.Layer]:
        if d_model % heads:
            raise ValueError(f"d_model={d_model} must be a multiple of heads={heads}")
        parts = {"heads": heads, "d_model": d_model, "d_ff": d_ff, "dropout": dropout}
        return [
            Embed(vocabulary, d_model, length, dropout, name="embed"),            # x [time, d_model]
            *(GPTLayer(**parts, name=f"layer{i + 1}") for i in range(stack)),     # x [time, d_model]
            ToLogits(name="output"),                                              # [time, vocabulary]
        ]  # fmt: skip

    def begin(self, prompt: Any, length: int) -> State:
        """Room for the keys and values of `length` places; the prompt itself is read token by token."""
        batch, table = ops.shape(prompt)[0], self.stage("embed").embedding
        room = ops.zeros((batch, length, table.d_model), self.compute_dtype)
        names = [f"{s.name}_{part}" for s in self.stages if isinstance(s, GPTLayer) for part in ("keys", "values")]
        return {**dict.fromkeys(names, room), "place": ops.zeros((batch,), "int32")}

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        embed = self.stage("embed")
        x, table = embed.embedding(ids)
        x = ops.expand_dims(embed.positions.at(x, state["place"]), 1)  # [batch, 1, d_model]
        for stage in self.stages:
            if isinstance(stage, GPTLayer):
                x, state = stage.step(x, state)
        return self.stage("output")({"x": x, "table": table})[:, 0], {**state, "place": state["place"] + 1}, None


VARIANTS = (
    ModelSpec(
        name="gpt_tiny",
        family="gpt",
        task="text-generation",
        definition=GPT,
        summary="GPT on characters, for tests",
        config={"vocabulary": 70, "stack": 2, "d_model": 16, "heads": 2, "d_ff": 32, "length": 32},
        input_shape=(None,),
        input_name="ids",
        input_dtype="int32",
        classifier_activation=None,
        inputs=from_config({"kind": "characters", "length": 32}),
        hidden=True,
        recipe=Recipe(
            loss="token_crossentropy",
            metrics=("token_accuracy",),
            learning_rate=3e-3,
            schedule="cosine",
            warmup=100,
            batch_size=64,
            epochs=5,
        ),
        paper=PAPER,
    ),
)
