"""VGG.

Karen Simonyan, Andrew Zisserman (2014), "Very deep convolutional networks for large-scale image recognition".
https://arxiv.org/abs/1409.1556

    five blocks of 3x3 convolutions, each followed by pooling -> fc1 -> fc2 -> predictions      (table 1)

Three 3x3 convolutions see 7x7 with 27 C^2 weights in the place of 49 C^2 (section 2.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras import layers

from kzoo.errors import KzooError
from kzoo.models._block import register
from kzoo.models._convnet import CIFAR10, images, pooled
from kzoo.models._registry import register_model
from kzoo.models._styles import Definition
from kzoo.spec import ModelSpec, Recipe

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
        dropout_rate: After fc1 and fc2 (section 3.1).
    """

    @staticmethod
    def define(
        depths: Sequence[int] = (2, 2, 3, 3, 3),
        filters: Sequence[int] = (64, 128, 256, 512, 512),
        batch_norm: bool = False,
        dense: int = 4096,
        activation: str = "relu",
        dropout_rate: float = 0.5,
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: str | None = "softmax",
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
            if dropout_rate:
                stages.append(layers.Dropout(dropout_rate, name=f"{fc}_dropout"))
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

VARIANTS = [
    # name     depths            column of table 1
    ("vgg11", (1, 1, 2, 2, 2), "A"),
    ("vgg13", (2, 2, 2, 2, 2), "B"),
    ("vgg16", (2, 2, 3, 3, 3), "D"),
    ("vgg19", (2, 2, 4, 4, 4), "E"),
]

for name, depths, column in VARIANTS:
    for batch_norm in (False, True):
        source = "with batch norm; torchvision's" if batch_norm else "the authors' weights are keras.applications'"
        if name in ("vgg11", "vgg13") and not batch_norm:
            source = "torchvision's"
        register_model(
            ModelSpec(
                name=f"{name}_bn" if batch_norm else name,
                family="vgg",
                task="image-classification",
                definition=VGG,
                summary=f"VGG-{name[3:]} (table 1, column {column}); {source}",
                input_shape=(224, 224, 3),
                classes=1000,
                head="predictions",
                config={"depths": depths, "batch_norm": batch_norm},
                minimum=32,
                preprocess=images("torch" if source.endswith("torchvision's") else "caffe", 224),
                recipe=RECIPE,
                paper=PAPER,
            )
        )
for batch_norm in (False, True):
    register_model(
        ModelSpec(
            name="vgg_bn_tiny" if batch_norm else "vgg_tiny",
            family="vgg",
            task="image-classification",
            definition=VGG,
            summary="For tests",
            input_shape=(32, 32, 3),
            classes=10,
            head="predictions",
            config={"depths": (1, 2), "filters": (4, 8), "dense": 16, "batch_norm": batch_norm},
            minimum=4,
            preprocess=CIFAR10,
            recipe=RECIPE,
            paper=PAPER,
            hidden=True,
        )
    )
