"""Images out of noise, by two networks: a discriminator learns to tell real images from made ones, a generator learns
to make it fail.

Goodfellow et al. 2014, "Generative adversarial nets", https://arxiv.org/abs/1406.2661: algorithm 1 with one step of
each, and the generator's loss of section 3 that does not saturate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.engine import Choices, Compiled, Objective, Phase, Share, compile_optimizer, described, scaled, times, wide
from kzoo.errors import KzooError
from kzoo.keras_internals import regularization_losses
from kzoo.models import Networks, model_info, networks_of
from kzoo.records import Options, Whole
from kzoo.report import Picture, Shown, pictures
from kzoo.tasks.task import Evaluated, Result, Score, Signature, Task

SAMPLES = 64  # images in the grid of every epoch


class Adversarial(Objective):
    """Two phases on images and noise: the discriminator learns, then the generator.

    images: [batch, height, width, channels] in -1 to 1. noise: [batch, length], one vector for each phase.

    The discriminator sees real and made images in two passes, each normalized by its own statistics. The metrics
    `real` and `fake` are the mean probabilities of being real that it gives to each while it learns.

    Args:
        model: Holds `generator` and `discriminator`.
        noise: Length of a noise vector.
        precision: With loss scaling around the optimizers for mixed_float16; they are their networks' own, and none is
            needed to evaluate.
    """

    def __init__(self, model: Networks, noise: int, precision: str | None = None) -> None:
        self.model = model
        losses = {"discriminator": self._discriminator_loss, "generator": self._generator_loss}
        self.phases = []
        for name, network in model.networks.items():
            optimizer = getattr(network, "optimizer", None)
            optimizer = scaled(optimizer, precision) if optimizer is not None else None
            self.phases.append(Phase(name, network, optimizer, losses[name], draws=(noise,)))
        names = ("generator_loss", "discriminator_loss", "real", "fake")
        self.means = {name: keras.metrics.Mean(name=name) for name in names}
        self.metrics = list(self.means.values())

    def test(self, batch: Any, share: Share, denominators: Any = None) -> None:
        self._discriminator_loss(batch, share, training=False)
        self._generator_loss(batch, share, training=False)

    def notes(self, replicas: int) -> list[str]:
        added = [
            name
            for name, network in self.model.networks.items()
            if len(network.losses) > len(regularization_losses(network))
        ]
        return [f"losses added in layers of the {' and the '.join(added)} are left out"] * bool(added)

    def described(self) -> dict[str, str]:
        optimizers = {name: described(network.optimizer) for name, network in self.model.networks.items()}
        same = len(set(optimizers.values())) == 1
        return {
            "loss": "discriminator: -log D(x) - log(1 - D(G(z))); generator: -log D(G(z))",
            "optimizer": f"{optimizers['generator']}, one a player" if same else described(optimizers),
            "metrics": ", ".join(self.means),
        }

    def _discriminator_loss(
        self, batch: Any, share: Share, denominators: Any = None, training: bool = True
    ) -> tf.Tensor:
        """-log D(x) - log(1 - D(G(z)))"""
        images, noise = batch.examples[0], batch.draws["discriminator"]
        made = tf.stop_gradient(self.model.generator(noise, training=training))
        real, fake = self._logits(images, training), self._logits(made, training)  # [batch]
        losses = tf.nn.softplus(-real) + tf.nn.softplus(fake)
        self._note(discriminator_loss=losses, real=tf.sigmoid(real), fake=tf.sigmoid(fake))
        return share.mean(losses) + self._decay(self.model.discriminator, share)

    def _generator_loss(self, batch: Any, share: Share, denominators: Any = None, training: bool = True) -> tf.Tensor:
        """-log D(G(z)), which has a gradient where log(1 - D(G(z))) has none: when D is sure."""
        noise = batch.draws["generator"]
        losses = tf.nn.softplus(-self._logits(self.model.generator(noise, training=training), training))
        self._note(generator_loss=losses)
        return share.mean(losses) + self._decay(self.model.generator, share)

    def _logits(self, images: Any, training: bool) -> tf.Tensor:
        return wide(self.model.discriminator(images, training=training))[:, 0]

    @staticmethod
    def _decay(network: keras.Model, share: Share) -> tf.Tensor:
        """Regularisers are the same on each replica, and so count once."""
        return times(tf.add_n([tf.zeros([]), *map(wide, regularization_losses(network))]), share.part)

    def _note(self, **values: tf.Tensor) -> None:
        """Values of this replica's examples; over replicas, totals and counts are added."""
        for name, value in values.items():
            self.means[name].update_state(value)


@dataclass(frozen=True)
class PlayersEvaluation(Evaluated):
    """What the two networks think of a split; means over it.

    Attributes:
        real, fake: Probability of being real that the discriminator gives to the split's images and to made ones. A
            generator that cannot be told from the data has both at one half.
    """

    generator_loss: float
    discriminator_loss: float
    real: float
    fake: float

    def __str__(self) -> str:
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} images",
            f"generator      loss {self.generator_loss:.4f}",
            f"discriminator  loss {self.discriminator_loss:.4f}",
            f"real           {self.real:.4f} (probability of being real that it gives to the split's images)",
            f"fake           {self.fake:.4f} (and to as many made ones)",
        ]
        return "\n".join([*lines, *(f"note           {note}" for note in self.notes)])


@dataclass(frozen=True)
class Made(Result):
    """One image that was made.

    Attributes:
        pixels: uint8 [height, width, channels].
    """

    number: int
    pixels: np.ndarray = field(repr=False)

    def to_config(self) -> dict[str, Any]:
        return {"number": self.number, "shape": list(self.pixels.shape)}

    def __str__(self) -> str:
        height, width, channels = self.pixels.shape
        return f"image {self.number}: {height}x{width}x{channels}"


@dataclass(frozen=True)
class NoiseOptions(Options):
    count: Annotated[int, Whole(), "Images to make, where no noise is given."] = 16
    seed: Annotated[int, Whole(0), "Of the noise that images are made of."] = 0


class ImageGeneration(Task):
    name, holds, verb = "image-generation", "images", "generate"
    asks_export = "generate {}"
    score: ClassVar[Score | None] = None  # two losses that move against each other do not say which epoch is better
    Options: ClassVar[type] = NoiseOptions

    def compile(self, model: Networks, choices: Choices) -> Compiled:
        """Each network has an optimizer of its own, with the same settings."""
        if choices.loss is not None or choices.metrics is not None:
            raise KzooError(f"the networks of {model.name!r} have losses and metrics of their own; leave yours out")
        if choices.rate_setter:
            raise KzooError(
                f"{choices.rate_setter} sets the rate of one optimizer, but each network of {model.name!r} has its own;"
                " use schedule=…"
            )
        recipe = model_info(model).spec.recipe
        return [compile_optimizer(network, choices, recipe) for network in networks_of(model)][0]

    def objective(self, model: Networks, precision: str | None = None) -> Objective:
        return Adversarial(model, model_info(model).inputs.noise, precision)

    def made_up(self, model: Any, count: int, tokens: int) -> Data | None:
        if not isinstance(model, Networks):
            return None
        shape = model.generator.output_shape[1:]
        return Data((np.random.default_rng(0).integers(0, 256, (count, *shape), "uint8"),))

    def question(self, model: Networks, data: Any, count: int) -> np.ndarray:
        shape = model.generator.input_shape[1:]
        return np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype("float32")

    def evaluate(self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any) -> Evaluated:
        if not isinstance(predictor.model, Networks):
            raise KzooError(f"{predictor.name} is a generator without its discriminator; evaluate its run")
        reader, examples = predictor.reader, data[split]
        if not isinstance(examples.element_spec[0], tf.TensorSpec) or examples.element_spec[0].shape.rank != 3:
            raise KzooError(f"{predictor.name} learns from images; {data.info.name} has none")
        objective = Adversarial(predictor.model, reader.spec.noise)
        test = predictor.function("test", lambda: lambda batch: objective.test(batch, Share.whole(batch)), keep=False)
        objective.reset()
        for batch in reader.batches(examples, batch_size, draws=objective.draws).epoch(0):
            test(batch)
        count = int(objective.means["real"].count)
        if not count:
            raise KzooError("the split is empty")
        notes = (*data.info.notes, *reader.changes(examples.element_spec))
        return PlayersEvaluation(
            predictor.name, data.info.name, split, count, **objective.results(), notes=notes
        )  # fmt: skip

    def answer(
        self, predictor: Any, given: Any, *, batch_size: int, count: int = 16, seed: int = 0, **options: Any
    ) -> list[Made]:
        noise = predictor.reader.checked(given, predictor.name, count, seed)
        pixels = self._made(predictor, noise, batch_size)
        return [Made(k, image) for k, image in enumerate(pixels)]

    def picture(self, results: Sequence[Made]) -> Picture:
        images = np.stack([made.pixels for made in results])
        return Picture("samples.png", lambda path: pictures.sample_grid(images, path))

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        found = super().signatures(predictor)
        takes = found["serving_default"].takes
        model, images = predictor.model, predictor.reader.images
        generate = lambda noise: {"images": images.pixels(model(noise, training=False))}
        return {**found, "generate": Signature(generate, takes)}

    def show_batch(self, batch: Any, reading: Any, labels: Sequence[str]) -> list[Shown]:
        images = batch.examples[0]
        titles = [""] * min(pictures.SHOWN, len(images))
        return reading.reader.shown(images, titles, "batch", "one training batch as the network sees it")

    def show_epoch(self, predictor: Any, epoch: int) -> list[Shown]:
        """What is made of the same noise every time."""
        pixels = self._made(predictor, predictor.reader.noise(SAMPLES, seed=0), SAMPLES)
        return [Picture("samples.png", lambda path: pictures.sample_grid(pixels, Path(path), f"epoch {epoch}"))]

    @staticmethod
    def _made(predictor: Any, noise: np.ndarray, batch_size: int) -> np.ndarray:
        """uint8 [n, height, width, channels]."""
        model, images = predictor.model, predictor.reader.images
        function = predictor.function("make", lambda: lambda z: images.pixels(model(z, training=False)))
        parts = [function(tf.constant(noise[i : i + batch_size])).numpy() for i in range(0, len(noise), batch_size)]
        return np.concatenate(parts)


TASK = ImageGeneration()
