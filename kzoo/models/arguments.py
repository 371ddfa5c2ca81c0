"""Kinds of arguments that families share, for the annotations of their `define`."""

from __future__ import annotations

from typing import Annotated, Any

import keras

from kzoo.errors import KzooError
from kzoo.records import Kind, Number


class ActivationName(Kind):
    """A name of keras.activations, a function that is one, or None for none."""

    def check(self, name: str, value: Any) -> Any:
        try:
            keras.activations.get(value)
        except (ValueError, TypeError) as error:
            raise KzooError(
                f"{name} must be a name of keras.activations, such as 'relu'; received {value!r}"
            ) from error
        return value


Activation = Annotated[Any, ActivationName()]
Dropout = Annotated[float, Number(at_least=0, below=1)]  # the share that is dropped
Width = Annotated[float, Number(above=0, at_most=16)]  # a factor on every number of filters
Probability = Annotated[float, Number(above=0, at_most=1)]
