"""What torchvision's networks put out for weights and images that are made by rule: tests/golden/torchvision.json.

Runs in an environment of its own, with neither kzoo nor Keras:

    python -m venv golden && golden/bin/pip install torch==2.13.0 numpy && golden/bin/pip install --no-deps \
        torchvision==0.28.0 pillow
    golden/bin/python tests/golden/torchvision_values.py

`tensor` and `images` below are the rule. The tests (tests/weights/test_torch_files.py) follow it without PyTorch: they
build the same state dict, load it with kzoo and compare the outputs.
"""

import json
import sys
import types
import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("torchvision.json")
MODELS = {  # name -> side of the images; the classifiers behind a flatten are made for 224
    "alexnet": 224,
    "vgg11": 224,
    "vgg13": 224,
    "vgg16": 224,
    "vgg19": 224,
    "vgg11_bn": 224,
    "vgg13_bn": 224,
    "vgg16_bn": 224,
    "vgg19_bn": 224,
    "googlenet": 96,
    "resnet18": 64,
    "resnet34": 64,
    "resnet50": 64,
}
STEP = 25  # of the 1,000 logits every 25th is kept


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of one entry of a state dict: He-uniform where it is a matrix or a convolution, else near its default.

    Uniform numbers of a generator that is seeded with the CRC-32 of the name.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros(shape, "int64")
    uniform = rng.random(shape, "float32")
    if len(shape) > 1:
        return (uniform * 2 - 1) * np.float32(np.sqrt(6 / np.prod(shape[1:])))
    if last in ("running_var", "weight"):  # positive; batch norm's scale is `weight`
        return uniform + np.float32(0.5)
    return (uniform * 2 - 1) * np.float32(0.2)


def images(side: int) -> np.ndarray:
    """Two images in PyTorch's order: (2, 3, side, side), standard normal."""
    return np.random.default_rng(zlib.crc32(b"images")).standard_normal((2, 3, side, side), "float32")


def main() -> None:
    import torch

    # Where torchvision has no build with compiled operators for this torch, its import only needs this to be skipped.
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    import torchvision

    rows = {}
    for name, side in MODELS.items():
        extra = {"init_weights": False, "aux_logits": True} if name == "googlenet" else {}
        model = getattr(torchvision.models, name)(weights=None, **extra).eval()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict({key: torch.from_numpy(tensor(key, shape)) for key, shape in shapes.items()})
        with torch.inference_mode():
            logits = model(torch.from_numpy(images(side))).numpy()
        rows[name] = {
            "side": side,
            "scale": float(np.abs(logits).max()),
            "logits": [[float(f"{v:.7g}") for v in row[::STEP]] for row in logits],
            "state_dict": {key: list(shape) for key, shape in shapes.items()},
        }
        print(f"{name}: {len(shapes)} tensors, largest logit {rows[name]['scale']:.4g}, std {logits.std():.3g}")
        print("   between the two images", np.abs(logits[0] - logits[1]).max())
    lines = [f' "{name}": {json.dumps(row)}' for name, row in rows.items()]
    versions = json.dumps({"torch": torch.__version__, "torchvision": torchvision.__version__, "step": STEP})
    FILE.write_text(f'{{\n "made with": {versions},\n' + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"wrote {FILE}, {FILE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
