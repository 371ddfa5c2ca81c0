"""SavedModel with named signatures and the preprocessing inside the graph.

    serving_default   what the model takes, by its input's name -> {output layer's name: float32}
    serve_bytes       bytes [N], encoded images -> scores [N, k], labels [N, k], class_ids [N, k]
    serve_text        text [N] -> the same of a classifier of texts; of a translator text [N], scores [N]
    generate          noise [N, n] -> images uint8 [N, height, width, channels]
    features          what the model takes -> what its last layer reads

A bare TensorFlow loads and serves it: nothing of kzoo, nor Keras, is needed. It lies in `path/<next version>`, as
TensorFlow Serving wants it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kzoo
from kzoo.errors import KzooError
from kzoo.report.card import model_card
from kzoo.zoo import model_info, model_spec
from kzoo.models.styles import feature_extractor
from kzoo.models.decode import translator_of
from kzoo.inputs.image import NoiseLayer, PreprocessLayer, decode_image, layer_of
from kzoo.runs.load import (
    EXPORT_INFO,
    Loaded,
    check_checkpoint,
    load,
    newest_version,
)
from kzoo.inputs.noise import to_pixels
from kzoo.tasks.scores import input_spec, output_kind, probe, random_inputs, to_probabilities
from kzoo.tasks.translation import TOO_LONG, check_beams, translating
from kzoo.spec import BEAMS, LENGTH_PENALTY, ModelInfo, preprocess_config
from kzoo.inputs.text import PairLayer, TextLayer

TOP = 5
LOOKUPS = (keras.layers.TextVectorization, keras.layers.StringLookup, keras.layers.IntegerLookup)
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
    model: Any,
    path: str | os.PathLike[str],
    *,
    checkpoint: str = "last",
    labels: tuple[str, ...] | None = None,
    beams: int = BEAMS,
    length_penalty: float = LENGTH_PENALTY,
) -> Exported:
    """Write a SavedModel to `path/<next version>` and compare it with the model.

    Args:
        model: A run, a `.keras` file, `"lenet5@mnist"`, a Run or a Keras model.
        path: A folder for this model; the version is the next free number in it.
        checkpoint: Of a run: `"last"` or `"best"`.
        labels: Names of the classes, for a model that does not know them.
        beams, length_penalty: Of the decoding loop inside a translator's `serve_text`; one beam is greedy.

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
    check_beams(beams, length_penalty)
    module, signatures, info = _module(loaded, beams, length_penalty)
    path.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".export-", dir=path))
    try:
        tf.saved_model.save(module, str(work), signatures=signatures)
        (work / EXPORT_INFO).parent.mkdir(exist_ok=True)
        (work / EXPORT_INFO).write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
        difference = _difference(loaded.model, work, info)
        described = {name: _described(function) for name, function in signatures.items()}
        (work / "card.md").write_text(_card(loaded, described, difference), encoding="utf-8")
        os.chmod(work, 0o755)
        final = _next_version(path, work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if not any(path.iterdir()):
            path.rmdir()
        raise
    return Exported(final, described, difference)


def _module(loaded: Loaded, beams: int, length_penalty: float) -> tuple[tf.Module, dict[str, Any], dict[str, Any]]:
    info = model_info(loaded.model)
    if loaded.task == "translation":  # once, in the style that decodes
        loaded = replace(loaded, model=translator_of(loaded.model))
    model = loaded.model
    spec = input_spec(model)
    module = tf.Module()
    module.model_variables = [v.value for v in model.variables]
    module.lookups = [y for y in model._flatten_layers() if isinstance(y, LOOKUPS)]  # tables of a model of the user's
    signatures = {"serving_default": _serving_default(model, spec)}
    single = isinstance(spec, tf.TensorSpec)
    if single and info is not None and _has_head(model, info):
        trunk = feature_extractor(model)

        @tf.function(input_signature=[spec], autograph=False)
        def features(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"features": tf.cast(trunk(inputs, training=False), tf.float32)}

        signatures["features"] = features.get_concrete_function()
    outputs, kind = list(signatures["serving_default"].structured_outputs), "numbers"
    layer = layer_of(loaded.preprocess) if _ready(loaded.preprocess) else None
    if isinstance(layer, PairLayer):
        signatures["serve_text"] = _serve_translation(loaded, module, beams, length_penalty)
    elif isinstance(layer, NoiseLayer):
        signatures["generate"] = _generate(loaded, spec)
    elif len(outputs) == 1:
        scores, kind = probe(model), output_kind(model)
        if layer is not None and scores.ndim == 2 and kind != "numbers":
            serve, name = (_serve_text, "serve_text") if isinstance(layer, TextLayer) else (_serve_bytes, "serve_bytes")
            signatures[name] = serve(loaded, module, layer, scores.shape[1], kind)
    record = {
        "kzoo": kzoo.__version__,
        "model": info.to_config() if info else {"model": model.name},
        "task": loaded.task,
        "inputs": [{"name": s.name, "shape": list(s.shape[1:]), "dtype": s.dtype.name} for s in tf.nest.flatten(spec)],
        "outputs": outputs,
        "scores": kind,
        "preprocess": preprocess_config(loaded.preprocess),
        "labels": list(loaded.labels),
        "data": dict(loaded.data),
    }
    return module, signatures, record


def _serving_default(model: keras.Model, spec: Any) -> Any:
    """Of several inputs each by its name."""
    if isinstance(spec, tf.TensorSpec):

        @tf.function(input_signature=[spec], autograph=False)
        def serving_default(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return _named(model, model(inputs, training=False))

        return serving_default.get_concrete_function()

    @tf.function(autograph=False)
    def serving_default_of_several(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return _named(model, model(inputs, training=False))

    return serving_default_of_several.get_concrete_function(**spec)


def _ready(preprocess: Any) -> bool:
    """Texts need a vocabulary, which an untrained model has not."""
    return preprocess is not None and getattr(preprocess, "known", True)


def _has_head(model: keras.Model, info: ModelInfo) -> bool:
    head = model_spec(info.model).head
    names = [layer.name for layer in getattr(model, "stages", model.layers)]
    return info.arguments.get("include_top", True) and head in names


def _classes(loaded: Loaded, module: tf.Module, units: int, kind: str) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """(the network's outputs) -> scores, labels and class_ids of the best."""
    names = loaded.labels or tuple(map(str, range(max(units, 2))))
    module.labels = tf.constant(names)
    top = min(TOP, len(names))

    def best_of(outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        best = tf.math.top_k(to_probabilities(tf.cast(outputs, tf.float32), kind), top)
        return {"scores": best.values, "labels": tf.gather(module.labels, best.indices), "class_ids": best.indices}

    return best_of


def _serve_text(loaded: Loaded, module: tf.Module, layer: TextLayer, units: int, kind: str) -> Any:
    model, best_of = loaded.model, _classes(loaded, module, units, kind)
    module.text = layer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def serve_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return best_of(model(layer(text), training=False))

    return serve_text.get_concrete_function()


def _serve_translation(loaded: Loaded, module: tf.Module, beams: int, length_penalty: float) -> Any:
    """The decoding loop inside; an empty text becomes an empty one."""
    layer, translate = translating(loaded, beams, length_penalty)
    module.text = layer
    limit = loaded.preprocess.source.length

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def serve_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
        counts = layer.source.counts(text)
        fits = tf.debugging.Assert(tf.reduce_all(counts <= limit), [f"{TOO_LONG} ({limit} tokens)"])
        with tf.control_dependencies([fits]):
            found = translate(tf.identity(text))
        return {"text": tf.where(counts > 0, found["text"], ""), "scores": found["scores"]}

    return serve_text.get_concrete_function()


def _generate(loaded: Loaded, spec: tf.TensorSpec) -> Any:
    model = loaded.model

    @tf.function(input_signature=[spec], autograph=False)
    def generate(noise: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": to_pixels(model(noise, training=False), loaded.preprocess)}

    return generate.get_concrete_function()


def _serve_bytes(loaded: Loaded, module: tf.Module, layer: PreprocessLayer, units: int, kind: str) -> Any:
    """Decode and resize one by one, then the whole batch through the network."""
    model, best_of = loaded.model, _classes(loaded, module, units, kind)
    pixels = tf.TensorSpec([*loaded.preprocess.size, loaded.preprocess.channels], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="bytes")], autograph=False)
    def serve_bytes(contents: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(lambda one: layer.geometry(decode_image(one)), contents, fn_output_signature=pixels)
        return best_of(model(layer.normalise(images), training=False))

    return serve_bytes.get_concrete_function()


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
    inputs = random_inputs(model, 3, 1)
    expected = _named(model, model(inputs, training=False))
    loaded = tf.saved_model.load(str(path))  # kept: its variables go with it
    named = inputs if isinstance(inputs, dict) else {info["inputs"][0]["name"]: inputs}
    found = loaded.signatures["serving_default"](**named)
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
    specs = tf.nest.flatten(function.structured_input_signature)
    inputs = ", ".join(f"{spec.name} {part(spec)}" for spec in specs)
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
        lines.append(f"- Preprocessing inside: {loaded.preprocess.describe()}")
    if loaded.labels:
        lines.append(f"- Classes: {', '.join(loaded.labels)}")
    lines.append(f"- Largest difference from the model: {difference:.1e}")
    return text + "\n".join(lines) + "\n"
