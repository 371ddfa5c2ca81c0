"""PyTorch state dicts of torchvision and timm, from `.safetensors`, or from `.pth` where PyTorch is installed.

Convolutions are stored [out, in, h, w] and become [h, w, in, out]; dense layers [out, in] become [in, out]. A dense
layer behind a flatten reads its inputs by channel, row, column there and by row, column, channel here: they are put in
that order. What a family's modules are called stands in its file; names come from torchvision 0.28 and timm 1.0.31.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kzoo.errors import KzooError
from kzoo.weights import foreign
from kzoo.weights.parts import Parts

Tensors = Mapping[str, np.ndarray]

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
PLAIN = {"weight": "kernel", "bias": "bias"}


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
    spec = parts.info.spec
    if spec.foreign is not None:
        return foreign.read(tensors, parts.info)
    if spec.torch_names is None:
        raise KzooError(
            f"{source} is a PyTorch state dict, and kzoo has no names for those of {spec.family}; give kzoo's"
            " .safetensors or Keras' .h5"
        )
    if all(name.startswith("module.") for name in tensors):  # saved from a DataParallel
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    modules = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    names = spec.torch_names.names(modules)
    norms = {name.rpartition(".")[0] for name in tensors if name.endswith(".running_mean")}
    values = {}
    for name, value in tensors.items():
        module, _, last = name.rpartition(".")
        if last == "num_batches_tracked":  # a counter that no output depends on
            continue
        layer, kinds = names.get(module, module), NORM if module in norms else PLAIN
        if module in names and last in kinds:
            values[f"{layer}/{kinds[last]}"] = _turned(value, spec.torch_names.flattened.get(layer))
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
