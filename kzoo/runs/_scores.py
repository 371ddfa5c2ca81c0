"""What a classifier's raw outputs mean, and how they become probabilities: the same in evaluate, predict and export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.models._registry import model_info, model_spec
from kzoo.models._styles import input_shape_of

KINDS = ("probabilities", "logits", "value", "numbers")


def input_spec(model: keras.Model) -> Any:
    """Shape, dtype and name of the input, with a free batch; of several inputs {name: TensorSpec}."""
    info = model_info(model)
    spec = model_spec(info.model) if info is not None else None
    if spec is not None and isinstance(spec.input_shape, Mapping):
        dtype = tf.as_dtype(spec.input_dtype)
        return {name: tf.TensorSpec([None, *s], dtype, name=name) for name, s in spec.input_shape.items()}
    shape, inputs = input_shape_of(model), getattr(model, "inputs", None)
    if shape is None:
        raise KzooError(f"{model.name!r} must have one input of a known shape; call it on a keras.Input first")
    if inputs:
        return tf.TensorSpec([None, *shape], inputs[0].dtype, name=inputs[0].name)
    if spec is None:
        return tf.TensorSpec([None, *shape], tf.float32, name="inputs")
    return tf.TensorSpec([None, *shape], tf.as_dtype(spec.input_dtype), name=spec.input_name)


def random_inputs(model: keras.Model, count: int, seed: int, side: int = 16) -> Any:
    """Numbers in 0 to 2, or token ids, as the model takes them; a free side is `side`."""
    ids = max(2, min(token_rows(model), default=2))

    def one(k: int, spec: tf.TensorSpec) -> tf.Tensor:
        shape = [count, *(side if n is None else n for n in spec.shape[1:])]
        if spec.dtype == tf.string:
            return tf.fill(shape, "some words")
        limit = ids if spec.dtype.is_integer else 2
        drawn = tf.random.stateless_uniform(shape, [seed, k], maxval=limit)
        return tf.cast(drawn, spec.dtype)

    specs = input_spec(model)
    if isinstance(specs, dict):
        return {name: one(k, spec) for k, (name, spec) in enumerate(specs.items())}
    return one(0, specs)


def token_rows(model: keras.Model) -> list[int]:
    """Rows of the embeddings of a network that reads token ids."""
    return [layer.input_dim for layer in model._flatten_layers() if hasattr(layer, "input_dim")]


def probe(model: keras.Model) -> np.ndarray:
    """float32 output for four random inputs."""
    outputs = model(random_inputs(model, 4, 0), training=False)
    if not tf.is_tensor(outputs):
        raise KzooError(f"{model.name!r} has several outputs; this takes a model with one")
    return np.asarray(outputs, "float32")


def output_kind(model: keras.Model) -> str:
    """What the outputs are.

    `"probabilities"`: rows add up to one. `"logits"`: several outputs that do not, or one that was trained on logits.
    `"value"`: one output that is the probability of "yes", or a number near 0 or 1 (XOR's linear output).
    `"numbers"`: not of one class an example, for your own model was trained on no such loss.
    """
    scores = probe(model)
    if model_info(model) is None and not _classifies(model, scores.shape[-1]):
        return "numbers"
    if scores.ndim == 2 and scores.shape[1] > 1:
        distribution = (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
        return "probabilities" if distribution else "logits"
    loss = getattr(model, "loss", None)
    if isinstance(loss, keras.losses.Loss) and loss.get_config().get("from_logits"):
        return "logits"
    info = model_info(model)
    if info is not None and model_spec(info.model).classifier_activation == "sigmoid":
        return "value" if info.arguments.get("classifier_activation", "sigmoid") == "sigmoid" else "logits"
    return "value"


def _classifies(model: keras.Model, units: int) -> bool:
    """Whether it was trained to name one class; true where nothing is known of its training."""
    loss = getattr(model, "loss", None)
    if not isinstance(loss, str | keras.losses.Loss):
        return True
    name = (loss if isinstance(loss, str) else loss.name).lower()
    one_class = "crossentropy" in name or "hinge" in name or "focal" in name
    return one_class and not (units > 1 and name.startswith("binary"))  # several yes and no: several labels


def to_probabilities(scores: Any, kind: str) -> tf.Tensor:
    """float32 [n, units] of that kind -> float32 [n, classes]; one output becomes two columns, no and yes."""
    scores = tf.cast(scores, tf.float32)
    if scores.shape[1] == 1:
        yes = tf.sigmoid(scores) if kind == "logits" else tf.clip_by_value(scores, 0.0, 1.0)
        return tf.concat([1 - yes, yes], axis=1)
    return scores if kind == "probabilities" else tf.nn.softmax(scores)
