"""GPT: a language model that is the Transformer's decoder alone.

Alec Radford, Karthik Narasimhan, Tim Salimans, Ilya Sutskever (2018), "Improving Language Understanding by Generative
Pre-Training", https://openai.com/research/language-unsupervised, and Alec Radford, Jeffrey Wu, Rewon Child, David Luan,
Dario Amodei, Ilya Sutskever (2019), "Language Models are Unsupervised Multitask Learners",
https://openai.com/research/better-language-models

    ids -> embedding + positions -> N x (masked self-attention, feed-forward) -> logits of what comes next

The embedding's matrix is the output's too; the activation is GELU by tanh. Section 2.3 of 2019 moves LayerNorm to the
input of each sub-layer (pre-norm), adds one behind the last layer, and divides the first values of the weights that lead
back into the residual road by sqrt(2 N); `norm="post"` is 2018's. Positions are learned vectors, in both papers; sinusoids
of Vaswani et al. 2017; or rotations of queries and keys, of which a product knows the distance alone (Su et al. 2021,
"RoFormer", https://arxiv.org/abs/2104.09864, section 3.2.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import keras
from keras import layers, ops

from kzoo.errors import KzooError
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
from kzoo.models.decode import LanguageModel, State, last_of, lengths_of
from kzoo.models.transformer import Logits
from kzoo.records import ForeignTable, ModelSpec, Recipe, from_config

COURSE = 16
register = registering("gpt")
PAPER = "Radford, Wu, Child, Luan, Amodei, Sutskever 2019, Language Models are Unsupervised Multitask Learners, https://openai.com/research/better-language-models"
EPSILON = 1e-5  # of LayerNorm
Norm = Literal["pre", "post"]
Places = Literal["learned", "sinusoidal", "rotary"]


def normal(stddev: float) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=stddev)


@register
def gelu_tanh(x: Any) -> Any:
    """x Φ(x), Φ by tanh (Hendrycks, Gimpel 2016, https://arxiv.org/abs/1606.08415)."""
    return ops.gelu(x, approximate=True)


@register
class LearnedPositions(layers.Layer):
    """[batch, time, d_model] plus a learned vector for each of the places, of which there are `length` at most."""

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def build(self, input_shape: Any) -> None:
        self.table = self.add_weight(shape=(self.length, input_shape[-1]), initializer=normal(0.02), name="table")

    @property
    def vectors(self) -> Any:
        """[length, d_model]: what is added at each place."""
        return self.table

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
class Rotary(layers.Layer):
    """Queries or keys of h heads [batch, time, h d_k], at places int32 [batch or 1, time] -> the same, rotated.

    In each head value i and value i + d_k / 2 are a point in the plane, turned by place / 10000^(2i / d_k).
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, x: Any, places: Any) -> Any:
        half = x.shape[-1] // self.heads // 2
        turns = ops.power(10_000.0, -ops.arange(half, dtype="float32") / half)
        angle = ops.expand_dims(ops.cast(places, "float32"), -1) * turns  # [batch or 1, time, d_k / 2]
        cos, sin = (ops.cast(ops.expand_dims(f(angle), 2), x.dtype) for f in (ops.cos, ops.sin))
        batch, time = ops.shape(x)[0], ops.shape(x)[1]
        points = ops.reshape(x, (batch, time, self.heads, 2 * half))
        a, b = points[..., :half], points[..., half:]
        turned = ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
        return ops.reshape(turned, (batch, time, self.heads * 2 * half))

    def compute_output_spec(self, x: Any, places: Any) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}


@register
class PlacesOf(layers.Layer):
    """[batch, time, d_model] -> int32 [1, time]: 0, 1, 2, …"""

    def call(self, x: Any) -> Any:
        return ops.expand_dims(ops.arange(ops.shape(x)[1], dtype="int32"), 0)

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        return keras.KerasTensor((1, x.shape[1]), dtype="int32")


@register
class Embed(Block):
    """int32 ids [batch, time] -> {"x": [batch, time, d_model], "mask": bool [1, time, time], "table"}, and "places"
    int32 [1, time] where they are rotations.
    """

    def __init__(
        self, vocabulary: int, d_model: int, length: int, positions: str, dropout: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = {
            "vocabulary": vocabulary, "d_model": d_model, "length": length, "positions": positions, "dropout": dropout,
        }  # fmt: skip
        self.embedding = TiedEmbedding(vocabulary, d_model, scaled=positions == "sinusoidal", name="embedding")
        kinds = {"learned": LearnedPositions, "sinusoidal": Positions}
        self.positions = kinds[positions](length, name="positions") if positions in kinds else None
        self.dropout = layers.Dropout(dropout, name="embedding_dropout")
        self.causal = CausalMask(name="causal_mask")
        self.places = PlacesOf(name="places") if positions == "rotary" else None

    def call(self, ids: Any) -> State:
        x, table = self.embedding(ids)
        x = self.dropout(x if self.positions is None else self.positions(x))
        made = {"x": x, "mask": self.causal(x), "table": table}
        return made if self.places is None else {**made, "places": self.places(x)}

    def one(self, ids: Any, place: Any) -> tuple[Any, Any]:
        """int32 [batch] at the places int32 [batch] -> [batch, 1, d_model], and the matrix."""
        x, table = self.embedding(ids)
        return ops.expand_dims(x if self.positions is None else self.positions.at(x, place), 1), table

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class GPTLayer(Block):
    """{"x": [batch, time, d_model], "mask", …} with another x; `stack` is the number of layers in all."""

    def __init__(
        self, heads: int, d_model: int, d_ff: int, dropout: float, norm: str, rotary: bool, stack: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = {
            "heads": heads, "d_model": d_model, "d_ff": d_ff, "dropout": dropout, "norm": norm, "rotary": rotary,
            "stack": stack,
        }  # fmt: skip
        n, start = self.name, {"kernel_initializer": normal(0.02)}
        back = {"kernel_initializer": normal(0.02 / (2 * stack) ** 0.5 if norm == "pre" else 0.02)}
        self.attention = MultiHeadAttention(heads, d_model, f"{n}_attention", start, back)
        self.feed_forward = FeedForward(d_model, d_ff, f"{n}_ffn", gelu_tanh, start, back)
        self.of_attention = Residual(dropout, f"{n}_attention", EPSILON)
        self.of_feed_forward = Residual(dropout, f"{n}_ffn", EPSILON)
        self.rotary = Rotary(heads, name=f"{n}_rotary") if rotary else None
        parts = (self.attention, self.of_attention, self.feed_forward, self.of_feed_forward)
        self.parts = [layer for part in parts for layer in part.layers]  # Keras finds layers in such a list

    def call(self, inputs: State) -> State:
        x, _, _ = self._read(inputs["x"], inputs.get("places"), inputs["mask"])
        return {**inputs, "x": x}

    def prefill(self, inputs: State, length: Any) -> tuple[State, State]:
        """What `call` gives, and the keys and values of all places, with room for `length` more."""
        x, keys, values = self._read(inputs["x"], inputs.get("places"), inputs["mask"])
        room = ops.zeros((ops.shape(x)[0], length, x.shape[-1]), x.dtype)
        kept = {"keys": ops.concatenate([keys, room], axis=1), "values": ops.concatenate([values, room], axis=1)}
        return {**inputs, "x": x}, {f"{self.name}_{k}": v for k, v in kept.items()}

    def step(self, x: Any, state: State) -> tuple[Any, State]:
        """[batch, 1, d_model] at the place that `state` is at, which keeps the keys and values of those before."""
        keys, values = f"{self.name}_keys", f"{self.name}_values"
        place = state["place"]
        with_own = lambda k, v: (put(state[keys], k, place), put(state[values], v, place))
        x, k, v = self._read(x, ops.expand_dims(place, 1), up_to(state[keys], place), with_own)
        return x, {**state, keys: k, values: v}

    def _read(self, x: Any, places: Any, mask: Any, kept: Any = None) -> tuple[Any, Any, Any]:
        """(x, keys, values); `kept(keys, values)` are those of all places, where x is one of them."""
        seen = []

        def attention(h: Any) -> Any:
            k, v = self.attention.key(h), self.attention.value(h)
            k = k if self.rotary is None else self.rotary(k, places)
            seen.extend((k, v) if kept is None else kept(k, v))
            q = self.attention.query(h)
            q = q if self.rotary is None else self.rotary(q, places)
            return self.attention.output(self.attention.attention(q, *seen, mask)[0])

        x = self._around(x, attention, self.of_attention)
        return self._around(x, self.feed_forward, self.of_feed_forward), *seen

    def _around(self, x: Any, sublayer: Any, of: Residual) -> Any:
        if self.arguments["norm"] == "pre":
            return of.add([x, of.dropout(sublayer(of.norm(x)))])
        return of(x, sublayer(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class ToLogits(Block):
    """{"x": [batch, time, d_model], "table": [vocabulary, d_model]} -> logits [batch, time, vocabulary]."""

    def __init__(self, norm: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.what = norm
        self.norm = layers.LayerNormalization(epsilon=EPSILON, name="norm") if norm == "pre" else None
        self.logits = Logits(name=self.name)

    def call(self, inputs: State) -> Any:
        x = inputs["x"] if self.norm is None else self.norm(inputs["x"])
        return self.logits({"y": x, "table": inputs["table"]})

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "norm": self.what}


@register
class GPT(LanguageModel):
    """int32 ids [batch, time] -> logits of the next token at each place, float32 [batch, time, vocabulary].

    GPT-2's smallest is the default: 124,439,808 weights on 50,257 pieces of words (table 2 of 2019).
    """

    @staticmethod
    def define(
        vocabulary: int = 50_257,
        stack: int = 12,
        d_model: int = 768,
        heads: int = 12,
        d_ff: int = 3072,
        dropout: Dropout = 0.1,
        length: int = 1024,
        norm: Norm = "pre",
        positions: Places = "learned",
    ) -> list[layers.Layer]:
        check_heads(d_model, heads)
        if positions == "rotary" and d_model // heads % 2:
            raise ValueError(f"d_model={d_model} / heads={heads} must be even: pairs of values are rotated")
        parts = {"heads": heads, "d_model": d_model, "d_ff": d_ff, "dropout": dropout, "norm": norm, "stack": stack}
        return [
            Embed(vocabulary, d_model, length, positions, dropout, name="embed"),                 # x [time, d_model]
            *(GPTLayer(**parts, rotary=positions == "rotary", name=f"layer{i + 1}") for i in range(stack)),
            ToLogits(norm, name="output"),                                                        # [time, vocabulary]
        ]  # fmt: skip

    @property
    def layers_of_stack(self) -> list[GPTLayer]:
        return [stage for stage in self.stages if isinstance(stage, GPTLayer)]

    @property
    def vocabulary(self) -> int:
        return self.stage("embed").embedding.vocabulary

    def begin(self, prompt: Any, length: Any, lengths: Any = None) -> tuple[Any, State]:
        lengths = lengths_of(prompt) if lengths is None else lengths
        inputs, state = self.stage("embed")(prompt), {}
        for layer in self.layers_of_stack:
            inputs, kept = layer.prefill(inputs, length)
            state |= kept
        return last_of(prompt, lengths), {**state, "place": lengths - 1}

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        x, table = self.stage("embed").one(ids, state["place"])
        for layer in self.layers_of_stack:
            x, state = layer.step(x, state)
        logits = self.stage("output")({"x": x, "table": table})[:, 0]
        return logits, {**state, "place": state["place"] + 1}, None


def foreign_rows(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """transformers' GPT-2, and of norm="post" its OpenAI GPT: their kernels lie as Keras' do."""
    pre = config["norm"] == "pre"
    yield (("wte.weight" if pre else "tokens_embed.weight",), ("embedding/embeddings",), "same")
    if config["positions"] == "learned":
        yield (("wpe.weight" if pre else "positions_embed.weight",), ("positions/table",), "same")
    for i in range(config["stack"]):
        for last, kind in (("weight", "kernel"), ("bias", "bias")):
            attention = lambda part, kind=kind, i=i: f"layer{i + 1}_attention_{part}/{kind}"
            yield (
                (f"h.{i}.attn.c_attn.{last}",), tuple(attention(part) for part in ("query", "key", "value")), "thirds",
            )  # fmt: skip
            yield ((f"h.{i}.attn.c_proj.{last}",), (attention("output"),), "same")
            yield ((f"h.{i}.mlp.c_fc.{last}",), (f"layer{i + 1}_ffn_inner/{kind}",), "same")
            yield ((f"h.{i}.mlp.c_proj.{last}",), (f"layer{i + 1}_ffn_outer/{kind}",), "same")
        for last, kind in (("weight", "gamma"), ("bias", "beta")):
            yield ((f"h.{i}.ln_1.{last}",), (f"layer{i + 1}_attention_norm/{kind}",), "same")
            yield ((f"h.{i}.ln_2.{last}",), (f"layer{i + 1}_ffn_norm/{kind}",), "same")
    if pre:
        yield (("ln_f.weight",), ("norm/gamma",), "same")
        yield (("ln_f.bias",), ("norm/beta",), "same")


def foreign_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `config.json` by which transformers builds the network."""
    if config["positions"] != "learned":
        raise KzooError(f"transformers' GPT has learned positions; positions={config['positions']!r} has no file there")
    pre = config["norm"] == "pre"
    if not pre and config["d_ff"] != 4 * config["d_model"]:
        raise KzooError(f"transformers' OpenAI GPT has d_ff = 4 d_model; received d_ff={config['d_ff']}")
    sizes = {
        "vocab_size": config["vocabulary"], "n_positions": config["length"], "n_embd": config["d_model"],
        "n_layer": config["stack"], "n_head": config["heads"], "layer_norm_epsilon": EPSILON,
        "embd_pdrop": config["dropout"], "resid_pdrop": config["dropout"], "attn_pdrop": 0.0,
    }  # fmt: skip
    if not pre:
        return {"architectures": ["OpenAIGPTLMHeadModel"], "model_type": "openai-gpt", "afn": "gelu", **sizes}
    more = {"n_inner": config["d_ff"], "activation_function": "gelu_new", "tie_word_embeddings": True}
    return {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", **more, **sizes}


FOREIGN = ForeignTable(
    "transformers",
    foreign_rows,
    "transformers' GPT-2 is gpt2_small here; on characters gpt_small has its network, and with norm='post' its OpenAI GPT",
    prefix="transformer.",
    ignored=(r"h\.\d+\.attn\.(masked_)?bias", r"lm_head\.weight"),
    config=foreign_config,
)

BYTES = replace(
    FOREIGN, remedy="transformers' GPT-2 is gpt2_small here, with its sizes", vocabulary=("vocab.json", "merges.txt")
)


# Section 2.3 has no rates: those of small GPTs as people train them on characters; docs/results.md has what they give.
RECIPE = Recipe(
    loss="token_crossentropy",
    metrics=("token_accuracy",),
    optimizer="adamw:beta_2=0.99,weight_decay=0.1,global_clipnorm=1",
    learning_rate=2e-3,
    schedule="cosine",
    warmup=100,
    batch_size=16,
    epochs=16,
)
SMALL = {"vocabulary": 100, "stack": 4, "d_model": 192, "heads": 6, "d_ff": 768, "dropout": 0.2, "length": 256}
TINY = {"vocabulary": 70, "stack": 2, "d_model": 16, "heads": 2, "d_ff": 32, "length": 32}
SMALLEST = {"vocabulary": 300, "stack": 2, "d_model": 16, "heads": 2, "d_ff": 32, "length": 32}
# Fine-tuning of networks that know English already; a small one from scratch takes a higher rate.
TUNING = replace(
    RECIPE, optimizer="adamw:weight_decay=0.01,global_clipnorm=1", learning_rate=5e-5, batch_size=8, epochs=3
)
# name, summary, changes of `define`'s defaults, what it reads, others' names of its weights, recipe
ROWS = (
    ("gpt_small", "GPT-2's network in 4 layers of 192, for text character by character", SMALL, "characters", FOREIGN, RECIPE),
    ("gpt_tiny", "gpt_small for tests", TINY, "characters", FOREIGN, RECIPE),
    ("gpt2_small", "GPT-2 in 12 layers of 768 (table 2 of 2019), on its pieces of bytes", {}, "bytepairs", BYTES, TUNING),
    ("gpt2_test", "gpt2_small for tests", SMALLEST, "bytepairs", BYTES, RECIPE),
)  # fmt: skip
VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="gpt",
        task="text-generation",
        definition=GPT,
        summary=summary,
        config=config,
        input_shape=(None,),
        input_name="ids",
        input_dtype="int32",
        classifier_activation=None,
        inputs=from_config({"kind": kind}).for_model((None,), config),
        foreign=foreign,
        hidden=name.endswith(("_tiny", "_test")),
        recipe=recipe,
        paper=PAPER,
    )
    for name, summary, config, kind, foreign, recipe in ROWS
)
