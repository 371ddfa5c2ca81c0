"""Which layers learn, and how fast each: by the names of layers, the same in every style.

A frozen layer keeps its weights, and a frozen batch normalization its statistics too: it runs in inference mode, as
`trainable = False` means in Keras. Dropout in a frozen part stays what it is.

A factor on the learning rate of a part is a factor on its updates: `optimizers.scaled_updates`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kzoo.errors import KzooError, listed, unknown
from kzoo.keras_internals import children_of, layers_in, set_learning
from kzoo.models import Block, leaves, model_info, networks_of

SHOWN = 6  # names in a line of the plan


@dataclass(frozen=True)
class Freezing:
    """Names of the layers with weights, in the order of the definition.

    Attributes:
        learning, frozen: The layers that train, and those that do not.
        trained: Parameters that move.
        kept: Parameters of the frozen layers.
    """

    learning: tuple[str, ...]
    frozen: tuple[str, ...]
    trained: int
    kept: int

    def __str__(self) -> str:
        if not self.frozen:
            return f"nothing is frozen: {len(self.learning)} layers learn, {self.trained:,} parameters"
        return (
            f"{listed(self.frozen, SHOWN)}: {len(self.frozen)} of {len(self.frozen) + len(self.learning)} layers,"
            f" {self.kept:,} parameters"
        )


def named_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """{name: layer} of every layer with weights, in the order of the definition; Blocks and nested models are opened.

    The names, and of kzoo's models the order too, are the same in every style.

    Raises:
        KzooError: Two layers have one name.

    >>> from kzoo import lenet5
    >>> list(named_layers(lenet5(style="sequential")))
    ['c1', 'c3', 'c5', 'f6', 'output']
    """
    found: dict[str, keras.layers.Layer] = {}
    for layer, _ in _leaves(model):
        if found.setdefault(layer.name, layer) is not layer:
            raise KzooError(f"two layers are named {layer.name!r}; names must be unique in {model.name!r}")
    order = {name: k for k, name in enumerate(_defined(model))}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def freeze(model: keras.Model, names: Sequence[str] | str) -> Freezing:
    """Layers whose name, or that of a nested model around them, begins with one of `names` learn no more.

    The others stay as they are. The model is compiled as before; an optimizer that knew the layers still does.

    Raises:
        KzooError: No such layer, or nothing would be left to learn; nothing has changed then.
    """
    return _frozen(model, names, anew=False)


def set_trainable(model: keras.Model, frozen: Sequence[str] | str) -> Freezing:
    """As `freeze`, and every other layer learns again; `()` thaws the whole model.

    Raises:
        KzooError: No such layer, or nothing would be left to learn; nothing has changed then.
    """
    return _frozen(model, frozen, anew=True)


def freezing_of(model: keras.Model) -> Freezing:
    """As the model is now."""
    leaves = [layer for layer, _ in _leaves(model)]
    order = {name: k for k, name in enumerate(_defined(model))}
    leaves.sort(key=lambda layer: order.get(layer.name, len(order)))
    return Freezing(
        learning=tuple(y.name for y in leaves if y.trainable),
        frozen=tuple(y.name for y in leaves if not y.trainable),
        trained=sum(math.prod(v.shape) for v in model.trainable_variables),
        kept=sum(math.prod(v.shape) for y in leaves if not y.trainable for v in y.weights),
    )


def trainable_flags(model: keras.Model) -> list[tuple[keras.layers.Layer, bool]]:
    """What `restore_flags` puts back."""
    return [(layer, layer.trainable) for layer in layers_in(model)]


def restore_flags(flags: Sequence[tuple[keras.layers.Layer, bool]]) -> None:
    """A container comes before its layers, and sets theirs: so that each has its own in the end."""
    for layer, value in flags:
        set_learning(layer, value)


def _set(layer: keras.layers.Layer, value: bool) -> None:
    """Of the layer and all in it. Keras hands on a change only: a container that had this value would change nothing
    inside (`model.trainable = True` does not thaw the layers of a model that was trainable already).
    """
    for inner in layers_in(layer):
        set_learning(inner, value)


def factors_of(model: keras.Model, rates: Mapping[str, float]) -> dict[int, float]:
    """{id of a variable: factor on its learning rate} of those whose factor is not 1; the longest prefix decides.

    Raises:
        KzooError: No such layer, or a factor that is none.
    """
    _matched(model, list(rates), "rates")
    found = {}
    for layer, around in _leaves(model):
        name = _longest(rates, layer, around)
        if name is not None and rates[name] != 1:
            found |= {id(v): rates[name] for v in layer.trainable_variables}
    return found


def described_rates(model: keras.Model, rates: Mapping[str, float]) -> str:
    """For the plan: each prefix, its factor, and how many learning layers have it."""
    decided = Counter(_longest(rates, layer, around) for layer, around in _leaves(model) if layer.trainable)
    return ", ".join(f"{name} x {factor:g} ({_layers(decided[name])})" for name, factor in rates.items())


def _frozen(model: keras.Model, names: Sequence[str] | str, anew: bool) -> Freezing:
    names = [names] if isinstance(names, str) else names
    matched = _matched(model, names, "freeze")
    before = trainable_flags(model)
    for layer in (model, *named_layers(model).values()) if anew else ():
        _set(layer, True)
    for layer in matched:
        _set(layer, False)
    for network in networks_of(model):
        if not network.trainable_variables:
            restore_flags(before)
            raise KzooError(
                f"freeze leaves nothing of {network.name!r} to learn: {listed(names, SHOWN)}; leave one of its layers"
                f" out, such as the last, {list(named_layers(network))[-1]!r}"
            )
    return freezing_of(model)


def _matched(model: keras.Model, names: Sequence[str], what: str) -> list[keras.layers.Layer]:
    """The layers that begin with one of `names`, each of which must match some."""
    known = named_layers(model)
    leaves = list(_leaves(model))
    for name in names:
        if not any(_begins(name, layer, around) for layer, around in leaves):
            containers = dict.fromkeys(c for _, around in leaves for c in around)
            remedy = f"kzoo.summary lists the layers of {model.name!r}"
            raise unknown(f"layer in {what}", name, [*containers, *known], remedy)
    return [layer for layer, around in leaves if any(_begins(name, layer, around) for name in names)]


def _begins(name: str, layer: keras.layers.Layer, around: tuple[str, ...]) -> bool:
    return any(n.startswith(name) for n in (layer.name, *around))


def _longest(names: Mapping[str, Any], layer: keras.layers.Layer, around: tuple[str, ...]) -> str | None:
    """A prefix of the layer's own name goes before one of a model around it."""
    for there in (layer.name, *reversed(around)):
        fitting = [name for name in names if there.startswith(name)]
        if fitting:
            return max(fitting, key=len)
    return None


def _leaves(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, tuple[str, ...]]]:
    """(layer with weights, names of the nested models around it), each layer once, as `weights_by_name` counts them."""
    seen: set[int] = set()

    def visit(layer: keras.layers.Layer, around: tuple[str, ...]) -> Iterator[Any]:
        for child in children_of(layer):
            if isinstance(child, Block | keras.Model):
                inside = around if isinstance(child, Block) else (*around, child.name)
                yield from visit(child, inside)
            elif child.weights and id(child) not in seen:
                seen.add(id(child))
                yield child, around

    yield from visit(model, ())


def _defined(model: keras.Model) -> list[str]:
    """Names of layers in the order in which kzoo's definition lists them: a graph, and a class, have another."""
    info = model_info(model)
    if info is None:
        return []
    stages = info.spec.definition.stages_of(info.config, info.arguments["input_shape"])
    return [layer.name for stage in stages for layer in leaves(stage)]


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"
