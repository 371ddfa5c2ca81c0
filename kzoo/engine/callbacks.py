"""What callbacks remember: written with a checkpoint, and given back when the training goes on."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kzoo.engine.state import state_of
from kzoo.errors import say

MOST = 100_000  # numbers and texts in what one callback keeps under one name
CONTAINERS = (list, tuple, dict, set, np.ndarray)
LOST = {"lost": True}  # in the place of a value; what `_written` writes has other words


def remembered(
    callbacks: Sequence[keras.callbacks.Callback], model: keras.Model
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """({callback: what it remembers}, {key: arrays that it keeps}), callbacks by their class, with a number where there
    are several. Kept are numbers, texts and containers of them, and lists of arrays; of weights of the model by their
    names. Not the arguments of Keras' own callbacks, which they have anew (and of which they turn `min_delta` round).
    Of another container of a callback of the user's it is kept that it was lost.
    """
    plain: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, callback in _named(callbacks):
        if isinstance(callback, keras.callbacks.CSVLogger):  # its file is its memory
            continue
        settings, of_keras = _settings(callback), type(callback).__module__.startswith("keras.")
        for key, value in vars(callback).items():
            if key in ("params", "validation_data") or key.startswith("_") or key in settings:
                continue
            if isinstance(value, list) and value and all(isinstance(v, np.ndarray) for v in value):
                plain.setdefault(name, {})
                names = _places(model, len(value))
                arrays |= {f"callbacks/{name}/{key}/{place}": v for place, v in zip(names, value, strict=True)}
            elif isinstance(value, bool | int | float | str | None | np.generic):
                plain.setdefault(name, {})[key] = _written(value)
            elif isinstance(value, CONTAINERS) and not of_keras:
                try:
                    if _count(value) > MOST:
                        raise ValueError(f"more than {MOST:,} values")
                    plain.setdefault(name, {})[key] = _written(value)
                except (TypeError, ValueError, RecursionError):
                    plain.setdefault(name, {})[key] = LOST
    return plain, arrays


def remind(
    callbacks: Sequence[keras.callbacks.Callback],
    model: keras.Model,
    plain: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Give callbacks back what `remembered` found; what it could not keep is said."""
    for name, callback in _named(callbacks):
        for key, value in plain.get(name, {}).items():
            if value == LOST:
                say(f"{name}.{key} holds what a file cannot hold; it begins anew")
            else:
                setattr(callback, key, _read(value))
        start = f"callbacks/{name}/"
        kept = {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
        for key in dict.fromkeys(place.split("/")[0] for place in kept):
            whole = {k.removeprefix(f"{key}/"): v for k, v in kept.items() if k.startswith(f"{key}/")}
            setattr(callback, key, [whole[place] for place in _places(model, len(whole))])


def _count(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, dict):
        return sum(_count(v) + 1 for v in value.values())
    return sum(map(_count, value)) if isinstance(value, list | tuple | set) else 1


def _written(value: Any) -> Any:
    """As JSON that tells what it was: {kind: what it holds} of all that JSON does not have.

    Raises:
        TypeError: Something in it is an object.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": [_written(v) for v in value.ravel()], "shape": list(value.shape), "dtype": value.dtype.name}
    if type(value) is list:
        return [_written(v) for v in value]
    if type(value) in (tuple, set):
        return {type(value).__name__: [_written(v) for v in value]}
    if type(value) is dict:
        return {"dict": [[_written(k), _written(v)] for k, v in value.items()]}
    raise TypeError(type(value).__name__)


def _read(value: Any) -> Any:
    """What `_written` has written."""
    if isinstance(value, list):
        return [_read(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.array(_read(value["array"]), value["dtype"]).reshape(value["shape"])
    ((kind, held),) = value.items()
    if kind == "dict":
        return {_read(k): _read(v) for k, v in held}
    return float(held) if kind == "float" else {"tuple": tuple, "set": set}[kind](map(_read, held))


def _places(model: keras.Model, count: int) -> list[str]:
    """Names for the arrays of a list: of all weights of the model theirs, in Keras' order; else numbers."""
    if count != len(model.weights):
        return [f"{k:04d}" for k in range(count)]
    keys = {id(variable): key for key, variable in state_of(model, optimizer=False).items()}
    return [keys[id(variable)] for variable in model.weights]


def _settings(callback: keras.callbacks.Callback) -> set[str]:
    """Names of the arguments of the Keras classes that it is of."""
    kinds = [kind for kind in type(callback).__mro__ if kind.__module__.startswith("keras.")]
    return {name for kind in kinds for name in inspect.signature(kind.__init__).parameters}


def _named(callbacks: Sequence[keras.callbacks.Callback]) -> Iterator[tuple[str, keras.callbacks.Callback]]:
    counts: dict[str, int] = {}
    for callback in callbacks:
        name = type(callback).__name__
        counts[name] = counts.get(name, 0) + 1
        yield f"{name}#{counts[name]}" if counts[name] > 1 else name, callback
