"""ResNet.

v1: Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun (2015), "Deep residual learning for image recognition".
    https://arxiv.org/abs/1512.03385
v2: the same (2016), "Identity mappings in deep residual networks". https://arxiv.org/abs/1603.05027
Stochastic depth: Gao Huang, Yu Sun, Zhuang Liu, Daniel Sedra, Kilian Weinberger (2016), "Deep networks with stochastic
    depth". https://arxiv.org/abs/1603.09382

    v1   x -> F(x) + shortcut(x) -> ReLU                        (section 3.2, figure 5)
    v2   x -> BN -> ReLU -> F -> + x                            (figure 4e: full pre-activation)

    ImageNet   7x7/2, pool/2, then conv2 to conv5: 64, 128, 256, 512 filters, the first block of each at half the size
    CIFAR-10   3x3, then three stages of n blocks: 16, 32, 64 filters; 6n + 2 layers          (section 4.2, table 6)

Three lineages hold weights for what is called ResNet-50; LINEAGES has what separates them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from keras import layers, ops

from kzoo.errors import KzooError
from kzoo.models.arguments import Activation, Dropout, Probability
from kzoo.models.block import Block, registering, through
from kzoo.models.convnet import images, top
from kzoo.models.styles import Definition
from kzoo.records import CIFAR10, ImageInputs, KerasNames, ModelSpec, Recipe, TorchNames

COURSE = 8
register = registering("resnet")
PAPER = "He, Zhang, Ren, Sun 2015, Deep residual learning for image recognition, https://arxiv.org/abs/1512.03385"
PAPER_V2 = "He, Zhang, Ren, Sun 2016, Identity mappings in deep residual networks, https://arxiv.org/abs/1603.05027"


class Lineage(NamedTuple):
    """What separates the implementations.

    Attributes:
        bias: Whether convolutions before a batch norm have biases, which it cancels.
        epsilon, momentum: Of batch norm.
        stride_on: The convolution of a bottleneck that halves the size: its first, 1x1, or its second, 3x3 ("v1.5").
        initializer: Of convolutions, before there are weights.
    """

    bias: bool
    epsilon: float
    momentum: float
    stride_on: int
    initializer: str | dict[str, Any]


# As a configuration: an object would draw a number on import, and the first model of a process would be another one
# than the second of the same seed.
HE_FAN_OUT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}
LINEAGES = {
    #                      bias   epsilon   momentum  stride on  initializer
    "keras":       Lineage(True,  1.001e-5, 0.99,     1,         "glorot_uniform"),  # from the authors' Caffe models
    "torchvision": Lineage(False, 1e-5,     0.9,      3,         HE_FAN_OUT),
    "paper":       Lineage(False, 1e-5,     0.9,      1,         "he_normal"),       # the CIFAR networks
}  # fmt: skip


def convolution(
    lineage: Lineage, filters: int, kernel: int, stride: int, name: str, *, bias: bool | None = None
) -> list[layers.Layer]:
    """A convolution that pads both sides alike: Keras' "same" would pad 0 and 1 where the stride is 2."""
    pad = [layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")] if kernel > 1 and stride > 1 else []
    padding = "valid" if pad or kernel == 1 else "same"
    return pad + [
        layers.Conv2D(
            filters, kernel, stride, padding, use_bias=lineage.bias if bias is None else bias,
            kernel_initializer=lineage.initializer, name=f"{name}_conv",
        )
    ]  # fmt: skip


def norm(lineage: Lineage, name: str) -> layers.Layer:
    return layers.BatchNormalization(epsilon=lineage.epsilon, momentum=lineage.momentum, name=name)


def survives(probability: float, name: str) -> list[layers.Layer]:
    """Stochastic depth (Huang et al. 2016, equations 2 and 5): the residual times b in training, times p afterwards.

    b is 1 with probability p and 0 otherwise, drawn once for a batch, as in the paper. Dropout with one draw for all of
    the batch gives b / p in training and 1 afterwards; the factor makes it b and p.
    """
    if probability == 1:
        return []
    return [
        layers.Dropout(1 - probability, noise_shape=(1, 1, 1, 1), name=f"{name}_survival"),
        layers.Rescaling(probability, name=f"{name}_probability"),
    ]


@register
class PaddedShortcut(Block):
    """Option A of section 4.1: every second position, and zeros for the filters that are new. No parameters."""

    def __init__(self, filters: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.stride = filters, stride

    def call(self, x: Any) -> Any:
        new = self.filters - x.shape[-1]
        return ops.pad(x[:, :: self.stride, :: self.stride], [[0, 0], [0, 0], [0, 0], [0, new]])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}


@register
class Residual(Block):
    """F(x) + shortcut(x), then the activation: a basic block (two 3x3) or a bottleneck (1x1, 3x3, 1x1 times 4).

    [batch, h, w, c] -> [batch, h / stride, w / stride, filters], four times the filters for a bottleneck.

    Args:
        shortcut: "identity", "projection" (option B: a 1x1 convolution) or "padding" (option A); "none" leaves it and
            the addition out: a block of the plain network.
        survival: Probability that the residual is kept in training.
    """

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        bottleneck: bool = False,
        shortcut: str = "identity",
        lineage: str = "keras",
        activation: Activation = "relu",
        survival: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {
            "filters": filters, "stride": stride, "bottleneck": bottleneck, "shortcut": shortcut, "lineage": lineage,
            "activation": activation, "survival": survival,
        }  # fmt: skip
        n, line = self.name, LINEAGES[lineage]
        plan = [(filters, 3, stride), (filters, 3, 1)]
        if bottleneck:
            first, second = (stride, 1) if line.stride_on == 1 else (1, stride)
            plan = [(filters, 1, first), (filters, 3, second), (4 * filters, 1, 1)]
        stages: list[layers.Layer] = []
        for i, (width, kernel, step) in enumerate(plan, start=1):
            stages += [*convolution(line, width, kernel, step, f"{n}_{i}"), norm(line, f"{n}_{i}_bn")]
            if i < len(plan):
                stages.append(layers.Activation(activation, name=f"{n}_{i}_relu"))
        self.residual = [*stages, *survives(survival, n)]
        width = plan[-1][0]
        self.shortcut: list[layers.Layer] = []
        if shortcut == "projection":
            self.shortcut = [*convolution(line, width, 1, stride, f"{n}_0"), norm(line, f"{n}_0_bn")]
        elif shortcut == "padding":
            self.shortcut = [PaddedShortcut(width, stride, name=f"{n}_shortcut")]
        self.add = None if shortcut == "none" else layers.Add(name=f"{n}_add")
        self.out = layers.Activation(activation, name=f"{n}_out")

    def call(self, x: Any) -> Any:
        residual = through(self.residual, x)
        if self.add is None:
            return self.out(residual)
        return self.out(self.add([through(self.shortcut, x), residual]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


@register
class ResidualV2(Block):
    """Full pre-activation (figure 4e): BN, activation, then a bottleneck whose sum nothing follows.

    [batch, h, w, c] -> [batch, h / stride, w / stride, 4 filters]. As in keras.applications: the stride is the 3x3's and
    in the last block of a stage, whose shortcut is every second position; a projection reads the pre-activation.
    """

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        project: bool = False,
        residual: bool = True,
        activation: Activation = "relu",
        survival: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {
            "filters": filters, "stride": stride, "project": project, "residual": residual, "activation": activation,
            "survival": survival,
        }  # fmt: skip
        n, line = self.name, LINEAGES["keras"]
        self.preactivation = [norm(line, f"{n}_preact_bn"), layers.Activation(activation, name=f"{n}_preact_relu")]
        stages = [
            *convolution(line, filters, 1, 1, f"{n}_1", bias=False), norm(line, f"{n}_1_bn"), layers.Activation(activation, name=f"{n}_1_relu"),
            *convolution(line, filters, 3, stride, f"{n}_2", bias=False), norm(line, f"{n}_2_bn"), layers.Activation(activation, name=f"{n}_2_relu"),
            *convolution(line, 4 * filters, 1, 1, f"{n}_3"),
        ]  # fmt: skip
        self.residual = [*stages, *survives(survival, n)]
        self.projects, self.shortcut = project, []
        if residual and project:
            self.shortcut = convolution(line, 4 * filters, 1, stride, f"{n}_0")
        elif residual and stride > 1:
            self.shortcut = [layers.MaxPooling2D(1, stride, name=f"{n}_0_pool")]
        self.add = layers.Add(name=f"{n}_out") if residual else None

    def call(self, x: Any) -> Any:
        activated = through(self.preactivation, x)
        residual = through(self.residual, activated)
        if self.add is None:
            return residual
        return self.add([through(self.shortcut, activated if self.projects else x), residual])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


def stem(lineage: Lineage, filters: int, activation: str, small: bool, normalised: bool = True) -> list[layers.Layer]:
    """conv1: 7x7/2 and pool/2, or, for small images, one 3x3."""
    first = convolution(lineage, filters, 3 if small else 7, 1 if small else 2, "conv1")
    if normalised:
        first += [norm(lineage, "conv1_bn"), layers.Activation(activation, name="conv1_relu")]
    if not small:
        first += [layers.ZeroPadding2D(1, name="pool1_pad"), layers.MaxPooling2D(3, 2, name="pool1_pool")]
    return first


def check_plain(residual: bool, survival: float) -> None:
    if not residual and survival < 1:
        raise KzooError(
            f"survival={survival:g} drops residuals, which a network with residual=False lacks; leave it out"
        )


def survival_of(block: int, blocks: int, last: float) -> float:
    """p_l = 1 - l / L (1 - p_L), of block l = 1 … L (Huang et al. 2016, equation 4)."""
    return 1 - block / blocks * (1 - last)


@register
class ResNet(Definition):
    """float32 [batch, height, width, channels] -> float32 [batch, classes]; any height and width.

    Args:
        depths: Blocks of each stage (table 1).
        bottleneck: Blocks of 1x1, 3x3, 1x1 in the place of two 3x3.
        filters: Of the first stage; each further one doubles them.
        small: conv1 is one 3x3, as for CIFAR, in the place of 7x7/2 and pooling.
        shortcut: Where the size changes: "projection" (option B) or "padding" (option A).
        residual: False gives the plain network of the same depth.
        survival: p_L, the probability that the last residual is kept in training; the others' fall linearly from 1 to
            it (0.5 in Huang et al. 2016).
        lineage: A row of LINEAGES.
    """

    @staticmethod
    def define(
        depths: Sequence[int] = (3, 4, 6, 3),
        bottleneck: bool = True,
        filters: int = 64,
        small: bool = False,
        shortcut: Literal["projection", "padding"] = "projection",
        residual: bool = True,
        survival: Probability = 1.0,
        lineage: Literal["keras", "torchvision", "paper"] = "keras",
        activation: Activation = "relu",
        dropout: Dropout = 0.0,
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        check_plain(residual, survival)
        stages = stem(LINEAGES[lineage], filters, activation, small)  # [h / 4, w / 4, 64], or [h, w, 16]
        width, blocks = filters, sum(depths)
        for stage, depth in enumerate(depths):
            for block in range(depth):
                made = filters * 2**stage * (4 if bottleneck else 1)
                kind = shortcut if made != width or (stage and not block) else "identity"
                stages.append(
                    Residual(
                        filters * 2**stage,
                        stride=2 if stage and not block else 1,
                        bottleneck=bottleneck,
                        shortcut=kind if residual else "none",
                        lineage=lineage,
                        activation=activation,
                        survival=survival_of(sum(depths[:stage]) + block + 1, blocks, survival),
                        name=f"conv{stage + 2}_block{block + 1}",
                    )
                )
                width = made
        return stages + top(include_top, pooling, classes, classifier_activation, dropout)

    @staticmethod
    def taps(config: Mapping[str, Any]) -> dict[str, str]:
        first = 0 if config.get("small") else 2
        return {f"P{first + i}": f"conv{i + 2}_block{depth}" for i, depth in enumerate(config["depths"])}


@register
class ResNetV2(Definition):
    """float32 [batch, height, width, channels] -> float32 [batch, classes]; any height and width.

    Args:
        depths, filters, residual, survival: As of ResNet.
    """

    @staticmethod
    def define(
        depths: Sequence[int] = (3, 4, 6, 3),
        filters: int = 64,
        residual: bool = True,
        survival: Probability = 1.0,
        activation: Activation = "relu",
        dropout: Dropout = 0.0,
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        check_plain(residual, survival)
        line = LINEAGES["keras"]
        stages = stem(line, filters, activation, small=False, normalised=False)
        blocks = sum(depths)
        for stage, depth in enumerate(depths):
            last_stage = stage == len(depths) - 1
            for block in range(depth):
                stages.append(
                    ResidualV2(
                        filters * 2**stage,
                        stride=2 if block == depth - 1 and not last_stage else 1,
                        project=block == 0,
                        residual=residual,
                        activation=activation,
                        survival=survival_of(sum(depths[:stage]) + block + 1, blocks, survival),
                        name=f"conv{stage + 2}_block{block + 1}",
                    )
                )
        stages += [norm(line, "post_bn"), layers.Activation(activation, name="post_relu")]
        return stages + top(include_top, pooling, classes, classifier_activation, dropout)

    @staticmethod
    def taps(config: Mapping[str, Any]) -> dict[str, str]:
        """Where a size is seen last: a stage's last block halves it already; of the last stage, after post_relu."""
        depths = config["depths"]
        inner = {f"P{i + 2}": f"conv{i + 2}_block{depth - 1}" for i, depth in enumerate(depths[:-1])}
        return {**inner, f"P{len(depths) + 1}": "post_relu"}


# Section 3.4: SGD with momentum, decay of the weights, batches of 256. Keras subtracts the decay beside the momentum, not
# inside it, so its number is 1 / (1 - momentum) = 10 times the paper's 0.0001.
IMAGENET = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    optimizer="sgd:momentum=0.9,weight_decay=0.001",
    learning_rate=0.1,
    schedule="cosine",
    batch_size=256,
    epochs=90,
)
# Section 4.2: batches of 128, a rate of 0.1. Of later recipes are Nesterov momentum, the decay of 0.0005 (here times 10),
# the warm-up and the cosine; 60 epochs for the paper's 164.
CIFAR = Recipe(
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    optimizer="sgd:momentum=0.9,nesterov=True,weight_decay=0.005",
    learning_rate=0.1,
    schedule="cosine",
    warmup=400,
    batch_size=128,
    epochs=60,
)


def torch_layers(modules: Iterable[str]) -> dict[str, str]:
    """torchvision's and timm's: layer1 to layer4, whose `downsample` is the shortcut."""
    names = {"conv1": "conv1_conv", "bn1": "conv1_bn", "fc": "predictions"}
    for module in modules:
        if found := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)", module):
            stage, block, kind, number = found.groups()
            if kind == "downsample.":
                number, kind = "0", ("conv", "bn")[int(number) > 0]
            names[module] = f"conv{int(stage) + 1}_block{int(block) + 1}_{number}_{kind}"
    return names


def by_depth(names: list[str]) -> list[str]:
    """keras.applications' order, by depth in the graph: a block's shortcut comes just before its last convolution."""

    def place(name: str) -> tuple[int, int, int]:
        inside = re.fullmatch(r"conv(\d+)_block(\d+)_(preact|\d)_?(?:conv|bn)", name)
        if inside:
            return int(inside[1]), int(inside[2]), ("preact", "1", "2", "0", "3").index(inside[3])
        return (0, 0, 0) if name.startswith("conv1") else (99, 0, 0)

    return sorted(names, key=place)


TORCH_NAMES = TorchNames(
    torch_layers,
    "torchvision's and timm's are resnet18, resnet34 and resnet50_v1_5 here; others with lineage='torchvision'",
)


def row(
    name: str, definition: type, config: Mapping[str, Any], inputs: ImageInputs, summary: str, *, recipe: Recipe = IMAGENET,
    classes: int = 1000, paper: str = PAPER, hidden: bool = False,
) -> ModelSpec:  # fmt: skip
    return ModelSpec(
        name=name, family="resnet", task="image-classification", definition=definition, summary=summary,
        input_shape=(*inputs.size, 3), classes=classes, head="predictions", config=config, inputs=inputs,
        torch_names=TORCH_NAMES, keras_names=KerasNames(by_depth), recipe=recipe, paper=paper, hidden=hidden,
    )  # fmt: skip


# name               depths           bottleneck lineage        inputs   what it is
ROWS = (
    ("resnet18",        (2, 2, 2, 2),    False, "torchvision", "torch", "ResNet-18 (table 1); torchvision's"),
    ("resnet34",        (3, 4, 6, 3),    False, "torchvision", "torch", "ResNet-34 (table 1); torchvision's"),
    ("resnet50",        (3, 4, 6, 3),    True,  "keras",       "caffe", "ResNet-50 (table 1); keras.applications'"),
    ("resnet50_v1_5",   (3, 4, 6, 3),    True,  "torchvision", "torch", "ResNet-50 with the stride on the 3x3 convolution; torchvision's"),
    ("resnet101",       (3, 4, 23, 3),   True,  "keras",       "caffe", "ResNet-101 (table 1); keras.applications'"),
    ("resnet152",       (3, 8, 36, 3),   True,  "keras",       "caffe", "ResNet-152 (table 1); keras.applications'"),
)  # fmt: skip
ROWS_V2 = (
    ("resnet50_v2",  (3, 4, 6, 3)),
    ("resnet101_v2", (3, 4, 23, 3)),
    ("resnet152_v2", (3, 8, 36, 3)),
)  # fmt: skip
DEPTHS = (20, 32, 44, 56, 110, 1202)  # of CIFAR's: 6n + 2 (table 6)
SMALL = {"bottleneck": False, "small": True, "shortcut": "padding", "lineage": "paper"}
TINY = {"filters": 4, "depths": (1, 2)}
VARIANTS = (
    *(
        row(name, ResNet, {"depths": depths, "bottleneck": bottleneck, "lineage": lineage}, images(mode, 224), summary)
        for name, depths, bottleneck, lineage, mode, summary in ROWS
    ),
    *(
        row(
            name, ResNetV2, {"depths": depths}, images("tf", 224),
            f"ResNet-{name[6:-3]} with pre-activation; keras.applications'", paper=PAPER_V2,
        )
        for name, depths in ROWS_V2
    ),
    *(
        row(
            f"resnet{depth}", ResNet, {**SMALL, "depths": ((depth - 2) // 6,) * 3, "filters": 16}, CIFAR10,
            f"ResNet-{depth} for images of 32x32 (table 6), shortcuts without parameters", recipe=CIFAR, classes=10,
        )
        for depth in DEPTHS
    ),
    *(
        row(name, definition, config, CIFAR10, "For tests", recipe=CIFAR, classes=10, hidden=True)
        for name, definition, config in (
            ("resnet_tiny", ResNet, {**TINY, "bottleneck": True, "lineage": "torchvision"}),
            ("resnet_v2_tiny", ResNetV2, {**TINY, "depths": (2, 2)}),
            ("resnet_cifar_tiny", ResNet, {**SMALL, **TINY, "survival": 0.8}),
        )
    ),
)  # fmt: skip
