"""SavedModel with named signatures and the preprocessing inside the graph.

    serving_default   what the model takes, by its input's name -> {output layer's name: float32}
    serve_bytes       bytes [N], encoded images -> scores [N, k], labels [N, k], class_ids [N, k]
    features          what the model takes -> what its last layer reads

A bare TensorFlow loads and serves it: nothing of kzoo, nor Keras, is needed. It lies in `path/<next version>`, as
TensorFlow Serving wants it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kzoo
from kzoo.errors import KzooError
from kzoo.inspection.card import model_card
from kzoo.models._registry import model_info, model_spec
from kzoo.models._styles import feature_extractor
from kzoo.preprocess import PreprocessLayer, decode_image
from kzoo.runs._load import (
    EXPORT_INFO,
    Loaded,
    check_checkpoint,
    load,
    newest_version,
)
from kzoo.runs._scores import input_spec, output_kind, probe, to_probabilities
from kzoo.spec import preprocess_config

TOP = 5
# Of the largest output, or absolute below one. A half-precision network rounds differently once it is a graph.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2**-6, "float16": 2**-9}


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        path: The version's folder.
        signatures: {name: its inputs and outputs, as text}.
        difference: Largest difference between its serving_default and the model, on random inputs.
    """

    path: Path
    signatures: dict[str, str]
    difference: float

    def __str__(self) -> str:
        lines = [f"{name:16} {text}" for name, text in self.signatures.items()]
        return "\n".join([str(self.path), *lines, f"largest difference from the model: {self.difference:.1e}"])


def export(
    model: Any, path: str | os.PathLike[str], *, checkpoint: str = "last", labels: tuple[str, ...] | None = None
) -> Exported:
    """Write a SavedModel to `path/<next version>` and compare it with the model.

    Args:
        model: A run, a `.keras` file, `"lenet5@mnist"`, a Run or a Keras model.
        path: A folder for this model; the version is the next free number in it.
        checkpoint: Of a run: `"last"` or `"best"`.
        labels: Names of the classes, for a model that does not know them.

    Raises:
        KzooError: No such model, an export given as the model, or an export that differs from its model; nothing is
            left behind then.
    """
    check_checkpoint(checkpoint)
    if not isinstance(path, str | os.PathLike):
        raise KzooError(f"path must be a folder for the export; received {path!r}")
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise KzooError(f"{str(path)!r} is a file; give a folder for the export")
    if (path / "saved_model.pb").is_file():
        raise KzooError(f"{str(path)!r} is itself a SavedModel; give the folder above it, versions are numbered inside")
    if isinstance(model, str | os.PathLike) and Path(model).is_dir() and newest_version(Path(model)) is not None:
        raise KzooError(f"{str(model)!r} is an export already; export the run it came from")
    loaded = load(model, checkpoint=checkpoint)
    if labels is not None:
        columns = max(probe(loaded.model).shape[-1], 2)
        if isinstance(labels, str) or len(labels) != columns:
            raise KzooError(f"labels must name the {columns} classes of {loaded.name}; received {labels!r}")
        loaded.labels = tuple(map(str, labels))
    module, signatures, info = _module(loaded)
    parent = path
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".export-", dir=parent))
    try:
        tf.saved_model.save(module, str(work), signatures=signatures)
        (work / EXPORT_INFO).parent.mkdir(exist_ok=True)
        (work / EXPORT_INFO).write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
        difference = _difference(loaded.model, work, info)
        described = {name: _described(function) for name, function in signatures.items()}
        (work / "card.md").write_text(_card(loaded, described, difference), encoding="utf-8")
        os.chmod(work, 0o755)
        final = _next_version(parent, work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if not any(parent.iterdir()):
            parent.rmdir()
        raise
    return Exported(final, described, difference)


def _module(loaded: Loaded) -> tuple[tf.Module, dict[str, Any], dict[str, Any]]:
    model = loaded.model
    spec = input_spec(model)
    module = tf.Module()
    module.model_variables = [v.value for v in model.variables]

    @tf.function(input_signature=[spec], autograph=False)
    def serving_default(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return _named(model, model(inputs, training=False))

    signatures = {"serving_default": serving_default.get_concrete_function()}
    info = model_info(model)
    if info is not None and info.arguments.get("include_top", True):
        trunk = feature_extractor(model, model_spec(info.model).head)

        @tf.function(input_signature=[spec], autograph=False)
        def features(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"features": tf.cast(trunk(inputs, training=False), tf.float32)}

        signatures["features"] = features.get_concrete_function()
    outputs, kind = list(signatures["serving_default"].structured_outputs), "numbers"
    if len(outputs) == 1:
        scores, kind = probe(model), output_kind(model)
        if loaded.preprocess is not None and scores.ndim == 2 and kind != "numbers":
            signatures["serve_bytes"] = _serve_bytes(loaded, module, scores.shape[1], kind).get_concrete_function()
    record = {
        "kzoo": kzoo.__version__,
        "model": info.to_config() if info else {"model": model.name},
        "task": loaded.task,
        "input": {"name": spec.name, "shape": list(spec.shape[1:]), "dtype": spec.dtype.name},
        "outputs": outputs,
        "scores": kind,
        "preprocess": preprocess_config(loaded.preprocess),
        "labels": list(loaded.labels),
        "data": dict(loaded.data),
    }
    return module, signatures, record


def _serve_bytes(loaded: Loaded, module: tf.Module, units: int, kind: str) -> Any:
    """Decode and resize one by one, then the whole batch through the network."""
    model, layer = loaded.model, PreprocessLayer(loaded.preprocess)
    names = loaded.labels or tuple(map(str, range(max(units, 2))))
    module.labels = tf.constant(names)
    top = min(TOP, len(names))
    pixels = tf.TensorSpec([*loaded.preprocess.size, loaded.preprocess.channels], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="bytes")], autograph=False)
    def serve_bytes(contents: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(lambda one: layer.geometry(decode_image(one)), contents, fn_output_signature=pixels)
        scores = tf.cast(model(layer.normalise(images), training=False), tf.float32)
        scores = to_probabilities(scores, kind)
        best = tf.math.top_k(scores, top)
        return {"scores": best.values, "labels": tf.gather(module.labels, best.indices), "class_ids": best.indices}

    return serve_bytes


def _named(model: keras.Model, outputs: Any) -> dict[str, tf.Tensor]:
    """{name: float32}; of several outputs by their own names."""
    if tf.is_tensor(outputs):
        return {_output_name(model): tf.cast(outputs, tf.float32)}
    if not isinstance(outputs, dict):
        names = getattr(model, "output_names", None) or [f"output_{i}" for i in range(len(outputs))]
        outputs = dict(zip(names, outputs, strict=True))
    return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}


def _output_name(model: keras.Model) -> str:
    """The name of the last layer: the same in every style."""
    info = model_info(model)
    if info is not None and info.arguments.get("include_top", True):
        return model_spec(info.model).head
    names = getattr(model, "output_names", None)
    return names[0] if names and len(names) == 1 else "output"


def _difference(model: keras.Model, path: Path, info: dict[str, Any]) -> float:
    """Between the SavedModel, loaded anew, and the model, on random inputs of three examples."""
    shape = [3, *(16 if n is None else n for n in info["input"]["shape"])]
    inputs = tf.cast(tf.random.stateless_uniform(shape, [1, 2]), info["input"]["dtype"])
    expected = _named(model, model(inputs, training=False))
    loaded = tf.saved_model.load(str(path))  # kept: its variables go with it
    found = loaded.signatures["serving_default"](**{info["input"]["name"]: inputs})
    difference = max(float(np.abs(found[name].numpy() - expected[name].numpy()).max()) for name in expected)
    largest = max(float(np.abs(value.numpy()).max()) for value in expected.values())
    tolerance = max(TOLERANCE.get(layer.compute_dtype, 1e-5) for layer in model._flatten_layers())
    if not difference <= tolerance * max(1.0, largest):
        raise KzooError(
            f"the export differs from the model by {difference:.1e}, more than {tolerance:.1e}; it was removed"
        )
    return difference


def _next_version(parent: Path, work: Path) -> Path:
    version = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdecimal()), default=0)
    while True:
        try:
            os.rename(work, parent / str(version))  # onto a non-empty folder this fails: another export took the number
            return parent / str(version)
        except OSError:
            if not (parent / str(version)).exists():
                raise
            version += 1


def _described(function: Any) -> str:
    part = lambda spec: f"{spec.dtype.name}[{', '.join('N' if n is None else str(n) for n in spec.shape)}]"
    inputs = ", ".join(f"{spec.name} {part(spec)}" for spec in function.structured_input_signature[0])
    outputs = ", ".join(f"{name} {part(spec)}" for name, spec in function.structured_outputs.items())
    return f"{inputs} -> {outputs}"


def _card(loaded: Loaded, signatures: dict[str, str], difference: float) -> str:
    info = model_info(loaded.model)
    if "@" in loaded.name:
        text = model_card(loaded.name)
    else:
        text = model_card(loaded.model) if info is not None else f"# {loaded.name}\n"
    lines = ["", "## This export", "", f"- From: {loaded.name}"]
    lines += [f"- `{name}`: {text}" for name, text in signatures.items()]
    if loaded.preprocess:
        lines.append(f"- Preprocessing inside `serve_bytes`: {loaded.preprocess.describe()}")
    if loaded.labels:
        lines.append(f"- Classes: {', '.join(loaded.labels)}")
    lines.append(f"- Largest difference from the model: {difference:.1e}")
    return text + "\n".join(lines) + "\n"
