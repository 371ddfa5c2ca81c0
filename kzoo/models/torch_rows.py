"""Rows of a ForeignTable that several families share: layers of PyTorch and what they are called here."""

from __future__ import annotations

from collections.abc import Iterator

Rows = Iterator[tuple[tuple[str, ...], tuple[str, ...], str]]


def dense(theirs: str, ours: str) -> Rows:
    """nn.Linear, whose matrix lies the other way round."""
    yield ((f"{theirs}.weight",), (f"{ours}/kernel",), "transposed")
    yield ((f"{theirs}.bias",), (f"{ours}/bias",), "same")


def norm(theirs: str, ours: str) -> Rows:
    """nn.LayerNorm."""
    yield ((f"{theirs}.weight",), (f"{ours}/gamma",), "same")
    yield ((f"{theirs}.bias",), (f"{ours}/beta",), "same")


def recurrent(cell: str, theirs: str, k: int, ours: str, both: bool = False) -> Rows:
    """Layer k of `theirs`, an nn.RNN, nn.LSTM or nn.GRU, and the layer here."""
    inside = {"rnn": "simple_rnn_cell", "lstm": "lstm_cell", "gru": "gru_cell"}[cell]
    turned, biases = ("gates", "two biases") if cell == "gru" else ("transposed", "summed")
    for there, here in (("", "forward_"), ("_reverse", "backward_")) if both else (("", ""),):
        key = f"{ours}/{here}{ours}/{inside}" if both else f"{ours}/{inside}"
        name = lambda part, there=there: f"{theirs}.{part}_l{k}{there}"
        yield ((name("weight_ih"),), (f"{key}/kernel",), turned)
        yield ((name("weight_hh"),), (f"{key}/recurrent_kernel",), turned)
        yield ((name("bias_ih"), name("bias_hh")), (f"{key}/bias",), biases)
