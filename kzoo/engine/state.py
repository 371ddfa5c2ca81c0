"""Everything that training changes, by name: weights, statistics, seeds and slots.

Keys are those of weights (`c1/kernel`), so that a run goes on in another style or under another strategy; no variable
is known by its place in a list. Layers that have no name of their own are numbered by their place in the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import keras

from kzoo.engine.objective import Phase
from kzoo.engine.schedules import inner
from kzoo.keras_internals import built_on, children_of, is_seed, layers_in, rate_of, slots_of, to_snake_case
from kzoo.models import Block, networks_of
from kzoo.weights import key_of

RATE = "learning_rate"  # a variable of the optimizer, where no schedule gives it


def state_of(model: keras.Model, *, optimizer: bool = True) -> dict[str, keras.Variable]:
    """{key: variable} of a model that trains on: weights, statistics, seed states, and the slots of its optimizers.

    Of a holder of several networks, the slots stand under the network's name.
    """
    state = _unique(_own(model))
    if not optimizer:
        return state
    networks, named = networks_of(model), _named_here(model)
    for network in networks:
        if getattr(network, "optimizer", None) is not None:
            name = named.get(network.name, network.name)
            prefix = "optimizer" if networks == [model] else f"optimizer/{name}"
            keys = {id(variable): key for key, variable in state.items()}
            state |= _unique((f"{prefix}/{k}", v) for k, v in _slots(network.optimizer, keys))
    return state


def scales_of(phases: Sequence[Phase]) -> dict[str, keras.Variable]:
    """{key: variable} of the loss scaling that a run has put around its optimizers."""
    found = {}
    for phase in phases:
        optimizer, prefix = phase.optimizer, "optimizer" if len(phases) == 1 else f"optimizer/{phase.name}"
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and optimizer is not phase.model.optimizer:
            for name in ("dynamic_scale", "step_counter"):
                found[f"{prefix}/loss_scale/{name}"] = getattr(optimizer, name)
    return found


def metrics_of(metrics: Sequence[keras.metrics.Metric]) -> dict[str, keras.Variable]:
    """{key: variable} of what an epoch has counted so far."""
    return _unique((f"metrics/{metric.name}/{v.name}", v) for metric in metrics for v in metric.variables)


def _own(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Of the layers, by the names that weights have; then what the model itself holds; nothing of its metrics."""
    metrics = {id(v) for metric in getattr(model, "metrics", []) for v in metric.variables}
    seen: set[int] = set()
    named = _named_here(model)
    stable = lambda key: "/".join(named.get(part, part) for part in key.split("/"))

    def visit(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.Variable]]:
        for child in children_of(layer):
            if isinstance(child, Block | keras.Model):
                yield from visit(child)
                continue
            for variable in child.variables:
                if id(variable) not in seen:
                    seen.add(id(variable))
                    # Keras numbers seed generators by how many the process has made.
                    key = f"{child.name}/seed" if is_seed(variable) else key_of(child.name, variable.path)
                    yield stable(key), variable

    yield from visit(model)
    yield from ((stable(v.path), v) for v in model.variables if id(v) not in seen and id(v) not in metrics)


def _named_here(model: keras.Model) -> dict[str, str]:
    """{name that Keras gave a layer: the one that it has in a process that makes this model alone}. Keras numbers
    layers without a name by how many the process has made.
    """
    counts: dict[str, int] = {}
    found: dict[str, str] = {}
    for layer in layers_in(model):
        base = to_snake_case(type(layer).__name__)
        if layer.name not in found and re.fullmatch(rf"{re.escape(base)}(_\d+)?", layer.name):
            number = counts[base] = counts.get(base, -1) + 1
            found[layer.name] = f"{base}_{number}" if number else base
    return found


def _slots(optimizer: keras.optimizers.Optimizer, keys: Mapping[int, str]) -> Iterator[tuple[str, keras.Variable]]:
    """Slots under the key of their weight; what the optimizer has once, by its own name."""
    own = inner(optimizer)
    weights = [keys.get(id(v), v.path) for v in built_on(own)]
    seen = set()
    for slot, variables in slots_of(own).items():
        for key, variable in zip(weights, variables, strict=True):
            if variable is not None and id(variable) not in seen:
                seen.add(id(variable))
                yield f"{slot}/{key}", variable
    rate = rate_of(own)
    held = {id(v): name.strip("_") for name, v in vars(own).items() if isinstance(v, keras.Variable)}
    for variable in optimizer.variables:
        if id(variable) not in seen:
            name = variable.name
            if re.fullmatch(r"variable(_\d+)?", name):  # Nadam's product: numbered by how many the process has made
                name = held.get(id(variable), name)
            yield RATE if variable is rate else name, variable


def _unique(pairs: Iterator[tuple[str, keras.Variable]]) -> dict[str, keras.Variable]:
    """Names that a model of the user's has twice are numbered, in its own order."""
    found: dict[str, keras.Variable] = {}
    for key, variable in pairs:
        name, number = key, 2
        while name in found:
            name, number = f"{key}#{number}", number + 1
        found[name] = variable
    return found
