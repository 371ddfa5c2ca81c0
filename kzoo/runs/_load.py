"""One name, one model: a run, an export, a `.keras` file or a published model."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kzoo.errors import KzooError, unknown
from kzoo.models import _registry
from kzoo.models._players import Players
from kzoo.models._registry import attach_info, create_model, model_info, model_spec, without_auxiliaries
from kzoo.models._styles import deep_graphs, input_shape_of, style_of
from kzoo.runs._folder import Run, RunFolder
from kzoo.runs._scores import output_kind, to_probabilities
from kzoo.spec import AnyPreprocess, ModelInfo, PairPreprocess, TextPreprocess, preprocess_from_config
from kzoo.weights.sources import resolve
from kzoo.weights.store import weights_by_name

EXPORT_INFO = "assets.extra/kzoo.json"  # TensorFlow Serving leaves assets.extra alone


@dataclass
class Loaded:
    """A model that predicts, with what belongs to it.

    Attributes:
        model: A Keras model.
        name: As a person would call it.
        preprocess: From raw image to input; None where the model reads no images.
        labels: Names of the classes; empty where not known.
        task: One of kzoo.spec.TASKS; "" where not known.
        data: `load_data`'s arguments of the training data; empty where not known.
        run: The run folder, if it comes from one.
        kind: What its outputs are, see `output_kind`; found out when first asked for.
        export: The SavedModel, if it comes from one.
    """

    model: keras.Model
    name: str
    preprocess: AnyPreprocess | None
    labels: tuple[str, ...]
    task: str
    data: Mapping[str, Any]
    run: RunFolder | None = None
    kind: str = ""
    export: Any = None

    @property
    def signatures(self) -> Mapping[str, Any] | None:
        """An export's functions by name; None of anything else."""
        return self.export.signatures if self.export is not None else None

    def probabilities(self, scores: Any) -> np.ndarray:
        """float32 [n, classes] of the model's raw outputs."""
        self.kind = self.kind or output_kind(self.model)
        if self.kind == "numbers":
            loss = getattr(self.model, "loss", None)
            loss = loss if isinstance(loss, str) else getattr(loss, "name", loss)
            raise KzooError(
                f"{self.name} does not name one class an example (it was trained on {loss!r}); for its numbers use"
                " kzoo.load_model(…).predict"
            )
        if not np.isfinite(scores).all():
            bad = int(np.flatnonzero(~np.isfinite(scores).all(axis=tuple(range(1, np.ndim(scores)))))[0])
            raise KzooError(f"{self.name} gives no numbers for example {bad}: it holds nan, or the training diverged")
        return to_probabilities(scores, self.kind).numpy()


def load_model(source: str | os.PathLike[str] | Run, *, checkpoint: str = "last") -> keras.Model:
    """A Keras model from a run (path, number or `last`), an export, a `.keras` file, or a published model.

    An export is given back as a model that predicts and cannot be trained.

    Args:
        source: `"runs/0007-lenet5-digits"`, `"last"`, `"saved_models/digits"`, `"model.keras"`, `"lenet5@mnist"`.
        checkpoint: Of a run: `"last"` or `"best"`.

    Raises:
        KzooError: Nothing of that name, or a file that cannot be read.

    >>> load_model("lenet5@mnist").output_shape
    (None, 10)
    """
    return _load(source, checkpoint).model


def load(source: Any, *, checkpoint: str = "last") -> Loaded:
    """`load_model` with everything that belongs to the model, ready to predict: without auxiliary outputs.

    A Keras model or a Run is taken as it is.
    """
    if isinstance(source, Loaded):
        return source
    loaded = _load(source, checkpoint)
    return replace(loaded, model=without_auxiliaries(loaded.model))


def _load(source: Any, checkpoint: str) -> Loaded:
    if isinstance(source, Run) and checkpoint == "best":
        return _load(source.path, checkpoint)
    if isinstance(source, Run):
        folder = RunFolder(source.path)
        config = folder.read_json("config.json")
        return _of_run(folder, config, source.model)
    if isinstance(source, keras.Model):
        return _of_model(source, source.name)
    if isinstance(source, int) and not isinstance(source, bool):
        source = str(source)
    if not isinstance(source, str | os.PathLike):
        raise KzooError(
            f"a model is named by a run, an export, a .keras file or a published name, or is a Keras model; received"
            f" {source!r}"
        )
    text = os.fspath(source)
    if "@" in text and not Path(text).exists():
        return _published(text)
    path = Path(text)
    if path.is_file() and path.suffix == ".keras":
        return _of_model(read_keras(path), path.stem)
    if path.is_dir():
        version = newest_version(path)
        if version is not None:
            return _export(version)
    if text in _registry.index() and not path.exists():
        tags = _registry.index()[text]["weights"]
        remedy = (
            f"give {' or '.join(f'{text}@{tag}' for tag in tags)}"
            if tags
            else "train it with kzoo fit, and give the run"
        )
        raise KzooError(f"{text!r} is an untrained model; {remedy}")
    if path.suffix and not path.is_dir():
        raise KzooError(
            f"no file {text!r}; give a run, an export, a .keras file or a published model such as lenet5@mnist"
        )
    folder = RunFolder.find(text)
    config = folder.read_json("config.json")
    model = read_keras(folder / "model.keras")
    folder.load_checkpoint(checkpoint, model, optimizer=False)
    return _of_run(folder, config, model)


def read_keras(path: Path) -> keras.Model:
    """A `.keras` file, with kzoo's classes known to Keras; one of kzoo's models is known again by name and weights."""
    _registry.import_families()
    if not path.is_file():
        raise KzooError(f"no file {str(path)!r}")
    try:
        with deep_graphs():
            model = _recognised(keras.models.load_model(path))
        beside = path.parent / "config.json"  # of a run, which knows more than Keras' file
        if path.name == "model.keras" and beside.is_file():
            config = RunFolder(path.parent).read_json("config.json")
            if config["model"]:
                attach_info(model, ModelInfo.from_config(config["model"], preprocess_from_config(config["preprocess"])))
        return model
    except (TypeError, ValueError, OSError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise KzooError(
            f"cannot load {str(path)!r}: {first}; if it has classes of your own, import them first"
        ) from error


def _recognised(model: keras.Model) -> keras.Model:
    """Files of Keras do not carry preprocessing: a model with the name and the weights of a registered one has its."""
    shape = input_shape_of(model)
    if model.name not in _registry.list_models(hidden=True):
        return model
    if shape is None and not isinstance(model_spec(model.name).input_shape, Mapping):
        return model
    spec, weights = model_spec(model.name), weights_by_name(model)
    if isinstance(spec.preprocess, TextPreprocess | PairPreprocess):  # without its vocabulary, which the file lacks
        arguments = {"input_shape": spec.input_shape, "include_top": True, "classes": spec.classes}
        return attach_info(model, ModelInfo(spec.name, style_of(model), arguments, spec.task, spec.preprocess))
    head = weights.get(f"{spec.head}/kernel")
    arguments: dict[str, Any] = {"input_shape": shape}
    if isinstance(model, Players):
        arguments = {"input_shape": input_shape_of(model.discriminator), "noise": shape[0]}
    if head is None and "include_top" in inspect.signature(spec.definition.define).parameters:
        arguments["include_top"] = False
    elif not spec.fixed_classes and head is not None:
        arguments["classes"] = head.shape[-1]
    if any(key.startswith("aux1/") for key in weights):
        arguments["aux"] = True
    try:
        twin = create_model(spec.name, **arguments)
    except KzooError:
        return model
    if {k: v.shape for k, v in weights_by_name(twin).items()} == {k: v.shape for k, v in weights.items()}:
        attach_info(model, replace(model_info(twin), style=style_of(model)))
    return model


def newest_version(path: Path) -> Path | None:
    """The SavedModel at `path`, or the one in its highest numbered folder, as TensorFlow Serving picks it."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [p for p in path.iterdir() if p.name.isdecimal() and (p / "saved_model.pb").is_file()]
    return max(versions, key=lambda p: int(p.name), default=None)


def _of_model(model: keras.Model, name: str) -> Loaded:
    info = model_info(model)
    if info is None:
        return Loaded(model, name, None, (), "", {})
    return Loaded(model, info.model, info.preprocess, info.labels or (), info.task, {})


def _of_run(folder: RunFolder, config: Mapping[str, Any], model: keras.Model) -> Loaded:
    preprocess = preprocess_from_config(config["preprocess"])
    return Loaded(
        model, folder.path.name, preprocess, tuple(config["labels"]), config["task"], config["data"] or {}, folder
    )


def _published(text: str) -> Loaded:
    name, weights = text.split("@", 1)
    spec = model_spec(name)
    row = resolve(name, weights).row
    model = create_model(spec.name, weights=weights)
    info = model_info(model)
    return Loaded(model, text, info.preprocess, info.labels or (), info.task, {"name": row.data} if row else {})


class _Served(keras.layers.TFSMLayer):
    """An export's function as a layer, of several inputs by their names too."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        if isinstance(inputs, dict):
            return self.call_endpoint_fn(**inputs)
        return super().call(inputs, training=training)


def _export(path: Path) -> Loaded:
    if not (path / EXPORT_INFO).is_file():
        raise KzooError(f"{str(path)!r} is a SavedModel, but not one of kzoo's: it has no {EXPORT_INFO}")
    info = json.loads((path / EXPORT_INFO).read_text(encoding="utf-8"))
    layer = _Served(str(path), call_endpoint="serving_default")
    specs = info["inputs"] if "inputs" in info else [info["input"]]  # one, before there were models of several
    made = {i["name"]: keras.Input(i["shape"], dtype=i["dtype"], name=i["name"]) for i in specs}
    inputs = made if len(made) > 1 else next(iter(made.values()))
    outputs = layer(inputs)
    outputs = outputs[info["outputs"][0]] if len(info["outputs"]) == 1 else outputs
    model = keras.Model(inputs, outputs, name=info["model"]["model"])
    preprocess = preprocess_from_config(info["preprocess"])
    return Loaded(
        model,
        str(path),
        preprocess,
        tuple(info["labels"]),
        info["task"],
        info["data"] or {},
        kind=info["scores"],
        export=layer._reloaded_obj,
    )


def check_checkpoint(checkpoint: str) -> None:
    if checkpoint not in ("last", "best"):
        raise unknown("checkpoint", checkpoint, ("last", "best"))
