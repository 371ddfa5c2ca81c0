"""What a network takes and what its raw outputs mean: said by the registry of kzoo's models, found out of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.engine import unchanged
from kzoo.errors import KzooError
from kzoo.keras_internals import first_shapes, input_structure, layers_in, node_of
from kzoo.models import input_shape_of, model_info
from kzoo.records import ModelInfo

KINDS = ("probabilities", "logits", "value", "numbers")


def input_spec(model: keras.Model) -> Any:
    """Shape, dtype and name of the input, with a free batch; of several inputs {name: TensorSpec}."""
    info = model_info(model)
    spec = info.spec if info is not None else None
    if spec is not None and isinstance(spec.input_shape, Mapping):
        dtype = tf.as_dtype(spec.input_dtype)
        return {name: tf.TensorSpec([None, *s], dtype, name=name) for name, s in spec.input_shape.items()}
    shape, inputs = input_shape_of(model), getattr(model, "inputs", None)
    if inputs and len(inputs) > 1:
        return {name: tf.TensorSpec(x.shape, x.dtype, name=name) for name, x in named_inputs(model).items()}
    if not inputs and (first := first_inputs(model)):
        kinds = noted_dtypes(model)
        return {name: tf.TensorSpec([None, *s[1:]], kinds.get(name, "float32"), name) for name, s in first.items()}
    if shape is None:
        raise KzooError(f"{model.name!r} must have inputs of known shapes; make it a keras.Model of keras.Input")
    if inputs:
        return tf.TensorSpec([None, *shape], inputs[0].dtype, name=inputs[0].name)
    if spec is None:
        return tf.TensorSpec([None, *shape], noted_dtypes(model).get("inputs", "float32"), name="inputs")
    return tf.TensorSpec([None, *shape], tf.as_dtype(spec.input_dtype), name=spec.input_name)


def first_inputs(model: keras.Model) -> dict[str, tuple[int | None, ...]]:
    """{name: shape} of the several inputs that a subclass was first called on, by their keys or places; {} of any other
    model.
    """
    shapes = first_shapes(model)
    if len(shapes) != 1 or all(n is None or isinstance(n, int) for n in shapes[0]):
        return {}
    named = shapes[0] if isinstance(shapes[0], Mapping) else dict(zip(places(len(shapes[0])), shapes[0], strict=True))
    simple = all(
        isinstance(s, tuple | list) and all(n is None or isinstance(n, int) for n in s) for s in named.values()
    )
    return {name: tuple(s) for name, s in named.items()} if simple else {}


def places(count: int) -> list[str]:
    """Names of inputs that are given by their place."""
    return [f"input_{k}" for k in range(count)]


NOTED = "kzoo_dtypes"  # beside Keras' attributes


def note_dtypes(model: keras.Model, dtypes: Mapping[str, str]) -> None:
    """What a subclass is fed with, which it does not say."""
    vars(model)[NOTED] = dict(dtypes)


def noted_dtypes(model: keras.Model) -> dict[str, str]:
    """{name of an input: dtype}; {} where nobody has told."""
    return vars(model).get(NOTED, {})


def dtypes_in(given: Any) -> dict[str, str]:
    """{name: dtype} of the inputs that a subclass is fed with, x of a batch, by their keys or places."""
    if isinstance(given, tuple | list):
        given = dict(zip(places(len(given)), given, strict=True))
    named = given if isinstance(given, Mapping) else {"inputs": given}
    return {name: tf.as_dtype(part.dtype).name for name, part in named.items() if hasattr(part, "dtype")}


def named_inputs(model: keras.Model) -> dict[str, Any]:
    """{name: symbolic input} of a graph with several: by the keys in which it takes them, else by their own names."""
    taken = input_structure(model)
    if isinstance(taken, Mapping):
        return dict(taken)
    return {node_of(x).operation.name: x for x in model.inputs}


def as_taken(model: keras.Model, inputs: Any) -> Any:
    """Inputs by name, in the structure in which the model takes them."""
    if not isinstance(inputs, Mapping):
        return inputs
    if not getattr(model, "inputs", None):
        first = first_shapes(model)
        by_place = first and not isinstance(first[0], Mapping)
        return tuple(inputs.values()) if by_place else inputs
    taken = input_structure(model)
    if isinstance(taken, Mapping):
        return inputs
    return keras.tree.pack_sequence_as(taken, [inputs[name] for name in named_inputs(model)])


def random_inputs(model: keras.Model, count: int, seed: int, side: int = 16) -> Any:
    """Numbers in 0 to 2, or token ids, as the model takes them; a free side is `side`."""
    rows = [layer.input_dim for layer in layers_in(model) if hasattr(layer, "input_dim")]  # of embeddings
    ids = max(2, min(rows, default=2))

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


def output_units(model: keras.Model) -> int | None:
    """Columns of the output [batch, columns]; None where it has another form, or several. Never run for kzoo's."""
    info = model_info(model)
    if info is not None and info.has_head and info.arguments.get("classes"):
        return info.arguments["classes"]
    outputs = getattr(model, "outputs", None)
    if outputs and len(outputs) == 1 and len(outputs[0].shape) == 2:
        return outputs[0].shape[-1]
    if outputs:
        return None
    with unchanged([model]):
        found = model(as_taken(model, random_inputs(model, 2, 0)), training=False)
    return found.shape[-1] if tf.is_tensor(found) and len(found.shape) == 2 else None


def output_kind(model: keras.Model) -> str:
    """What the outputs are.

    `"probabilities"`: rows add up to one. `"logits"`: several outputs that do not, or one that was trained on logits.
    `"value"`: one output that is the probability of "yes", or a number near 0 or 1 (XOR's linear output).
    `"numbers"`: not of one class an example, for your own model was trained on no such loss.
    """
    info, loss = model_info(model), getattr(model, "loss", None)
    if isinstance(loss, keras.losses.Loss) and loss.get_config().get("from_logits"):
        trained_on_logits = True
    else:
        trained_on_logits = False
    if info is not None and info.has_head:
        return "logits" if trained_on_logits and info.arguments["classes"] == 1 else _kind_of_spec(info)
    units = output_units(model)
    if info is None and not _classifies(loss, units or 0):
        return "numbers"
    if units is not None and units > 1:
        return "probabilities" if _adds_up(model) else "logits"
    return "logits" if trained_on_logits else "value"


SEEN = "kzoo_adds_up"  # beside Keras' attributes: (the layers, whether they gave distributions)


def _adds_up(model: keras.Model) -> bool:
    """Whether the network gives distributions: tried once, as long as it has the same layers, and its numbers are
    some.
    """
    layers = tuple(map(id, layers_in(model)))
    if (seen := vars(model).get(SEEN)) is not None and seen[0] == layers:
        return seen[1]
    with unchanged([model]):
        scores = np.asarray(model(as_taken(model, random_inputs(model, 4, 0)), training=False), "float32")
    found = bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3))
    if np.isfinite(scores).all():
        vars(model)[SEEN] = layers, found
    return found


def _kind_of_spec(info: ModelInfo) -> str:
    """By the activation that the registry knows."""
    spec = info.spec
    activation = info.arguments.get("classifier_activation", spec.classifier_activation)
    if info.arguments["classes"] == 1:
        return "logits" if spec.classifier_activation == "sigmoid" and activation != "sigmoid" else "value"
    return "probabilities" if activation == "softmax" else "logits"


def _classifies(loss: Any, units: int) -> bool:
    """Whether a model was trained to name one class; true where nothing is known of its training."""
    if loss is None or isinstance(loss, Mapping | list | tuple):
        return True
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    name = name.lower()
    one_class = "crossentropy" in name or "categorical_hinge" in name or "focal" in name
    return one_class and not (units > 1 and name.startswith("binary"))  # several yes and no: several labels


def names_one_class(model: keras.Model) -> bool:
    """Whether a model that kzoo did not build can be one that names one class an example: it has one input and one
    output, a row of scores, and was not trained on a loss of another kind.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if (inputs and len(inputs) > 1) or (outputs and (len(outputs) > 1 or len(outputs[0].shape) != 2)):
        return False
    if not inputs and model.built and input_shape_of(model) is None:  # a subclass that was called on several
        return False
    loss = getattr(model, "loss", None)
    if loss is None and getattr(model, "compiled", False):  # by a loss of its layers', or a compute_loss
        return False
    if outputs:
        return _classifies(loss, outputs[0].shape[-1] or 0)
    units = output_units(model) if model.built else 0
    return units is not None and _classifies(loss, units)


def to_probabilities(scores: Any, kind: str) -> tf.Tensor:
    """float32 [n, units] of that kind -> float32 [n, classes]; one output becomes two columns, no and yes."""
    scores = tf.cast(scores, tf.float32)
    if scores.shape[1] == 1:
        yes = tf.sigmoid(scores) if kind == "logits" else tf.clip_by_value(scores, 0.0, 1.0)
        return tf.concat([1 - yes, yes], axis=1)
    return scores if kind == "probabilities" else tf.nn.softmax(scores)


def has_head(model: keras.Model) -> bool:
    """Whether it is one of kzoo's with its last layer."""
    info = model_info(model)
    if info is None or not info.has_head:
        return False
    return info.spec.head in [layer.name for layer in getattr(model, "stages", model.layers)]


def named(model: keras.Model, outputs: Any) -> dict[str, tf.Tensor]:
    """{name: float32}; of several outputs by their own names."""
    if tf.is_tensor(outputs):
        return {output_name(model): tf.cast(outputs, tf.float32)}
    if not isinstance(outputs, dict):
        names = getattr(model, "output_names", None) or [f"output_{i}" for i in range(len(outputs))]
        outputs = dict(zip(names, outputs, strict=True))
    return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}


def output_name(model: keras.Model) -> str:
    """The name of the last layer: the same in every style."""
    info = model_info(model)
    if info is not None and info.has_head:
        return info.spec.head
    names = getattr(model, "output_names", None)
    return names[0] if names and len(names) == 1 else "output"
