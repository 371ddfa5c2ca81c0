"""Two players: a discriminator learns to tell real images from made ones, a generator learns to make it fail.

Goodfellow et al. 2014, "Generative adversarial nets", https://arxiv.org/abs/1406.2661: algorithm 1 with one step of
each player, and the generator's loss of section 3 that does not saturate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kzoo.models._players import Players
from kzoo.training.losses import Share, wide
from kzoo.training.objectives import Objective, Phase
from kzoo.training.plan import described


class Adversarial(Objective):
    """Two phases on `(images, noise)`: the discriminator learns, then the generator.

    images: [batch, height, width, channels] in -1 to 1. noise: [batch, 2, length], one vector for each phase. Noise
    comes with the batch, since what is drawn here would differ between strategies.

    The discriminator sees real and made images in two passes, each normalized by its own statistics. The metrics
    `real` and `fake` are the mean probabilities of being real that it gives to each while it learns.

    Args:
        model: Its players are built and compiled.
        optimizers: By player; default their own. The same with loss scaling around them for mixed_float16.
    """

    def __init__(self, model: Players, optimizers: Mapping[str, keras.optimizers.Optimizer] | None = None) -> None:
        self.model = model
        own = {name: getattr(player, "optimizer", None) for name, player in model.players.items()}
        optimizers = own if optimizers is None else optimizers  # none is needed to evaluate
        losses = {"discriminator": self._discriminator_loss, "generator": self._generator_loss}
        self.phases = [Phase(name, player, optimizers[name], losses[name]) for name, player in model.players.items()]
        names = ("generator_loss", "discriminator_loss", "real", "fake")
        self.means = {name: keras.metrics.Mean(name=name) for name in names}
        self.metrics = list(self.means.values())

    def prepare(self, batch: Any) -> None:
        self.test(batch, Share.whole(batch))
        self.reset()

    def test(self, batch: Any, share: Share) -> None:
        self._discriminator_loss(batch, share, training=False)
        self._generator_loss(batch, share, training=False)

    def notes(self, replicas: int) -> list[str]:
        added = [
            name
            for name, player in self.model.players.items()
            if len(player.losses) > len(player._get_regularization_losses())
        ]
        return [f"losses added in layers of the {' and the '.join(added)} are left out"] * bool(added)

    def described(self) -> dict[str, str]:
        optimizers = {name: described(player.optimizer) for name, player in self.model.players.items()}
        same = len(set(optimizers.values())) == 1
        return {
            "loss": "discriminator: -log D(x) - log(1 - D(G(z))); generator: -log D(G(z))",
            "optimizer": f"{optimizers['generator']}, one a player" if same else described(optimizers),
            "metrics": ", ".join(self.means),
        }

    def _discriminator_loss(self, batch: Any, share: Share, training: bool = True) -> tf.Tensor:
        """-log D(x) - log(1 - D(G(z)))"""
        images, noise = batch
        made = tf.stop_gradient(self.model.generator(noise[:, 0], training=training))
        real, fake = self._logits(images, training), self._logits(made, training)  # [batch]
        losses = tf.nn.softplus(-real) + tf.nn.softplus(fake)
        self._note(discriminator_loss=losses, real=tf.sigmoid(real), fake=tf.sigmoid(fake))
        return share.mean(losses) + self._decay(self.model.discriminator, share)

    def _generator_loss(self, batch: Any, share: Share, training: bool = True) -> tf.Tensor:
        """-log D(G(z)), which has a gradient where log(1 - D(G(z))) has none: when D is sure."""
        _, noise = batch
        losses = tf.nn.softplus(-self._logits(self.model.generator(noise[:, 1], training=training), training))
        self._note(generator_loss=losses)
        return share.mean(losses) + self._decay(self.model.generator, share)

    def _logits(self, images: Any, training: bool) -> tf.Tensor:
        return wide(self.model.discriminator(images, training=training))[:, 0]

    @staticmethod
    def _decay(player: keras.Model, share: Share) -> tf.Tensor:
        """Regularisers are the same on each replica, and so count once."""
        return share.part * tf.add_n([tf.zeros([]), *map(wide, player._get_regularization_losses())])

    def _note(self, **values: tf.Tensor) -> None:
        """Values of this replica's examples; over replicas, totals and counts are added."""
        for name, value in values.items():
            self.means[name].update_state(value)
