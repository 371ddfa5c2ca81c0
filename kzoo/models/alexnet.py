"""AlexNet and ZFNet.

Alex Krizhevsky, Ilya Sutskever, Geoffrey Hinton (2012), "ImageNet classification with deep convolutional neural
networks". https://papers.nips.cc/paper/2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html
Alex Krizhevsky (2014), "One weird trick for parallelizing convolutional neural networks".
https://arxiv.org/abs/1404.5997
Matthew Zeiler, Rob Fergus (2013), "Visualizing and understanding convolutional networks".
https://arxiv.org/abs/1311.2901

    five convolutions, some normalized and pooled -> fc6 -> fc7 -> predictions

The paper's figure 2 divides layers between two GPUs: conv2, conv4 and conv5 read only the half of the channels that lies
on their own. Its caption gives a 224x224x3 image, 150,528 inputs; without padding, 11x11 at stride 4 makes its 55x55 from
227x227 only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import keras
from keras import layers

from kzoo.errors import KzooError, unknown
from kzoo.models.arguments import Activation, Dropout
from kzoo.models.block import Block, registering
from kzoo.models.convnet import LocalResponseNormalization, images, pooled
from kzoo.models.styles import Definition
from kzoo.records import ANYTHING, ImageInputs, ModelSpec, Recipe, TorchNames

COURSE = 4
register = registering("alexnet")
PAPER = (
    "Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep convolutional neural networks, "
    "https://papers.nips.cc/paper/2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html"
)
ONE_TRICK = (
    "Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks, https://arxiv.org/abs/1404.5997"
)
VISUALIZING = (
    "Zeiler, Fergus 2013, Visualizing and understanding convolutional networks, https://arxiv.org/abs/1311.2901"
)

# Of the convolutions: filters, kernel, stride, padding, towers, and what follows them.
ALEXNET = (
    (96,  11, 4, 0, 1, ("norm", "pool")),    # [55, 55, 96]  -> [27, 27, 96]
    (256, 5,  1, 2, 2, ("norm", "pool")),    # [27, 27, 256] -> [13, 13, 256]
    (384, 3,  1, 1, 1, ()),                  # [13, 13, 384]
    (384, 3,  1, 1, 2, ()),                  # [13, 13, 384]
    (256, 3,  1, 1, 2, ("pool",)),           # [13, 13, 256] -> [6, 6, 256]
)  # fmt: skip
ONE_TOWER = (
    (64,  11, 4, 2, 1, ("pool",)),           # [55, 55, 64]  -> [27, 27, 64]
    (192, 5,  1, 2, 1, ("pool",)),           # [27, 27, 192] -> [13, 13, 192]
    (384, 3,  1, 1, 1, ()),                  # [13, 13, 384]
    (256, 3,  1, 1, 1, ()),                  # [13, 13, 256]
    (256, 3,  1, 1, 1, ("pool",)),           # [13, 13, 256] -> [6, 6, 256]
)  # fmt: skip
ZFNET = (  # figure 3; its 110, 55, 26, 13 need one pixel of padding at conv1, and pooling that keeps the last column
    (96,  7, 2, 1, 1, ("pool_all", "norm")),  # [110, 110, 96] -> [55, 55, 96]
    (256, 5, 2, 0, 1, ("pool_all", "norm")),  # [26, 26, 256]  -> [13, 13, 256]
    (384, 3, 1, 1, 1, ()),                    # [13, 13, 384]
    (384, 3, 1, 1, 1, ()),                    # [13, 13, 384]
    (256, 3, 1, 1, 1, ("pool",)),             # [13, 13, 256]  -> [6, 6, 256]
)  # fmt: skip


def convolution(
    filters: int, kernel: int, stride: int, padding: int, activation: str, bias: float, name: str
) -> list[layers.Layer]:
    """Weights from a normal distribution of deviation 0.01, biases of 0 or 1 (section 5)."""
    pad = [layers.ZeroPadding2D(padding, name=f"{name}_pad")] if padding else []
    return [
        *pad,
        layers.Conv2D(
            filters, kernel, stride, activation=activation, kernel_initializer=keras.initializers.RandomNormal(0, 0.01),
            bias_initializer=keras.initializers.Constant(bias), name=name,
        ),
    ]  # fmt: skip


@register
class Towers(Block):
    """A convolution on two GPUs: each half of the filters reads the same half of the channels.

    [batch, h, w, c] -> [batch, h / stride, w / stride, filters]. Two convolutions, not `groups=2`: Keras compiles that
    anew for each batch size on a CPU, and ONNX files of it are invalid.
    """

    def __init__(
        self, filters: int, kernel: int, stride: int, padding: int, activation: str, bias: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = {
            "filters": filters, "kernel": kernel, "stride": stride, "padding": padding, "activation": activation,
            "bias": bias,
        }  # fmt: skip
        self.pad = layers.ZeroPadding2D(padding, name=f"{self.name}_pad")
        self.gpu1, self.gpu2 = (
            convolution(filters // 2, kernel, stride, 0, activation, bias, f"{self.name}_gpu{i}")[0] for i in (1, 2)
        )
        self.concatenate = layers.Concatenate(name=f"{self.name}_output")

    def call(self, x: Any) -> Any:
        x, half = self.pad(x), x.shape[-1] // 2
        return self.concatenate([self.gpu1(x[..., :half]), self.gpu2(x[..., half:])])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


@register
class AlexNet(Definition):
    """float32 [batch, height, width, channels] -> float32 [batch, classes].

    Args:
        convolutions: Rows like ALEXNET's.
        dense: Units of fc6 and fc7.
        bias: First biases of conv2, conv4, conv5, fc6 and fc7 (section 5: with 1 the units have positive inputs from
            the start).
        dropout: After fc6 and fc7 (section 4.2).
    """

    @staticmethod
    def define(
        convolutions: Annotated[Sequence[Sequence[Any]], ANYTHING] = ALEXNET,
        dense: int = 4096,
        bias: float = 1.0,
        activation: Activation = "relu",
        dropout: Dropout = 0.5,
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        stages: list[layers.Layer] = []
        for i, (filters, kernel, stride, padding, towers, after) in enumerate(convolutions, start=1):
            ones = bias if i in (2, 4, 5) else 0.0
            if towers == 2:
                stages.append(Towers(filters, kernel, stride, padding, activation, ones, name=f"conv{i}"))
            else:
                stages += convolution(filters, kernel, stride, padding, activation, ones, f"conv{i}")
            if towers not in (1, 2):
                raise KzooError(f"conv{i} of convolutions has 1 or 2 towers; received {towers!r}")
            follows = {
                "norm": lambda i: LocalResponseNormalization(name=f"norm{i}"),
                "pool": lambda i: layers.MaxPooling2D(3, 2, name=f"pool{i}"),
                "pool_all": lambda i: layers.MaxPooling2D(3, 2, "same", name=f"pool{i}"),
            }
            for kind in after:
                if kind not in follows:
                    raise unknown(f"stage after conv{i} in convolutions", kind, follows)
                stages.append(follows[kind](i))
        if not include_top:
            return stages + pooled(pooling)
        stages.append(layers.Flatten(name="flatten"))
        for fc in ("fc6", "fc7"):
            stages.append(
                layers.Dense(
                    dense, activation=activation, kernel_initializer=keras.initializers.RandomNormal(0, 0.01),
                    bias_initializer=keras.initializers.Constant(bias), name=fc,
                )
            )  # fmt: skip
            if dropout:
                stages.append(layers.Dropout(dropout, name=f"{fc}_dropout"))
        normal = keras.initializers.RandomNormal(0, 0.01)
        return [
            *stages,
            layers.Dense(classes, activation=classifier_activation, kernel_initializer=normal, name="predictions"),
        ]

    @staticmethod
    def taps(config: Mapping[str, Any]) -> dict[str, str]:
        """The last stage of each stride."""
        found, power = {}, 0
        for i, (_, _, stride, _, _, after) in enumerate(config["convolutions"], start=1):
            power += stride.bit_length() - 1
            found[f"P{power}"] = f"conv{i}"
            for kind in after:
                power += kind.startswith("pool")
                found[f"P{power}"] = f"{kind[:4]}{i}"
        return found


# Section 5: SGD, momentum 0.9, decay 0.0005 (times 10, since Keras subtracts it beside the momentum), batches of 128,
# about 90 epochs, the rate divided by ten when validation stops improving; here half a cosine.
RECIPE = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    optimizer="sgd:momentum=0.9,weight_decay=0.005",
    learning_rate=0.01,
    schedule="cosine",
    batch_size=128,
    epochs=90,
)
# Zeiler and Fergus, section 3: the same with biases of 0, for 70 epochs.
ZFNET_RECIPE = replace(RECIPE, epochs=70)
# Section 2: the mean is subtracted, pixels stay in 0 to 255.
MEAN = ImageInputs(size=(227, 227), channels=3, scale=1.0, mean=(123.68, 116.779, 103.939))


def torchvision_names(modules: Iterable[str]) -> dict[str, str]:
    """torchvision's `alexnet`, in one tower."""
    names = {f"features.{number}": f"conv{i}" for i, number in enumerate((0, 3, 6, 8, 10), start=1)}
    return {**names, "classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "predictions"}


TORCH_NAMES = TorchNames(torchvision_names, "torchvision's is alexnet_one_tower here", flattened={"fc6": 256})

ROWS = (
    ("alexnet", ALEXNET, 227, 67, 1.0, MEAN, RECIPE, PAPER, "AlexNet as on the paper's two GPUs, with local response normalization; 227 for the caption's 224, which does not give its 55x55"),
    ("alexnet_one_tower", ONE_TOWER, 224, 63, 1.0, images("torch", 224), RECIPE, ONE_TRICK, "AlexNet in one tower, without normalization; torchvision's"),
    ("zfnet", ZFNET, 224, 53, 0.0, MEAN.for_model((224, 224, 3), {}), ZFNET_RECIPE, VISUALIZING, "ZFNet: AlexNet with a finer conv1 (figure 3)"),
)  # fmt: skip
VARIANTS = (
    *(
        ModelSpec(
            name=name,
            family="alexnet",
            task="image-classification",
            definition=AlexNet,
            summary=summary,
            input_shape=(size, size, 3),
            classes=1000,
            head="predictions",
            config={"convolutions": table, "bias": bias},
            minimum=minimum,
            inputs=inputs,
            torch_names=TORCH_NAMES,
            recipe=recipe,
            paper=paper,
        )
        for name, table, size, minimum, bias, inputs, recipe, paper, summary in ROWS
    ),
    ModelSpec(
        name="alexnet_tiny",
        family="alexnet",
        task="image-classification",
        definition=AlexNet,
        summary="For tests",
        input_shape=(67, 67, 3),
        classes=10,
        head="predictions",
        config={"convolutions": tuple((filters // 16, *row) for filters, *row in ALEXNET), "dense": 16},
        minimum=67,
        inputs=MEAN.for_model((67, 67, 3), {}),
        torch_names=TORCH_NAMES,
        recipe=RECIPE,
        paper=PAPER,
        hidden=True,
    ),
)
