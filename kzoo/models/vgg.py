"""VGG.

Karen Simonyan, Andrew Zisserman (2014), "Very deep convolutional networks for large-scale image recognition".
https://arxiv.org/abs/1409.1556

    five blocks of 3x3 convolutions, each followed by pooling -> fc1 -> fc2 -> predictions      (table 1)

Three 3x3 convolutions see 7x7 with 27 C^2 weights in the place of 49 C^2 (section 2.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras import layers

from kzoo.errors import KzooError
from kzoo.models.arguments import Activation, Dropout
from kzoo.models.block import registering
from kzoo.models.convnet import images, pooled
from kzoo.models.styles import Definition
from kzoo.records import CIFAR10, KerasNames, ModelSpec, Recipe, TorchNames

COURSE = 5
register = registering("vgg")
PAPER = (
    "Simonyan, Zisserman 2014, Very deep convolutional networks for large-scale image recognition, "
    "https://arxiv.org/abs/1409.1556"
)


@register
class VGG(Definition):
    """float32 [batch, height, width, channels] -> float32 [batch, classes].

    Args:
        depths: Convolutions of each block (columns of table 1).
        filters: Of each block.
        batch_norm: A batch norm after each convolution, which keeps its bias; as torchvision has it.
        dense: Units of fc1 and fc2.
        dropout: After fc1 and fc2 (section 3.1).
    """

    @staticmethod
    def define(
        depths: Sequence[int] = (2, 2, 3, 3, 3),
        filters: Sequence[int] = (64, 128, 256, 512, 512),
        batch_norm: bool = False,
        dense: int = 4096,
        activation: Activation = "relu",
        dropout: Dropout = 0.5,
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        if len(depths) != len(filters):
            raise KzooError(
                f"depths and filters are of the same blocks; received {len(depths)} and {len(filters)} of them"
            )
        stages: list[layers.Layer] = []
        for block, (depth, width) in enumerate(zip(depths, filters, strict=True), start=1):
            for i in range(1, depth + 1):
                name = f"block{block}_conv{i}"
                if batch_norm:
                    stages += [
                        layers.Conv2D(width, 3, padding="same", kernel_initializer="he_normal", name=name),
                        layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn"),
                        layers.Activation(activation, name=f"{name}_relu"),
                    ]
                else:
                    stages.append(layers.Conv2D(width, 3, padding="same", activation=activation, name=name))
            stages.append(layers.MaxPooling2D(2, name=f"block{block}_pool"))
        if not include_top:
            return stages + pooled(pooling)
        stages.append(layers.Flatten(name="flatten"))  # at 224x224 [7, 7, 512] -> [25088]
        for fc in ("fc1", "fc2"):
            stages.append(layers.Dense(dense, activation=activation, name=fc))
            if dropout:
                stages.append(layers.Dropout(dropout, name=f"{fc}_dropout"))
        return [*stages, layers.Dense(classes, activation=classifier_activation, name="predictions")]

    @staticmethod
    def taps(config: Mapping[str, Any]) -> dict[str, str]:
        """The last convolution of each stride, and the last pooling."""
        depths, end = config["depths"], "_relu" if config["batch_norm"] else ""
        found = {f"P{i}": f"block{i + 1}_conv{depth}{end}" for i, depth in enumerate(depths)}
        return {**found, f"P{len(depths)}": f"block{len(depths)}_pool"}


# Section 3.1: SGD, momentum 0.9, decay 0.0005 (times 10, since Keras subtracts it beside the momentum), batches of 256,
# 74 epochs, the rate divided by ten three times; here half a cosine.
RECIPE = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    optimizer="sgd:momentum=0.9,weight_decay=0.005",
    learning_rate=0.01,
    schedule="cosine",
    batch_size=256,
    epochs=74,
)


def torch_layers(modules: Iterable[str]) -> dict[str, str]:
    """torchvision's and timm's: convolutions, and batch norms, numbered through with what lies between them."""
    names = {
        "classifier.0": "fc1", "classifier.3": "fc2", "classifier.6": "predictions",
        "pre_logits.fc1": "fc1", "pre_logits.fc2": "fc2", "head.fc": "predictions",
    }  # fmt: skip
    numbers = sorted(int(m[1]) for m in (re.fullmatch(r"features\.(\d+)", module) for module in modules) if m)
    normalised = 1 in numbers  # convolution, batch norm, ReLU; else convolution, ReLU
    block, layer, last = 1, 0, None
    for number in numbers[:: 2 if normalised else 1]:
        if last is not None and number - last > (3 if normalised else 2):  # a pooling layer lies between
            block, layer = block + 1, 0
        layer, last = layer + 1, number
        names[f"features.{number}"] = f"block{block}_conv{layer}"
        names[f"features.{number + 1}"] = f"block{block}_conv{layer}_bn"
    return names


TORCH_NAMES = TorchNames(
    torch_layers, "those with batch norm are vgg11_bn to vgg19_bn", flattened={"fc1": 512, "fc2": 4096}
)

TORCHVISION, AUTHORS = "torchvision's", "the authors' weights are keras.applications'"
BATCH_NORM = f"with batch norm; {TORCHVISION}"
ROWS = (
    # name     depths            column, whose weights
    ("vgg11", (1, 1, 2, 2, 2), "A", TORCHVISION),
    ("vgg13", (2, 2, 2, 2, 2), "B", TORCHVISION),
    ("vgg16", (2, 2, 3, 3, 3), "D", AUTHORS),
    ("vgg19", (2, 2, 4, 4, 4), "E", AUTHORS),
)
TINY = {"depths": (1, 2), "filters": (4, 8), "dense": 16}


def row(
    name: str, config: Mapping[str, Any], side: int, classes: int, minimum: int, summary: str, **values: Any
) -> ModelSpec:
    return ModelSpec(
        name=name, family="vgg", task="image-classification", definition=VGG, summary=summary,
        input_shape=(side, side, 3), classes=classes, head="predictions", config=config, minimum=minimum,
        torch_names=TORCH_NAMES, keras_names=KerasNames(), recipe=RECIPE, paper=PAPER, **values,
    )  # fmt: skip


VARIANTS = (
    *(
        row(
            f"{name}_bn" if batch_norm else name, {"depths": depths, "batch_norm": batch_norm}, 224, 1000, 32,
            f"VGG-{name[3:]} (table 1, column {column}); {BATCH_NORM if batch_norm else whose}",
            inputs=images("torch" if batch_norm or whose == TORCHVISION else "caffe", 224),
        )
        for name, depths, column, whose in ROWS
        for batch_norm in (False, True)
    ),
    *(
        row(
            "vgg_bn_tiny" if batch_norm else "vgg_tiny", {**TINY, "batch_norm": batch_norm}, 32, 10, 4, "For tests",
            inputs=CIFAR10, hidden=True,
        )
        for batch_norm in (False, True)
    ),
)  # fmt: skip
