"""The weights that others published for kzoo's variants: where each lies, and what is known of it. Plain data.

- `imagenet`: the files of keras.applications with their MD5, from the sources of Keras 3.15; sizes and accuracies from
  https://keras.io/api/applications (one crop of the centre; how large a part it was is not said there, and the whole
  image is resized here, as that page does); licences from Keras' documentation of releases that still listed them.
- `torchvision`, and `torchvision_v2` for IMAGENET1K_V2: from the sources of torchvision 0.28. A file's name ends in the
  first eight digits of its SHA-256, and no more of it is published.
- `timm`: what `timm.create_model(name, pretrained=True)` loads; `timm_tv` and `timm_tv2`: torchvision's weights without
  PyTorch's format. Names, preprocessing and licences from the sources of timm 1.0.31, accuracies from its
  results/results-imagenet.csv (commit 0173a13). No checksum and no size is published apart from the files: the server
  names the SHA-256 of what it sends, and that is checked.

Sizes are published in units of 2**20 bytes, rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kzoo.records import CAFFE, TF, TORCH, WeightSpec

DATA = "imagenet2012"
CLASSES = Path(__file__).with_name("imagenet_classes.txt")
OXFORD = "CC BY 4.0 (VGG, University of Oxford)"
HE = "MIT (Kaiming He)"
FACEBOOK = "BSD-3-Clause (Facebook, fb.resnet.torch)"
GOOGLE = "Apache-2.0 (TensorFlow)"
BSD, APACHE = "BSD-3-Clause", "Apache-2.0"

KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
# model, path, MD5, size, top-1, top-5, preprocessing, licence
KERAS_ROWS = (
    ("vgg16", "vgg16/vgg16", "64373286793e3c8b2b4e3219cbf3544b", 528, 0.713, 0.901, CAFFE, OXFORD),
    ("vgg19", "vgg19/vgg19", "cbe5617147190e668d6c5d5026f83318", 549, 0.713, 0.900, CAFFE, OXFORD),
    ("resnet50", "resnet/resnet50", "2cb95161c43110f7111970584f804107", 98, 0.749, 0.921, CAFFE, HE),
    ("resnet101", "resnet/resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", 171, 0.764, 0.928, CAFFE, HE),
    ("resnet152", "resnet/resnet152", "100835be76be38e30d865e96f2aaae62", 232, 0.766, 0.931, CAFFE, HE),
    ("resnet50_v2", "resnet/resnet50v2", "3ef43a0b657b3be2300d5770ece849e0", 98, 0.760, 0.930, TF, FACEBOOK),
    ("resnet101_v2", "resnet/resnet101v2", "6343647c601c52e1368623803854d971", 171, 0.772, 0.938, TF, FACEBOOK),
    ("resnet152_v2", "resnet/resnet152v2", "a49b44d1979771252814e80f8ec446f9", 232, 0.780, 0.942, TF, FACEBOOK),
    ("inception_v3", "inception_v3/inception_v3", "9a0d58056eeedaa3f26cb7ebd46da564", 92, 0.779, 0.937, TF, GOOGLE),
)  # fmt: skip

TORCHVISION = "https://download.pytorch.org/models"
CENTRE, CENTRE_232 = 224 / 256, 224 / 232  # torchvision resizes the shorter side to 256, of IMAGENET1K_V2 to 232
# model, tag, file, size, top-1, top-5, part of the image, preprocessing
TORCHVISION_ROWS = (
    ("alexnet_one_tower", "torchvision", "alexnet-owt-7be5be79", 233.087, 0.56522, 0.79066, CENTRE, TORCH),
    ("vgg11", "torchvision", "vgg11-8a719046", 506.840, 0.69020, 0.88628, CENTRE, TORCH),
    ("vgg11_bn", "torchvision", "vgg11_bn-6002323d", 506.881, 0.70370, 0.89810, CENTRE, TORCH),
    ("vgg13", "torchvision", "vgg13-19584684", 507.545, 0.69928, 0.89246, CENTRE, TORCH),
    ("vgg13_bn", "torchvision", "vgg13_bn-abd245e5", 507.590, 0.71586, 0.90374, CENTRE, TORCH),
    ("vgg16", "torchvision", "vgg16-397923af", 527.796, 0.71592, 0.90382, CENTRE, TORCH),
    ("vgg16_bn", "torchvision", "vgg16_bn-6c64b313", 527.866, 0.73360, 0.91516, CENTRE, TORCH),
    ("vgg19", "torchvision", "vgg19-dcbb9e9d", 548.051, 0.72376, 0.90876, CENTRE, TORCH),
    ("vgg19_bn", "torchvision", "vgg19_bn-c79401a0", 548.143, 0.74218, 0.91842, CENTRE, TORCH),
    # It undoes TORCH and reads -1 to 1 (`transform_input`).
    ("googlenet_bn", "torchvision", "googlenet-1378be20", 49.731, 0.69778, 0.89530, CENTRE, TF),
    ("resnet18", "torchvision", "resnet18-f37072fd", 44.661, 0.69758, 0.89078, CENTRE, TORCH),
    ("resnet34", "torchvision", "resnet34-b627a593", 83.275, 0.73314, 0.91420, CENTRE, TORCH),
    ("resnet50_v1_5", "torchvision", "resnet50-0676ba61", 97.781, 0.76130, 0.92862, CENTRE, TORCH),
    ("resnet50_v1_5", "torchvision_v2", "resnet50-11ad3fa6", 97.790, 0.80858, 0.95434, CENTRE_232, TORCH),
)  # fmt: skip

# model, tag, name on Hugging Face, top-1, top-5, side of the images these were measured on, part of the image at 224,
# interpolation, licence
TIMM_ROWS = (
    ("vgg11", "timm", "vgg11.tv_in1k", 0.69022, 0.88624, 224, 0.875, "bilinear", BSD),
    ("vgg11_bn", "timm", "vgg11_bn.tv_in1k", 0.70382, 0.89808, 224, 0.875, "bilinear", BSD),
    ("vgg13", "timm", "vgg13.tv_in1k", 0.69932, 0.89250, 224, 0.875, "bilinear", BSD),
    ("vgg13_bn", "timm", "vgg13_bn.tv_in1k", 0.71588, 0.90378, 224, 0.875, "bilinear", BSD),
    ("vgg16", "timm", "vgg16.tv_in1k", 0.71592, 0.90384, 224, 0.875, "bilinear", BSD),
    ("vgg16_bn", "timm", "vgg16_bn.tv_in1k", 0.73370, 0.91514, 224, 0.875, "bilinear", BSD),
    ("vgg19", "timm", "vgg19.tv_in1k", 0.72378, 0.90874, 224, 0.875, "bilinear", BSD),
    ("vgg19_bn", "timm", "vgg19_bn.tv_in1k", 0.74216, 0.91844, 224, 0.875, "bilinear", BSD),
    ("resnet18", "timm", "resnet18.a1_in1k", 0.73158, 0.91026, 288, 0.95, "bicubic", APACHE),
    ("resnet18", "timm_tv", "resnet18.tv_in1k", 0.69760, 0.89070, 224, 0.875, "bilinear", BSD),
    ("resnet34", "timm", "resnet34.a1_in1k", 0.77918, 0.93766, 288, 0.95, "bicubic", APACHE),
    ("resnet34", "timm_tv", "resnet34.tv_in1k", 0.73314, 0.91420, 224, 0.875, "bilinear", BSD),  # torchvision's own
    ("resnet50_v1_5", "timm", "resnet50.a1_in1k", 0.81214, 0.95102, 288, 0.95, "bicubic", APACHE),
    ("resnet50_v1_5", "timm_tv", "resnet50.tv_in1k", 0.76130, 0.92858, 224, 0.875, "bilinear", BSD),
    ("resnet50_v1_5", "timm_tv2", "resnet50.tv2_in1k", 0.80850, 0.95434, 224, 0.965, "bilinear", BSD),
)  # fmt: skip


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 names of ILSVRC 2012, in the order of the outputs of every published network."""
    return tuple(line.split(" ", 1)[1] for line in CLASSES.read_text(encoding="utf-8").splitlines())


def _row(model: str, tag: str, top_1: float, top_5: float, *, measured: str = "", **values: Any) -> WeightSpec:
    metrics = {f"top-1 accuracy{measured}": top_1, f"top-5 accuracy{measured}": top_5}
    return WeightSpec(model, tag, metrics=metrics, classes=imagenet_classes(), data=DATA, **values)


# {how the names of keras.applications' networks begin: what their weights learned from, as preprocess= says it}; the
# others scale images themselves.
KERAS_LEARNED_FROM = {
    "resnet50v2": "-1-1", "resnet101v2": "-1-1", "resnet152v2": "-1-1", "resnet50": "caffe", "resnet101": "caffe",
    "resnet152": "caffe", "vgg16": "caffe", "vgg19": "caffe", "densenet": "torch", "inception": "-1-1",
    "xception": "-1-1", "mobilenet_1": "-1-1", "mobilenet_0": "-1-1", "mobilenetv2": "-1-1", "NASNet": "-1-1",
}  # fmt: skip


def _bytes(megabytes: float) -> int:
    return round(megabytes * 2**20)


def _keras() -> Iterator[WeightSpec]:
    for model, path, md5, megabytes, top_1, top_5, inputs, licence in KERAS_ROWS:
        yield _row(
            model,
            "imagenet",
            top_1,
            top_5,
            url=f"{KERAS}/{path}_weights_tf_dim_ordering_tf_kernels.h5",
            checksum=f"md5:{md5}",
            size=_bytes(megabytes),
            inputs=replace(inputs, size=(299, 299)) if model == "inception_v3" else inputs,
            licence=licence,
            source="keras.applications; accuracy as in https://keras.io/api/applications",
        )


def _torchvision() -> Iterator[WeightSpec]:
    for model, tag, file, megabytes, top_1, top_5, crop, inputs in TORCHVISION_ROWS:
        yield _row(
            model,
            tag,
            top_1,
            top_5,
            url=f"{TORCHVISION}/{file}.pth",
            checksum=f"sha256:{file[-8:]}",
            size=_bytes(megabytes),
            inputs=replace(inputs, crop=crop),
            licence=BSD,
            source=f"torchvision's IMAGENET1K_V{2 if tag == 'torchvision_v2' else 1}; accuracy as in torchvision 0.28",
        )


def _timm() -> Iterator[WeightSpec]:
    for model, tag, name, top_1, top_5, side, crop, interpolation, licence in TIMM_ROWS:
        numbers = "torchvision 0.28" if name == "resnet34.tv_in1k" else "timm's results-imagenet.csv"  # which lacks it
        yield _row(
            model,
            tag,
            top_1,
            top_5,
            measured="" if side == 224 else f" at {side}x{side}",
            url=f"hf://timm/{name}",
            checksum=None,
            size=None,
            inputs=replace(TORCH, crop=crop, interpolation=interpolation),
            licence=licence,
            source=f"timm's {name}; accuracy as in {numbers}",
        )


ORIGINS: tuple[WeightSpec, ...] = (*_keras(), *_torchvision(), *_timm())
