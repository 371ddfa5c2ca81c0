"""Sequence to sequence with attention.

Minh-Thang Luong, Hieu Pham, Christopher D. Manning (2015), "Effective Approaches to Attention-based Neural Machine
Translation", https://arxiv.org/abs/1508.04025, on the encoder-decoder of Sutskever, Vinyals, Le (2014), "Sequence to
Sequence Learning with Neural Networks". The encoder reads in both directions, as in Bahdanau, Cho, Bengio (2015).

    source -> embedding -> encoder RNN -> memory, last state
    target -> embedding -> decoder RNN, begun with that state -> h
    a = softmax(score(h, memory))    c = a memory    h~ = tanh(W_c [c; h])    logits = W_s h~        (equations 5, 7, 8)

Global attention (section 3.1) without input feeding (section 3.3): all places of the target are computed at once.
"""

from __future__ import annotations

from typing import Any, Literal

from keras import layers, ops

from kzoo.models.arguments import Dropout
from kzoo.models.block import Block, registering
from kzoo.models.decode import Decoding, State, masked_softmax, starts
from kzoo.models.recurrent import CELLS
from kzoo.models.tokens import PaddingMask
from kzoo.records import ModelSpec, PairInputs, Recipe, TextInputs

COURSE = 13
register = registering("seq2seq")
PAPER = "Luong, Pham, Manning 2015, Effective Approaches to Attention-based Neural Machine Translation, https://arxiv.org/abs/1508.04025"


def rnn(cell: str, units: int, name: str) -> layers.Layer:
    return CELLS[cell](units, return_sequences=True, return_state=True, name=name)


@register
class Encoder(Block):
    """{"source", "target"} -> {"memory": [batch, time, units], "mask", "h" (, "c"): [batch, units], "target"}.

    With `bidirectional`, half of the units read forwards and half backwards.
    """

    def __init__(
        self, vocabulary: int, width: int, units: int, cell: str, bidirectional: bool, dropout: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = {
            "vocabulary": vocabulary, "width": width, "units": units, "cell": cell, "bidirectional": bidirectional,
            "dropout": dropout,
        }  # fmt: skip
        self.embedding = layers.Embedding(vocabulary, width, name=f"{self.name}_embedding")
        self.dropout = layers.Dropout(dropout, name=f"{self.name}_dropout")
        self.mask = PaddingMask(name=f"{self.name}_mask")
        layer = rnn(cell, units // 2 if bidirectional else units, f"{self.name}_{cell}")
        self.rnn = layers.Bidirectional(layer, name=layer.name) if bidirectional else layer
        self.bidirectional = bidirectional

    def call(self, inputs: State) -> State:
        mask = self.mask(inputs["source"])
        memory, *states = self.rnn(self.dropout(self.embedding(inputs["source"])), mask=mask)
        if self.bidirectional:  # forward states, then backward ones
            half = len(states) // 2
            states = [ops.concatenate(pair, axis=-1) for pair in zip(states[:half], states[half:], strict=True)]
        return {
            "memory": memory, "mask": mask, "target": inputs["target"], **dict(zip("hc", states, strict=False)),
        }  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class Alignment(layers.Layer):
    """The global attention of section 3.1: (h [batch, target, units], memory [batch, source, units], mask) -> (c, a).

    score(h, s) is `h s` (dot), `h W s` (general) or `v tanh(W [h; s])` (concat), equation 8; a, the alignment, is its
    softmax over the real places of the source, and c, the context, the memory weighted by it.
    """

    def __init__(self, score: str = "general", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score = score
        self.supports_masking = True

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Explicit masks only."""

    def build(self, h_shape: Any, memory_shape: Any, mask_shape: Any = None) -> None:
        h, memory = h_shape[-1], memory_shape[-1]
        if self.score == "general":
            self.kernel = self.add_weight(shape=(h, memory), name="kernel")
        elif self.score == "concat":
            self.kernel = self.add_weight(shape=(h, h), name="kernel")
            self.memory_kernel = self.add_weight(shape=(memory, h), name="memory_kernel")
            self.v = self.add_weight(shape=(h,), name="v")

    def call(self, h: Any, memory: Any, mask: Any) -> tuple[Any, Any]:
        if self.score == "concat":
            both = ops.expand_dims(ops.matmul(h, self.kernel), 2)  # [target, 1, units]
            both = both + ops.expand_dims(ops.matmul(memory, self.memory_kernel), 1)  # [target, source, units]
            scores = ops.sum(self.v * ops.tanh(both), axis=-1)  # [target, source]
        else:
            query = ops.matmul(h, self.kernel) if self.score == "general" else h
            scores = ops.matmul(query, ops.transpose(memory, (0, 2, 1)))  # [target, source]
        alignment = masked_softmax(scores, ops.expand_dims(mask, 1))
        return ops.matmul(alignment, memory), alignment

    def compute_output_shape(self, h_shape: Any, memory_shape: Any, mask_shape: Any = None) -> tuple[Any, Any]:
        batch, target = h_shape[:2]
        return (batch, target, memory_shape[-1]), (batch, target, memory_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "score": self.score}


@register
class Decoder(Block):
    """What Encoder gives -> h~, float32 [batch, target, units]."""

    def __init__(
        self, vocabulary: int, width: int, units: int, cell: str, score: str, dropout: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = {
            "vocabulary": vocabulary, "width": width, "units": units, "cell": cell, "score": score, "dropout": dropout,
        }  # fmt: skip
        self.supports_masking = True
        self.embedding = layers.Embedding(vocabulary, width, name=f"{self.name}_embedding")
        self.dropout = layers.Dropout(dropout, name=f"{self.name}_dropout")
        self.rnn = rnn(cell, units, f"{self.name}_{cell}")
        self.attention = Alignment(score, name=f"{self.name}_attention")
        self.combine = layers.Dense(units, activation="tanh", use_bias=False, name=f"{self.name}_attentional")  # W_c

    def compute_mask(self, *_: Any) -> None:
        """The mask that Keras leaves on the memory ends here, without a warning: explicit masks only."""

    def call(self, inputs: State) -> Any:
        states = [inputs[k] for k in "hc" if k in inputs]
        h, *_ = self.rnn(self.dropout(self.embedding(inputs["target"])), initial_state=states)
        context, _ = self.attention(h, inputs["memory"], inputs["mask"])
        return self.combine(ops.concatenate([context, h], axis=-1))

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        """One token [batch] -> h~ [batch, units], the state, the alignment [batch, source]."""
        names = [k for k in "hc" if k in state]
        h, new = self.rnn.cell(self.embedding(ids), [state[k] for k in names])
        new = new if isinstance(new, list | tuple) else [new]
        context, alignment = self.attention(ops.expand_dims(h, 1), state["memory"], state["mask"])
        out = self.combine(ops.concatenate([context[:, 0], h], axis=-1))
        return out, {**state, **dict(zip(names, new, strict=True))}, alignment[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class Seq2SeqLuong(Decoding):
    """{"source": int32 [batch, source], "target": int32 [batch, target]} -> logits [batch, target, vocabulary]."""

    attends = True

    @staticmethod
    def define(
        source_vocabulary: int = 10_000,
        target_vocabulary: int = 10_000,
        width: int = 256,
        units: int = 256,
        cell: Literal["gru", "lstm"] = "lstm",
        score: Literal["dot", "general", "concat"] = "general",
        bidirectional: bool = True,
        dropout: Dropout = 0.3,
    ) -> list[layers.Layer]:
        if bidirectional and units % 2:
            raise ValueError(f"units={units} must be even: half of them read backwards")
        return [
            Encoder(source_vocabulary, width, units, cell, bidirectional, dropout, name="encoder"),
            Decoder(target_vocabulary, width, units, cell, score, dropout, name="decoder"),  # h~ [target, units]
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(target_vocabulary, use_bias=False, name="output"),                  # W_s
        ]  # fmt: skip

    @property
    def vocabulary(self) -> int:
        return self.stage("output").units

    def begin(self, source: Any, length: Any, lengths: Any = None) -> tuple[Any, State]:
        state = self.stage("encoder")({"source": source, "target": source})
        return starts(source), {k: v for k, v in state.items() if k != "target"}

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        out, state, alignment = self.stage("decoder").step(ids, state)
        return self.stage("output")(out), state, alignment


RECIPE = Recipe(
    loss="token_crossentropy",
    metrics=("token_accuracy",),
    optimizer="adam:clipnorm=1",
    learning_rate=2e-3,
    schedule="cosine",
    batch_size=64,
    epochs=10,
    label_smoothing=0.1,
)
# name, summary, changes of `define`'s defaults, tokens a side
ROWS = (
    ("seq2seq_luong", "Translation by a bidirectional LSTM encoder and a decoder with global attention", {}, 64),
    ("seq2seq_luong_tiny", "seq2seq_luong for tests", {"source_vocabulary": 40, "target_vocabulary": 30, "width": 6, "units": 8}, 20),
)  # fmt: skip
VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="seq2seq",
        task="translation",
        definition=Seq2SeqLuong,
        summary=summary,
        config=config,
        input_shape={"source": (None,), "target": (None,)},
        input_dtype="int32",
        classifier_activation=None,
        inputs=PairInputs(*[TextInputs(size=10_000, length=length, framed=True)] * 2),
        hidden=name.endswith("_tiny"),
        recipe=RECIPE,
        paper=PAPER,
    )
    for name, summary, config, length in ROWS
)
