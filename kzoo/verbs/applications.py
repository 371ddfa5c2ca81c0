"""keras.applications' two functions beside each network: what it is fed, and what its outputs mean."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kzoo.errors import KzooError, say
from kzoo.inputs import reader_of
from kzoo.models import model_info
from kzoo.records import ModelInfo, Whole
from kzoo.tasks import Prediction, find_task
from kzoo.weights import imagenet_classes
from kzoo.zoo import model_spec


def preprocess_input(images: Any, model: keras.Model | str) -> np.ndarray:
    """What a network reads, of raw images: resized (said on stderr), scaled and with the means of its lineage.

    Args:
        images: uint8 or float [n, height, width, 1, 3 or 4] in 0 to 255, RGB; or a single one without n.
        model: A model that kzoo built, or a name: then at the size of its paper.

    Returns:
        float32 [n, height, width, channels].

    >>> preprocess_input(np.full((1, 224, 224, 3), 255, "uint8"), "vgg16")[0, 0, 0].round(3)
    array([151.061, 138.221, 131.32 ], dtype=float32)
    """
    info, name = _info(model)
    spec = model_spec(name)
    inputs = info.inputs if info else spec.inputs
    reader = reader_of(inputs)
    if reader.geometry is None or find_task(spec.task).verb != "predict":
        raise KzooError(f"{name} reads no images; preprocess_input is for models that do")
    images = _array(images)
    channels = (1, 3, 4, inputs.channels)
    if (
        images.ndim not in (3, 4)
        or images.dtype.kind not in "uif"
        or images.shape[-1] not in channels
        or not images.size
    ):
        raise KzooError(
            "images must be numbers [n, height, width, 1, 3 or 4] in 0 to 255;"
            f" received {images.dtype} {list(images.shape)}"
        )
    for change in inputs.changes(images.shape[-3:]):
        say(change)
    return reader.prepare(images).numpy()


def decode_predictions(scores: Any, model: keras.Model | str, top: int = 5) -> list[Prediction]:
    """The likeliest classes by name, of a network's outputs.

    Args:
        scores: float [n, classes], as `model.predict` gives them.
        model: The model or its name: its own labels, ImageNet's of one built with its 1,000 classes.
        top: How many of them.

    Returns:
        One Prediction a row: `labels`, `class_ids` and `scores`, the likeliest first.
    """
    info, name = _info(model)
    scores = _array(scores["predictions"] if isinstance(scores, dict) and "predictions" in scores else scores)
    classes = info.arguments["classes"] if info else model_spec(name).classes
    imagenet = model_spec(name).classes == classes == 1000
    labels = (info.labels if info else None) or (imagenet_classes() if imagenet else ())
    Whole().check("top", top)
    if not labels:
        raise KzooError(f"the classes of {name} have no names; train it on data that names them, or load its weights")
    if scores.ndim != 2 or scores.shape[1] != len(labels) or scores.dtype.kind not in "uif":
        raise KzooError(
            f"scores must be numbers [n, {len(labels)}] for {name}; received {scores.dtype} {list(scores.shape)}"
        )
    if not np.isfinite(scores).all():
        raise KzooError("scores hold numbers that are not finite, which name no class")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        Prediction(str(i), tuple(labels[k] for k in ids), tuple(map(int, ids)), tuple(float(row[k]) for k in ids))
        for i, (row, ids) in enumerate(zip(scores, best, strict=True))
    ]


def _array(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise KzooError("what is given is no array: its rows differ in length; give images of one size") from error


def _info(model: Any) -> tuple[ModelInfo | None, str]:
    if isinstance(model, str):
        return None, model_spec(model).name
    info = model_info(model)
    if info is None:
        raise KzooError(
            f"{getattr(model, 'name', model)!r} is none of kzoo's models; give one, or a name from kzoo list"
        )
    return info, info.model
