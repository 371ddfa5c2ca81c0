"""Networks that learn together, held as one Keras model.

As a Keras model the holder is saved as one `.keras` file, checkpointed and handed to callbacks, and its weights move by
name; each network is itself a Keras model in one of the three styles, with an optimizer of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from kzoo.models.block import registering
from kzoo.models.styles import Definition, assemble, input_shape_of, style_of

register = registering("networks")
Parts = Mapping[
    str, tuple[type[Definition], dict[str, Any], Any]
]  # name -> (definition, its arguments, its keras.Input)


@register
class Networks(keras.Model):
    """Several networks by name. A subclass says in `define` what they are, and in `call` what the holder gives.

    The networks come built. Layer names are unique over all of them, so they begin with the network's name.

    Attributes:
        networks: {name: network}, in the order in which they learn. Each is an attribute of its name, too.
        answers: The name of the network that makes what the holder gives: the holder is called on its input.
    """

    answers: ClassVar[str] = ""

    def __init__(self, networks: Mapping[str, keras.Model], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = list(networks)
        for name, network in networks.items():
            setattr(self, name, network)
        answering = networks[self.answers]
        inputs = getattr(answering, "inputs", None)  # a subclass has none
        self(keras.Input(input_shape_of(answering), name=inputs[0].name if inputs else None))

    @staticmethod
    def define(**config: Any) -> Any:
        """What is said of all networks: a family gives the arguments that it documents here."""
        raise TypeError("Networks need their own `define`")

    @classmethod
    def parts(cls, config: Mapping[str, Any], input_shape: Any) -> Parts:
        """{name: (definition, arguments, keras.Input)} of the networks of a configuration."""
        raise TypeError("Networks need their own `parts`")

    @classmethod
    def stages_of(cls, config: Mapping[str, Any], input_shape: Any) -> list[keras.layers.Layer]:
        """Fresh stages of all networks, not built."""
        parts = cls.parts(config, input_shape).values()
        return [stage for definition, arguments, _ in parts for stage in definition.define(**arguments)]

    @classmethod
    def assemble(cls, config: dict[str, Any], style: str, *, name: str, inputs: Any) -> Networks:
        """All networks in one style, for examples of the shape of `inputs`."""
        made = {
            key: assemble(definition, arguments, style, name=key, inputs=x)
            for key, (definition, arguments, x) in cls.parts(config, inputs.shape[1:]).items()
        }
        return cls(made, name=name)

    @staticmethod
    def taps(config: Mapping[str, Any]) -> dict[str, str]:
        return {}

    @property
    def networks(self) -> dict[str, keras.Model]:
        return {name: getattr(self, name) for name in self.names}

    @property
    def style(self) -> str:
        """That of the networks, `"mixed"` where they differ."""
        styles = {style_of(network) for network in self.networks.values()}
        return styles.pop() if len(styles) == 1 else "mixed"

    def build(self, input_shape: Any) -> None:
        """Nothing is left to do; Keras notes the shape and would otherwise look for layers that are not built."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.networks[self.answers](x)  # Keras hands `training` on, see Definition.call

    def get_config(self) -> dict[str, Any]:
        networks = {name: keras.saving.serialize_keras_object(network) for name, network in self.networks.items()}
        policy = keras.saving.serialize_keras_object(self.dtype_policy)
        return {"name": self.name, "trainable": self.trainable, "dtype": policy, "networks": networks}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Networks:
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects=custom_objects))


def networks_of(model: keras.Model) -> list[keras.Model]:
    """The networks of a holder in the order in which they learn; any other model is its own only one."""
    return list(model.networks.values()) if isinstance(model, Networks) else [model]
