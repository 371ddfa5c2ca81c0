"""attention_maps: where each head of each layer of a Transformer looks as it reads a text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kzoo.errors import KzooError
from kzoo.files import atomic
from kzoo.keras_internals import layers_in
from kzoo.report import pictures
from kzoo.runs import Predictor, load


@dataclass(frozen=True)
class AttentionMaps:
    """Weights of attention on one text.

    Attributes:
        tokens: What is read, marks included; of a translator the source.
        said: Of a translator, what it says of the source, behind its start mark; () of any other network.
        layers: {name of the layer: float32 [heads, looking, looked at]}: each row adds up to one.
    """

    tokens: tuple[str, ...]
    said: tuple[str, ...]
    layers: Mapping[str, np.ndarray] = field(repr=False)

    def names(self, layer: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(tokens that look, tokens that are looked at) in a layer."""
        if not self.said or layer.startswith("encoder"):
            return self.tokens, self.tokens
        return self.said, self.tokens if layer.endswith("_cross") else self.said

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """A PNG: a row of panels a layer, a panel a head.

        Raises:
            KzooError: The file's name does not end in .png.
        """
        return picture(path, self.draw)

    def draw(self, path: Path) -> None:
        pictures.heads({name: (*self.names(name), maps) for name, maps in self.layers.items()}, path)


def picture(path: str | os.PathLike[str], draw: Callable[[Path], None]) -> Path:
    """A PNG that is there whole or not at all.

    Raises:
        KzooError: The file's name does not end in .png.
    """
    path = Path(path)
    if path.suffix != ".png":
        raise KzooError(f"the file must end in .png; received {str(path)!r}")
    with atomic(path) as beside:
        draw(beside)
    return path


def attention_maps(model: Any, text: str, *, checkpoint: str = "last") -> AttentionMaps:
    """Where each head of each layer of a Transformer (BERT, GPT, a translator) looks as it reads a text.

    Args:
        model: As for `evaluate`; no export.
        text: One text. A translator reads it, and says its own translation.

    Raises:
        KzooError: A network without such layers, an export, an empty text.

    >>> import kzoo
    >>> attention_maps(kzoo.lenet5(), "a text")
    Traceback (most recent call last):
    kzoo.errors.KzooError: lenet5 has no attention of Transformers to look at
    """
    return maps_of(load(model, checkpoint=checkpoint), text)


def maps_of(predictor: Predictor, text: str) -> AttentionMaps:
    """`attention_maps` of what is loaded already."""
    gives_weights = lambda layer: getattr(layer, "gives_weights", False)
    tokens, said, calls = watched(
        predictor, text, gives_weights, "attention_maps", "no attention of Transformers to look at"
    )
    maps = {name: np.asarray(weights, "float32")[0] for name, (_, _, (_, weights)) in calls.items()}
    return AttentionMaps(tokens, said, maps)


def watched(
    predictor: Predictor, text: str, wanted: Callable[[keras.layers.Layer], bool], verb: str, lacks: str
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, tuple[Any, Any, Any]]]:
    """(tokens that are read, tokens that are said, `calls_in` of the layers that are wanted) as a network reads a text.

    Raises:
        KzooError: It has no such layer, or this is no text.
    """
    layers = [layer for layer in layers_in(predictor.model) if wanted(layer)]
    if not layers:
        raise KzooError(f"{predictor.name} has {lacks}")
    if not isinstance(text, str) or not text.strip():
        raise KzooError(f"{verb} looks at one text; received {repr(text)[:60]}")
    given, tokens, said = predictor.task.as_read(predictor, text)
    with calls_in(layers) as calls:
        predictor.model(given, training=False)
    return tokens, said, calls


@contextmanager
def calls_in(layers: list[keras.layers.Layer]) -> Iterator[dict[str, tuple[Any, Any, Any]]]:
    """{layer: (arguments, named ones, outputs) of its last call} of what is called meanwhile, in every style."""
    found: dict[str, tuple[Any, Any, Any]] = {}

    def watching(layer: keras.layers.Layer) -> Any:
        call = layer.call

        def seen(*args: Any, **kwargs: Any) -> Any:
            outputs = call(*args, **kwargs)
            found[layer.name] = args, kwargs, outputs
            return outputs

        return seen

    for layer in layers:
        vars(layer)["call"] = watching(layer)
    try:
        yield found
    finally:
        for layer in layers:
            vars(layer).pop("call")
