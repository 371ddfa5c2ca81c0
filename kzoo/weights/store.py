"""Weights by name.

The key of a weight is the unique name of its layer and its path inside that layer (`c1/kernel`,
`encoder_gru/forward_gru/gru_cell/kernel`). The keys are the same in every style, so a file written from one loads into
the others; Keras' own `.weights.h5` is keyed by attribute and class and does not. Loading is total: missing, unexpected
and mis-shaped names are an error that lists them. Seed states of random layers are not weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import safetensors
import safetensors.numpy

from kzoo.errors import KzooError
from kzoo.models._block import Block
from kzoo.models._registry import model_info


def weights_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """{key: variable} of every weight, trainable or not.

    Raises:
        KzooError: Two different weights have one key, since two layers have one name.
    """
    found: dict[str, keras.Variable] = {}

    def visit(layer: keras.layers.Layer) -> None:
        for child in layer._flatten_layers(include_self=False, recursive=False):
            if isinstance(child, Block | keras.Model):
                visit(child)
                continue
            for variable in child.weights:
                key = _key(child.name, variable.path)
                if found.setdefault(key, variable) is not variable:
                    raise KzooError(f"two weights are named {key!r}; layer names must be unique in {model.name!r}")

    visit(model)
    return found


def _key(layer: str, path: str) -> str:
    """`layer` and what follows its last occurrence among the parts of `path`.

    >>> _key("encoder_gru", "seq2seq/encoder/encoder_gru/forward_gru/gru_cell/kernel")
    'encoder_gru/forward_gru/gru_cell/kernel'

    A wrapper that Keras builds as it loads a file leaves its own name out of the path:

    >>> _key("encoder_gru", "forward_gru/gru_cell/kernel")
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
    values = {key: _numpy(variable) for key, variable in weights_by_name(source).items()}
    assign(target, values, f"the model {source.name!r}")


def save_weights(model: keras.Model, path: str | os.PathLike[str]) -> Path:
    """Write all weights to one `.safetensors` file, keyed by name. The file appears whole or not at all.

    Returns:
        The path written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise KzooError(f"weights are kept in .safetensors files; received {str(path)!r}")
    if not path.parent.is_dir():
        raise KzooError(f"no folder {str(path.parent)!r} to write {path.name} into; make it first")
    metadata = {"format": "kzoo", "model": model.name, **_vocabulary(model)}
    write_tensors(path, {k: _numpy(v) for k, v in weights_by_name(model).items()}, metadata)
    return path


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Read a file of `save_weights` into a model of any style.

    Raises:
        KzooError: No such file, not a whole safetensors file, names or shapes that differ, or weights that were learned
            on another vocabulary than the model's; the model is unchanged.
    """
    values = read_tensors(Path(path))
    theirs, mine = read_metadata(Path(path)).get("vocabulary"), _vocabulary(model).get("vocabulary")
    if theirs and mine and theirs != mine:
        raise KzooError(
            f"the file {str(path)!r} has weights for another vocabulary: its token ids mean other words than those of"
            f" {model.name!r}; load it into a model of the run it came from"
        )
    assign(model, values, f"the file {str(path)!r}")


def _vocabulary(model: keras.Model) -> dict[str, str]:
    """{"vocabulary": sha256 of the tokens in the order of their ids}; empty where the model has none."""
    preprocess = getattr(model_info(model), "preprocess", None)
    sides = [getattr(preprocess, name, None) for name in ("source", "target")]
    tokens = [side.vocabulary for side in (sides if any(sides) else [preprocess]) if hasattr(side, "vocabulary")]
    if not any(tokens):
        return {}
    return {"vocabulary": hashlib.sha256(json.dumps(tokens, ensure_ascii=False).encode()).hexdigest()}


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """safetensors, written beside and renamed."""
    tensors = {key: np.array(value, order="C") for key, value in tensors.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        safetensors.numpy.save_file(tensors, temporary, metadata=dict(metadata or {}))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise KzooError(f"no weight file {str(path)!r}")
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise KzooError(f"{str(path)!r} is not a whole .safetensors file: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The text that was written beside the tensors."""
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


def _numpy(variable: keras.Variable) -> np.ndarray:
    # Not np.array(variable), which raises NumPy 2's warning about `copy` inside Keras. bfloat16 has no NumPy type of
    # its own: safetensors knows ml_dtypes'.
    return keras.ops.convert_to_tensor(variable.value).numpy()


def assign(model: keras.Model, values: Mapping[str, np.ndarray], source: str) -> None:
    variables = weights_by_name(model)
    missing = sorted(variables.keys() - values.keys())
    unexpected = sorted(values.keys() - variables.keys())
    shapes = [
        f"{key} is {tuple(values[key].shape)} there and {tuple(variables[key].shape)} here"
        for key in sorted(variables.keys() & values.keys())
        if tuple(values[key].shape) != tuple(variables[key].shape)
    ]
    if missing or unexpected or shapes:
        differences = [
            *(f"- {key}" for key in missing[:10]),
            *([f"- ({len(missing) - 10} more)"] if len(missing) > 10 else []),
            *(f"+ {key}" for key in unexpected[:10]),
            *([f"+ ({len(unexpected) - 10} more)"] if len(unexpected) > 10 else []),
            *shapes[:10],
            *([f"({len(shapes) - 10} more shapes)"] if len(shapes) > 10 else []),
        ]
        raise KzooError(
            f"{source} does not fit the model {model.name!r} (- missing there, + unknown here):"
            f" {'; '.join(differences)}"
        )
    for key, variable in variables.items():
        variable.assign(values[key])
