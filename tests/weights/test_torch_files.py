"""State dicts of torchvision and timm: outputs against values that torchvision gave, tops, heads, what is refused."""

import json
import os
import pickle
import re
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import kzoo
from kzoo.models import model_info
from kzoo.records import STYLES

GOLDEN = Path(__file__).parents[1] / "golden"
RULE = runpy.run_path(str(GOLDEN / "torchvision_values.py"))
VALUES = json.loads((GOLDEN / "torchvision.json").read_text(encoding="utf-8"))
STEP = VALUES.pop("made with")["step"]

OURS = {"alexnet": "alexnet_one_tower", "googlenet": "googlenet_bn", "resnet50": "resnet50_v1_5"}  # else the same name
# One network of each family by default, ResNet-18 in every style: weights have the same names in all of them.
BY_DEFAULT = {
    "alexnet": ("sequential",),
    "googlenet": ("functional",),
    "resnet18": STYLES,
}
EVERY_STYLE = ("resnet18", "resnet50", "googlenet", "vgg11_bn")  # with --slow; the others: functional


def state_dict(name):
    return {key: RULE["tensor"](key, tuple(shape)) for key, shape in VALUES[name]["state_dict"].items()}


def write(tensors, path):
    """As PyTorch's users do: safetensors.torch.save_file notes this format."""
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    return path


def outputs(model, name):
    images = RULE["images"](VALUES[name]["side"]).transpose(0, 2, 3, 1)
    return model(images).numpy()[:, ::STEP]


def difference(model, name):
    """Largest difference, as a share of the largest logit."""
    return np.abs(outputs(model, name) - VALUES[name]["logits"]).max() / VALUES[name]["scale"]


@pytest.mark.parametrize("name", BY_DEFAULT)
def test_outputs_are_those_of_torchvision(name, tmp_path, capsys):
    compare(name, BY_DEFAULT[name], tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
def test_outputs_of_all_are_those_of_torchvision(name, tmp_path, capsys):
    compare(name, STYLES if name in EVERY_STYLE else ("functional",), tmp_path, capsys)


def compare(name, styles, tmp_path, capsys):
    path, side = write(state_dict(name), tmp_path / "model.safetensors"), VALUES[name]["side"]
    for style in styles:
        model = kzoo.create_model(
            OURS.get(name, name), style=style, input_shape=(side, side, 3), classifier_activation=None, weights=path
        )
        said = capsys.readouterr().err
        if name == "googlenet":
            assert "skipped, in the file only: aux1" in said
        elif name in ("vgg16", "vgg19"):  # of Caffe's preprocessing, where weights are keras.applications'
            assert re.fullmatch(r"weights='.*': images are now prepared as torchvision's networks of .*: .*\n", said)
        else:
            assert said == ""
        mean = (0.5,) if name == "googlenet" else (0.485, 0.456, 0.406)  # torchvision's GoogLeNet reads -1 to 1
        assert model_info(model).inputs.mean == mean
        assert difference(model, name) < 1e-4, style
    path.unlink()


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """torchvision's resnet18 of 1,000 classes."""
    return write(state_dict("resnet18"), tmp_path_factory.mktemp("resnet18") / "resnet18.safetensors")


def test_another_number_of_classes_leaves_the_head_fresh(resnet, capsys):
    model = kzoo.resnet18(weights=resnet, classes=5, input_shape=(64, 64, 3))
    assert "40 layers loaded; skipped, in the file only: predictions; not from the file: predictions" in (
        capsys.readouterr().err
    )
    kernel = RULE["tensor"]("layer4.1.conv2.weight", (512, 512, 3, 3))
    np.testing.assert_array_equal(model.get_layer("conv5_block2_2_conv").kernel.numpy(), kernel.transpose(2, 3, 1, 0))


def test_without_the_top(resnet, capsys):
    kzoo.resnet18(weights=resnet, include_top=False, input_shape=(64, 64, 3), style="subclass")
    assert "40 layers loaded; skipped, in the file only: predictions (a PyTorch" in capsys.readouterr().err


def googlenet(path, keep):
    return write({key: value for key, value in state_dict("googlenet").items() if keep(key)}, path)


def test_auxiliary_heads(tmp_path, capsys):
    """In the file and in the model, in one of them, in neither."""
    whole, plain = (
        googlenet(tmp_path / "whole.safetensors", lambda key: True),
        googlenet(tmp_path / "plain.safetensors", lambda key: not key.startswith("aux")),
    )
    model = kzoo.googlenet_bn(aux=True, input_shape=(96, 96, 3), classifier_activation=None, weights=whole)
    assert "layers loaded" not in capsys.readouterr().err
    fc = RULE["tensor"]("aux2.fc1.weight", (1024, 2048))  # 128 channels of 4 x 4
    np.testing.assert_array_equal(
        model.get_layer("aux2_fc").kernel.numpy(), fc.reshape(1024, 128, 4, 4).transpose(2, 3, 1, 0).reshape(2048, 1024)
    )
    report = kzoo.load_weights(model, plain)
    inside = ("_conv", "_conv_bn", "_fc", "")
    assert set(report.reinitialised) == {f"aux{i}{layer}" for i in (1, 2) for layer in inside}
    assert "not from the file: aux1_conv" in capsys.readouterr().err
    kzoo.googlenet_bn(input_shape=(96, 96, 3), weights=plain)
    assert "layers loaded" not in capsys.readouterr().err
    kzoo.googlenet_bn(aux=True, classes=3, input_shape=(96, 96, 3), weights=whole)
    assert "skipped, in the file only: aux1, aux2, predictions; not from the file:" in capsys.readouterr().err


def timm_vgg(tensors):
    """timm's names: the dense layers are convolutions under `pre_logits`, the last is `head.fc`."""
    renamed = {}
    for key, value in tensors.items():
        module, _, kind = key.rpartition(".")
        name = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}.get(
            module
        )
        if name and name != "head.fc" and kind == "weight":
            channels = 512 if name.endswith("fc1") else 4096
            side = round((value.shape[1] / channels) ** 0.5)
            value = value.reshape(len(value), channels, side, side)
        renamed[f"{name}.{kind}" if name else key] = value
    return renamed


@pytest.mark.slow
def test_timm_names_of_vgg(tmp_path):
    path = write(timm_vgg(state_dict("vgg11")), tmp_path / "vgg.safetensors")
    assert difference(kzoo.vgg11(classifier_activation=None, weights=path), "vgg11") < 1e-4


def test_both_names_of_a_small_vgg(tmp_path, rng):
    """Without batch norm: convolutions, a dense layer behind the flatten of 512 channels, its order of them."""
    small = {"filters": (4, 512), "dense": 4096, "input_shape": (8, 8, 3), "classes": 5}
    source = kzoo.create_model("vgg_tiny", **small)
    places = {"block1_conv1": "features.0", "block2_conv1": "features.3", "block2_conv2": "features.5",
              "fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}  # fmt: skip
    tensors = {}
    for ours, theirs in places.items():
        kernel, bias = source.get_layer(ours).get_weights()
        if ours == "fc1":  # [height, width, channels] here, [channels, height, width] there
            kernel = kernel.reshape(2, 2, 512, -1).transpose(2, 0, 1, 3).reshape(2048, -1)
        tensors[f"{theirs}.weight"] = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        tensors[f"{theirs}.bias"] = bias + rng.random(bias.shape, "float32")
        source.get_layer(ours).bias.assign(tensors[f"{theirs}.bias"])
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    x = rng.random((2, 8, 8, 3), "float32")
    for names in (dict, timm_vgg):
        path = write(names(tensors), tmp_path / "vgg.safetensors")
        np.testing.assert_allclose(kzoo.create_model("vgg_tiny", weights=path, **small)(x), source(x), rtol=1e-5)


def one_line(error, *parts):
    assert "\n" not in str(error.value)
    for part in parts:
        assert re.search(part, str(error.value)), f"{part!r} not in {error.value}"


def test_what_does_not_fit_says_what_would(resnet, tmp_path):
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.load_weights(kzoo.resnet18(input_shape=(64, 64, 1)), resnet)
    one_line(error, r"^the file '.*conv1_conv/kernel is \(7, 7, 3, 64\).*3 channels; give input_shape=\(64, 64, 3\)")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.resnet34(weights=resnet, input_shape=(64, 64, 3))
    one_line(error, r"does not fit the model 'resnet34'.*- conv2_block3_1_bn/beta", r"\(74 more\)")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.vgg_tiny(weights=resnet)
    one_line(error, r"\+ bn1.bias", "it is another model's, .*those with batch norm are vgg11_bn")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.lenet5(weights=resnet)
    one_line(error, "no names for those of lenet; give kzoo's .safetensors or Keras' .h5$")
    tensors = state_dict("resnet18")
    del tensors["fc.weight"], tensors["fc.bias"]
    path = write(tensors, tmp_path / "notop.safetensors")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.resnet18(weights=path, input_shape=(64, 64, 3))
    one_line(error, r"has no top \(predictions\): give include_top=False, or for a fresh top classes=N")
    tensors = {k: v for k, v in tensors.items() if k != "layer1.0.bn1.running_var"}
    path = write(tensors, tmp_path / "part.safetensors")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.resnet18(weights=path, classes=1000, input_shape=(64, 64, 3))
    one_line(error, r"unknown here\): - conv2_block1_1_bn/moving_variance$")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-4], "is not a whole .safetensors file"),
        (lambda data: data[:100], "is not a whole .safetensors file: its header is cut"),
        (
            lambda data: data[:8] + b"{" + b"x" * (len(data) - 9),
            "is not a whole .safetensors file: its header is damaged",
        ),
    ],
)
def test_damaged_safetensors(tmp_path, damage, said):
    path = write({"fc.weight": np.zeros((10, 20), "float32")}, tmp_path / "w.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.resnet_tiny(weights=path)
    one_line(error, "^weights='", said)


class Tensor(np.ndarray):
    """Enough of torch.Tensor for what kzoo asks of it."""

    detach = float = lambda self: self
    numpy = lambda self: np.asarray(self)


def pth(tmp_path):
    """The outer shape of torch.save's files; what is inside is for PyTorch only."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
    return tmp_path / "model.pth"


def test_a_pth_is_read_by_pytorch_alone(tmp_path, monkeypatch):
    """weights_only=True, and what checkpoints wrap around a state dict is taken off."""
    tensors = {f"module.{key}": value.view(Tensor) for key, value in state_dict("resnet18").items()}
    asked = {}

    def load(path, **arguments):
        asked.update(arguments)
        return {"epoch": 3, "state_dict": tensors}

    torch = types.ModuleType("torch")
    torch.load, torch.Tensor = load, Tensor
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: torch)
    model = kzoo.resnet18(weights=pth(tmp_path), input_shape=(64, 64, 3), classifier_activation=None)
    assert asked == {"map_location": "cpu", "weights_only": True}
    assert difference(model, "resnet18") < 1e-4

    torch.load = lambda path, **arguments: {"state_dict": {"optimizer": "sgd"}}
    with pytest.raises(kzoo.KzooError, match="is no state dict of names and tensors; save model.state_dict"):
        kzoo.load_weights(model, pth(tmp_path))

    def refuse(path, **arguments):
        raise RuntimeError("Weights only load failed.\nThis file can still be loaded ...")

    torch.load = refuse
    with pytest.raises(kzoo.KzooError, match="in no other way: Weights only load failed.$"):
        kzoo.load_weights(model, pth(tmp_path))


def test_a_pth_without_pytorch_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for path in (pth(tmp_path), tmp_path / "legacy.pt"):
        path.write_bytes(path.read_bytes() if path.exists() else b"\x80\x02\x8a\x0alF")
        with pytest.raises(kzoo.KzooError) as error:
            kzoo.resnet_tiny(weights=path)
        one_line(error, "^weights='.*only PyTorch reads: pip install torch, or save it as .safetensors")


def test_a_real_pth(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; kzoo does not need it")
    tensors = {key: torch.from_numpy(value) for key, value in state_dict("resnet18").items()}
    torch.save(tensors, tmp_path / "model.pth")
    model = kzoo.resnet18(weights=tmp_path / "model.pth", input_shape=(64, 64, 3), classifier_activation=None)
    assert difference(model, "resnet18") < 1e-4
    for path in (tmp_path / "runs_code.pth", tmp_path / "runs_code.pkl"):
        with path.open("wb") as file:
            (torch.save if path.suffix == ".pth" else pickle.dump)({"fc.weight": RunsCode()}, file)
        with pytest.raises(kzoo.KzooError) as error:
            kzoo.load_weights(model, path)
        one_line(error, "cannot be read by torch.load")
    assert not (tmp_path / "was_run").exists()


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("was_run",)
