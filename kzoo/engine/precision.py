"""The precision of a run: set on every layer for its length, and taken back after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.keras_internals import layers_in


def check_precision(name: str | None) -> None:
    """What this machine cannot compute."""
    if name == "mixed_float16" and not tf.config.list_physical_devices("GPU"):
        raise KzooError("precision='mixed_float16' needs a GPU, this machine has none; mixed_bfloat16 runs on CPU too")


@contextlib.contextmanager
def precise(networks: Sequence[keras.Model], name: str | None) -> Iterator[None]:
    """Every layer of the networks computes in that precision; weights keep theirs. `None` leaves them as they are."""
    changed = []
    try:
        for layer in {id(y): y for n in networks for y in layers_in(n)}.values() if name else ():
            own = layer.dtype_policy
            if own.quantization_mode is None and own.variable_dtype == "float32":
                changed.append((layer, own))
                layer.dtype_policy = name
        yield
    finally:
        for layer, own in changed:
            layer.dtype_policy = own


def scaled(optimizer: keras.optimizers.Optimizer, name: str | None) -> keras.optimizers.Optimizer:
    """The optimizer, with loss scaling around it for mixed_float16; its state stays its own."""
    if name != "mixed_float16" or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)
