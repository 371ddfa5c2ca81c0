"""PyTorch state dicts of torchvision and timm, from `.safetensors`, or from `.pth` where PyTorch is installed.

Convolutions are stored [out, in, h, w] and become [h, w, in, out]; dense layers [out, in] become [in, out]. A dense
layer behind a flatten reads its inputs by channel, row, column there and by row, column, channel here: they are put in
that order. Names come from torchvision 0.28 and timm 1.0.31.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kzoo.errors import KzooError
from kzoo.weights.parts import Parts

Tensors = Mapping[str, np.ndarray]

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
PLAIN = {"weight": "kernel", "bias": "bias"}


class Family(NamedTuple):
    """How a family's state dict becomes kzoo's keys.

    Attributes:
        names: state dict -> {its module: kzoo's layer}; a module that is not there keeps its name.
        flattened: {kzoo's dense layer behind a flatten: channels of the feature map that it reads}.
        remedy: Which of kzoo's variants the files are for.
        mode: How the images are prepared: a mode of kzoo.models._convnet.images.
    """

    names: Callable[[Iterable[str]], dict[str, str]]
    flattened: Mapping[str, int]
    remedy: str
    mode: str = "torch"


def read_pickle(path: Path, source: str) -> dict[str, np.ndarray]:
    """A `.pth` by PyTorch's own reader of plain tensors. What would run code in it is refused by that reader."""
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its reader raises what the damage leads to: UnpicklingError, EOFError, RuntimeError …
        raise KzooError(
            f"{source} cannot be read by torch.load(weights_only=True), and kzoo reads it in no other way:"
            f" {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    for wrapper in ("state_dict", "model"):  # checkpoints of training scripts
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise KzooError(f"{source} is no state dict of names and tensors; save model.state_dict()")
    return {name: value.detach().float().numpy() for name, value in found.items()}


def converted(tensors: Tensors, source: str, parts: Parts) -> dict[str, np.ndarray]:
    """{kzoo's key: array}; what the family's names do not say keeps its own name.

    Raises:
        KzooError: No converter for the family.
    """
    if parts.spec.family not in FAMILIES:
        raise KzooError(
            f"{source} is a PyTorch state dict, and kzoo has no names for those of {parts.spec.family};"
            f" it has for {', '.join(FAMILIES)}"
        )
    family = FAMILIES[parts.spec.family]
    if all(name.startswith("module.") for name in tensors):  # saved from a DataParallel
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    modules = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    names = family.names(modules)
    norms = {name.rpartition(".")[0] for name in tensors if name.endswith(".running_mean")}
    values = {}
    for name, value in tensors.items():
        module, _, last = name.rpartition(".")
        if last == "num_batches_tracked":  # a counter that no output depends on
            continue
        layer, kinds = names.get(module, module), NORM if module in norms else PLAIN
        if module in names and last in kinds:
            values[f"{layer}/{kinds[last]}"] = _turned(value, family.flattened.get(layer))
        else:
            values[name] = value
    return values


def _turned(value: np.ndarray, channels: int | None) -> np.ndarray:
    """Keras' order of axes; `channels` of the feature map, for a dense layer behind a flatten.

    >>> _turned(np.zeros((64, 3, 7, 5)), None).shape
    (7, 5, 3, 64)
    >>> _turned(np.zeros((4096, 512 * 7 * 7)), 512).shape
    (25088, 4096)
    """
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
        if channels is not None:  # timm stores the dense layers of VGG as convolutions
            return value.reshape(-1, value.shape[-1])
        return value
    if value.ndim == 2:
        side = int((value.shape[1] / channels) ** 0.5) if channels else 0
        if channels and channels * side * side == value.shape[1]:
            return value.reshape(-1, channels, side, side).transpose(2, 3, 1, 0).reshape(value.shape[::-1])
        return value.T
    return value


def _resnet(modules: Iterable[str]) -> dict[str, str]:
    names = {"conv1": "conv1_conv", "bn1": "conv1_bn", "fc": "predictions"}
    for module in modules:
        if found := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)", module):
            stage, block, kind, number = found.groups()
            if kind == "downsample.":
                number, kind = "0", ("conv", "bn")[int(number) > 0]
            names[module] = f"conv{int(stage) + 1}_block{int(block) + 1}_{number}_{kind}"
    return names


def _vgg(modules: Iterable[str]) -> dict[str, str]:
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


def _alexnet(modules: Iterable[str]) -> dict[str, str]:
    names = {f"features.{number}": f"conv{i}" for i, number in enumerate((0, 3, 6, 8, 10), start=1)}
    return {**names, "classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "predictions"}


def _googlenet(modules: Iterable[str]) -> dict[str, str]:
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


FAMILIES = {
    "resnet": Family(
        _resnet,
        {},
        "torchvision's and timm's are resnet18, resnet34 and resnet50_v1_5 here; others with lineage='torchvision'",
    ),
    "vgg": Family(_vgg, {"fc1": 512, "fc2": 4096}, "those with batch norm are vgg11_bn to vgg19_bn"),
    "alexnet": Family(_alexnet, {"fc6": 256}, "torchvision's is alexnet_one_tower here"),
    # torchvision's GoogLeNet undoes the usual preprocessing (`transform_input`) and reads -1 to 1.
    "googlenet": Family(_googlenet, {"aux1_fc": 128, "aux2_fc": 128}, "torchvision's is googlenet_bn here", "tf"),
}
