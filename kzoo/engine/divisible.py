"""What replicas cannot share: looked for on the first batch, before a training begins.

Replicas each see a part of a batch. What is added over them comes out as on one device: losses, gradients, and the
state of a metric that adds up over examples. A metric that keeps a maximum does not, nor a layer that counts what it
has seen; neither says so. They are found by trying: the state after a batch must be the sum of those after its parts.
Keras' own metrics and layers are known to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.keras_internals import global_seed_generator, is_seed, layers_in, loss_trackers, wrapped_function

KNOWN = ("keras.", "kzoo.")
FEW = 6  # examples that tell whether they depend on each other
ONE = "train it with strategy='one'"


def check_rows(batch: Any) -> None:
    """Every part of a batch has a row for each example, which replicas share out.

    Raises:
        KzooError: They have not.
    """
    leaves = [part for part in tf.nest.flatten(batch) if part is not None]
    if any(isinstance(part, tf.SparseTensor | tf.RaggedTensor) for part in leaves):
        raise KzooError(f"replicas cannot share out sparse or ragged parts of a batch: {ONE}")
    leaves = [tf.convert_to_tensor(part) for part in leaves]
    sizes = [t.shape[0] if t.shape.rank else None for t in leaves]
    if len(set(sizes)) > 1:
        raise KzooError(
            f"the parts of a batch have {', '.join(map(str, sizes))} rows; replicas share out the examples of a batch,"
            f" and these are none: {ONE}"
        )


def check_stateless(model: keras.Model) -> None:
    for layer in layers_in(model):
        if getattr(layer, "stateful", False):
            raise KzooError(
                f"the layer {layer.name!r} carries states from batch to batch, which replicas cannot share; {ONE}"
            )


def parts_of(batch: Any) -> list[Any]:
    """A batch as two unequal parts; none where it has one row."""
    rows = tf.nest.flatten(batch)[0].shape[0]
    cut = max(rows // 3, 1)
    ranges = [(0, cut), (cut, rows)] if rows > 1 else []
    return [tf.nest.map_structure(lambda t, a=a, b=b: None if t is None else t[a:b], batch) for a, b in ranges]


def own_metrics(model: keras.Model) -> Iterator[keras.metrics.Metric]:
    """Those that are not Keras' or kzoo's, a function of the user's among them."""
    kept_by_keras = [*loss_trackers(model), *(m for m in model.metrics if m.name == "loss")]
    for outer in model.metrics:
        compiled = getattr(outer, "metrics", None)
        for metric in [outer] if compiled is None else compiled:
            function = wrapped_function(metric)
            tracker = compiled is None and not any(metric is other for other in kept_by_keras)  # of the model's own
            theirs = tracker or not type(metric).__module__.startswith(KNOWN)
            if theirs or (function is not None and not getattr(function, "__module__", "").startswith(KNOWN)):
                yield metric


def check_metrics(model: keras.Model, batch: Any, update: Callable[[Any], Any]) -> list[str]:
    """What is to be said of metrics whose state is no sum over examples.

    Args:
        update: Gives a batch to the metrics of the model.

    Raises:
        KzooError: One that replicas cannot even average.
    """
    metrics = list(own_metrics(model))
    if not metrics or not (parts := parts_of(batch)):
        return []
    states = []
    for part in (batch, *parts):
        model.reset_metrics()
        update(part)
        states.append([[v.numpy() for v in metric.variables] for metric in metrics])
    model.reset_metrics()
    notes = []
    for metric, whole, *others in zip(metrics, *states, strict=True):
        if all(_close(a, np.sum(b, axis=0)) for a, *b in zip(whole, *others, strict=True)):
            continue
        if not isinstance(metric, keras.metrics.Mean):
            raise KzooError(
                f"the state of the metric {metric.name!r} is no sum over examples, which replicas could add: {ONE}, or"
                " leave it out"
            )
        notes.append(f"the metric {metric.name!r} is one number a batch: on replicas the mean of their parts'")
    return notes


SUM, MEAN, NEITHER, ZERO = "sum", "mean", "neither", "zero"


def nature_of(values: Callable[[Any], list[Any]], batch: Any) -> list[str]:
    """Of numbers that a batch gives: whether each is a sum over its examples, their mean (or the same for all), or
    neither, or zero, as far as the batch shows it.

    Where they are drawn at random in part, they are told apart all the same: a sum is far from a mean.
    """
    if not (parts := parts_of(batch)):
        return [NEITHER for _ in values(batch)]
    whole, *others = ([float(tf.reduce_sum(v)) for v in values(part)] for part in (batch, *parts))
    rows = [tf.nest.flatten(part)[0].shape[0] for part in parts]
    found = []
    for value, *each in zip(whole, *others, strict=False):
        near, size = 0.1 * abs(value), abs(value)
        from_sum, from_mean = abs(value - sum(each)), abs(value - np.average(each, weights=rows))
        if not size:
            found.append(ZERO)
        elif min(from_sum, from_mean) > near:
            found.append(NEITHER)
        else:
            found.append(SUM if from_sum < from_mean else MEAN)
    return found


def check_layers(model: keras.Model, batch: Any, forward: Callable[[Any], Any]) -> list[str]:
    """What is to be said of layers of the user's that set their variables as they are called: replicas average these,
    which is right for a mean over examples, wrong for a sum, and near it for a variance.

    Args:
        forward: Calls the model on a batch, in training.

    Raises:
        KzooError: One adds up over a batch, or sets weights that learn.
    """
    layers = [y for y in layers_in(model) if not type(y).__module__.startswith(KNOWN)]
    spectral = [y for y in layers_in(model) if isinstance(y, keras.layers.SpectralNormalization)]
    learned = list({id(v): v for layer in [*layers, *spectral] for v in layer.trainable_variables}.values())
    owned = {id(v): v for layer in layers for v in layer.non_trainable_variables if not is_seed(v)}.values()
    counted = [v for v in owned if tf.as_dtype(v.dtype).is_floating or tf.as_dtype(v.dtype).is_integer]
    if not learned and not counted:
        return []
    whole = _changes([*learned, *counted], lambda: forward(batch))
    moved = [v.path for v, change in zip(learned, whole, strict=False) if change.any()]
    if moved:
        raise KzooError(f"a layer sets {moved[0]!r}, which learns, as it is called; replicas would lose that: {ONE}")
    if not counted or not (parts := parts_of(batch)):
        return []
    others = [_changes(counted, lambda part=part: forward(part)) for part in parts]
    rows = [tf.nest.flatten(part)[0].shape[0] for part in parts]
    notes = []
    for variable, change, *each in zip(counted, whole[len(learned) :], *others, strict=True):
        if _close(change, np.average(each, axis=0, weights=rows)):
            continue
        if _close(change, np.sum(each, axis=0)):
            raise KzooError(
                f"{variable.path!r} adds up over a batch; replicas would average it: {ONE}, or count in a metric"
            )
        kept = "average their own" if tf.as_dtype(variable.dtype).is_floating else "keep the first one's"
        notes.append(f"{variable.path!r} is no mean over a batch's examples: replicas {kept}, other than one device's")
    return notes


class NotApart(Exception):
    """What a batch gives has no row for each example."""


def check_apart(model: keras.Model, batch: Any, forward: Callable[[Any, bool], Any]) -> list[str]:
    """What is to be said of a network in which an example's output or loss depends on the others of its batch, of which
    a replica has a part: flipped or mixed rows, a softmax over the batch, a loss that compares examples. Batch
    normalization, of which engines tell, is looked at with its moving statistics.

    It is found by changing the others; random layers draw the same for a batch of the same shape.

    Args:
        batch: A few rows are looked at.
        forward: (batch, training) -> what it gives example by example.
    """
    rows = min(tf.nest.flatten(batch)[0].shape[0], FEW)
    kept = max(rows // 3, 1)
    here = tf.nest.map_structure(lambda t: None if t is None else t[:rows], batch)
    changed = [k if k < kept else 0 for k in range(rows)]
    other = tf.nest.map_structure(lambda t: None if t is None else tf.gather(t, changed), batch)
    seeds = [v for v in [*model.non_trainable_variables, global_seed_generator().state] if is_seed(v)]

    def first_rows(batch: Any, training: bool) -> list[np.ndarray]:
        before = [v.numpy() for v in seeds]
        outputs = [t for t in tf.nest.flatten(forward(batch, training)) if tf.is_tensor(t) and len(t.shape)]
        if any(t.shape[0] != rows for t in outputs):  # not example by example at all
            raise NotApart
        for variable, value in zip(seeds, before, strict=True):
            variable.assign(value)
        return [t.numpy()[:kept] for t in outputs]

    def same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
        return all(_close(a, b) for a, b in zip(one, two, strict=True))

    def depends(training: bool) -> bool:
        as_given = first_rows(here, training)
        drawn_anew = not same(as_given, first_rows(here, training))  # by numbers that no seed of Keras' decides
        return not drawn_anew and not same(as_given, first_rows(other, training))

    normalised = [y for y in layers_in(model) if isinstance(y, keras.layers.BatchNormalization) and y.trainable]
    for layer in normalised:
        layer.trainable = False
    try:
        mixed = depends(False) or depends(True)
    except NotApart:
        mixed = True
    finally:
        for layer in normalised:
            layer.trainable = True
    if not mixed:
        return []
    return [
        "an example's output or loss depends on the others of its batch: on replicas on those of its part, so that"
        f" their numbers are not one device's ({ONE} for these)"
    ]


def _changes(variables: Sequence[keras.Variable], run: Callable[[], Any]) -> list[np.ndarray]:
    """What `run` adds to each; they are afterwards as before."""
    before = [v.numpy() for v in variables]
    run()
    changes = [v.numpy() - old for v, old in zip(variables, before, strict=True)]
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return changes


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.allclose(one, other, rtol=1e-3, atol=1e-5))
