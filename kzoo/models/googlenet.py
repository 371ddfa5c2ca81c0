"""GoogLeNet, the first Inception network.

Christian Szegedy, Wei Liu, Yangqing Jia, Pierre Sermanet, Scott Reed, Dragomir Anguelov, Dumitru Erhan, Vincent Vanhoucke,
Andrew Rabinovich (2014), "Going deeper with convolutions". https://arxiv.org/abs/1409.4842

    7x7/2, 1x1, 3x3 -> inception 3a, 3b -> 4a … 4e -> 5a, 5b -> average pooling -> predictions      (table 1, figure 3)

An Inception module looks at its input through 1x1, 3x3 and 5x5 convolutions and through pooling, side by side; 1x1
convolutions before the larger ones, and after the pooling, keep the number of multiplications low (figure 2b). The
naive module is without them (figure 2a). Layer names are those of the authors' Caffe model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras import layers

from kzoo.errors import KzooError
from kzoo.models.arguments import Activation, Dropout, Width
from kzoo.models.block import Chain, Parallel, Side, registering
from kzoo.models.convnet import LocalResponseNormalization, images, top
from kzoo.models.styles import Definition
from kzoo.records import TF, ModelSpec, Recipe, TorchNames

COURSE = 6
register = registering("googlenet")
PAPER = (
    "Szegedy, Liu, Jia, Sermanet, Reed and others 2014, Going deeper with convolutions, https://arxiv.org/abs/1409.4842"
)

# Table 1: the filters of each module.
MODULES = {
    #      1x1  3x3 reduce  3x3  5x5 reduce  5x5  pool proj
    "3a": (64,  96,         128, 16,         32,  32),     # [28, 28, 256]
    "3b": (128, 128,        192, 32,         96,  64),     # [28, 28, 480]
    "4a": (192, 96,         208, 16,         48,  64),     # [14, 14, 512]
    "4b": (160, 112,        224, 24,         64,  64),     # [14, 14, 512]
    "4c": (128, 128,        256, 24,         64,  64),     # [14, 14, 512]
    "4d": (112, 144,        288, 32,         64,  64),     # [14, 14, 528]
    "4e": (256, 160,        320, 32,         128, 128),    # [14, 14, 832]
    "5a": (256, 160,        320, 32,         128, 128),    # [7, 7, 832]
    "5b": (384, 192,        384, 48,         128, 128),    # [7, 7, 1024]
}  # fmt: skip


def convolution(
    filters: int, kernel: int, name: str, *, batch_norm: bool, activation: str, stride: int = 1
) -> list[layers.Layer]:
    """Convolution and activation; with batch norm in between, and then without a bias."""
    pad = [layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")] if stride > 1 else []
    padding = "valid" if pad else "same"
    if not batch_norm:
        return [*pad, layers.Conv2D(filters, kernel, stride, padding, activation=activation, name=name)]
    return [
        *pad,
        layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=name),
        layers.BatchNormalization(epsilon=1e-3, momentum=0.9, name=f"{name}_bn"),
        layers.Activation(activation, name=f"{name}_relu"),
    ]


def inception(filters: Sequence[int], name: str, *, third: int, naive: bool, **unit: Any) -> Parallel:
    """[batch, h, w, c] -> [batch, h, w, the sum of the branches' filters].

    Args:
        filters: A row of MODULES.
        third: Kernel of the third branch: 5, or 3 as in torchvision.
        naive: Without the 1x1 convolutions: figure 2a.
    """
    n1, reduce3, n3, reduce5, n5, projected = filters
    first = convolution(n1, 1, f"{name}_1x1", **unit)
    three, five = (convolution(n, k, f"{name}_{s}", **unit) for n, k, s in ((n3, 3, "3x3"), (n5, third, "5x5")))
    pool = [layers.MaxPooling2D(3, 1, "same", name=f"{name}_pool")]
    if not naive:
        three = convolution(reduce3, 1, f"{name}_3x3_reduce", **unit) + three
        five = convolution(reduce5, 1, f"{name}_5x5_reduce", **unit) + five
        pool += convolution(projected, 1, f"{name}_pool_proj", **unit)
    return Parallel([first, three, five, pool], name=name)


def auxiliary(
    name: str, classes: int, activation: str, classifier_activation: str | None, batch_norm: bool, width: float
) -> Chain:
    """The classifier at the side (section 5): 4x4 average pooling, a 1x1 convolution, two dense layers.

    The paper's 5x5 windows at stride 3 make 4x4 of 14x14. torchvision's adaptive windows are 4x4 in size.
    """
    if batch_norm:
        pool = layers.AdaptiveAveragePooling2D(4, name=f"{name}_pool")
    else:
        pool = layers.AveragePooling2D(5, 3, name=f"{name}_pool")
    return Chain(
        [
            pool,
            *convolution(scaled(128, width), 1, f"{name}_conv", batch_norm=batch_norm, activation=activation),
            layers.Flatten(name=f"{name}_flatten"),
            layers.Dense(scaled(1024, width), activation=activation, name=f"{name}_fc"),
            layers.Dropout(0.7, name=f"{name}_dropout"),
            layers.Dense(classes, activation=classifier_activation, name=name),
        ],
        name=f"{name}_classifier",
    )


def scaled(filters: int, width: float) -> int:
    return max(1, round(filters * width))


@register
class GoogLeNet(Definition):
    """float32 [batch, height, width, channels] -> float32 [batch, classes].

    Pooling halves odd sizes upwards, as Keras' "same" does: at 224x224, and wherever all sizes are even, that is
    torchvision's and Caffe's; theirs differ at odd ones.

    With `aux` a dict: `predictions`, and `aux1`, `aux2` of the two classifiers that read inception 4a and 4d. They train
    the lower layers, with a weight of 0.3 each, and are left out afterwards.

    Args:
        batch_norm: Batch norm after each convolution, 3x3 for 5x5 branches, no normalization of 2012: torchvision's.
        naive: Modules without 1x1 convolutions (figure 2a).
        aux: Two outputs more.
        width: Factor on every number of filters.
    """

    @staticmethod
    def define(
        batch_norm: bool = False,
        naive: bool = False,
        aux: bool = False,
        width: Width = 1.0,
        activation: Activation = "relu",
        dropout: Dropout = 0.4,
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        unit = {"batch_norm": batch_norm, "activation": activation}
        module = lambda name: inception(
            [scaled(n, width) for n in MODULES[name]],
            f"inception_{name}",
            third=3 if batch_norm else 5,
            naive=naive,
            **unit,
        )
        halve = lambda name, size=3: layers.MaxPooling2D(size, 2, "same", name=name)
        norm = lambda name: [] if batch_norm else [LocalResponseNormalization(name=name)]
        lower = [
            *convolution(scaled(64, width), 7, "conv1_7x7_s2", stride=2, **unit),      # [112, 112, 64]
            halve("pool1_3x3_s2"),                                                     # [56, 56, 64]
            *norm("pool1_norm1"),
            *convolution(scaled(64, width), 1, "conv2_3x3_reduce", **unit),            # [56, 56, 64]
            *convolution(scaled(192, width), 3, "conv2_3x3", **unit),                  # [56, 56, 192]
            *norm("conv2_norm2"),
            halve("pool2_3x3_s2"),                                                     # [28, 28, 192]
            module("3a"), module("3b"),
            halve("pool3_3x3_s2"),                                                     # [14, 14, 480]
            module("4a"),
        ]  # fmt: skip
        middle = [module("4b"), module("4c"), module("4d")]
        upper = [
            module("4e"),
            halve("pool4_2x2_s2", 2) if batch_norm else halve("pool4_3x3_s2"),         # [7, 7, 832]
            module("5a"), module("5b"),
            *top(include_top, pooling, classes, classifier_activation, dropout),
        ]  # fmt: skip
        if aux and not include_top:
            raise KzooError("aux=True adds classifiers beside the network's own; it goes with include_top=True")
        if not aux:
            return lower + middle + upper
        side = lambda name: auxiliary(name, classes, activation, classifier_activation, batch_norm, width)
        after = Side(Chain(upper, name="upper"), side("aux2"), "aux2", name="inception_4d_on")
        return [*lower, Side(Chain([*middle, after], name="middle"), side("aux1"), "aux1", name="inception_4a_on")]

    @staticmethod
    def taps(config: Mapping[str, Any]) -> dict[str, str]:
        first, second = (
            ("conv1_7x7_s2_relu", "conv2_3x3_relu") if config["batch_norm"] else ("conv1_7x7_s2", "conv2_norm2")
        )
        return {
            "P1": first, "P2": second, "P3": "inception_3b", "P4": "inception_4e",
            "P5": "inception_5b",
        }  # fmt: skip


# Section 6: SGD with momentum 0.9, the rate falling by 4 % every 8 epochs; the other numbers are not given there.
RECIPE = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    optimizer="sgd:momentum=0.9,weight_decay=0.002",
    learning_rate=0.01,
    schedule="cosine",
    batch_size=128,
    epochs=90,
    loss_weights={"predictions": 1.0, "aux1": 0.3, "aux2": 0.3},
)


def torchvision_names(modules: Iterable[str]) -> dict[str, str]:
    stem = {"conv1": "conv1_7x7_s2", "conv2": "conv2_3x3_reduce", "conv3": "conv2_3x3"}
    branches = {
        "branch1": "1x1", "branch2.0": "3x3_reduce", "branch2.1": "3x3", "branch3.0": "5x5_reduce",
        "branch3.1": "5x5", "branch4.1": "pool_proj",
    }  # fmt: skip
    names = {"fc": "predictions"}
    for module in modules:
        unit, _, kind = module.rpartition(".")  # "inception3a.branch2.0", "conv" or "bn"
        layer = stem.get(unit)
        if found := re.fullmatch(r"inception(\d[a-e])\.(.+)", unit):
            layer = f"inception_{found[1]}_{branches[found[2]]}" if found[2] in branches else None
        elif found := re.fullmatch(r"aux(\d)\.conv", unit):
            layer = f"aux{found[1]}_conv"
        elif found := re.fullmatch(r"aux(\d)\.fc([12])", module):
            names[module] = f"aux{found[1]}_fc" if found[2] == "1" else f"aux{found[1]}"
        if layer:
            names[module] = layer if kind == "conv" else f"{layer}_bn"
    return names


# torchvision's undoes the usual preprocessing (`transform_input`) and reads -1 to 1.
TORCH_NAMES = TorchNames(
    torchvision_names, "torchvision's is googlenet_bn here", flattened={"aux1_fc": 128, "aux2_fc": 128}, inputs=TF
)

ROWS = (
    ("googlenet", 224, {}, 1000, images("caffe", 224), "GoogLeNet (table 1): 5x5 branches, biases, local response normalization; aux=True adds its two auxiliary classifiers"),
    ("googlenet_bn", 224, {"batch_norm": True, "dropout": 0.2}, 1000, images("tf", 224), "GoogLeNet with batch norm; torchvision's, whose 5x5 branch is 3x3"),
    ("googlenet_tiny", 72, {"width": 0.0625}, 10, images("caffe", 72), "For tests"),
    ("googlenet_bn_tiny", 48, {"width": 0.0625, "batch_norm": True}, 10, images("tf", 48), "For tests"),
)  # fmt: skip
VARIANTS = tuple(
    ModelSpec(
        name=name,
        family="googlenet",
        task="image-classification",
        definition=GoogLeNet,
        summary=summary,
        input_shape=(size, size, 3),
        classes=classes,
        head="predictions",
        config={"batch_norm": False, **config},
        inputs=inputs,
        torch_names=TORCH_NAMES,
        recipe=RECIPE,
        paper=PAPER,
        hidden=name.endswith("_tiny"),
    )
    for name, size, config, classes, inputs, summary in ROWS
)
