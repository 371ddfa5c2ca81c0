"""Sequence to sequence with additive attention.

Dzmitry Bahdanau, Kyunghyun Cho, Yoshua Bengio (2015), "Neural Machine Translation by Jointly Learning to Align and
Translate", https://arxiv.org/abs/1409.0473

    source -> embedding -> GRU in both directions -> annotations h_1 … h_T, s_0 = tanh(W_s h_1 backwards)
    e_ij = v tanh(W_a s_{i-1} + U_a h_j)    a_i = softmax(e_i)    c_i = a_i h         (section 3.1, appendix A.1.2)
    s_i = GRU([y_{i-1}; c_i], s_{i-1})                                                (appendix A.1.1)
    logits = W_o maxout(U_o s_i + V_o y_{i-1} + C_o c_i)                              (appendix A.2.2)

The alignment is of the state before a word, and what it finds goes into the next state: so a target is read place by
place. Equation 4 has what is said depend on s_i, the appendix on s_{i-1}: here on s_i. The paper's own has 1,000 units in
each direction, embeddings of 620, a maxout layer of 500.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from kzoo.models.arguments import Dropout
from kzoo.models.block import Block, registering
from kzoo.models.decode import Decoding, State, masked_softmax, starts
from kzoo.models.seq2seq import Encoder
from kzoo.records import ModelSpec, PairInputs, Recipe, TextInputs

COURSE = 12
register = registering("bahdanau")
PAPER = "Bahdanau, Cho, Bengio 2015, Neural Machine Translation by Jointly Learning to Align and Translate, https://arxiv.org/abs/1409.0473"


@register
class AttendingCell(layers.Layer):
    """One word of the target: y_{i-1} [batch, width] and the states -> [s_i; c_i] [batch, units + memory], the states.

    The states are s [batch, units], the memory [batch, source, memory], U_a memory [batch, source, units], its mask as
    numbers and the alignment a_i [batch, source]. The loop over time keeps what is not changed as it is.
    """

    def __init__(self, units: int, memory: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.memory = units, memory
        self.state_size, self.output_size = units, units + memory
        self.cell = layers.GRUCell(units, name="gru_cell")

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(self.units, self.units), name="kernel")  # W_a
        start = keras.initializers.RandomNormal(stddev=0.05)
        self.v = self.add_weight(shape=(self.units,), initializer=start, name="v")
        self.cell.build((input_shape[0], input_shape[-1] + self.memory))

    def call(self, y: Any, states: Any) -> tuple[Any, list[Any]]:
        s, memory, projected, mask, _ = states
        e = ops.sum(self.v * ops.tanh(ops.expand_dims(ops.matmul(s, self.kernel), 1) + projected), axis=-1)
        alignment = masked_softmax(e, mask > 0.5)  # [batch, source]
        context = ops.sum(ops.expand_dims(alignment, -1) * memory, axis=1)
        s, _ = self.cell(ops.concatenate([y, context], axis=-1), [s])
        return ops.concatenate([s, context], axis=-1), [s, memory, projected, mask, alignment]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "memory": self.memory}


@register
class Maxout(layers.Layer):
    """[…, 2 n] -> […, n]: of two neighbours the greater one (Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389)."""

    def call(self, x: Any) -> Any:
        return ops.maximum(x[..., 0::2], x[..., 1::2])

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], shape[-1] // 2)


@register
class AttendingDecoder(Block):
    """What Encoder gives -> t, float32 [batch, target, maxout]."""

    def __init__(self, vocabulary: int, width: int, units: int, maxout: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = {
            "vocabulary": vocabulary, "width": width, "units": units, "maxout": maxout, "dropout": dropout,
        }  # fmt: skip
        self.supports_masking = True
        n = self.name
        self.embedding = layers.Embedding(vocabulary, width, name=f"{n}_embedding")
        self.dropout = layers.Dropout(dropout, name=f"{n}_dropout")
        self.start = layers.Dense(units, activation="tanh", use_bias=False, name=f"{n}_start")  # W_s
        self.project = layers.Dense(units, use_bias=False, name=f"{n}_project")  # U_a
        cell = AttendingCell(units, 2 * units, name="attending_cell")
        self.rnn = layers.RNN(cell, return_sequences=True, name=f"{n}_gru")
        self.readout = layers.Dense(2 * maxout, name=f"{n}_readout")  # U_o, C_o, V_o
        self.maxout = Maxout(name=f"{n}_maxout")

    def compute_mask(self, *_: Any) -> None:
        """Explicit masks only."""

    def call(self, inputs: State) -> Any:
        y = self.dropout(self.embedding(inputs["target"]))
        state = self.begin(inputs)
        read = self.rnn(y, initial_state=[state[name] for name in STATES])
        return self.said(read, y)

    def begin(self, inputs: State) -> State:
        """Of what Encoder gives."""
        memory, units = inputs["memory"], self.arguments["units"]
        mask = ops.cast(inputs["mask"], memory.dtype)
        return {
            "s": self.start(inputs["h"][:, units:]), "memory": memory, "projected": self.project(memory),
            "mask": mask, "alignment": ops.zeros_like(mask),
        }  # fmt: skip

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        """One token [batch] -> t [batch, maxout], the state, the alignment [batch, source]."""
        y = self.embedding(ids)
        read, states = self.rnn.cell(y, [state[name] for name in STATES])
        state = dict(zip(STATES, states, strict=True))
        return self.said(read, y), state, state["alignment"]

    def said(self, read: Any, y: Any) -> Any:
        return self.maxout(self.readout(ops.concatenate([read, y], axis=-1)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


STATES = ("s", "memory", "projected", "mask", "alignment")


@register
class Seq2SeqBahdanau(Decoding):
    """{"source": int32 [batch, source], "target": int32 [batch, target]} -> logits [batch, target, vocabulary]."""

    attends = True

    @staticmethod
    def define(
        source_vocabulary: int = 10_000,
        target_vocabulary: int = 10_000,
        width: int = 256,
        units: int = 256,
        maxout: int = 128,
        dropout: Dropout = 0.3,
    ) -> list[layers.Layer]:
        return [
            Encoder(source_vocabulary, width, 2 * units, "gru", True, dropout, name="encoder"),  # units a direction
            AttendingDecoder(target_vocabulary, width, units, maxout, dropout, name="decoder"),  # t [target, maxout]
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(target_vocabulary, name="output"),                                      # W_o
        ]  # fmt: skip

    @property
    def vocabulary(self) -> int:
        return self.stage("output").units

    def begin(self, source: Any, length: Any, lengths: Any = None) -> tuple[Any, State]:
        return starts(source), self.stage("decoder").begin(self.stage("encoder")({"source": source, "target": source}))

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        t, state, alignment = self.stage("decoder").step(ids, state)
        return self.stage("output")(t), state, alignment


RECIPE = Recipe(
    loss="token_crossentropy", metrics=("token_accuracy",), optimizer="adam:global_clipnorm=1", learning_rate=1e-3,
    schedule="cosine", batch_size=64, epochs=10, label_smoothing=0.1,
)  # fmt: skip
TINY = {"source_vocabulary": 40, "target_vocabulary": 30, "width": 6, "units": 4, "maxout": 5}
VARIANTS = tuple(
    ModelSpec(
        name=name, family="bahdanau", task="translation", definition=Seq2SeqBahdanau, summary=summary, config=config,
        input_shape={"source": (None,), "target": (None,)}, input_dtype="int32", classifier_activation=None,
        inputs=PairInputs(*[TextInputs(size=10_000, length=length, framed=True)] * 2),
        hidden=name.endswith("_tiny"), recipe=RECIPE, paper=PAPER,
    )
    for name, summary, config, length in (
        ("seq2seq_bahdanau", "Translation by GRUs with additive attention, which the next state reads", {}, 64),
        ("seq2seq_bahdanau_tiny", "seq2seq_bahdanau for tests", TINY, 20),
    )
)  # fmt: skip
