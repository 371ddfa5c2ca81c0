"""Weights by name.

The key of a weight is the unique name of its layer and its path inside that layer (`c1/kernel`,
`encoder_gru/forward_gru/gru_cell/kernel`). The keys are the same in every style, so a file written from one loads into
the others; Keras' own `.weights.h5` is keyed by attribute and class and does not. Seed states of random layers are not
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kzoo.errors import KzooError
from kzoo.keras_internals import children_of
from kzoo.models import Block


def weights_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """{key: variable} of every weight, trainable or not.

    Raises:
        KzooError: Two different weights have one key, since two layers have one name.
    """
    found: dict[str, keras.Variable] = {}

    def visit(layer: keras.layers.Layer) -> None:
        for child in children_of(layer):
            if isinstance(child, Block | keras.Model):
                visit(child)
                continue
            for variable in child.weights:
                key = key_of(child.name, variable.path)
                if found.setdefault(key, variable) is not variable:
                    raise KzooError(f"two weights are named {key!r}; layer names must be unique in {model.name!r}")

    visit(model)
    return found


def key_of(layer: str, path: str) -> str:
    """`layer` and what follows its last occurrence among the parts of `path`.

    >>> key_of("encoder_gru", "seq2seq/encoder/encoder_gru/forward_gru/gru_cell/kernel")
    'encoder_gru/forward_gru/gru_cell/kernel'

    A wrapper that Keras builds as it loads a file leaves its own name out of the path:

    >>> key_of("encoder_gru", "forward_gru/gru_cell/kernel")
    'encoder_gru/forward_gru/gru_cell/kernel'
    """
    parts = path.split("/")
    inside = parts[len(parts) - parts[::-1].index(layer) :] if layer in parts else parts
    return "/".join([layer, *inside])


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give `target` the weights of `source`, by name, whatever their styles.

    Raises:
        KzooError: The names or shapes differ; nothing is copied.
    """
    values, variables = values_of(source), weights_by_name(target)
    if differences := differing(variables, values):
        raise KzooError(
            f"the model {source.name!r} does not fit the model {target.name!r}: {REMEDY} (- missing there, + unknown"
            f" here): {differences}"
        )
    for key, variable in variables.items():
        variable.assign(values[key])


def values_of(model: keras.Model) -> dict[str, np.ndarray]:
    """{key: value} of every weight."""
    return {key: numpy_of(variable) for key, variable in weights_by_name(model).items()}


def numpy_of(variable: keras.Variable) -> np.ndarray:
    # Not np.array(variable), which raises NumPy 2's warning about `copy` inside Keras. bfloat16 has no NumPy type of
    # its own: safetensors knows ml_dtypes'.
    return keras.ops.convert_to_tensor(variable.value).numpy()


REMEDY = "it is another model's, or this one's with other arguments"
SHOWN = 6  # keys of each kind in an error


def shapes_that_differ(variables: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{key: (shape there, shape here)} of keys that both have."""
    both = sorted(variables.keys() & values.keys())
    shapes = {key: (tuple(values[key].shape), tuple(variables[key].shape)) for key in both}
    return {key: pair for key, pair in shapes.items() if pair[0] != pair[1]}


def differing(variables: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """What a file's or a model's weights have otherwise, in one line; "" where names and shapes are the same."""
    missing, unexpected = sorted(variables.keys() - values.keys()), sorted(values.keys() - variables.keys())
    shapes = [
        f"{k} is {there} there and {here} here" for k, (there, here) in shapes_that_differ(variables, values).items()
    ]
    lists = [
        *(f"- {key}" for key in missing[:SHOWN]),
        *([f"- ({len(missing) - SHOWN} more)"] if len(missing) > SHOWN else []),
        *(f"+ {key}" for key in unexpected[:SHOWN]),
        *([f"+ ({len(unexpected) - SHOWN} more)"] if len(unexpected) > SHOWN else []),
        *shapes[:SHOWN],
        *([f"({len(shapes) - SHOWN} more shapes)"] if len(shapes) > SHOWN else []),
    ]
    return "; ".join(lists)
