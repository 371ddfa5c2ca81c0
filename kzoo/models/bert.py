"""BERT: the Transformer's encoder, which reads a text in both directions at once.

Jacob Devlin, Ming-Wei Chang, Kenton Lee, Kristina Toutanova (2019), "BERT: Pre-training of Deep Bidirectional Transformers
for Language Understanding", https://arxiv.org/abs/1810.04805; the smaller rows are those of Iulia Turc, Ming-Wei Chang,
Kenton Lee, Kristina Toutanova (2019), "Well-Read Students Learn Better", https://arxiv.org/abs/1908.08962.

    [CLS] pieces [SEP] -> embedding + positions + segments -> LayerNorm -> N x (self-attention, feed-forward)
        -> pooler: tanh(W x at [CLS]) -> class
    pre-training: [CLS] A [SEP] B [SEP], some pieces hidden -> the same -> the hidden pieces; whether B follows A

Each sub-layer is LayerNorm(x + Dropout(Sublayer(x))), as in Vaswani et al. 2017; the activation is GELU, exact
(Hendrycks, Gimpel 2016, https://arxiv.org/abs/1606.08415). A second segment begins behind the first [SEP] (figure 2).
Dropout is on sub-layers and embeddings; that on attention's weights (appendix A.2) is left out, as in kzoo's other
Transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import keras
from keras import layers, ops

from kzoo.models.arguments import Activation, Dropout
from kzoo.models.attention import FeedForward, MultiHeadAttention, Residual, TiedEmbedding, check_heads
from kzoo.models.block import Block, registering
from kzoo.models.decode import State
from kzoo.models.gpt import LearnedPositions, normal
from kzoo.models.styles import Definition
from kzoo.models.tokens import PaddingMask
from kzoo.models.torch_rows import Rows, dense, norm
from kzoo.records import ForeignTable, ModelSpec, Recipe, from_config

COURSE = 15
register = registering("bert")
PAPER = "Devlin, Chang, Lee, Toutanova 2019, BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, https://arxiv.org/abs/1810.04805"
EPSILON = 1e-12  # of LayerNorm


@register
class SegmentOf(layers.Layer):
    """int32 ids [batch, time] -> int32 [batch, time]: 0 up to the first `separator`, 1 behind it."""

    def __init__(self, separator: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.separator = separator

    def call(self, ids: Any) -> Any:
        ends = ops.cast(ops.equal(ids, self.separator), "int32")
        return ops.cast(ops.cumsum(ends, axis=1) - ends > 0, "int32")

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        return keras.KerasTensor(ids.shape, dtype="int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "separator": self.separator}


@register
class Embed(Block):
    """int32 ids [batch, time], 0 is padding -> {"x": [batch, time, d_model], "mask": bool [batch, 1, time]}, and if
    `tied` the embedding's matrix, "table".
    """

    def __init__(
        self, vocabulary: int, d_model: int, length: int, dropout: float, separator: int, tied: bool = False,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.arguments = {
            "vocabulary": vocabulary, "d_model": d_model, "length": length, "dropout": dropout, "separator": separator,
            "tied": tied,
        }  # fmt: skip
        start = {"embeddings_initializer": normal(0.02)}
        if tied:
            self.embedding = TiedEmbedding(vocabulary, d_model, scaled=False, name="embedding")
        else:
            self.embedding = layers.Embedding(vocabulary, d_model, name="embedding", **start)
        self.segment = SegmentOf(separator, name="segment_of")
        self.segments = layers.Embedding(2, d_model, name="segments", **start)
        self.add = layers.Add(name="embedding_add")
        self.positions = LearnedPositions(length, name="positions")
        self.norm = layers.LayerNormalization(epsilon=EPSILON, name="embedding_norm")
        self.dropout = layers.Dropout(dropout, name="embedding_dropout")
        self.mask = PaddingMask(name="padding_mask")

    def call(self, ids: Any) -> State:
        pieces, *table = self.embedding(ids) if self.arguments["tied"] else (self.embedding(ids),)
        x = self.positions(self.add([pieces, self.segments(self.segment(ids))]))
        found = {"x": self.dropout(self.norm(x)), "mask": ops.expand_dims(self.mask(ids), 1)}
        return {**found, "table": table[0]} if table else found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class BERTLayer(Block):
    """{"x": [batch, time, d_model], "mask": bool [batch, 1, time]} with another x."""

    def __init__(self, heads: int, d_model: int, d_ff: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = {"heads": heads, "d_model": d_model, "d_ff": d_ff, "dropout": dropout}
        n, start = self.name, {"kernel_initializer": normal(0.02)}
        self.attention = MultiHeadAttention(heads, d_model, f"{n}_attention", start)
        self.after_attention = Residual(dropout, f"{n}_attention", EPSILON)
        self.feed_forward = FeedForward(d_model, d_ff, f"{n}_ffn", "gelu", start, start)
        self.after_feed_forward = Residual(dropout, f"{n}_ffn", EPSILON)
        parts = (self.attention, self.after_attention, self.feed_forward, self.after_feed_forward)
        self.parts = [layer for part in parts for layer in part.layers]  # Keras finds layers in such a list

    def call(self, inputs: State) -> State:
        x = inputs["x"]
        x = self.after_attention(x, self.attention(x, x, inputs["mask"]))
        return {**inputs, "x": self.after_feed_forward(x, self.feed_forward(x))}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class Pooler(Block):
    """{"x": [batch, time, d_model], …} -> [batch, d_model]: a dense layer with tanh, of the first place."""

    def __init__(self, d_model: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.d_model = d_model
        self.dense = layers.Dense(d_model, activation="tanh", kernel_initializer=normal(0.02), name=self.name)

    def call(self, inputs: State) -> Any:
        return self.dense(inputs["x"][:, 0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "d_model": self.d_model}


@register
class BERT(Definition):
    """int32 ids [batch, time], 0 is padding -> float32 [batch, classes]; without the top [batch, d_model] of the pooler.

    BERT-base without its head has 109,482,240 weights.
    """

    @staticmethod
    def define(
        vocabulary: int = 30_522,
        stack: int = 12,
        d_model: int = 768,
        heads: int = 12,
        d_ff: int = 3072,
        dropout: Dropout = 0.1,
        length: int = 512,
        separator: int = 102,
        include_top: bool = True,
        classes: int = 2,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        check_heads(d_model, heads)
        parts = {"heads": heads, "d_model": d_model, "d_ff": d_ff, "dropout": dropout}
        stages = [
            Embed(vocabulary, d_model, length, dropout, separator, name="embed"),   # x [time, d_model]
            *(BERTLayer(**parts, name=f"layer{i + 1}") for i in range(stack)),      # x [time, d_model]
            Pooler(d_model, name="pooler"),                                         # [d_model]
        ]  # fmt: skip
        if include_top:
            stages += [
                layers.Dropout(dropout, name="dropout"),
                layers.Dense(classes, activation=classifier_activation, kernel_initializer=normal(0.02), name="output"),
            ]
        return stages


@register
class PieceLogits(layers.Layer):
    """(x [batch, time, d_model], table [vocabulary, d_model]) -> x table^T + bias."""

    def build(self, x_shape: Any, table_shape: Any) -> None:
        self.bias = self.add_weight(shape=(table_shape[0],), initializer="zeros", name="bias")

    def call(self, x: Any, table: Any) -> Any:
        return ops.matmul(x, ops.transpose(table)) + ops.cast(self.bias, x.dtype)

    def compute_output_spec(self, x: Any, table: Any) -> keras.KerasTensor:
        return keras.KerasTensor((*x.shape[:-1], table.shape[0]), self.compute_dtype)


@register
class PretrainingHeads(Block):
    """{"x", "table", …} -> {"tokens": logits [batch, time, vocabulary], "next": logits [batch, 2]} (section 3.1)."""

    def __init__(self, d_model: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.d_model, start = d_model, {"kernel_initializer": normal(0.02)}
        self.dense = layers.Dense(d_model, activation="gelu", name="masked_dense", **start)
        self.norm = layers.LayerNormalization(epsilon=EPSILON, name="masked_norm")
        self.logits = PieceLogits(name="masked_output")
        self.pooler = Pooler(d_model, name="pooler")
        self.next = layers.Dense(2, name="next", **start)

    def call(self, inputs: State) -> State:
        tokens = self.logits(self.norm(self.dense(inputs["x"])), inputs["table"])
        return {"tokens": tokens, "next": self.next(self.pooler(inputs))}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "d_model": self.d_model}


OTHER_HEADS = ("masked_dense", "masked_norm", "masked_output", "next")


@register
class BERTPretraining(Definition):
    """int32 ids [batch, time] -> {"tokens": what stands at each place, "next": 0 where B follows A}, logits."""

    @staticmethod
    def define(
        vocabulary: int = 30_522,
        stack: int = 12,
        d_model: int = 768,
        heads: int = 12,
        d_ff: int = 3072,
        dropout: Dropout = 0.1,
        length: int = 512,
        separator: int = 102,
    ) -> list[layers.Layer]:
        check_heads(d_model, heads)
        parts = {"heads": heads, "d_model": d_model, "d_ff": d_ff, "dropout": dropout}
        return [
            Embed(vocabulary, d_model, length, dropout, separator, tied=True, name="embed"),    # x [time, d_model]
            *(BERTLayer(**parts, name=f"layer{i + 1}") for i in range(stack)),                  # x [time, d_model]
            PretrainingHeads(d_model, name="heads"),
        ]  # fmt: skip


def trunk_rows(config: Mapping[str, Any]) -> Rows:
    """transformers' BertModel."""
    yield (("embeddings.word_embeddings.weight",), ("embedding/embeddings",), "same")
    yield (("embeddings.position_embeddings.weight",), ("positions/table",), "same")
    yield (("embeddings.token_type_embeddings.weight",), ("segments/embeddings",), "same")
    yield from norm("embeddings.LayerNorm", "embedding_norm")
    for i in range(config["stack"]):
        there, here = f"encoder.layer.{i}", f"layer{i + 1}"
        for part in ("query", "key", "value"):
            yield from dense(f"{there}.attention.self.{part}", f"{here}_attention_{part}")
        yield from dense(f"{there}.attention.output.dense", f"{here}_attention_output")
        yield from norm(f"{there}.attention.output.LayerNorm", f"{here}_attention_norm")
        yield from dense(f"{there}.intermediate.dense", f"{here}_ffn_inner")
        yield from dense(f"{there}.output.dense", f"{here}_ffn_outer")
        yield from norm(f"{there}.output.LayerNorm", f"{here}_ffn_norm")
    yield from dense("pooler.dense", "pooler")


def classifier_rows(config: Mapping[str, Any]) -> Rows:
    """transformers' BertForSequenceClassification."""
    yield from trunk_rows(config)
    if config.get("include_top", True):
        yield from dense("classifier", "output")


def pretraining_rows(config: Mapping[str, Any]) -> Rows:
    """transformers' BertForPreTraining."""
    yield from trunk_rows(config)
    yield from dense("cls.predictions.transform.dense", "masked_dense")
    yield from norm("cls.predictions.transform.LayerNorm", "masked_norm")
    yield (("cls.predictions.bias",), ("masked_output/bias",), "same")
    yield from dense("cls.seq_relationship", "next")


def foreign_config(config: Mapping[str, Any], network: str = "BertForSequenceClassification") -> dict[str, Any]:
    """The `config.json` by which transformers builds the network."""
    top = network == "BertForSequenceClassification" and config.get("include_top", True)
    network = "BertModel" if not config.get("include_top", True) else network
    labels = {str(k): f"LABEL_{k}" for k in range(config.get("classes") or 2)}
    return {
        "architectures": [network], "model_type": "bert",
        "vocab_size": config["vocabulary"], "hidden_size": config["d_model"], "num_hidden_layers": config["stack"],
        "num_attention_heads": config["heads"], "intermediate_size": config["d_ff"], "hidden_act": "gelu",
        "max_position_embeddings": config["length"], "type_vocab_size": 2, "layer_norm_eps": EPSILON,
        "hidden_dropout_prob": config["dropout"], "attention_probs_dropout_prob": 0.0, "pad_token_id": 0,
        **({"id2label": labels, "label2id": {name: int(k) for k, name in labels.items()}} if top else {}),
    }  # fmt: skip


FOREIGN = ForeignTable(
    "transformers",
    classifier_rows,
    "transformers' BERT is bert_base here, with its sizes; one without a classifier fits include_top=False",
    prefix="bert.",
    outside=(r"classifier\..+",),
    ignored=(r"embeddings\.position_ids", r"cls\..+"),
    older={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},  # bert-base-uncased has these
    config=foreign_config,
    vocabulary=("vocab.txt",),
)
PRETRAINED = replace(
    FOREIGN,
    rows=pretraining_rows,
    config=partial(foreign_config, network="BertForPreTraining"),
    remedy="transformers' BertForPreTraining is bert_base_pretraining here, with its sizes",
    outside=(r"cls\..+",),
    ignored=(r"embeddings\.position_ids", r"cls\.predictions\.decoder\..+"),
)


# Appendix A.3: Adam at 2e-5 to 5e-5, three or four epochs, batches of 16 or 32, for networks that begin from
# pre-trained weights. A small one takes a higher rate, and one from scratch too.
def recipe(learning_rate: float, epochs: int) -> Recipe:
    return Recipe(
        loss="sparse_categorical_crossentropy", metrics=("accuracy",),
        optimizer="adamw:weight_decay=0.01,global_clipnorm=1", learning_rate=learning_rate, schedule="cosine",
        warmup=100, batch_size=32, epochs=epochs,
    )  # fmt: skip


# name, summary, changes of `define`'s defaults, pieces that are read, entries of a learned vocabulary, recipe
ROWS = (
    ("bert_base", "BERT-base: texts to labels by 12 layers of 768", {}, 126, 30_522, recipe(3e-5, 3)),
    (
        "bert_small", "BERT in 4 layers of 512 (Turc et al. 2019)", {"stack": 4, "d_model": 512, "heads": 8, "d_ff": 2048},
        126, 30_522, recipe(1e-4, 3),
    ),
    (
        "bert_mini", "BERT in 4 layers of 256 (Turc et al. 2019)", {"stack": 4, "d_model": 256, "heads": 4, "d_ff": 1024},
        126, 30_522, recipe(2e-4, 3),
    ),
    (
        "bert_tiny", "BERT in 2 layers of 128 (Turc et al. 2019)", {"stack": 2, "d_model": 128, "heads": 2, "d_ff": 512},
        126, 30_522, recipe(5e-4, 3),
    ),
    (
        "bert_test", "bert_tiny for tests",
        {"vocabulary": 60, "stack": 2, "d_model": 8, "heads": 2, "d_ff": 12, "length": 30, "separator": 3}, 20, 60,
        recipe(1e-3, 3),
    ),
)  # fmt: skip
VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="bert",
        task="text-classification",
        definition=BERT,
        summary=summary,
        config=config,
        input_shape=(None,),
        input_name="tokens",
        input_dtype="int32",
        classes=2,
        inputs=from_config({"kind": "wordpieces", "length": length, "size": size}),
        foreign=FOREIGN,
        hidden=name == "bert_test",
        recipe=of_paper,
        paper=PAPER,
        other_heads=OTHER_HEADS,
    )
    for name, summary, config, length, size, of_paper in ROWS
)
# Appendix A.2: Adam at 1e-4 with a decay of 0.01, batches of 256, a million steps. Small networks on little text take a
# higher rate and smaller batches.
PRETRAINING = Recipe(
    loss={"tokens": "token_crossentropy", "next": "sparse_categorical_crossentropy_from_logits"},
    metrics={"tokens": ("token_accuracy",), "next": ("accuracy",)},
    optimizer="adamw:weight_decay=0.01,global_clipnorm=1",
    learning_rate=1e-3,
    schedule="cosine",
    warmup=500,
    batch_size=64,
    epochs=10,
)
VARIANTS += tuple(
    ModelSpec(
        name=f"{name}_pretraining" if name != "bert_test" else "bert_pretraining_test",
        family="bert",
        task="masked-language",
        definition=BERTPretraining,
        summary=f"Pre-training of {name}: hidden pieces, and whether a second segment follows",
        config=config,
        input_shape=(None,),
        input_name="tokens",
        input_dtype="int32",
        classifier_activation=None,
        head="masked_output",
        inputs=from_config({"kind": "masked", "size": size}).for_model((None,), config),
        foreign=PRETRAINED,
        hidden=name == "bert_test",
        recipe=PRETRAINING,
        paper=PAPER,
        becomes=name,
    )
    for name, _, config, _, size, _ in ROWS
)
