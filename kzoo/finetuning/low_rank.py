"""Low-rank tuning: of each kernel below the head only a small product learns, which is added to it.

Edward Hu, Yelong Shen, Phillip Wallis, Zeyuan Allen-Zhu, Yuanzhi Li, Shean Wang, Lu Wang, Weizhu Chen (2022), "LoRA:
Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685, section 4.1: a kernel W [rows, columns]
is W + scale A B, where A [rows, rank] begins at random, B [rank, columns] begins as zeros, and W stays as it is; by
Keras' own `enable_lora`. Everything else below the head stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import keras

from kzoo.engine import named_layers
from kzoo.errors import KzooError
from kzoo.finetuning.stages import Stage, prefixes_of
from kzoo.keras_internals import adapted, set_learning
from kzoo.weights import numpy_of, weights_by_name, write_tensors
from kzoo.zoo import twin

ADAPTERS = "lora.safetensors"


def enable(model: keras.Model, rank: int, head: Collection[str]) -> list[str]:
    """Give each kernel outside the head its product; the names of their layers.

    Raises:
        KzooError: There is none that takes one.
    """
    found = []
    for name, layer in named_layers(model).items():
        takes = hasattr(layer, "enable_lora") and not getattr(layer, "kernel_constraint", None)
        if takes and name not in head and min(_sides(layer)) > rank:
            layer.enable_lora(rank)
            set_learning(layer, True)
            found.append(name)
    if not found:
        raise KzooError(
            f"lora={rank}: no layer of {model.name!r} below its head has a kernel with more than {rank} rows and"
            " columns; give a smaller one, or leave it out"
        )
    return found


def _sides(layer: keras.layers.Layer) -> tuple[int, int]:
    """Rows and columns of a kernel, as the product sees it."""
    kernel = layer.embeddings if isinstance(layer, keras.layers.Embedding) else layer.kernel
    return math.prod(kernel.shape[:-1]), kernel.shape[-1]


def stage_of(model: keras.Model, adapted_layers: Collection[str], head: Collection[str], epochs: int) -> Stage:
    """The one stage after the head's: the products and the head learn."""
    layers = named_layers(model)
    learning = [name for name in layers if name in {*adapted_layers, *head}]
    frozen = [name for name in layers if name not in learning]
    products = sum(math.prod(v.shape) for name in adapted_layers for v in adapted(layers[name]))
    heads = sum(layers[name].count_params() for name in head)
    return Stage("low rank", prefixes_of(frozen, learning), 1.0, {}, epochs, products + heads)


def save(model: keras.Model, path: Path) -> None:
    """The products by the names of their layers: `layer1_attention_query/lora_kernel_a`."""
    found = {key: numpy_of(v) for key, v in weights_by_name(model).items() if "/lora_" in key}
    write_tensors(path, found, {"format": "kzoo"})


def merged(model: keras.Model) -> keras.Model:
    """The same network once more, with the products added to their kernels and no others."""
    made = twin(model)
    theirs = named_layers(model)
    for name, layer in named_layers(made).items():
        if getattr(theirs[name], "lora_enabled", False):
            if isinstance(layer, keras.layers.Embedding):
                layer.embeddings.assign(theirs[name].embeddings)
            else:
                layer.kernel.assign(theirs[name].kernel)
    return made
