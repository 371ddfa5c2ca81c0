"""Augmentations of the user's own: a Keras layer, or a function of a batch of images.

They are given the whole global batch, float32 [n, height, width, channels] in 0 to 255, and give as many images of that
shape. A layer draws by the seed of the batch, and so does a function with a parameter `seed`: then they give the same
under every strategy, and in a resumed run.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from kzoo.errors import KzooError, in_a_line
from kzoo.inputs.augment import AUGMENTATIONS, Draw
from kzoo.keras_internals import StatelessScope, is_seed

Augmentation = Callable[[tf.Tensor, Draw], tf.Tensor]
MIXING = (keras.layers.MixUp, keras.layers.CutMix)
DRAWS = ("Random", "Multinomial", "EagerPyFunc", "PyFunc")  # how operations are called that no seed of ours reaches


def is_own(item: Any) -> bool:
    return not isinstance(item, str)


def told(item: Any) -> str:
    """What an entry of `augment=` is called.

    >>> told("flip"), told(keras.layers.RandomFlip(name="mirror"))
    ('flip', 'mirror')
    """
    if isinstance(item, Mapping):
        config = item.get("config")
        return config.get("name", item["class_name"]) if isinstance(config, Mapping) else str(config)
    return item if isinstance(item, str) else getattr(item, "name", None) or getattr(item, "__name__", repr(item))


def saved(augment: Any) -> Any:
    """`augment=` as config.json holds it, as far as it can: Keras' own description of a layer, and of a function that
    was registered with Keras. What has none stays as it is.
    """
    if callable(augment):
        augment = [augment]
    return [_saved(item) for item in augment] if isinstance(augment, list | tuple) else augment


def _saved(item: Any) -> Any:
    registered = ">" in keras.saving.get_registered_name(item) if inspect.isfunction(item) else True
    if isinstance(item, str | Mapping) or not registered:
        return item
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lambdas: it is only tried
        try:
            config = keras.saving.serialize_keras_object(item)
            keras.saving.deserialize_keras_object(config)
            return config
        except Exception:
            return item


def augmentation_of(item: Any, shape: tuple[int, ...]) -> tuple[Augmentation, list[str]]:
    """(what carries out an entry of `augment=`, notes on it).

    Args:
        shape: Of an image, (height, width, channels).

    Raises:
        KzooError: It fails on such images, or gives others.
    """
    if isinstance(item, str):
        return AUGMENTATIONS[item], []
    name = told(item)
    item = _usable(item, name)
    made = tf.function(_of_layer(item) if isinstance(item, keras.layers.Layer) else _of_function(item), autograph=False)
    traced = _tried(made, item, name, shape)

    def changed(images: tf.Tensor, draw: Draw) -> tf.Tensor:
        return tf.ensure_shape(tf.cast(made(images, draw), tf.float32), [None, *shape])

    graph = traced.graph.as_graph_def()
    kinds = {node.op for part in (graph.node, *(f.node_def for f in graph.library.function)) for node in part}
    free = any(kind.startswith(DRAWS) for kind in kinds)
    return changed, [f"{name} draws random numbers of its own: they are others in each run"] * free


def _usable(item: Any, name: str) -> Any:
    """A layer or a function, made again where config.json has it.

    Raises:
        KzooError: It is neither, or one that has no place there.
    """
    if isinstance(item, Mapping):
        with in_a_line(f"augment: {name} cannot be made again", "; give it again"):
            item = keras.saving.deserialize_keras_object(dict(item))
    if inspect.isclass(item):
        raise KzooError(f"augment: {name} is a class; give what it makes, {name}(…)")
    if not isinstance(item, keras.layers.Layer) and not callable(item):
        raise KzooError(f"augment takes names, Keras layers and functions of images; received {item!r}")
    if isinstance(item, MIXING):
        raise KzooError(
            f"augment: {name} mixes labels too, which augment= does not see; do it in the data, given batched"
        )
    return item


def _tried(made: Any, item: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Its graph, once it has changed three images of noise.

    Raises:
        KzooError: It fails, or gives images of another shape, number or scale; or it is a part of a network.
    """
    scalar, free = tf.TensorSpec([], tf.int32), [None, *shape]
    noise = tf.random.stateless_uniform([3, *shape], [1, 2], maxval=255.0)
    failing = f"augment: {name} fails on images {free}"
    with in_a_line(failing, "; it is given a batch, float32 in 0 to 255, inside a TensorFlow graph"):
        draw = Draw(tf.TensorSpec([2], tf.int32), scalar, scalar)
        traced = made.get_concrete_function(tf.TensorSpec(free, tf.float32), draw)
        gives = traced.structured_outputs
        if not tf.is_tensor(gives) or not gives.shape.is_compatible_with(free):
            what = f"{gives.dtype.name} {list(gives.shape)}" if tf.is_tensor(gives) else type(gives).__name__
            raise KzooError(f"augment: {name} must give images {free}; it gives {what}")
        if getattr(item, "trainable_weights", None):  # which it has once it is called
            raise KzooError(f"augment: {name} has weights, which nothing trains there; make it a layer of the model")
        found = made(noise, Draw(tf.constant([3, 4]), tf.constant(0), tf.constant(3)))
    if found.shape[0] != 3:
        raise KzooError(f"augment: {name} must give as many images as it is given; of 3 it gives {found.shape[0]}")
    if float(tf.reduce_max(tf.abs(tf.cast(found, tf.float32)))) <= 1.5:
        raise KzooError(f"augment: {name} gives images in 0 to 1; give them in 0 to 255, as they come")
    return traced


def _of_layer(layer: keras.layers.Layer) -> Augmentation:
    def call(images: tf.Tensor, draw: Draw) -> tf.Tensor:
        with tf.init_scope():  # what it makes when it is first called
            if not layer.built:
                layer(tf.zeros([1, *images.shape[1:]]), training=True)
            seeds = [v for v in layer.variables if is_seed(v)]
        state = [(v, tf.cast(draw.other(7919 * k).seed, v.dtype)) for k, v in enumerate(seeds)]
        with StatelessScope(state):
            return layer(images, training=True)

    return call


def _of_function(function: Callable[..., Any]) -> Augmentation:
    try:
        seed = inspect.signature(function).parameters.get("seed")
    except (TypeError, ValueError):  # of C
        seed = None
    seeded = seed is not None and seed.default is seed.empty  # another one has a meaning of its own: tf.image's
    function = tf.function(function)  # with Python's `if` on tensors
    return lambda images, draw: function(images, seed=draw.seed) if seeded else function(images)
