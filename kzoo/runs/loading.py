"""One name, one model: a run, an export, a `.keras` file or a published model."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras

from kzoo import zoo
from kzoo.errors import KzooError, first_line, say
from kzoo.files import MANIFEST, Manifest, budget_of, check_archive, read_json
from kzoo.inputs import Reader, own_reader, reader_of
from kzoo.keras_internals import bounded_weights, served_by
from kzoo.models import attach_info, deep_graphs
from kzoo.records import Using, from_config
from kzoo.runs.folder import Run, RunFolder
from kzoo.runs.places import CONFIG, MODEL, read_json_file, understood
from kzoo.runs.predictor import Predictor
from kzoo.runs.record import load_weights
from kzoo.tasks import find_task, note_dtypes, task_of
from kzoo.weights import check_inside, resolve

KERAS_FILES = (".keras", ".h5", ".hdf5")  # whole models; weights alone have no architecture
EXPORT_INFO = "assets.extra/kzoo.json"  # TensorFlow Serving leaves assets.extra alone
# What Keras raises of a file that is damaged, or that somebody has written.
OF_KERAS = (
    TypeError, ValueError, OSError, LookupError, AttributeError, ImportError, RuntimeError, MemoryError,
    ArithmeticError, AssertionError, EOFError,
)  # fmt: skip
EXPORT_SEAL = f"assets.extra/{MANIFEST}"  # sizes and sha256 of its other files
FAMILY = re.compile(r'"registered_name": "kzoo\.(\w+)>')


def load_model(
    source: str | os.PathLike[str] | Run, *, checkpoint: str = "last", model: keras.Model | None = None
) -> keras.Model:
    """A Keras model from a run (path, number or `last`), an export, a `.keras` file, or a published model.

    An export is given back as a model that predicts and cannot be trained.

    Args:
        source: `"runs/0007-lenet5-digits"`, `"last"`, `"saved_models/digits"`, `"model.keras"`, `"lenet5@mnist"`.
        checkpoint: Of a run: `"last"` or `"best"`.
        model: For a run whose class has no get_config, so that Keras cannot write it: the same, built anew, which is
            given the run's weights.

    Raises:
        KzooError: Nothing of that name, or a file that cannot be read.

    >>> load_model("lenet5@mnist").output_shape
    (None, 10)
    """
    checkpoint = Using.of({"checkpoint": checkpoint}).checkpoint
    if model is None:
        return _load(source, checkpoint).model
    if not isinstance(model, keras.Model) or not model.built:
        raise KzooError("model must be a Keras model that has its weights: call it on a batch first")
    folder = RunFolder.find(source.path if isinstance(source, Run) else source)
    load_weights(folder, folder.checkpoints.find(checkpoint), model)
    return model


def load(source: Any, *, checkpoint: str = "last") -> Predictor:
    """`load_model` with everything that belongs to the model, ready to predict: without auxiliary outputs.

    A Keras model, a Run or a Predictor is taken as it is.
    """
    if isinstance(source, Predictor):
        return source
    found = _load(source, checkpoint)
    return replace(found, model=zoo.without_auxiliaries(found.model))


def _load(source: Any, checkpoint: str) -> Predictor:
    if isinstance(source, Run) and checkpoint == "best":
        source = source.path
    if isinstance(source, Run):
        return _of_run(RunFolder(source.path), source.model)
    if isinstance(source, keras.Model):
        return Predictor.of(source)
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
    if path.is_file() and path.suffix in KERAS_FILES:
        if path.name == MODEL and (path.parent / CONFIG).is_file() and (path.parent / MANIFEST).is_file():
            Manifest(path.parent).check(MODEL)
        return Predictor.of(read_keras(path), path.stem)
    if path.is_dir() and (version := newest_version(path)) is not None:
        return _export(version)
    if text in zoo.index() and not path.exists():
        tags = zoo.index()[text]["weights"]
        named = f"give {' or '.join(f'{text}@{tag}' for tag in tags)}"
        remedy = named if tags else "train it with kzoo fit, and give the run"
        raise KzooError(f"{text!r} is an untrained model; {remedy}")
    if path.suffix and not path.is_dir():
        raise KzooError(
            f"no file {text!r}; give a run, an export, a .keras file or a published model such as lenet5@mnist"
        )
    folder = RunFolder.find(text)
    return _of_run(folder, _kept_model(folder, checkpoint))


# ----------------------------------------------------------------------------------------------------------------------
# Runs and Keras' files
# ----------------------------------------------------------------------------------------------------------------------


def _kept_model(folder: RunFolder, checkpoint: str) -> keras.Model:
    """model.keras, which has the weights that a finished run was left with; others are a checkpoint's. One of kzoo's
    models whose file is damaged is built anew.
    """
    config, path = folder.read_config(), folder / MODEL
    why = folder.manifest.damages(MODEL).get(MODEL) if folder.manifest.path.is_file() else None
    if why and config["model"]:
        with understood(folder / CONFIG):
            info = zoo.info_of(config["model"])
            model = attach_info(zoo.create_model(info.model, info.style, **info.arguments), info)
        say(f"{str(path)!r} is damaged ({why}); the model is built anew, with the weights of a checkpoint")
    elif why:
        remedy = "put it back from a copy, or build the model yourself: kzoo.load_model(run, model=…)"
        raise KzooError(f"{str(folder.path)!r} is damaged: {why}; {remedy}")
    elif not path.is_file():
        kind = folder.read_plan().get("style", "its class")
        raise KzooError(
            f"{folder.path} has no model.keras, for {kind} has no get_config; write one and train anew, or"
            " build the model yourself: kzoo.load_model(run, model=…) gives it the weights, and kzoo.fit(model, data,"
            " resume=run) goes on"
        )
    else:
        model = read_keras(path)
        if checkpoint == "last" and config.get("finished"):
            return model
    load_weights(folder, folder.checkpoints.find(checkpoint), model)
    return model


def _of_run(folder: RunFolder, model: keras.Model) -> Predictor:
    config = folder.read_config()
    with understood(folder / CONFIG):
        if config.get("dtypes"):
            note_dtypes(model, config["dtypes"])
        inputs = from_config(config["inputs"])
        reader = reader_of(inputs) if inputs is not None else own_reader(model)
        labels, task = tuple(config["labels"]), find_task(config["task"])
    return Predictor(model, folder.path.name, reader, labels, task, folder.data_arguments(config), folder)


def read_keras(path: Path) -> keras.Model:
    """A `.keras` file, with kzoo's classes known to Keras; one of kzoo's models is known again by what its file
    carries.

    Raises:
        KzooError: No such file, or one that Keras cannot load.
    """
    if not path.is_file():
        raise KzooError(f"no file {str(path)!r}")
    if path.suffix != ".keras":
        return _read_hdf5(path)
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as file:
            text = file.read("config.json").decode()
            for name in file.namelist():
                if name.endswith(".h5"):
                    with file.open(name) as packed, h5py.File(packed, "r") as inside:
                        check_inside(inside, path)
        carried = (read_json(text, path).get("build_config") or {}).get("kzoo")
        for family in dict.fromkeys(FAMILY.findall(text)):
            if importlib.util.find_spec(f"kzoo.models.{family}") is not None:
                importlib.import_module(f"kzoo.models.{family}")
        with deep_graphs(), bounded_weights(budget_of(path), path):
            model = keras.models.load_model(path)
    except KzooError:
        raise
    except (*OF_KERAS, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error
    return attach_info(model, zoo.info_of(carried)) if carried else model


def _read_hdf5(path: Path) -> keras.Model:
    try:
        with h5py.File(path, "r") as file:
            whole = "model_config" in file.attrs
            check_inside(file, path)
            read_json(file.attrs.get("model_config", "{}"), path)
    except KzooError:
        raise
    except OF_KERAS as error:
        raise _unreadable(path, error) from error
    if not whole:
        raise KzooError(f"{str(path)!r} holds weights alone; give it to a builder: kzoo.create_model(…, weights=…)")
    try:
        with bounded_weights(budget_of(path), path):
            return keras.models.load_model(path)
    except KzooError:
        raise
    except OF_KERAS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> KzooError:
    if "safe_mode" in str(error):
        return KzooError(
            f"{str(path)!r} has a Lambda of a Python function, which Keras runs only if you trust the file: call"
            " keras.config.enable_unsafe_deserialization() first, or build the model and give it (load_model(run,"
            " model=…))"
        )
    return KzooError(
        f"cannot load {str(path)!r}: {first_line(error)}; if it has classes of your own, import them first"
    )


def _published(text: str) -> Predictor:
    name, weights = text.split("@", 1)
    row = resolve(zoo.model_spec(name).name, weights).row
    model = zoo.create_model(name, weights=weights)
    return replace(Predictor.of(model, text), data={"name": row.data} if row else {})


# ----------------------------------------------------------------------------------------------------------------------
# Exports
# ----------------------------------------------------------------------------------------------------------------------


def newest_version(path: Path) -> Path | None:
    """The SavedModel at `path`, or the one in its highest numbered folder, as TensorFlow Serving picks it."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [p for p in path.iterdir() if p.name.isdecimal() and (p / "saved_model.pb").is_file()]
    return max(versions, key=lambda p: int(p.name), default=None)


class _Served(keras.layers.TFSMLayer):
    """An export's function as a layer, of several inputs by their names too."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        if isinstance(inputs, dict):
            return self.call_endpoint_fn(**inputs)
        return super().call(inputs, training=training)


def _export(path: Path) -> Predictor:
    if not (path / EXPORT_INFO).is_file():
        raise KzooError(f"{str(path)!r} is a SavedModel, but not one of kzoo's: it has no {EXPORT_INFO}")
    manifest = Manifest(path, EXPORT_SEAL, "export it again")
    if manifest.path.is_file():  # the first exports have none
        manifest.check()
    told = read_json_file(path / EXPORT_INFO)
    if told.get("sealed"):
        manifest.read()  # or an error: it is gone
    takes, inputs = _told(told)
    layer = _Served(str(path), call_endpoint="serving_default")
    made = {i["name"]: keras.Input(i["shape"], dtype=i["dtype"], name=i["name"]) for i in takes}
    given = made if len(made) > 1 else next(iter(made.values()))
    outputs = layer(given)
    if len(told["outputs"]) == 1:
        (name,) = told["outputs"]
        outputs = keras.layers.Identity(name=None if name in made else name)(outputs[name])
    model = keras.Model(given, outputs, name=told["model"]["model"])
    task = find_task(told["task"]) if told["task"] else task_of(model)
    return Predictor(
        model, str(path), reader_of(inputs) if inputs is not None else Reader(), tuple(told["labels"]), task,
        told["data"] or {}, export=served_by(layer), scores=told["scores"], learned=from_config(told.get("targets")),
    )  # fmt: skip


def _told(told: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any]:
    """(what the network takes, its inputs); the first exports have other names for them."""
    if "takes" in told:
        return told["takes"], from_config(told["inputs"])
    return told["inputs"] if "inputs" in told else [told["input"]], from_config(told["preprocess"])
