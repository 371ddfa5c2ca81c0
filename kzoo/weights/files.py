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

from kzoo.errors import KzooError, unknown
from kzoo.files import atomic
from kzoo.models import model_info
from kzoo.weights import foreign
from kzoo.weights.names import values_of

TOLD = "kzoo.inputs"  # in the metadata of a file in others' names: what its ids mean, as `Inputs.to_config` has it


def save_weights(model: keras.Model, path: str | os.PathLike[str], *, names: str = "kzoo") -> Path:
    """Write all weights to one `.safetensors` file, keyed by name. The file appears whole or not at all.

    Args:
        path: A `.safetensors` file; where `names` have a `config.json` beside them, a folder for both.
        names: `"kzoo"`; or those that the library of the model's family gives: `"transformers"` of GPT and BERT,
            `"torch"` of recurrent networks and the Transformer.

    Returns:
        The path written.

    Raises:
        KzooError: Another path, or names that the model's family has not.
    """
    path = Path(path)
    if not isinstance(model, keras.Model):
        raise KzooError(f"save_weights takes a Keras model; received {model!r}")
    if names != "kzoo":
        return _save_foreign(model, path, names)
    _check_file(path)
    metadata = {"format": "kzoo", "model": model.name}
    info = model_info(model)
    if info is not None and info.inputs is not None:
        if info.inputs.meaning:  # of token ids: the vocabulary itself is the run's
            metadata["vocabulary"] = info.inputs.meaning
        else:
            metadata["inputs"] = json.dumps(info.inputs.to_config())
    write_tensors(path, values_of(model), metadata)
    return path


def _check_file(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise KzooError(f"weights are kept in .safetensors files; received {str(path)!r}")
    if not path.parent.is_dir():
        raise KzooError(f"no folder {str(path.parent)!r} to write {path.name} into; make it first")


def _save_foreign(model: keras.Model, path: Path, names: str) -> Path:
    info = model_info(model)
    table = info.spec.foreign if info is not None else None
    if table is None or names != table.lineage:
        allowed = ["kzoo", *([table.lineage] if table is not None else [])]
        raise unknown("names", names, allowed, f"{model.name!r} has {' and '.join(allowed)}")
    tensors = foreign.written(values_of(model), info)
    if table.config is None:
        _check_file(path)
        known = info.inputs is not None and info.inputs.meaning  # no file beside it says what the ids mean
        told = {TOLD: json.dumps(info.inputs.to_config())} if known else {}
        write_tensors(path, tensors, {"format": "pt", **told})
        return path
    if path.suffix or path.is_file():
        raise KzooError(f"names={names!r} make a folder, with a config.json; received {str(path)!r}")
    # Or it has none, and that is said before anything is written.
    config = json.dumps(table.config(info.settings), indent=2) + "\n"
    path.mkdir(parents=True, exist_ok=True)
    with atomic(path / "config.json") as beside:
        beside.write_text(config, encoding="utf-8")
    if table.vocabulary and info.inputs is not None and info.inputs.known:
        for name, text in zip(table.vocabulary, info.inputs.to_files(), strict=True):
            with atomic(path / name) as beside:
                beside.write_text(text, encoding="utf-8")
    write_tensors(path / "model.safetensors", tensors, {"format": "pt"})
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
    """The text that was written beside the tensors; of a file in others' names what TOLD says, as "inputs"."""
    with safetensors.safe_open(path, framework="numpy") as file:
        found = file.metadata() or {}
    if found.get("format") == "kzoo":
        return found
    return {"inputs": found[TOLD]} if TOLD in found else {}
