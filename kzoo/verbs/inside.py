"""What is inside a network for texts: the gates of its recurrent layers, its embeddings, its positions, as numbers and
as pictures. Where it looks stands in attention.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.keras_internals import layers_in
from kzoo.records import END_OF_WORD
from kzoo.report import Picture, Shown, pictures, projected
from kzoo.runs import Predictor, load
from kzoo.verbs.attention import maps_of, picture, watched

GATED = (keras.layers.LSTM, keras.layers.GRU)


@dataclass(frozen=True)
class GateMaps:
    """What the gates of recurrent layers did as one text was read.

    Attributes:
        tokens: What is read.
        layers: {name of the layer: {name of the gate: float32 [time, units]}}: of a gate 0 is closed and 1 is open; a
            candidate, what is offered to the cell, is -1 to 1; "cell" and "state" are what the layer keeps and gives.
    """

    tokens: tuple[str, ...]
    layers: Mapping[str, Mapping[str, np.ndarray]] = field(repr=False)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """A PNG: a row of panels a layer, a panel a gate; a column for each token, a row for each unit.

        Raises:
            KzooError: The file's name does not end in .png.
        """
        return picture(path, self.draw)

    def draw(self, path: Path) -> None:
        pictures.gates(self.tokens, self.layers, path)


@dataclass(frozen=True)
class EmbeddingMap:
    """Embeddings in two dimensions: what they differ in most (principal components of all of them).

    Attributes:
        points: float32 [tokens, 2].
        explained: Share of the variance of all embeddings that lies in each of the two directions.
    """

    tokens: tuple[str, ...]
    points: np.ndarray = field(repr=False)
    explained: tuple[float, float]

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """A PNG: each token at its point.

        Raises:
            KzooError: The file's name does not end in .png.
        """
        return picture(path, self.draw)

    def draw(self, path: Path) -> None:
        pictures.places(self.tokens, self.points, self.explained, path)


@dataclass(frozen=True)
class PositionMap:
    """The vectors that stand for places.

    Attributes:
        table: float32 [places, d_model]: sinusoids, or what was learned.
        likeness: float32 [places, places], the cosine of the angle between the vectors of two places.
    """

    table: np.ndarray = field(repr=False)
    likeness: np.ndarray = field(repr=False)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """A PNG: the table, and how alike places are.

        Raises:
            KzooError: The file's name does not end in .png.
        """
        return picture(path, self.draw)

    def draw(self, path: Path) -> None:
        pictures.positions(self.table, self.likeness, path)


def gate_maps(model: Any, text: str, *, checkpoint: str = "last") -> GateMaps:
    """What the gates of each LSTM or GRU do as it reads a text.

    Args:
        model: As for `evaluate`; no export.
        text: One text. A translator reads it, and says its own translation; the gates of what reads are told.

    Raises:
        KzooError: A network without such layers, an export, an empty text.

    >>> import kzoo
    >>> gate_maps(kzoo.lenet5(), "a text")
    Traceback (most recent call last):
    kzoo.errors.KzooError: lenet5 has no LSTM or GRU
    """
    return _gate_maps(_loaded(model, checkpoint), text)


def _gate_maps(predictor: Predictor, text: str) -> GateMaps:
    gated = {layer.name: layer for layer in layers_in(predictor.model) if isinstance(layer, GATED)}
    tokens, _, calls = watched(predictor, text, lambda layer: layer.name in gated, "gate_maps", "no LSTM or GRU")
    found = {}
    for name, (args, kwargs, _) in calls.items():
        x = np.asarray(args[0], "float32")[0]
        # What reads something else, as a translator's decoder does, has another number of steps or begins with a state.
        if len(x) == len(tokens) and kwargs.get("initial_state") is None:
            found[name] = _gates(gated[name], x)
    if not found:
        raise KzooError(f"{predictor.name} has no LSTM or GRU that reads the text from its beginning")
    return GateMaps(tokens, found)


def _gates(layer: keras.layers.Layer, x: np.ndarray) -> dict[str, np.ndarray]:
    """Of a layer's steps over x [time, width], in the order of x: the formulas of Keras' cells."""
    cell = layer.cell
    kernel, recurrent = (np.asarray(v, "float32") for v in (cell.kernel, cell.recurrent_kernel))
    bias = np.asarray(cell.bias, "float32") if cell.use_bias else np.zeros(kernel.shape[1], "float32")
    squash, open_ = (lambda z, f=f: np.asarray(f(z)) for f in (cell.activation, cell.recurrent_activation))
    rows = x[::-1] if layer.go_backwards else x
    h = np.zeros(cell.units, "float32")
    kept: dict[str, list[np.ndarray]] = {}
    cells = h
    for row in rows:
        if isinstance(layer, keras.layers.LSTM):
            i, f, c, o = np.split(row @ kernel + h @ recurrent + bias, 4)
            i, f, c, o = open_(i), open_(f), squash(c), open_(o)
            cells = f * cells + i * c
            h = o * squash(cells)
            step = {"input": i, "forget": f, "candidate": c, "output": o, "cell": cells, "state": h}
        else:
            own, before = (bias[0], bias[1]) if bias.ndim == 2 else (bias, np.zeros_like(bias))
            z, r, c = np.split(row @ kernel + own, 3)
            uz, ur, uc = np.split(recurrent, 3, axis=1)
            bz, br, bc = np.split(before, 3)
            z, r = open_(z + h @ uz + bz), open_(r + h @ ur + br)
            c = squash(c + r * (h @ uc + bc)) if cell.reset_after else squash(c + (r * h) @ uc + bc)
            h = z * h + (1 - z) * c
            step = {"update": z, "reset": r, "candidate": c, "state": h}
        for name, value in step.items():
            kept.setdefault(name, []).append(value)
    back = slice(None, None, -1) if layer.go_backwards else slice(None)
    return {name: np.stack(values)[back].astype("float32") for name, values in kept.items()}


def embedding_map(
    model: Any, words: Sequence[str] | None = None, *, count: int = 80, checkpoint: str = "last"
) -> EmbeddingMap:
    """The embeddings of some tokens in the two directions in which all of them differ most.

    Args:
        model: As for `evaluate`; no export. Of a translator, what it reads.
        words: Tokens of its vocabulary, or words of which it has a token; default the first `count` of more than one
            letter: of words the commonest, of pieces those that were joined first.

    Raises:
        KzooError: A network without an embedding or a vocabulary, or a word that is not in it.

    >>> import kzoo
    >>> embedding_map(kzoo.lenet5())
    Traceback (most recent call last):
    kzoo.errors.KzooError: lenet5 has no embedding of tokens
    """
    return _embedding_map(_loaded(model, checkpoint), words, count)


def _embedding_map(predictor: Predictor, words: Sequence[str] | None = None, count: int = 80) -> EmbeddingMap:
    spec = getattr(predictor.reader, "spec", None)
    spec = getattr(spec, "source", spec)
    table = next((layer.embeddings for layer in layers_in(predictor.model) if hasattr(layer, "embeddings")), None)
    if table is None or not hasattr(spec, "vocabulary"):
        raise KzooError(f"{predictor.name} has no embedding of tokens")
    if not spec.known:
        raise KzooError(f"{predictor.name} has no vocabulary: it was not trained; give its run")
    places = {token: k for k, token in enumerate(spec.vocabulary)}
    first = len(spec.reserved)
    if words is None:  # letters and pieces inside words say little
        every = spec.vocabulary[first:]
        ends = [t for t in every if t.endswith(END_OF_WORD)] or every
        stem = lambda t: t.removeprefix("Ġ").removesuffix(END_OF_WORD)
        words = [t for t in ends if len(stem(t)) > 1 and not t.startswith("##")][:count] or every[:count]
    # Where words are cut into pieces, a common one is a piece itself: `dog</w>`, of GPT-2 `Ġdog`.
    own = lambda word: next((t for t in (word + END_OF_WORD, word, f"Ġ{word}") if t in places), word)
    chosen = [own(word) for word in words]
    if missing := [word for word in chosen if word not in places]:
        raise KzooError(f"{missing[0]!r} is not in the vocabulary of {predictor.name}; it has {_some_of(spec)}")
    rows = np.asarray(table, "float32")[: len(spec.vocabulary)]
    if rows.shape[1] < 2 or not np.isfinite(rows).all():
        why = "is one number wide" if rows.shape[1] < 2 else "holds numbers that are not finite"
        raise KzooError(f"the embedding of {predictor.name} {why}")
    return EmbeddingMap(tuple(chosen), *projected(rows, [places[word] for word in chosen]))


def inside(predictor: Predictor, texts: tf.data.Dataset) -> list[Shown]:
    """What a network for texts has inside, as it reads the beginning of the first of some texts: the pictures of
    `gate_maps`, `attention_maps`, `embedding_map` and `position_map`, where it has such layers.
    """
    spec = texts.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    if not isinstance(first, tf.TensorSpec) or first.dtype != tf.string or first.shape.rank:
        return []
    row = next(texts.take(1).as_numpy_iterator(), b"")
    text = row[0] if isinstance(row, tuple) else row
    text = " ".join(text.decode("utf-8", "replace").split()[:12])[:80]
    found: list[Shown] = []
    for name, made in (
        ("gates.png", lambda: _gate_maps(predictor, text)),
        ("heads.png", lambda: maps_of(predictor, text)),
        ("embeddings.png", lambda: _embedding_map(predictor)),
        ("positions.png", lambda: _position_map(predictor)),
    ):
        with contextlib.suppress(KzooError):  # it has none, or cannot read this text
            found.append(Picture(name, made().draw))
    return found


def _loaded(model: Any, checkpoint: str) -> Predictor:
    predictor = load(model, checkpoint=checkpoint)
    if predictor.export is not None:
        raise KzooError(f"{predictor.name} is an export, whose layers nobody sees; give the run it came from")
    return predictor


def _some_of(spec: Any) -> str:
    some = spec.vocabulary[len(spec.reserved) :]
    return f"{len(some):,} tokens, {', '.join(map(repr, some[:3]))} …"


def position_map(model: Any, *, checkpoint: str = "last") -> PositionMap:
    """The vectors that a Transformer adds for the places of tokens, and how alike they are.

    Args:
        model: As for `evaluate`; no export.

    Raises:
        KzooError: A network that adds none: without places, or with rotations in their stead.

    >>> import kzoo
    >>> position_map(kzoo.transformer_small()).table.shape
    (80, 128)
    """
    return _position_map(_loaded(model, checkpoint))


def _position_map(predictor: Predictor) -> PositionMap:
    vectors = next((layer.vectors for layer in layers_in(predictor.model) if hasattr(layer, "vectors")), None)
    if vectors is None:
        raise KzooError(f"{predictor.name} adds no vectors for places")
    table = np.asarray(vectors, "float32")
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return PositionMap(table, unit @ unit.T)
