"""Networks that learn against each other, held as one Keras model.

As a Keras model the holder is saved as one `.keras` file, checkpointed and handed to callbacks, and its weights move by
name; each player is itself a Keras model in one of the three styles, with an optimizer of its own.
"""

from __future__ import annotations

from typing import Any

import keras

from kzoo.models._block import register
from kzoo.models._styles import input_shape_of, style_of


@register
class Players(keras.Model):
    """A generator and the discriminator that judges what it makes; called on noise it gives the generator's images.

    The players come built. Layer names are unique over both, so they begin with `generator_` and `discriminator_`.

    Attributes:
        discriminator: images [batch, height, width, channels] -> logits [batch, 1], high for real ones.
        generator: noise [batch, length] -> images.
        objective: Names what trains the players: they are compiled, this holder is not.
    """

    objective = "adversarial"

    def __init__(self, discriminator: keras.Model, generator: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.discriminator, self.generator = discriminator, generator
        self(keras.Input(input_shape_of(generator), name="noise"))

    @property
    def players(self) -> dict[str, keras.Model]:
        """By name, in the order in which they learn from each batch."""
        return {"discriminator": self.discriminator, "generator": self.generator}

    @property
    def style(self) -> str:
        """That of the players, `"mixed"` where they differ."""
        styles = {style_of(player) for player in self.players.values()}
        return styles.pop() if len(styles) == 1 else "mixed"

    def build(self, input_shape: Any) -> None:
        """Nothing is left to do; Keras notes the shape and would otherwise look for layers that are not built."""

    def call(self, noise: Any, training: bool | None = None) -> Any:
        return self.generator(noise)  # Keras hands `training` on, see Definition.call

    def get_config(self) -> dict[str, Any]:
        players = {name: keras.saving.serialize_keras_object(player) for name, player in self.players.items()}
        policy = keras.saving.serialize_keras_object(self.dtype_policy)
        return {"name": self.name, "trainable": self.trainable, "dtype": policy, **players}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Players:
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects=custom_objects))


def networks_of(model: keras.Model) -> list[keras.Model]:
    """The players of a holder in the order in which they learn; any other model is its own only one."""
    return list(model.players.values()) if isinstance(model, Players) else [model]
