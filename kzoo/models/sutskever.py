"""Sequence to sequence: one recurrent network reads a sentence into its states, another one says it from them.

Ilya Sutskever, Oriol Vinyals, Quoc V. Le (2014), "Sequence to Sequence Learning with Neural Networks",
https://arxiv.org/abs/1409.3215

    source, from its end to its beginning -> embedding -> stack of LSTMs -> their last states
    target -> embedding -> stack of LSTMs, begun with those states -> logits

Section 3.3: the source is read backwards, so that its first words stand near the target's; with `reverse=False` as it
is written. The paper's own is four layers of 1,000 cells with embeddings of 1,000; its gradients are cut at a norm of 5 (section 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from keras import layers, ops

from kzoo.models import torch_rows
from kzoo.models.arguments import Dropout
from kzoo.models.block import Block, registering
from kzoo.models.decode import Decoding, State, starts
from kzoo.models.seq2seq import rnn
from kzoo.models.tokens import PaddingMask
from kzoo.records import ForeignTable, ModelSpec, PairInputs, Recipe, TextInputs

COURSE = 11
register = registering("sutskever")
PAPER = (
    "Sutskever, Vinyals, Le 2014, Sequence to Sequence Learning with Neural Networks, https://arxiv.org/abs/1409.3215"
)


@register
class Backwards(layers.Layer):
    """int32 ids [batch, time] -> the same from the last token to the first; padding stays at the end."""

    def call(self, ids: Any) -> Any:
        time = ops.shape(ids)[1]
        lengths = ops.sum(ops.cast(ops.not_equal(ids, 0), "int32"), axis=1, keepdims=True)
        place = ops.expand_dims(ops.arange(time, dtype="int32"), 0)
        return ops.take_along_axis(ids, ops.where(place < lengths, lengths - 1 - place, place), axis=1)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


class _Stack(Block):
    """An embedding and `stack` recurrent layers; `arguments` are those of `__init__`."""

    def __init__(
        self, vocabulary: int, width: int, units: int, cell: str, stack: int, dropout: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = {
            "vocabulary": vocabulary, "width": width, "units": units, "cell": cell, "stack": stack, "dropout": dropout,
        }  # fmt: skip
        self.supports_masking = True
        n = self.name
        self.embedding = layers.Embedding(vocabulary, width, name=f"{n}_embedding")
        self.rnns = [rnn(cell, units, f"{n}_{cell}{k + 1}") for k in range(stack)]
        self.dropouts = [layers.Dropout(dropout, name=f"{n}_dropout{k + 1}") for k in range(stack)]

    def compute_mask(self, *_: Any) -> None:
        """Explicit masks only."""

    def names(self, layer: int) -> list[str]:
        """Of the states of a layer."""
        return [f"{part}{layer + 1}" for part in ("hc" if self.arguments["cell"] == "lstm" else "h")]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class Reader(_Stack):
    """{"source", "target"} -> {"h1" (, "c1"), …: [batch, units], "target"}."""

    def __init__(self, *args: Any, reverse: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.arguments["reverse"] = reverse
        self.backwards = Backwards(name=f"{self.name}_backwards") if reverse else None
        self.mask = PaddingMask(name=f"{self.name}_mask")

    def call(self, inputs: State) -> State:
        ids = self.backwards(inputs["source"]) if self.backwards is not None else inputs["source"]
        x, mask, found = self.embedding(ids), self.mask(ids), {}
        for k, (layer, dropout) in enumerate(zip(self.rnns, self.dropouts, strict=True)):
            x, *states = layer(dropout(x), mask=mask)
            found |= dict(zip(self.names(k), states, strict=True))
        return {**found, "target": inputs["target"]}


@register
class Writer(_Stack):
    """What Reader gives -> float32 [batch, target, units]."""

    def call(self, inputs: State) -> Any:
        y = self.embedding(inputs["target"])
        for k, (layer, dropout) in enumerate(zip(self.rnns, self.dropouts, strict=True)):
            y, *_ = layer(dropout(y), initial_state=[inputs[name] for name in self.names(k)])
        return y

    def step(self, ids: Any, state: State) -> tuple[Any, State]:
        """One token [batch] -> [batch, units], and the states."""
        y, state = self.embedding(ids), dict(state)
        for k, layer in enumerate(self.rnns):
            y, new = layer.cell(y, [state[name] for name in self.names(k)])
            state |= dict(zip(self.names(k), new if isinstance(new, list | tuple) else [new], strict=True))
        return y, state


@register
class Seq2Seq(Decoding):
    """{"source": int32 [batch, source], "target": int32 [batch, target]} -> logits [batch, target, vocabulary]."""

    @staticmethod
    def define(
        source_vocabulary: int = 10_000,
        target_vocabulary: int = 10_000,
        width: int = 256,
        units: int = 512,
        cell: Literal["gru", "lstm"] = "lstm",
        stack: int = 2,
        dropout: Dropout = 0.3,
        reverse: bool = True,
    ) -> list[layers.Layer]:
        rest = (width, units, cell, stack, dropout)
        return [
            Reader(source_vocabulary, *rest, reverse=reverse, name="encoder"),
            Writer(target_vocabulary, *rest, name="decoder"),  # [target, units]
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(target_vocabulary, name="output"),
        ]  # fmt: skip

    @property
    def vocabulary(self) -> int:
        return self.stage("output").units

    def begin(self, source: Any, length: Any, lengths: Any = None) -> tuple[Any, State]:
        state = self.stage("encoder")({"source": source, "target": source})
        return starts(source), {k: v for k, v in state.items() if k != "target"}

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        y, state = self.stage("decoder").step(ids, state)
        return self.stage("output")(y), state, None


def foreign_rows(config: Mapping[str, Any]) -> torch_rows.Rows:
    """A module of PyTorch with an `encoder` and a `decoder`, each an `embedding` and an `lstm` or `gru`, and `output`."""
    cell = config["cell"]
    for part in ("encoder", "decoder"):
        yield ((f"{part}.embedding.weight",), (f"{part}_embedding/embeddings",), "same")
        for k in range(config["stack"]):
            yield from torch_rows.recurrent(cell, f"{part}.{cell}", k, f"{part}_{cell}{k + 1}")
    yield from torch_rows.dense("output", "output")


FOREIGN = ForeignTable(
    "torch",
    foreign_rows,
    "of PyTorch a module with encoder and decoder, each with embedding and lstm or gru, and output, of this model's sizes",
)
RECIPE = Recipe(
    loss="token_crossentropy", metrics=("token_accuracy",), optimizer="adam:global_clipnorm=5", learning_rate=1e-3,
    schedule="cosine", batch_size=64, epochs=10, label_smoothing=0.1,
)  # fmt: skip
TINY = {"source_vocabulary": 40, "target_vocabulary": 30, "width": 6, "units": 8}
VARIANTS = tuple(
    ModelSpec(
        name=name, family="sutskever", task="translation", definition=Seq2Seq, summary=summary, config=config,
        input_shape={"source": (None,), "target": (None,)}, input_dtype="int32", classifier_activation=None,
        inputs=PairInputs(*[TextInputs(size=10_000, length=length, framed=True)] * 2),
        foreign=FOREIGN, hidden=name.endswith("_tiny"), recipe=RECIPE, paper=PAPER,
    )
    for name, summary, config, length in (
        ("seq2seq", "Translation by two stacks of LSTMs, the source read backwards, without attention", {}, 64),
        ("seq2seq_tiny", "seq2seq for tests", TINY, 20),
    )
)  # fmt: skip
