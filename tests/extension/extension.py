"""Two things that kzoo does not have, written outside of it with its public names.

1. A family of models for a task that is there: what a family costs.
2. A kind of work that is not there, with its own inputs, objective, score and pictures: what a task costs.

    kzoo --import extension.py fit ladder_tiny --data digits
    kzoo --import extension.py fit restorer_tiny --data digits

docs/add-a-model.md and docs/add-a-task.md go through both.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import kzoo
from kzoo.engine import Share, scaled
from kzoo.inputs import reader_of
from kzoo.records import Number, Options
from kzoo.report import Picture, pictures
from kzoo.tasks import Evaluated, Result, Score, Signature

# ======================================================================================================================
# 1. A family: its layers, its definition, its rows
# ======================================================================================================================

register = kzoo.registering("ladder")  # how Keras' files name the classes of this family: kzoo.ladder>Rung


@register
class Rung(kzoo.Block):
    """x -> x + relu(conv(x)), then half of each side: [height, width, maps] -> [height / 2, width / 2, maps]."""

    def __init__(self, maps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.maps = maps
        self.conv = layers.Conv2D(maps, 3, padding="same", activation="relu", name=f"{self.name}_conv")
        self.add = layers.Add(name=f"{self.name}_add")
        self.pool = layers.AveragePooling2D(2, padding="same", name=f"{self.name}_pool")

    def call(self, x: Any) -> Any:
        return self.pool(self.add([x, self.conv(x)]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "maps": self.maps}


@register
class Ladder(kzoo.Definition):
    """float32 [batch, height, width, channels] -> probabilities [batch, classes]."""

    @staticmethod
    def define(
        include_top: bool = True,
        classes: int = 10,
        classifier_activation: str | None = "softmax",
        maps: int = 8,
        rungs: int = 2,
        dropout: Annotated[float, Number(at_least=0, below=1)] = 0.0,
    ) -> list[layers.Layer]:
        stages = [
            layers.Conv2D(maps, 3, padding="same", name="foot"),
            *(Rung(maps, name=f"rung{k}") for k in range(rungs)),
        ]
        if include_top:
            stages += [layers.GlobalAveragePooling2D(name="mean"), layers.Dropout(dropout, name="dropout")]
            stages.append(layers.Dense(classes, activation=classifier_activation, name="predictions"))
        return stages


kzoo.register_model(
    kzoo.ModelSpec(
        name="ladder_tiny",
        family="ladder",
        task="image-classification",
        definition=Ladder,
        input_shape=(8, 8, 1),
        classes=10,
        head="predictions",
        inputs=kzoo.ImageInputs(size=(8, 8), channels=1),
        recipe=kzoo.Recipe(
            loss="sparse_categorical_crossentropy", metrics=("accuracy",), learning_rate=0.01, batch_size=32, epochs=2
        ),
        summary="A ladder of residual rungs, for this example",
        paper="nobody's; after He et al. 2016, https://arxiv.org/abs/1512.03385",
    )
)

# ======================================================================================================================
# 2. A task: what its networks read, learn by, are judged by, answer, show and serve
# ======================================================================================================================


@dataclass(frozen=True)
class Squares(kzoo.Inputs):
    """Grey squares of `side` pixels in 0 to 1; of arrays and of image files, as kzoo's own images are read."""

    kind: ClassVar[str] = "squares"
    side: int = 8

    @property
    def images(self) -> Any:
        return reader_of(kzoo.ImageInputs(size=(self.side, self.side), channels=1))

    def prepare(self, raw: Any) -> tf.Tensor:
        return self.images.prepare(raw)

    def check(self, name: str, data: kzoo.Data) -> None:
        self.images.check(name, data)

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Any:
        return self.images.examples(given, batch_size, name)

    def describe(self) -> str:
        return f"{self.side}x{self.side}x1, / 255; noise is added"


def damaged(images: tf.Tensor, noise: tf.Tensor, strength: float) -> tf.Tensor:
    """Images [batch, side, side, 1] and noise in -1 to 1 [batch, side * side] -> noisy images in 0 to 1."""
    return tf.clip_by_value(images + strength * tf.reshape(noise, tf.shape(images)), 0.0, 1.0)


class Restoring(kzoo.Objective):
    """One phase: of an image with noise the network gives the image; mean squared error."""

    def __init__(self, model: keras.Model, optimizer: Any, strength: float = 0.5) -> None:
        self.model, self.strength = model, strength
        places = int(np.prod(model.kzoo_info.arguments["input_shape"]))
        self.phases = [kzoo.Phase("restore", model, optimizer, self.loss, draws=(places,))]
        self.metrics = [keras.metrics.Mean(name="loss"), keras.metrics.Mean(name="psnr")]

    def loss(self, batch: Any, share: Share, denominators: Any = None, training: bool = True) -> tf.Tensor:
        images = batch.examples[0]
        made = self.model(damaged(images, batch.draws["restore"], self.strength), training=training)
        errors = tf.reduce_mean(tf.square(tf.cast(made, tf.float32) - images), axis=[1, 2, 3])  # [batch]
        for metric, values in zip(self.metrics, (errors, -10 * tf.math.log(errors + 1e-10) / np.log(10)), strict=True):
            metric.update_state(values)
        return share.mean(errors)

    def test(self, batch: Any, share: Share, denominators: Any = None) -> None:
        self.loss(batch, share, training=False)

    def described(self) -> dict[str, str]:
        return {"loss": "mean squared error", "optimizer": type(self.phases[0].optimizer).__name__, "metrics": "psnr"}


@dataclass(frozen=True)
class Restored(Evaluated):
    psnr: float

    @property
    def score(self) -> tuple[str, float]:
        return "psnr", self.psnr

    def __str__(self) -> str:
        return f"{self.name} on {self.data}, {self.split}: {self.examples} images\npsnr  {self.psnr:.2f} dB"


@dataclass(frozen=True)
class Image(Result):
    name: str
    pixels: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Strength(Options):
    strength: Annotated[float, Number(at_least=0), "Of the noise that is added before an image is restored."] = 0.5


class Restoration(kzoo.Task):
    name, holds, verb = "image-restoration", "images", "generate"
    score = Score((("val_psnr", True), ("psnr", True)))
    Options = Strength

    def options(self, verb: str) -> type[Options]:
        return Strength if verb in ("generate", "evaluate") else super().options(verb)

    def objective(self, model: keras.Model, precision: str | None = None, strength: float = 0.5) -> Restoring:
        return Restoring(model, scaled(model.optimizer, precision), strength)

    def evaluate(self, predictor: Any, data: Any, split: str, *, batch_size: int, **options: Any) -> Restored:
        objective = Restoring(predictor.model, None, **options)
        test = predictor.function("test", lambda: lambda batch: objective.test(batch, Share.whole(batch)), keep=False)
        for batch in predictor.reader.batches(data[split], batch_size, draws=objective.draws).epoch(0):
            test(batch)
        count = int(objective.metrics[0].count)
        told = {"notes": data.info.notes, "shown": (self.picture(self.some(predictor, data[split])),)}
        return Restored(predictor.name, data.info.name, split, count, objective.results()["psnr"], **told)

    def answer(self, predictor: Any, given: Any, *, batch_size: int, strength: float = 0.5) -> list[Image]:
        made, rng = [], np.random.default_rng(0)
        for names, images in predictor.reader.examples(given, batch_size, predictor.name):
            noise = rng.uniform(-1, 1, (len(images), images[0].size)).astype("float32")
            pixels = np.asarray(predictor.forward(damaged(images, noise, strength))) * 255
            made += [Image(n, p.clip(0, 255).round().astype("uint8")) for n, p in zip(names, pixels, strict=True)]
        return made

    def some(self, predictor: Any, split: tf.data.Dataset) -> list[Image]:
        raw = np.stack([x for x, *_ in split.take(16).as_numpy_iterator()])
        return self.answer(predictor, raw, batch_size=16)

    def picture(self, results: list[Image], name: str = "restored.png") -> Picture:
        return Picture(name, lambda path: pictures.sample_grid(np.stack([r.pixels for r in results]), path))

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Beside the network alone: bytes of pixels in, restored pixels out."""
        takes = {"pixels": tf.TensorSpec([None, None, None, 1], tf.uint8, name="pixels")}
        made = lambda pixels: predictor.model(predictor.reader.prepare(pixels), training=False)
        restore = lambda pixels: {"images": tf.cast(tf.round(255 * tf.clip_by_value(made(pixels), 0, 1)), tf.uint8)}
        return {**super().signatures(predictor), "restore": Signature(restore, takes)}

    def show_predictions(self, predictor: Any, validation: Any, labels: Any) -> list[Picture]:
        return [self.picture(self.some(predictor, validation.split), "predictions.png")]


kzoo.register_task(Restoration())


@kzoo.registering("restorer")
class Restorer(kzoo.Definition):
    """float32 [batch, side, side, 1] in 0 to 1 -> the same."""

    @staticmethod
    def define(maps: int = 8) -> list[layers.Layer]:
        conv = lambda n, name, **options: layers.Conv2D(n, 3, padding="same", name=name, **options)
        return [conv(maps, "see", activation="relu"), conv(maps, "think", activation="relu"), conv(1, "restored")]


kzoo.register_model(
    kzoo.ModelSpec(
        name="restorer_tiny", family="restorer", task="image-restoration", definition=Restorer, input_shape=(8, 8, 1),
        classifier_activation=None, head="restored", inputs=Squares(), summary="Three convolutions, for this example",
        recipe=kzoo.Recipe(loss="mean_squared_error", metrics=(), learning_rate=0.01, batch_size=32, epochs=2),
        paper="nobody's",
    )
)  # fmt: skip
