"""Recurrent networks: classifiers of sentences, language models on characters, forecasters of series.

Jeffrey L. Elman (1990), "Finding Structure in Time", Cognitive Science 14(2): a layer reads its own last output beside
the next token. Sepp Hochreiter, Jürgen Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8), with the
forget gate of Gers, Schmidhuber, Cummins (2000): cells that keep what gates let in. Kyunghyun Cho et al. (2014),
"Learning Phrase Representations using RNN Encoder-Decoder", https://arxiv.org/abs/1406.1078: gates without cells.

    tokens -> embedding -> recurrent layers, forwards and backwards -> the greatest of each unit over time -> label
    characters -> embedding -> recurrent layers, forwards -> logits of what comes next
    moments of a series -> less the last one -> recurrent layers -> dense -> plus the last one

Both directions are those of Graves, Schmidhuber (2005), "Framewise Phoneme Classification with Bidirectional LSTM". The
summary over time is that of Conneau, Kiela, Schwenk, Barrault, Bordes (2017), "Supervised Learning of Universal Sentence
Representations", section 3.2.2: in long texts the last state forgets. Dropout stands between layers, not inside the loop
(Zaremba, Sutskever, Vinyals 2014, "Recurrent Neural Network Regularization"); with `recurrent_dropout` also there, one
mask for all steps of a text (Gal, Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural
Networks"). A forecaster says how what comes differs from the last moment, so that a level which training did not have is
none of its concern (Zeng, Chen, Zhang, Xu 2023, "Are Transformers Effective for Time Series Forecasting?", section 4.1:
NLinear).

`units` cells read the embedding, their last outputs and a bias. A direction has units (width + units + 1) weights, three
times as many in a GRU, which has a second bias, four times in an LSTM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import keras
from keras import layers, ops

from kzoo.models import torch_rows
from kzoo.models.arguments import Activation, Dropout
from kzoo.models.block import Block, registering
from kzoo.models.decode import LanguageModel, State, last_of, lengths_of
from kzoo.models.styles import Definition
from kzoo.models.tokens import TokenEmbedding
from kzoo.records import ForeignTable, ModelSpec, Recipe, TextInputs, Wholes, from_config

COURSE = 9
register = registering("recurrent")
ELMAN = "Elman 1990, Finding Structure in Time, https://doi.org/10.1207/s15516709cog1402_1"
LSTM = "Hochreiter, Schmidhuber 1997, Long Short-Term Memory, https://doi.org/10.1162/neco.1997.9.8.1735"
GRU = "Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder, https://arxiv.org/abs/1406.1078"
CELLS = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}
Cell = Literal["rnn", "lstm", "gru"]


@register
class Recurrent(Block):
    """[batch, time, width] -> [batch, time, units], in both directions 2 units; or {"x", …} -> the same with another x:
    at padding, by a "mask" [batch, time], a state stays as it is. `dropout` is of the layer's input.
    """

    def __init__(
        self, cell: str, units: int, bidirectional: bool = False, dropout: float = 0.0, recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.arguments = {
            "cell": cell, "units": units, "bidirectional": bidirectional, "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
        }  # fmt: skip
        self.supports_masking = True
        self.dropout = layers.Dropout(dropout, name=f"{self.name}_dropout") if dropout else None
        options = {"return_sequences": True, "return_state": True, "recurrent_dropout": recurrent_dropout}
        one = CELLS[cell](units, **options, name=self.name)
        self.rnn = layers.Bidirectional(one, name=self.name) if bidirectional else one

    def compute_mask(self, *_: Any) -> None:
        """Explicit masks only."""

    def call(self, inputs: Any) -> Any:
        if isinstance(inputs, dict):
            return {**inputs, "x": self._read(inputs["x"], inputs.get("mask"))}
        return self._read(inputs)

    def _read(self, x: Any, mask: Any = None) -> Any:
        x, *_ = self.rnn(x if self.dropout is None else self.dropout(x), mask=mask)
        return x

    def begin(self, x: Any, mask: Any) -> tuple[Any, State]:
        """[batch, time, width], bool [batch, time] -> [batch, time, units], and the states behind the last real token."""
        x, *states = self.rnn(x, mask=mask)
        return x, {f"{self.name}_{k}": state for k, state in enumerate(states)}

    def step(self, x: Any, state: State) -> tuple[Any, State]:
        """[batch, width] -> [batch, units], forwards, and the state behind it."""
        names = [name for name in (f"{self.name}_0", f"{self.name}_1") if name in state]
        x, new = self.rnn.cell(x, [state[name] for name in names])
        return x, {**state, **dict(zip(names, new if isinstance(new, list | tuple) else [new], strict=True))}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@register
class Summary(layers.Layer):
    """{"x": [batch, time, units] in -1 to 1, "mask": bool [batch, time]} -> [batch, units]; of no real tokens 0.

    Of each unit the greatest value at all real tokens (`max`), or the one at the end of reading (`last`): after the last
    real token forwards, and after the first one backwards, in the second half of the units.
    """

    def __init__(self, what: str, bidirectional: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.what, self.bidirectional = what, bidirectional
        self.supports_masking = True

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Explicit masks only."""

    def call(self, inputs: State) -> Any:
        x, mask = inputs["x"], inputs["mask"]
        if self.what == "last":  # at padding a layer gives what it gave before
            half = x.shape[-1] // 2 if self.bidirectional else x.shape[-1]
            return ops.concatenate([x[:, -1, :half], x[:, 0, half:]], axis=-1)
        greatest = ops.max(ops.where(ops.expand_dims(mask, -1), x, -1.0), axis=1)
        return ops.where(ops.any(mask, axis=1, keepdims=True), greatest, 0.0)

    def compute_output_shape(self, shapes: Any) -> tuple[int | None, int]:
        return (shapes["x"][0], shapes["x"][2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "what": self.what, "bidirectional": self.bidirectional}


@register
class FromLast(layers.Layer):
    """[batch, time, columns] -> {"x": the same less its last moment, "last": [batch, columns]}."""

    def call(self, x: Any) -> State:
        return {"x": x - x[:, -1:], "last": x[:, -1]}

    def compute_output_spec(self, x: Any) -> dict[str, keras.KerasTensor]:
        return {"x": keras.KerasTensor(x.shape, x.dtype), "last": keras.KerasTensor((x.shape[0], x.shape[2]), x.dtype)}


@register
class Ahead(Block):
    """{"x": [batch, time, units], "last": [batch, columns]} -> [batch, horizon, targets]: the columns `targets`, counted
    from 0, at the next moments.
    """

    def __init__(
        self, horizon: int, targets: Sequence[int], bidirectional: bool, dropout: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = {
            "horizon": horizon, "targets": tuple(targets), "bidirectional": bidirectional, "dropout": dropout
        }  # fmt: skip
        self.dropout = layers.Dropout(dropout, name=f"{self.name}_dropout")
        # It begins near the naive forecast: what comes is what was last.
        near = keras.initializers.RandomNormal(stddev=0.01)
        self.change = layers.Dense(horizon * len(targets), kernel_initializer=near, name=f"{self.name}_change")
        self.moments = layers.Reshape((horizon, len(targets)), name=f"{self.name}_moments")

    def call(self, inputs: State) -> Any:
        x, last = inputs["x"], inputs["last"]
        half = x.shape[-1] // 2 if self.arguments["bidirectional"] else x.shape[-1]
        read = ops.concatenate([x[:, -1, :half], x[:, 0, half:]], axis=-1)  # at the end of reading, in both directions
        change = self.moments(self.change(self.dropout(read)))
        now = ops.stack([last[:, k] for k in self.arguments["targets"]], axis=-1)
        return change + ops.expand_dims(now, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


def stacked(
    cell: str, units: int, stack: int, bidirectional: bool, dropout: float, recurrent_dropout: float
) -> list[Recurrent]:
    """`stack` layers; the embedding in front of the first one has its own dropout."""
    return [
        Recurrent(
            cell, units, bidirectional, dropout if i else 0.0, recurrent_dropout, name=f"{cell}{i + 1}" if i else cell
        )
        for i in range(stack)
    ]  # fmt: skip


@register
class RecurrentClassifier(Definition):
    """int32 ids [batch, time], 0 is padding -> float32 [batch, classes]."""

    @staticmethod
    def define(
        vocabulary: int = 20_000,
        width: int = 128,
        units: int = 64,
        cell: Cell = "lstm",
        stack: int = 1,
        bidirectional: bool = True,
        summary: Literal["max", "last"] = "max",
        dropout: Dropout = 0.5,
        recurrent_dropout: Dropout = 0.0,
        include_top: bool = True,
        classes: int = 2,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        stages = [
            TokenEmbedding(vocabulary, width, dropout, name="embedding"),                  # x [time, width], mask [time]
            *stacked(cell, units, stack, bidirectional, dropout, recurrent_dropout),       # x [time, 2 units], mask
            Summary(summary, bidirectional, name="summary"),                               # [2 units]
        ]  # fmt: skip
        if include_top:
            stages += [
                layers.Dropout(dropout, name="dropout"),
                layers.Dense(classes, activation=classifier_activation, name="output"),
            ]
        return stages


@register
class RecurrentLanguageModel(LanguageModel):
    """int32 ids [batch, time] -> logits of the next token at each place, float32 [batch, time, vocabulary].

    Padding stands at the end of a row, behind all that a place has read: no mask is needed.
    """

    @staticmethod
    def define(
        vocabulary: int = 100,
        width: int = 64,
        units: int = 256,
        cell: Cell = "lstm",
        stack: int = 2,
        dropout: Dropout = 0.2,
        recurrent_dropout: Dropout = 0.0,
    ) -> list[layers.Layer]:
        return [
            layers.Embedding(vocabulary, width, name="embedding"),              # [time, width]
            *stacked(cell, units, stack, False, dropout, recurrent_dropout),    # [time, units]
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(vocabulary, name="output"),                            # [time, vocabulary]
        ]  # fmt: skip

    @property
    def recurrent(self) -> list[Recurrent]:
        return [stage for stage in self.stages if isinstance(stage, Recurrent)]

    @property
    def vocabulary(self) -> int:
        return self.stage("embedding").input_dim

    def begin(self, prompt: Any, length: Any, lengths: Any = None) -> tuple[Any, State]:
        lengths = lengths_of(prompt) if lengths is None else lengths
        before = ops.expand_dims(lengths - 1, 1)  # the last token is the first that `step` is given
        mask = ops.expand_dims(ops.arange(ops.shape(prompt)[1], dtype="int32"), 0) < before
        x, state = self.stage("embedding")(prompt), {}
        for layer in self.recurrent:
            x, states = layer.begin(x, mask)
            state |= states
        return last_of(prompt, lengths), state

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        x = self.stage("embedding")(ids)
        for layer in self.recurrent:
            x, state = layer.step(x, state)
        return self.stage("output")(x), state, None


@register
class RecurrentForecaster(Definition):
    """float32 [batch, time, columns] -> float32 [batch, horizon, targets]."""

    @staticmethod
    def define(
        units: int = 64,
        cell: Cell = "lstm",
        stack: int = 1,
        bidirectional: bool = False,
        dropout: Dropout = 0.0,
        recurrent_dropout: Dropout = 0.0,
        horizon: int = 1,
        targets: Annotated[Sequence[int], Wholes("(0, 6)", at_least=0)] = (0,),
    ) -> list[layers.Layer]:
        return [
            FromLast(name="from_last"),                                                 # x [time, columns], last [columns]
            *stacked(cell, units, stack, bidirectional, dropout, recurrent_dropout),    # x [time, units], last
            Ahead(horizon, targets, bidirectional, dropout, name="output"),             # [horizon, targets]
        ]  # fmt: skip


def foreign_rows(config: Mapping[str, Any]) -> torch_rows.Rows:
    """A module of PyTorch with an `embedding`, `rnn`, `lstm` or `gru`, and `output`, as they are called here."""
    yield (("embedding.weight",), ("embedding/embeddings",), "same")
    cell, both = config["cell"], config.get("bidirectional", False)
    for k in range(config["stack"]):
        yield from torch_rows.recurrent(cell, cell, k, f"{cell}{k + 1}" if k else cell, both)
    if config.get("include_top", True):
        yield from torch_rows.dense("output", "output")


FOREIGN = ForeignTable(
    "torch",
    foreign_rows,
    "of PyTorch a module with embedding, rnn, lstm or gru, and output, of this model's sizes",
)
CLASSIFIER = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    learning_rate=2e-3,
    schedule="cosine",
    batch_size=64,
    epochs=3,
)
LANGUAGE = Recipe(
    loss="token_crossentropy",
    metrics=("token_accuracy",),
    optimizer="adam:clipnorm=1",
    learning_rate=3e-3,
    schedule="cosine",
    batch_size=64,
    epochs=10,
)
FORECASTING = Recipe(
    loss="mean_squared_error",
    metrics=("mean_absolute_error",),
    optimizer="adam:clipnorm=1",
    learning_rate=2e-3,
    schedule="cosine",
    batch_size=32,
    epochs=30,
)
WORDS = TextInputs(length=400)
CHARACTERS = from_config({"kind": "characters", "length": 128})
TINY = {"vocabulary": 50, "width": 8, "units": 6, "dropout": 0.2}
FEW = {"size": 50, "length": 20}
SHORT = from_config({"kind": "characters", "length": 32})
# name, summary, changes of `define`'s defaults, what it reads, paper
CLASSIFIERS = (
    ("rnn_classifier", "Sentences to labels by a bidirectional recurrent network", {"cell": "rnn"}, WORDS, ELMAN),
    ("lstm_classifier", "Sentences to labels by a bidirectional LSTM", {}, WORDS, LSTM),
    ("gru_classifier", "Sentences to labels by a bidirectional GRU", {"cell": "gru"}, WORDS, GRU),
    ("lstm_classifier_tiny", "lstm_classifier for tests", TINY, TextInputs(**FEW), LSTM),
    ("gru_classifier_tiny", "Two layers of GRUs for tests", {**TINY, "cell": "gru", "stack": 2}, TextInputs(**FEW), GRU),
    (
        "rnn_classifier_tiny", "The last state, forwards, for tests",
        {**TINY, "cell": "rnn", "bidirectional": False, "summary": "last"}, TextInputs(**FEW), ELMAN,
    ),
)  # fmt: skip
LANGUAGE_MODELS = (
    ("rnn_language_model", "Text character by character by two recurrent layers", {"cell": "rnn"}, CHARACTERS, ELMAN),
    ("lstm_language_model", "Text character by character by two LSTMs", {}, CHARACTERS, LSTM),
    ("gru_language_model", "Text character by character by two GRUs", {"cell": "gru"}, CHARACTERS, GRU),
    ("lstm_language_model_tiny", "lstm_language_model for tests", {**TINY, "vocabulary": 70}, SHORT, LSTM),
)  # fmt: skip
# moments that are read at once
FORECASTERS = (
    ("rnn_forecaster", "What comes next in a series, by a recurrent layer", {"cell": "rnn"}, 24, ELMAN),
    ("lstm_forecaster", "What comes next in a series, by an LSTM", {}, 24, LSTM),
    ("gru_forecaster", "What comes next in a series, by a GRU", {"cell": "gru"}, 24, GRU),
    ("lstm_forecaster_tiny", "lstm_forecaster for tests", {"units": 6, "dropout": 0.2, "horizon": 2}, 6, LSTM),
    (
        "gru_forecaster_tiny", "Two layers of GRUs in both directions, for tests",
        {"units": 4, "cell": "gru", "stack": 2, "bidirectional": True}, 6, GRU,
    ),
)  # fmt: skip


def row(name: str, summary: str, config: dict[str, Any], inputs: Any, paper: str, **more: Any) -> ModelSpec:
    return ModelSpec(
        name=name, family="recurrent", summary=summary, config=config, inputs=inputs, paper=paper,
        hidden=name.endswith("_tiny"), **more,
    )  # fmt: skip


TOKENS = {"input_shape": (None,), "input_dtype": "int32", "foreign": FOREIGN}


VARIANTS = (
    *(
        row(
            *values, task="text-classification", definition=RecurrentClassifier, input_name="tokens", classes=2,
            recipe=CLASSIFIER, **TOKENS,
        )
        for values in CLASSIFIERS
    ),
    *(
        row(
            *values, task="text-generation", definition=RecurrentLanguageModel, input_name="ids",
            classifier_activation=None, recipe=LANGUAGE, **TOKENS,
        )
        for values in LANGUAGE_MODELS
    ),
    *(
        row(
            name, summary, config, from_config({"kind": "series", "length": length, "horizon": config.get("horizon", 1)}),
            paper, task="forecasting", definition=RecurrentForecaster, input_shape=(length, 1), input_name="series",
            classifier_activation=None, recipe=FORECASTING,
        )
        for name, summary, config, length, paper in FORECASTERS
    ),
)  # fmt: skip
