"""DCGAN: a generator and a discriminator of convolutions that learn against each other.

Alec Radford, Luke Metz, Soumith Chintala (2016), "Unsupervised representation learning with deep convolutional
generative adversarial networks", ICLR. https://arxiv.org/abs/1511.06434

    noise -> project, reshape -> fractionally-strided convolutions -> image -> strided convolutions -> real or not

Section 3: strides instead of pooling, batch normalization in both networks except on the generator's output and the
discriminator's input, ReLU and tanh in the generator, LeakyReLU in the discriminator, no hidden dense layers. Section 4
has the numbers: noise of 100, weights from N(0, 0.02), slope 0.2, batches of 128, Adam with 0.0002 and β1 = 0.5. What
the paper leaves open: 5x5 kernels are those of its figure 1 and of the authors' code; epsilon 1e-5 and momentum 0.9 of
the normalization are Torch's, in the second author's code; biases stand where no normalization follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
from keras import layers

from kzoo.errors import KzooError
from kzoo.models.block import registering
from kzoo.models.networks import Networks, Parts
from kzoo.models.styles import Definition
from kzoo.records import ImageInputs, ModelSpec, NoiseInputs, Recipe

COURSE = 17
register = registering("gan")
PAPER = (
    "Radford, Metz, Chintala 2016, Unsupervised representation learning with deep convolutional generative adversarial "
    "networks, https://arxiv.org/abs/1511.06434"
)
STARTS = range(4, 8)  # pixels a side of the maps that the noise is projected to; the paper has 4


def initial() -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(0.0, 0.02)


def normed(name: str) -> layers.BatchNormalization:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


@register
class Generator(Definition):
    """noise, float32 [batch, length] -> images in -1 to 1, float32 [batch, *image_shape].

    The paper's own is image_shape (64, 64, 3) with width 128: 4x4x1024, 8x8x512, 16x16x256, 32x32x128, 64x64x3.
    """

    @staticmethod
    def define(image_shape: tuple[int, int, int] = (64, 64, 3), width: int = 128) -> list[layers.Layer]:
        height, columns, channels = image_shape
        doublings = doublings_of(image_shape)
        start = (height >> doublings, columns >> doublings, width << (doublings - 1))
        up = lambda maps, name, **arguments: layers.Conv2DTranspose(
            maps, 5, strides=2, padding="same", kernel_initializer=initial(), name=name, **arguments
        )
        stages = [
            layers.Dense(
                math.prod(start), use_bias=False, kernel_initializer=initial(), name="generator_project"
            ),
            layers.Reshape(start, name="generator_reshape"),  # [4 to 7, 4 to 7, width * 2 ** (doublings - 1)]
            normed("generator_project_bn"),
            layers.ReLU(name="generator_project_relu"),
        ]  # fmt: skip
        for k in range(1, doublings):  # twice the height and the width, half the maps, down to `width`
            name = f"generator_up{k}"
            stages += [
                up(width << (doublings - 1 - k), name, use_bias=False),
                normed(f"{name}_bn"),
                layers.ReLU(name=f"{name}_relu"),
            ]
        return [*stages, up(channels, "generator_image", activation="tanh")]  # [height, columns, channels]


@register
class Discriminator(Definition):
    """images in -1 to 1, float32 [batch, *image_shape] -> logit of being real, float32 [batch, 1].

    The generator's shapes backwards; its sigmoid is left to the loss.
    """

    @staticmethod
    def define(image_shape: tuple[int, int, int] = (64, 64, 3), width: int = 128) -> list[layers.Layer]:
        stages: list[layers.Layer] = []
        for k in range(doublings_of(image_shape)):  # half the height and the width, twice the maps, from `width` on
            name = f"discriminator_down{k + 1}"
            stages.append(
                layers.Conv2D(
                    width << k, 5, strides=2, padding="same", use_bias=k == 0, kernel_initializer=initial(), name=name
                )
            )
            if k:
                stages.append(normed(f"{name}_bn"))
            stages.append(layers.LeakyReLU(0.2, name=f"{name}_relu"))
        return [
            *stages,
            layers.Flatten(name="discriminator_flatten"),
            layers.Dense(1, kernel_initializer=initial(), name="discriminator_output"),
        ]


def doublings_of(image_shape: tuple[int, int, int]) -> int:
    """How often 4 to 7 pixels a side are doubled to give the image: twice or more, both sides equally often.

    Raises:
        KzooError: There is no such number.

    >>> doublings_of((28, 28, 1)), doublings_of((64, 64, 3))
    (2, 4)
    """
    height, columns, _ = image_shape
    shapes = {
        (a << k, b << k): k for k in range(2, 11) for a in STARTS for b in STARTS if (a == b) == (height == columns)
    }
    if (height, columns) not in shapes:
        near = sorted(shapes, key=lambda shape: abs(shape[0] - (height or 0)) + abs(shape[1] - (columns or 0)))[:2]
        raise KzooError(
            f"DCGAN doubles 4 to 7 pixels a side twice or more, which does not give {height}x{columns};"
            f" near it are {' and '.join(f'{a}x{b}' for a, b in sorted(near))}"
        )
    return shapes[height, columns]


@register
class DCGAN(Networks):
    """Noise, float32 [batch, noise] -> images in -1 to 1; holds `generator` and `discriminator`."""

    answers = "generator"

    @staticmethod
    def define(noise: int = 100, width: int = 128) -> None:
        """
        Args:
            noise: Length of a noise vector.
            width: Maps next to the image; they double towards the noise.
        """

    @classmethod
    def parts(cls, config: Mapping[str, Any], input_shape: tuple[int, int, int]) -> Parts:
        """Of images of that shape; see `doublings_of`."""
        arguments = {"image_shape": tuple(input_shape), "width": config["width"]}
        return {
            "discriminator": (Discriminator, arguments, keras.Input(input_shape, name="image")),
            "generator": (Generator, arguments, keras.Input((config["noise"],), name="noise")),
        }


RECIPE = Recipe(
    loss="binary_crossentropy_from_logits",
    metrics=(),
    optimizer="adam:beta_1=0.5",
    learning_rate=2e-4,
    batch_size=128,
)
ROWS = (
    ("dcgan", "DCGAN for digits: 28x28 grey images out of noise", (28, 28, 1), 100, 32, 25),
    ("dcgan_32", "DCGAN for colour images of 32x32 out of noise", (32, 32, 3), 100, 32, 50),
    ("dcgan_tiny", "dcgan for tests", (16, 16, 1), 8, 4, 2),
)
VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="gan",
        task="image-generation",
        definition=DCGAN,
        summary=summary,
        config={"noise": noise, "width": width},
        input_shape=shape,
        classifier_activation=None,
        head="images",
        input_name="noise",
        # Section 4: images are scaled to the range of tanh and nothing else.
        inputs=NoiseInputs(ImageInputs(size=shape[:2], channels=shape[2], scale=1 / 127.5, mean=(1.0,)), noise),
        hidden=name.endswith("_tiny"),
        recipe=replace(RECIPE, epochs=epochs),
        paper=PAPER,
    )
    for name, summary, shape, noise, width, epochs in ROWS
)
