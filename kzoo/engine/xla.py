"""Whether a run is compiled by XLA, and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kzoo.errors import KzooError, first_line
from kzoo.keras_internals import compile_arguments, layers_in
from kzoo.tensorflow_internals import ends_with_owner

PAYS = 100  # steps of each shape of batches, on a CPU: about as many save what it takes to compile the step for it


def accelerated() -> bool:
    """Whether there is a GPU or a TPU."""
    return any(device.device_type in ("GPU", "TPU") for device in tf.config.list_logical_devices())


def choose_xla(
    model: keras.Model, wanted: bool | str, replicas: int = 1, sync_batch_norm: bool = False,
    steps: int | None = None, shapes: int = 1,
) -> tuple[bool, str]:  # fmt: skip
    """(whether, why): on for GPU and TPU; on CPU off for networks with convolutions or Keras' attention, and for
    trainings that end before the compilation has paid; on for the others.

    Why is measured in docs/speed.md. Synchronised batch normalization, asked for here or by a layer, sums over replicas
    inside the network, which XLA cannot hold.

    Args:
        steps: Of the whole training; None where that is not known.
        shapes: How many shapes its batches have; for each one the step is compiled.
    """
    layers = layers_in(model)
    unfit = [layer for layer in layers if not layer.supports_jit]
    if replicas > 1 and (sync_batch_norm or any(getattr(y, "synchronized", False) for y in layers)):
        if wanted in (True, "on"):
            raise KzooError("XLA cannot hold synchronised batch normalization's sums over replicas; use xla='off'")
        return False, "synchronised batch norm needs it off"
    if wanted in (False, "off"):
        return False, "asked for"
    if unfit:
        name = f"{unfit[0].name!r} ({type(unfit[0]).__name__})"
        if wanted in (True, "on"):
            raise KzooError(f"XLA cannot compile the layer {name}; use xla='off'")
        return False, f"auto: XLA cannot compile the layer {name}"
    if wanted in (True, "on"):
        return True, "asked for"
    if compile_arguments(model).get("jit_compile") is True:  # False is also what Keras makes of "auto" on a CPU
        return True, "the model's compile(jit_compile=True)"
    if accelerated():
        return True, "auto: on for GPU and TPU"
    kinds = {type(layer) for layer in layers}
    if any("Conv" in kind.__name__ for kind in kinds):
        return False, "auto: convolutions are slower with it on CPU"
    if any(kind.__module__.startswith("keras.") and "Attention" in kind.__name__ for kind in kinds):
        return False, "auto: Keras' attention is slower with it on CPU"
    if steps is not None and steps < PAYS * shapes:
        return False, f"auto: {steps:,} step{'s are' if steps != 1 else ' is'} too few to repay the compilation"
    return True, "auto: faster on CPU for networks without convolutions and Keras' attention"


def uncompilable(model: keras.Model, batch: Any, call: Callable[[], Any]) -> str:
    """The operation that XLA cannot compile, of a network with layers of the user's or parts of another kind; "" of
    any other, which is not tried. It is translated for XLA, not compiled, which takes a second or two at most.

    Args:
        call: The network's passes over the batch, with their gradients.
    """
    own = any(not type(y).__module__.startswith(("keras.", "kzoo.")) for y in layers_in(model))
    if not own and all(isinstance(part, tf.Tensor) for part in tf.nest.flatten(batch)):
        return ""
    try:
        ends_with_owner(tf.function(call, jit_compile=True, autograph=False)).experimental_get_compiler_ir()(
            stage="hlo"
        )
    except (ValueError, tf.errors.OpError) as error:
        found = re.search(r"Detected unsupported operations[^:]*: (\w+)", str(error))
        return found[1] if found else first_line(error)
    return ""


def draws(layer: keras.layers.Layer) -> bool:
    """Whether it draws random numbers in training. Recurrent ones have a generator also where they drop nothing."""
    if getattr(layer, "seed_generator", None) is None:
        return False
    recurrent = [getattr(layer, name) for name in ("dropout", "recurrent_dropout") if hasattr(layer, name)]
    return not hasattr(layer, "recurrent_dropout") or any(rate != 0 for rate in recurrent)


def draws_otherwise(model: keras.Model) -> list[str]:
    """What is to be said of random layers in a network that XLA compiles: it makes other floats of the same random
    bits. Plain dropout has a kernel that draws the same.
    """
    names = sorted({type(y).__name__ for y in layers_in(model) if draws(y) and type(y) is not keras.layers.Dropout})
    return [f"{', '.join(names)}: other random numbers than without XLA"] if names else []
