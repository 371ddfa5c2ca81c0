"""LeNet-5.

Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner (1998), "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11). http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf

    C1 convolution -> S2 subsampling -> C3 convolution -> S4 subsampling -> C5 -> F6 -> output   (section II.B)

`lenet5` is the form everyone builds today. `lenet5_1998` is the paper's own: trainable subsampling, the connection
table of C3 (table I), the scaled tanh of appendix A, and distances to drawn characters (figure 3) as its output.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kzoo.models.arguments import Activation
from kzoo.models.block import registering
from kzoo.models.convnet import pooled
from kzoo.models.styles import Definition
from kzoo.records import ImageInputs, ModelSpec, Recipe

COURSE = 3
register = registering("lenet")
PAPER = (
    "LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, "
    "http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf"
)


@register
class LeNet5(Definition):
    """float32 [batch, 28, 28, 1] -> float32 [batch, classes]: 61,706 parameters.

    C1 is padded, so that the paper's 28x28 maps come from a 28x28 image.
    """

    @staticmethod
    def define(
        activation: Activation = "tanh",
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 10,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        stages = [
            layers.Conv2D(6, 5, padding="same", activation=activation, name="c1"),  # [28, 28, 6]
            layers.AveragePooling2D(2, name="s2"),                                  # [14, 14, 6]
            layers.Conv2D(16, 5, activation=activation, name="c3"),                 # [10, 10, 16]
            layers.AveragePooling2D(2, name="s4"),                                  # [5, 5, 16]
        ]  # fmt: skip
        if not include_top:
            return stages + pooled(pooling)
        return [
            *stages,
            layers.Flatten(name="flatten"),                                         # [400]
            layers.Dense(120, activation=activation, name="c5"),
            layers.Dense(84, activation=activation, name="f6"),
            layers.Dense(classes, activation=classifier_activation, name="output"),
        ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------
# The network of the paper
# ----------------------------------------------------------------------------------------------------------------------


@register
def scaled_tanh(a: Any) -> Any:
    """f(a) = A tanh(S a) with A = 1.7159 and S = 2/3, so that f(1) = 1 and f(-1) = -1 (appendix A)."""
    return 1.7159 * ops.tanh(2 / 3 * a)


def fan_in(inputs: int) -> keras.initializers.Initializer:
    """Uniform in +-2.4 / F, F the number of inputs of a unit (appendix A)."""
    return keras.initializers.RandomUniform(-2.4 / inputs, 2.4 / inputs)


@register
class Subsampling(layers.Layer):
    """S2 and S4: the four inputs are added, times a trainable coefficient, plus a trainable bias, then squashed."""

    def build(self, input_shape: Any) -> None:
        maps = input_shape[-1]
        self.coefficient = self.add_weight(shape=(maps,), initializer=fan_in(4), name="coefficient")
        self.bias = self.add_weight(shape=(maps,), initializer=fan_in(4), name="bias")

    def call(self, x: Any) -> Any:
        total = 4 * ops.average_pool(x, 2, 2)
        return scaled_tanh(total * self.coefficient + self.bias)


# Table I: column j lists the maps of S2 that map j of C3 reads.
C3_TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


@register
class TableConvolution(layers.Layer):
    """C3: a 5x5 convolution in which each output map reads the input maps that C3_TABLE gives it.

    Only the 60 connections of the table have weights: 60 * 25 + 16 biases = 1,516.
    """

    def build(self, input_shape: Any) -> None:
        pairs = [(i, j) for j, inputs in enumerate(C3_TABLE) for i in inputs]
        limits = np.array([2.4 / (25 * len(C3_TABLE[j])) for _, j in pairs], "float32")  # fan-in differs by map
        place = np.zeros((len(pairs), input_shape[-1], len(C3_TABLE)), "float32")
        for connection, (i, j) in enumerate(pairs):
            place[connection, i, j] = 1
        self._place = place.reshape(len(pairs), -1)
        unit = keras.initializers.RandomUniform(-1, 1)
        self.kernel = self.add_weight(
            shape=(5, 5, len(pairs)), initializer=lambda shape, dtype=None: unit(shape, dtype) * limits, name="kernel"
        )
        self.bias = self.add_weight(shape=(len(C3_TABLE),), initializer=fan_in(100), name="bias")

    def call(self, x: Any) -> Any:
        place = ops.convert_to_tensor(self._place, dtype=self.kernel.dtype)
        kernel = ops.reshape(ops.matmul(self.kernel, place), (5, 5, -1, len(C3_TABLE)))
        return scaled_tanh(ops.conv(x, kernel, padding="valid") + self.bias)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, _ = input_shape
        return (batch, height - 4 if height else None, width - 4 if width else None, len(C3_TABLE))


# Figure 3: the characters 0 to 9 drawn on 7x12 fields, ink +1 and paper -1. Read off the figure; several public
# implementations give the same drawings. The bars over 0, 2, 4 and 5 are the figure's.
BITMAPS = """
.#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
.##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""


def bitmaps() -> np.ndarray:
    """float32 [10, 84]: the target of F6 for each digit, row by row of its 7x12 drawing."""
    rows = [line.split() for line in BITMAPS.split("\n") if line]
    drawn = ["".join(row[digit] for row in rows) for digit in range(10)]
    return np.array([[1 if c == "#" else -1 for c in digit] for digit in drawn], "float32")


@register
class RBF(layers.Layer):
    """Output: minus the squared distance of F6 to each digit's bitmap; nothing in it is trained.

    The paper's output is the distance itself, the smallest one wins. Its negative is the largest for the same digit, so
    that argmax, softmax and cross-entropy on logits hold; minus this value is the y_i of equation 7.
    """

    def call(self, x: Any) -> Any:
        target = ops.convert_to_tensor(bitmaps(), dtype=x.dtype)
        return -ops.sum(ops.square(ops.expand_dims(x, 1) - target), axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return (input_shape[0], 10)


@register
class LeNet51998(Definition):
    """float32 [batch, 32, 32, 1], paper -0.1 and ink 1.175 -> negative distances, float32 [batch, 10].

    60,000 trainable parameters: C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164.
    """

    @staticmethod
    def define() -> list[layers.Layer]:
        conv = lambda maps, inputs, name: layers.Conv2D(
            maps, 5, activation=scaled_tanh, kernel_initializer=fan_in(25 * inputs),
            bias_initializer=fan_in(25 * inputs), name=name,
        )  # fmt: skip
        return [
            conv(6, 1, "c1"),               # [28, 28, 6]
            Subsampling(name="s2"),         # [14, 14, 6]
            TableConvolution(name="c3"),    # [10, 10, 16]
            Subsampling(name="s4"),         # [5, 5, 16]
            conv(120, 16, "c5"),            # [1, 1, 120]
            layers.Flatten(name="flatten"),
            layers.Dense(
                84, activation=scaled_tanh, kernel_initializer=fan_in(120), bias_initializer=fan_in(120), name="f6"
            ),
            RBF(name="output"),             # [10]
        ]  # fmt: skip


VARIANTS = (
    ModelSpec(
        name="lenet5",
        family="lenet",
        task="image-classification",
        definition=LeNet5,
        summary="LeNet-5 as everyone builds it: tanh, average pooling, softmax",
        input_shape=(28, 28, 1),
        classes=10,
        inputs=ImageInputs(size=(28, 28), channels=1),
        recipe=Recipe(
            loss="sparse_categorical_crossentropy",
            metrics=("accuracy",),
            learning_rate=3e-3,
            schedule="cosine",
            batch_size=32,
            epochs=20,
        ),
        paper=PAPER,
    ),
    ModelSpec(
        name="lenet5_1998",
        family="lenet",
        task="image-classification",
        definition=LeNet51998,
        summary="LeNet-5 as the paper has it: trainable subsampling, C3's table, RBF output",
        input_shape=(32, 32, 1),
        fixed_input=True,
        classes=10,
        fixed_classes=True,
        classifier_activation=None,
        # Section II.B: the 20x20 digits, centred in 28x28, lie in a 32x32 field; paper -0.1, ink 1.175.
        inputs=ImageInputs(size=(28, 28), channels=1, pad=2, mean=(0.1 / 1.275,), std=(1 / 1.275,)),
        recipe=Recipe(
            loss="sparse_categorical_crossentropy_from_logits",
            metrics=("accuracy",),
            learning_rate=1e-3,
            schedule="cosine",
            batch_size=32,
            epochs=20,
        ),
        paper=PAPER,
    ),
)
