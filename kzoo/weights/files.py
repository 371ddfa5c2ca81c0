"""Tensors in `.safetensors` files: written beside and renamed, so that a file is there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import safetensors
import safetensors.numpy

from kzoo.errors import KzooError
from kzoo.files import atomic
from kzoo.models import model_info
from kzoo.weights.names import values_of


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
    metadata = {"format": "kzoo", "model": model.name}
    info = model_info(model)
    if info is not None and info.inputs is not None:
        if info.inputs.meaning:  # of token ids: the vocabulary itself is the run's
            metadata["vocabulary"] = info.inputs.meaning
        else:
            metadata["inputs"] = json.dumps(info.inputs.to_config())
    write_tensors(path, values_of(model), metadata)
    return path


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    tensors = {key: np.asarray(value, order="C") for key, value in tensors.items()}
    with atomic(path, sum(value.nbytes for value in tensors.values())) as beside:
        beside.touch()
        mode = beside.stat().st_mode
        safetensors.numpy.save_file(tensors, beside, metadata=dict(metadata or {}))
        beside.chmod(mode)  # it writes a file that its owner alone can read, whatever the umask says


def read_tensors(path: Path, source: str = "") -> dict[str, np.ndarray]:
    source = source or repr(str(path))
    if not path.is_file():
        raise KzooError(f"{source}: no weight file there")
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise KzooError(
            f"{source} is not a whole .safetensors file: {str(error).splitlines()[0]}; fetch it again"
        ) from error
    except (KeyError, TypeError, AttributeError) as error:  # how it says that NumPy has no such type
        raise KzooError(f"{source} has numbers of a type that NumPy lacks ({error}); save it in float32") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The text that was written beside the tensors."""
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata() or {}
