"""Inception v3.

Christian Szegedy, Vincent Vanhoucke, Sergey Ioffe, Jonathon Shlens, Zbigniew Wojna (2015), "Rethinking the Inception
architecture for computer vision". https://arxiv.org/abs/1512.00567

    five convolutions -> three modules at 35x35 (figure 5) -> five at 17x17 (figure 6) -> three at 8x8 (figure 7)

5x5 becomes two 3x3, nxn becomes 1xn and nx1 (sections 3.1, 3.2); the sizes are halved by convolutions and pooling side
by side (figure 10). keras.applications' network: the layers stand here in the order in which it makes them, by which its
weight files are read, for its own names are counted anew in each session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import layers

from kzoo.models.arguments import Activation, Dropout, Width
from kzoo.models.block import Parallel, registering
from kzoo.models.convnet import images, top
from kzoo.models.styles import Definition
from kzoo.records import KerasNames, ModelSpec, Recipe

COURSE = 7
register = registering("inception")
PAPER = (
    "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2015, Rethinking the Inception architecture for computer vision, "
    "https://arxiv.org/abs/1512.00567"
)


class Maker:
    """Makes convolutions with batch norm, and the modules of them, with one width and activation."""

    def __init__(self, width: float, activation: str) -> None:
        self.width, self.activation = width, activation

    def convolution(
        self, filters: int, kernel: int | tuple[int, int], name: str, stride: int = 1, padding: str = "same"
    ) -> list[layers.Layer]:
        filters = max(1, round(filters * self.width))
        return [
            layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=name),
            layers.BatchNormalization(scale=False, name=f"{name}_bn"),
            layers.Activation(self.activation, name=f"{name}_relu"),
        ]

    def pool_projection(self, filters: int, name: str) -> list[layers.Layer]:
        pool = layers.AveragePooling2D(3, 1, "same", name=f"{name}_pool")
        return [pool, *self.convolution(filters, 1, f"{name}_pool_proj")]

    def figure5(self, name: str, pool: int) -> Parallel:
        """[35, 35, …] -> [35, 35, 64 + 64 + 96 + pool]."""
        conv = self.convolution
        return Parallel(
            [
                conv(64, 1, f"{name}_1x1"),
                conv(48, 1, f"{name}_5x5_reduce") + conv(64, 5, f"{name}_5x5"),
                conv(64, 1, f"{name}_double3x3_reduce") + conv(96, 3, f"{name}_double3x3_1") + conv(96, 3, f"{name}_double3x3_2"),
                self.pool_projection(pool, name),
            ],
            name=name,
        )  # fmt: skip

    def figure6(self, name: str, inner: int) -> Parallel:
        """[17, 17, 768] -> the same; 7x7 as 1x7 and 7x1."""
        conv = self.convolution
        seven = (
            conv(inner, 1, f"{name}_7x7_reduce") + conv(inner, (1, 7), f"{name}_1x7") + conv(192, (7, 1), f"{name}_7x1")
        )
        double = conv(inner, 1, f"{name}_double7x7_reduce")
        for i, (filters, kernel) in enumerate(
            ((inner, (7, 1)), (inner, (1, 7)), (inner, (7, 1)), (192, (1, 7))), start=1
        ):
            double += conv(filters, kernel, f"{name}_double7x7_{i}_{kernel[0]}x{kernel[1]}")
        first = conv(192, 1, f"{name}_1x1")
        return Parallel([first, seven, double, self.pool_projection(192, name)], name=name)

    def figure7(self, name: str) -> Parallel:
        """[8, 8, …] -> [8, 8, 2048]; the 3x3 branches end in 1x3 beside 3x1."""
        conv = self.convolution
        fork = lambda n: Parallel([conv(384, (1, 3), f"{n}_1x3"), conv(384, (3, 1), f"{n}_3x1")], name=n)
        return Parallel(
            [
                conv(320, 1, f"{name}_1x1"),
                [*conv(384, 1, f"{name}_3x3_reduce"), fork(f"{name}_3x3")],
                [*conv(448, 1, f"{name}_double3x3_reduce"), *conv(384, 3, f"{name}_double3x3_1"), fork(f"{name}_double3x3_2")],
                self.pool_projection(192, name),
            ],
            name=name,
        )  # fmt: skip

    def halving35(self, name: str) -> Parallel:
        """[35, 35, 288] -> [17, 17, 768]."""
        conv = self.convolution
        return Parallel(
            [
                conv(384, 3, f"{name}_3x3", 2, "valid"),
                conv(64, 1, f"{name}_double3x3_reduce") + conv(96, 3, f"{name}_double3x3_1") + conv(96, 3, f"{name}_double3x3_2", 2, "valid"),
                [layers.MaxPooling2D(3, 2, name=f"{name}_pool")],
            ],
            name=name,
        )  # fmt: skip

    def halving17(self, name: str) -> Parallel:
        """[17, 17, 768] -> [8, 8, 1280]."""
        conv = self.convolution
        seven = conv(192, 1, f"{name}_7x7_reduce") + conv(192, (1, 7), f"{name}_1x7") + conv(192, (7, 1), f"{name}_7x1")
        return Parallel(
            [
                conv(192, 1, f"{name}_3x3_reduce") + conv(320, 3, f"{name}_3x3", 2, "valid"),
                seven + conv(192, 3, f"{name}_7x7_3x3", 2, "valid"),
                [layers.MaxPooling2D(3, 2, name=f"{name}_pool")],
            ],
            name=name,
        )


@register
class InceptionV3(Definition):
    """float32 [batch, height, width, channels] -> float32 [batch, classes]; at least 75x75 pixels.

    Args:
        width: Factor on every number of filters.
    """

    @staticmethod
    def define(
        width: Width = 1.0,
        activation: Activation = "relu",
        dropout: Dropout = 0.0,
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        make = Maker(width, activation)
        conv = make.convolution
        return [
            *conv(32, 3, "conv1_3x3_s2", 2, "valid"),      # [149, 149, 32]
            *conv(32, 3, "conv2_3x3", padding="valid"),    # [147, 147, 32]
            *conv(64, 3, "conv3_3x3"),                     # [147, 147, 64]
            layers.MaxPooling2D(3, 2, name="pool1"),       # [73, 73, 64]
            *conv(80, 1, "conv4_1x1", padding="valid"),    # [73, 73, 80]
            *conv(192, 3, "conv5_3x3", padding="valid"),   # [71, 71, 192]
            layers.MaxPooling2D(3, 2, name="pool2"),       # [35, 35, 192]
            make.figure5("mixed0", pool=32),               # [35, 35, 256]
            make.figure5("mixed1", pool=64),               # [35, 35, 288]
            make.figure5("mixed2", pool=64),
            make.halving35("mixed3"),                      # [17, 17, 768]
            make.figure6("mixed4", 128),
            make.figure6("mixed5", 160),
            make.figure6("mixed6", 160),
            make.figure6("mixed7", 192),
            make.halving17("mixed8"),                      # [8, 8, 1280]
            make.figure7("mixed9"),                        # [8, 8, 2048]
            make.figure7("mixed10"),
            *top(include_top, pooling, classes, classifier_activation, dropout),
        ]  # fmt: skip

    @staticmethod
    def taps(config: Mapping[str, Any]) -> dict[str, str]:
        return {"P1": "conv3_3x3_relu", "P2": "conv5_3x3_relu", "P3": "mixed2", "P4": "mixed7", "P5": "mixed10"}


# Section 8: RMSprop with decay 0.9 and epsilon 1, the rate 0.045 falling by 6 % every two epochs, for 100 epochs in
# batches of 32 on each of 50 replicas; here on one, half a cosine, without section 7's label smoothing.
RECIPE = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    optimizer="rmsprop:rho=0.9,epsilon=1.0,clipnorm=2.0",
    learning_rate=0.045,
    schedule="cosine",
    batch_size=32,
    epochs=100,
)


# Numbers by creation of the convolutions, and batch norms, in the order of `model.layers` in keras.applications: by
# depth in the graph, so that the branches of a module are interleaved.
BY_DEPTH = (
    0, 1, 2, 3, 4, 8, 6, 9, 5, 7, 10, 11, 15, 13, 16, 12, 14, 17, 18, 22, 20, 23, 19, 21, 24, 25, 27, 28, 26, 29, 34,
    35, 31, 36, 32, 37, 30, 33, 38, 39, 44, 45, 41, 46, 42, 47, 40, 43, 48, 49, 54, 55, 51, 56, 52, 57, 50, 53, 58,
    59, 64, 65, 61, 66, 62, 67, 60, 63, 68, 69, 72, 73, 70, 74, 71, 75, 80, 77, 81, 78, 79, 82, 83, 76, 84, 89, 86,
    90, 87, 88, 91, 92, 85, 93,
)  # fmt: skip
# keras.applications leaves these layers unnamed.
KERAS_NAMES = KerasNames(
    lambda names: [names[i] for i in BY_DEPTH] if len(names) == len(BY_DEPTH) else names, by_creation=True
)

VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="inception",
        task="image-classification",
        definition=InceptionV3,
        summary="For tests" if classes == 10 else "Inception v3 (table 1, figures 5 to 7); keras.applications'",
        input_shape=(size, size, 3),
        classes=classes,
        head="predictions",
        config=config,
        minimum=75,
        inputs=images("tf", size),
        keras_names=KERAS_NAMES,
        recipe=RECIPE,
        paper=PAPER,
        hidden=classes == 10,
    )
    for name, size, config, classes in (
        ("inception_v3", 299, {}, 1000),
        ("inception_tiny", 75, {"width": 0.03125}, 10),
    )
)
