"""SavedModel with named signatures and the preprocessing inside the graph.

`serving_default` is the network alone, by the names of its inputs and outputs; the others are the task's (`signatures`
in its file): `serve_bytes` takes encoded images, `serve_text` texts, `generate` noise, `features` gives what the head
reads.

A bare TensorFlow loads and serves it: nothing of kzoo, nor Keras, is needed. It lies in `path/<next version>`, as
TensorFlow Serving wants it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kzoo
from kzoo.engine import unchanged
from kzoo.errors import KzooError
from kzoo.files import LOCK, DiskError, Lock, digest_of, made_aside, sealed, synced_all, writing
from kzoo.keras_internals import layers_in
from kzoo.models import model_info
from kzoo.records import VERBS, Exporting, Printed, takes
from kzoo.report import model_card
from kzoo.runs import EXPORT_INFO, EXPORT_SEAL, Predictor, RunFolder, load, newest_version
from kzoo.tasks import Signature, asked, input_spec, output_units, random_inputs
from kzoo.verbs import reading_images
from kzoo.zoo import row_of

# Of the largest output, or absolute below one. A half-precision network rounds differently once it is a graph.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2**-6, "float16": 2**-9}


@dataclass(frozen=True)
class Exported(Printed):
    """A finished export.

    Attributes:
        path: The version's folder.
        signatures: {name: its inputs and outputs, as text}.
        difference: Largest difference between its serving_default and the model, on random inputs.
        task: Of the model.
    """

    path: Path
    signatures: dict[str, str]
    difference: float
    task: str

    def to_config(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**self.__dict__, "path": str(self.path)}

    def __str__(self) -> str:
        lines = [f"{name:16} {text}" for name, text in self.signatures.items()]
        return "\n".join([str(self.path), *lines, f"largest difference from the model: {self.difference:.1e}"])


@takes(*VERBS["export"])
def export(model: Any, path: str | os.PathLike[str], **options: Any) -> Exported:
    """Write a SavedModel to `path/<next version>` and compare it with the model.

    Args:
        model: A run, a `.keras` file, `"lenet5@mnist"`, a Run or a Keras model.
        path: A folder for this model; the version is the next free number in it.

    Returns:
        Exported: the version's folder, its signatures, and the largest difference from the model.

    Raises:
        KzooError: No such model, an export given as the model, or an export that differs from its model; nothing is
            left behind then.
    """
    chosen = Exporting.of(options)
    if not isinstance(path, str | os.PathLike):
        raise KzooError(f"path must be a folder for the export; received {path!r}")
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise KzooError(f"{str(path)!r} is a file; give a folder for the export")
    if (path / "saved_model.pb").is_file():
        raise KzooError(f"{str(path)!r} is itself a SavedModel; give the folder above it, versions are numbered inside")
    if isinstance(model, str | os.PathLike) and Path(model).is_dir() and newest_version(Path(model)) is not None:
        raise KzooError(f"{str(model)!r} is an export already; export the run it came from")
    predictor = reading_images(load(model, checkpoint=chosen.checkpoint), chosen.preprocess, False)
    if chosen.labels is not None:
        columns = max(output_units(predictor.model) or 0, 2)
        if len(chosen.labels) != columns:
            raise KzooError(f"labels must name the {columns} classes of {predictor.name}; received {chosen.labels!r}")
        predictor = replace(predictor, labels=tuple(chosen.labels))
    found = predictor.task.signatures(predictor, **asked("export", predictor.task, options, Exporting))
    module, functions = _module(predictor, found)
    told = _told(predictor, functions)
    try:
        work = made_aside(path)
    except OSError as error:
        raise DiskError(f"path {str(path)!r} cannot be written: {error.strerror}") from error
    try:
        with writing(path, sum(math.prod(v.shape) * 4 for v in predictor.model.variables)), Lock(work):
            tf.saved_model.save(module, str(work), signatures=functions)
            (work / EXPORT_INFO).parent.mkdir(exist_ok=True)
            (work / EXPORT_INFO).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            difference = _difference(predictor, found["serving_default"], work)
            described = {name: _described(function) for name, function in functions.items()}
            (work / "card.md").write_text(_card(predictor, found, described, difference), encoding="utf-8")
            (work / EXPORT_SEAL).write_text(sealed(_files_of(work)), encoding="utf-8")
        with writing(path):
            synced_all(work)
            final = _next_version(path, work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        raise
    return Exported(final, described, difference, predictor.task.name)


def _files_of(work: Path) -> dict[str, Any]:
    """{name: digest} of all that is read again: the card is for people, who may write into it."""
    paths = [p for p in sorted(work.rglob("*")) if p.is_file() and p.name not in ("card.md", LOCK)]
    return {p.relative_to(work).as_posix(): digest_of(p) for p in paths}


def _module(predictor: Predictor, found: Mapping[str, Signature]) -> tuple[tf.Module, dict[str, Any]]:
    """(what holds the variables and tables, {name: concrete function})."""
    module = tf.Module()
    module.model_variables = [v.value for v in predictor.model.variables]
    keeps = list({id(kept): kept for signature in found.values() for kept in signature.keeps}.values())
    networks = [kept for kept in keeps if isinstance(kept, keras.Model)]  # of these the variables
    module.other_variables = [v.value for network in networks for v in network.variables]
    module.keeps = [kept for kept in keeps if not isinstance(kept, keras.Model)]
    functions = {}
    for name, signature in found.items():
        specs = list(signature.takes.values())
        if len(specs) == 1:
            function = tf.function(signature.call, input_signature=specs, autograph=False)
            functions[name] = function.get_concrete_function()
        else:
            functions[name] = tf.function(signature.call, autograph=False).get_concrete_function(**signature.takes)
    return module, functions


def _told(predictor: Predictor, functions: Mapping[str, Any]) -> dict[str, Any]:
    """assets.extra/kzoo.json: what it takes to use the export."""
    model, spec = predictor.model, input_spec(predictor.model)
    info, inputs = model_info(model), predictor.reader.spec
    outputs = list(functions["serving_default"].structured_outputs)
    return {
        "kzoo": kzoo.__version__,
        "sealed": True,  # by the manifest beside this file
        "model": info.to_config() if info else {"model": model.name},
        "task": predictor.task.name,
        "takes": [{"name": s.name, "shape": list(s.shape[1:]), "dtype": s.dtype.name} for s in tf.nest.flatten(spec)],
        "outputs": outputs,
        "scores": predictor.kind if len(outputs) == 1 else "numbers",
        "inputs": inputs.to_config() if inputs is not None else None,
        "targets": predictor.targets.to_config() if predictor.targets is not None else None,
        "labels": list(predictor.labels),
        "data": dict(predictor.data),
    }


def _difference(predictor: Predictor, signature: Signature, path: Path) -> float:
    """Between the SavedModel, loaded anew, and the model, on random inputs of three examples."""
    model, inputs = predictor.model, random_inputs(predictor.model, 3, 1)
    named = inputs if isinstance(inputs, dict) else {next(iter(signature.takes)): inputs}
    with unchanged([model]):
        expected = signature.call(**named) if isinstance(inputs, dict) else signature.call(inputs)
    loaded = tf.saved_model.load(str(path))  # kept: its variables go with it
    found = loaded.signatures["serving_default"](**named)
    difference = max(float(np.abs(found[name].numpy() - expected[name].numpy()).max()) for name in expected)
    largest = max(float(np.abs(value.numpy()).max()) for value in expected.values())
    tolerance = max(TOLERANCE.get(layer.compute_dtype, 1e-5) for layer in layers_in(model))
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


def _card(predictor: Predictor, found: Mapping[str, Signature], described: Mapping[str, str], difference: float) -> str:
    """What this model is, the run that made it, and what the export takes and gives."""
    lines = [model_card(predictor.name) if "@" in predictor.name else _about(predictor.model)]
    if predictor.run is not None:
        lines += ["## The run", "", *_of_run(predictor.run), ""]
    lines += ["## This export", "", f"- From: {predictor.name}"]
    lines += [f"- `{name}`: {text}" for name, text in described.items()]
    lines += [f"- `{name}`: {note}" for name, signature in found.items() for note in signature.notes]
    if not predictor.reader.as_given:
        lines.append(f"- Preprocessing inside: {predictor.reader.spec.describe()}")
    if predictor.labels:
        lines.append(f"- Classes: {', '.join(predictor.labels)}")
    lines.append(f"- Largest difference from the model: {difference:.1e}")
    return "\n".join(lines) + "\n"


def _about(model: keras.Model) -> str:
    """As it is here: not the weights that are published for others of its kind."""
    info = model_info(model)
    lines = [f"# {model.name}", ""]
    if info is not None:
        row = row_of(info.model)
        lines = [f"# {info.model}", "", f"{row['summary']}.", "", f"- Paper: {row['paper']}", f"- Task: {row['task']}"]
    shapes = ", ".join(f"{s.name} {[*s.shape[1:]]}" for s in tf.nest.flatten(input_spec(model)))
    return "\n".join([*lines, f"- Input: {shapes}", f"- Parameters: {model.count_params():,}", ""])


def _of_run(run: RunFolder) -> list[str]:
    """Its data and how it was trained, the last numbers, and every evaluation."""
    card = (run / "card.md").read_text(encoding="utf-8") if (run / "card.md").is_file() else ""
    lines = [line for line in card.splitlines() if line.startswith("- ")]
    for figures in sorted(run.path.glob("evaluation-*.json")):
        of = run.read_json(figures.name)
        said = [f"{name} {value:.4f}" for name, value in of.items() if isinstance(value, float)]
        lines.append(f"- evaluated on {of['data']}, {of['split']}, {of['examples']:,} examples: {', '.join(said)}")
    return lines
