"""Where the knowledge comes from: a name and weights, a run, a file, a model; and the network that it goes into."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from kzoo.data import Data
from kzoo.engine import named_layers
from kzoo.errors import KzooError, unknown
from kzoo.models import attach_info, model_info
from kzoo.records import ModelInfo
from kzoo.runs import Run, load
from kzoo.tasks import find_task, task_names
from kzoo.weights import LoadReport, load_file, load_source, resolve, rows_of, save_weights
from kzoo.zoo import create_model, list_models, model_spec


@dataclass(frozen=True)
class Origin:
    """What is transferred.

    Attributes:
        name: Of the variant.
        source: A tag, path or address; or the model itself.
        described: In a line of the plan.
        model, weights: As a file keeps them, paths made whole; both None of a model that was given as an object.
        info: Of a model: how it was built.
    """

    name: str
    source: Any
    described: str
    model: str | None = None
    weights: str | None = None
    info: ModelInfo | None = None


def origin_of(model: Any, weights: Any) -> Origin:
    """What `fine_tune` was given, checked; nothing is fetched.

    Raises:
        KzooError: No weights to start from, or a model that kzoo has no definition of.
    """
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise KzooError(f"weights must be a tag, a path or an address; received {weights!r}")
    names = list_models(hidden=True)
    if isinstance(model, str) and "@" in model and not Path(model).exists():
        if weights is not None:
            raise KzooError(f"{model!r} names its weights already; leave weights={str(weights)!r} out")
        model, weights = model.split("@", 1)
        if model not in names:
            raise unknown("model", model, list_models(), "See kzoo list")
    if isinstance(model, str) and model in names:
        tags = [repr(tag) for tag in rows_of(model)]
        if weights is None:
            have = f"{model} has {', '.join(tags)}; or give a path or an address" if tags else "a path or an address"
            raise KzooError(f"fine_tune starts from weights that have learned something: give weights=…: {have}")
        resolve(model, weights)
        kept = str(Path(weights).absolute()) if Path(weights).exists() else os.fspath(weights)
        found = Origin(model, weights, f"{model}, weights {os.fspath(weights)!r}", model, kept)
    else:
        if isinstance(model, str) and model.isidentifier() and model != "last" and not Path(model).exists():
            raise unknown("model", model, list_models(), "Give a name of kzoo list, a run or a .keras file")
        if weights is not None:
            raise KzooError(f"weights={str(weights)!r} goes with the name of a model; {model!r} has its own")
        found = _trained(model)
    if becomes := model_spec(found.name).becomes:
        info = found.info and replace(found.info, spec=model_spec(becomes), labels=None)
        found = replace(found, name=becomes, info=info)
    task = find_task(model_spec(found.name).task)
    if not task.transfers:
        able = [name for name in task_names() if find_task(name).transfers]
        raise KzooError(f"fine_tune is for {' and '.join(able)}; {found.name} is for {task.name}: use kzoo.fit")
    return found


def _trained(model: Any) -> Origin:
    """A run, a file, or a model of kzoo's builders."""
    loaded = load(model)
    info = model_info(loaded.model)
    if info is None:
        raise KzooError(
            f"fine_tune takes models of kzoo's builders, whose layers it knows; for {loaded.name!r} set a new head"
            " yourself and give kzoo.fit freeze=… and rates=…"
        )
    place = None
    if loaded.run is not None:
        place = str(loaded.run.path.absolute())  # what "last" means now
    elif isinstance(model, str | os.PathLike):
        place = str(Path(model).absolute())
    what = str(loaded.run.path) if isinstance(model, Run) else str(model)
    described = f"{info.model}, trained ({what if isinstance(model, Run | str | os.PathLike) else 'given'})"
    labels = tuple(loaded.labels or info.labels or ()) or None
    info = replace(info, labels=labels)
    return Origin(info.model, loaded.model, described, place, None, info)


def blank(origin: Origin, data: Data, style: str | None, input_shape: Any, overrides: Mapping[str, Any]) -> keras.Model:
    """The network for the data's classes, its weights random yet."""
    spec, classes = model_spec(origin.name), data.info.classes
    if spec.fixed_classes and len(classes) != spec.classes:
        raise KzooError(f"{origin.name} has exactly {spec.classes} classes, and {data.info.name} has {len(classes)}")
    known = dict(origin.info.arguments) if origin.info is not None else {}
    for key in ("include_top", "pooling", "aux", "classes"):
        known.pop(key, None)
    if input_shape is not None:
        known["input_shape"] = input_shape
    style = style or (origin.info.style if origin.info is not None else "functional")
    return create_model(origin.name, style=style, classes=len(classes), **{**known, **overrides})


def fill(origin: Origin, model: keras.Model, data: Data) -> LoadReport:
    """The weights into it, fetched where they are elsewhere; the head only where the classes are the same."""
    spec, classes, info = model_spec(origin.name), tuple(data.info.classes), origin.info
    if info is None:
        source = resolve(origin.name, origin.source)
        same = source.classes is not None and tuple(source.classes) == classes
        report = load_source(
            model, source, source.path(spec.foreign), "fit" if same else "keep", channels=True, quiet=True
        )
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = save_weights(origin.source, Path(folder) / "weights.safetensors")
            report = load_file(
                model, path, "the model", "fit" if info.labels == classes else "keep", channels=True, quiet=True
            )
        own = model_info(model)
        if own.inputs is not None and info.inputs is not None:  # a vocabulary too, which its ids mean
            attach_info(model, replace(own, inputs=own.inputs.adopted(info.inputs)))
    attach_info(model, replace(model_info(model), labels=classes))
    # A head that knows nothing says so: zeros, as Kolesnikov et al. 2020 (Big Transfer, section 3.3) start it. Random
    # ones are surely wrong of some classes at first, and what is below would learn from that.
    head = named_layers(model)[spec.head]
    if spec.head in report.reinitialised and isinstance(head, keras.layers.Dense):
        for variable in head.weights:
            variable.assign(keras.ops.zeros_like(variable))
    return report
