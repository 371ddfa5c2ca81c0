"""The parts of a model that a weight file may lack or have beyond it: top, head, auxiliary heads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import keras

from kzoo.models import leaves
from kzoo.records import ModelInfo


class Parts:
    """Names of layers, taken from definitions that are listed and never built: no weight is made.

    Args:
        info: Of the model.
        variables: {key: variable} of the model.
    """

    def __init__(self, info: ModelInfo, variables: Mapping[str, keras.Variable]) -> None:
        self.info, self.variables = info, variables
        self._accepted, self._config = info.spec.parameters, info.config

    def layers(self, **changes: Any) -> dict[str, keras.layers.Layer]:
        """{name: layer} in the order of the definition, with arguments changed where it takes them."""
        config = {**self._config, **{k: v for k, v in changes.items() if k in self._accepted}}
        stages = self.info.spec.definition.stages_of(config, self.info.arguments["input_shape"])
        return {layer.name: layer for stage in stages for layer in leaves(stage)}

    @cached_property
    def whole(self) -> dict[str, keras.layers.Layer]:
        """With top and auxiliary heads, whether this model has them or not."""
        return self.layers(include_top=True, pooling=None, aux=True)

    def of_class(self, cls: type) -> list[str]:
        return [name for name, layer in self.layers(include_top=True, pooling=None).items() if isinstance(layer, cls)]

    @cached_property
    def mine(self) -> set[str]:
        """Layers with weights that the model has."""
        return {key.split("/")[0] for key in self.variables}

    @cached_property
    def beyond(self) -> set[str]:
        """Layers of the whole network, or of the rows that become it, that this model was built without."""
        return self.whole.keys() - self.layers().keys() | set(self.info.spec.other_heads)

    @cached_property
    def top(self) -> set[str]:
        """The model's layers that include_top=False would leave out."""
        if not self._config.get("include_top", True) or "include_top" not in self._accepted:
            return set()
        return self.mine - self.layers(include_top=False, aux=False).keys() - self.auxiliary

    @cached_property
    def auxiliary(self) -> set[str]:
        """The model's layers that aux=False would leave out."""
        return self.mine - self.layers(aux=False).keys()

    @cached_property
    def heads(self) -> set[str]:
        """The model's layers whose size is the number of classes."""
        if "classes" not in self._accepted:
            return set()
        one, two = self.layers(classes=1), self.layers(classes=2)
        return {name for name in self.mine & one.keys() if one[name].get_config() != two[name].get_config()}
