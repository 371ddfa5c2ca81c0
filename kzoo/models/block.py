"""Block: a stage with inner structure, written once and used by all three styles.

A model is an ordered list of stages; a stage is a Keras layer or a Block: named layers and a `call` of plain Keras
code. As a layer it nests in the sequential and the subclass style; inside `opened_blocks()` the same `call` runs on
Keras' symbolic tensors, so that the functional style's graph shows every layer.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from kzoo.errors import KzooError
from kzoo.keras_internals import children_of, layers_in
from kzoo.records import same_source

_open = contextvars.ContextVar("open_blocks", default=False)


def registering(family: str) -> Callable[[Any], Any]:
    """A decorator: Keras' files know a class or function of a family as `kzoo.<family>>Name`.

    Keras has one table of names, and a name that is taken twice would be overwritten without a word.

    Raises:
        KzooError: The name is taken by another one.
    """

    def register(thing: Any) -> Any:
        name = f"kzoo.{family}>{thing.__name__}"
        known = keras.saving.get_registered_object(name)
        if known is not None and not same_source(known, thing):
            raise KzooError(f"{name} is registered already, by {known.__module__}; give the class another name")
        return keras.saving.register_keras_serializable(f"kzoo.{family}")(thing)

    return register


register = registering("block")


@contextlib.contextmanager
def opened_blocks() -> Iterator[None]:
    """While this is active a Block is only its `call`: the layers inside it join the caller's graph."""
    token = _open.set(True)
    try:
        yield
    finally:
        _open.reset(token)


@register
class Block(keras.layers.Layer):
    """Named layers and a `call` of plain Keras code.

    Children are made in `__init__` and take names that start with `self.name`, for layer names are unique in the whole
    model. A subclass' `__init__` ends with `**kwargs` passed on: a `.keras` file carries `dtype` and `trainable`.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _open.get():
            return self.call(*args, **kwargs)
        if not self.built:
            # The children build themselves inside `call`. Tracing `call` in `build` as well would cost 2**depth.
            self._inputs = keras.tree.map_structure(shape_and_dtype, args[0])
            self.built = True
        return super().__call__(*args, **kwargs)

    def compute_output_spec(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Run `call` on symbolic tensors: Keras would trace it as a TensorFlow graph, which takes twice as long.

        keras.Sequential passes `training` here, also to layers whose `call` does not name it.
        """
        return fresh(self.call(*args, **kwargs))

    def build(self, input_shape: Any) -> None:
        """Build every child. Reached through `build_from_config` and by callers; `__call__` does not need it."""
        spec = keras.tree.map_shape_structure(lambda s: keras.KerasTensor(s, dtype=self.compute_dtype), input_shape)
        self._build_on(spec)

    def _build_on(self, inputs: Any) -> None:
        self.compute_output_spec(inputs)
        self._inputs = keras.tree.map_structure(shape_and_dtype, inputs)
        self.built = True

    def get_build_config(self) -> dict[str, Any] | None:
        """Shapes and dtypes, since token ids and masks are no floats; and what is frozen inside."""
        return {"inputs": self._inputs, **frozen_inside(self)} if self.built else None

    def build_from_config(self, config: dict[str, Any] | None) -> None:
        if not config:
            return
        self._build_on(tensors(config["inputs"]))
        freeze_inside(self, config)


def leaves(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The layer itself, or those in it, where it is a Block or a model."""
    if isinstance(layer, Block | keras.Model):
        for child in children_of(layer):
            yield from leaves(child)
    else:
        yield layer


def frozen_inside(layer: keras.layers.Layer) -> dict[str, list[str]]:
    """What a build config keeps of layers that a config does not hold, since `__init__` makes them: which are frozen."""
    frozen = [inner.name for inner in layers_in(layer)[1:] if not inner.trainable]
    return {"frozen": frozen} if frozen else {}


def freeze_inside(layer: keras.layers.Layer, config: dict[str, Any]) -> None:
    """As `frozen_inside` noted it."""
    for inner in layers_in(layer)[1:]:
        if inner.name in config.get("frozen", ()):
            inner.trainable = False


def fresh(outputs: Any) -> Any:
    """Symbolic tensors like these, without the history of the layers inside."""
    return keras.tree.map_structure(lambda t: keras.KerasTensor(t.shape, dtype=t.dtype), outputs)


def shape_and_dtype(tensor: Any) -> dict[str, Any]:
    """What a build config keeps of an input."""
    return {"shape": list(tensor.shape), "dtype": keras.backend.standardize_dtype(tensor.dtype)}


def tensors(inputs: Any) -> Any:
    """KerasTensors of what `shape_and_dtype` noted, one or a structure of them."""
    if isinstance(inputs, dict):
        if inputs.keys() == {"shape", "dtype"}:
            return keras.KerasTensor(inputs["shape"], dtype=inputs["dtype"])
        return {name: tensors(value) for name, value in inputs.items()}
    return [tensors(value) for value in inputs]


def through(stages: Iterable[keras.layers.Layer], x: Any) -> Any:
    """`x` after each stage in turn."""
    for stage in stages:
        x = stage(x)
    return x


@register
class Chain(Block):
    """Stages one after another. The sequential style flattens it."""

    def __init__(self, stages: Iterable[keras.layers.Layer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = list(stages)

    def call(self, x: Any) -> Any:
        return through(self.stages, x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stages": [keras.saving.serialize_keras_object(s) for s in self.stages]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Chain:
        stages = [keras.saving.deserialize_keras_object(s) for s in config.pop("stages")]
        return cls(stages=stages, **config)


def flat(stages: Sequence[keras.layers.Layer]) -> Iterator[keras.layers.Layer]:
    """The stages with every Chain replaced by its own stages."""
    for stage in stages:
        if isinstance(stage, Chain):
            yield from flat(stage.stages)
        else:
            yield stage


@register
class Parallel(Block):
    """Branches that read the same input; their outputs are concatenated along the channels."""

    def __init__(self, branches: Iterable[Iterable[keras.layers.Layer]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.branches = [
            Chain(stages, name=f"{self.name}_branch{i}") if not isinstance(stages, Chain) else stages
            for i, stages in enumerate(branches, start=1)
        ]
        self.concatenate = keras.layers.Concatenate(name=f"{self.name}_output")

    def call(self, x: Any) -> Any:
        return self.concatenate([branch(x) for branch in self.branches])

    def get_config(self) -> dict[str, Any]:
        branches = [keras.saving.serialize_keras_object(branch) for branch in self.branches]
        return {**super().get_config(), "branches": branches}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Parallel:
        branches = [keras.saving.deserialize_keras_object(branch) for branch in config.pop("branches")]
        return cls(branches=branches, **config)


@register
class Side(Block):
    """What goes on, and a classifier at its side, from the same input: {"predictions": …, `output`: …}."""

    def __init__(self, rest: Chain, side: Chain, output: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rest, self.side, self.output_name = rest, side, output

    def call(self, x: Any) -> dict[str, Any]:
        made = self.rest(x)
        made = made if isinstance(made, dict) else {"predictions": made}
        return {"predictions": made["predictions"], self.output_name: self.side(x), **made}

    def get_config(self) -> dict[str, Any]:
        chains = {k: keras.saving.serialize_keras_object(v) for k, v in (("rest", self.rest), ("side", self.side))}
        return {**super().get_config(), **chains, "output": self.output_name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Side:
        chains = {k: keras.saving.deserialize_keras_object(config.pop(k)) for k in ("rest", "side")}
        return cls(**chains, **config)
