"""What a set of weights is, and by which names others keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kzoo.records.inputs import TORCH, ImageInputs


@dataclass(frozen=True)
class WeightSpec:
    """One set of weights that a model can be built with, and everything needed to use it and to believe it.

    Attributes:
        model, tag: `lenet5@mnist`.
        checksum: `"sha256:<digits>"` or `"md5:<digits>"`, as its source publishes it: whole, or the first digits. It is
            checked before the file is used. None: the sha256 that the source's server names.
        size: In bytes; of what is fetched as its source publishes it, rounded there, or None.
        classes: Their names, in the order of the outputs.
        inputs: How its images are prepared.
        metrics: Measured by `command`, or reported by the authors.
        data: What it was trained on: a name that `load_data` knows.
        source: Who made it, and where its numbers stand.
        file: Its name among the files that come with kzoo; or
        url: where it is fetched from, by `https://` or `hf://`.
        parameters: Of the whole model; None of what is fetched.
    """

    model: str
    tag: str
    checksum: str | None
    size: int | None
    classes: tuple[str, ...]
    inputs: ImageInputs
    metrics: Mapping[str, float]
    data: str
    licence: str
    source: str
    file: str = ""
    url: str = ""
    parameters: int | None = None
    command: str = ""
    recipe: str = ""


@dataclass(frozen=True)
class TorchNames:
    """How a family's state dict, torchvision's or timm's, becomes kzoo's keys.

    Attributes:
        names: Modules of the state dict -> {module: kzoo's layer}; a module that is not there keeps its name.
        flattened: {kzoo's dense layer behind a flatten: channels of the feature map that it reads}.
        remedy: Which of kzoo's variants the files are for.
        inputs: How images are prepared for them.
    """

    names: Callable[[Iterable[str]], dict[str, str]]
    remedy: str
    flattened: Mapping[str, int] = field(default_factory=dict)
    inputs: ImageInputs = TORCH


Row = tuple[tuple[str, ...], tuple[str, ...], str]


@dataclass(frozen=True)
class ForeignTable:
    """How another library's weights become kzoo's, and kzoo's theirs.

    Attributes:
        lineage: Whose names these are, as `save_weights(names=…)` says it: "transformers", "torch".
        rows: Of `define`'s arguments: (their names, kzoo's keys, the name of a transform of kzoo.weights.foreign).
        remedy: Which of kzoo's variants the files are for.
        prefix: In front of their names, or not there.
        outside: Patterns of names that have no prefix.
        ignored: Patterns of names there that hold no weights, or hold one twice.
        older: {how names ended in files of earlier versions: how they end now}.
        config: Of `define`'s arguments, what stands in the `config.json` beside the weights; None where there is none.
        vocabulary: The files beside the weights that say what the ids mean, as `of_files` of the inputs takes them and
            `to_files` gives them; () where none does.
    """

    lineage: str
    rows: Callable[[Mapping[str, Any]], Iterable[Row]]
    remedy: str
    prefix: str = ""
    outside: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    older: Mapping[str, str] = field(default_factory=dict)
    config: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True)
class KerasNames:
    """How the layers of keras.applications' network lie in its weight files, where names do not say it.

    Attributes:
        order: Names of layers of one class in the order of the definition -> in that of `model.layers` there.
        by_creation: Whether its layers have no names of their own: they are matched in the order of creation.
    """

    order: Callable[[list[str]], list[str]] = list
    by_creation: bool = False
