"""What `weights=` names: the table's rows, and files of every source, from a mirror, against the source's model."""

import hashlib
import inspect
import json
import os
import re
import runpy
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
from file_server import File
from keras.src.applications import inception_v3, resnet, vgg16, vgg19
from keras.src.legacy.saving import legacy_h5_format

import kzoo
from kzoo.models import model_info
from kzoo.models.convnet import images
from kzoo.records import CAFFE, TF, TORCH
from kzoo.report import model_card
from kzoo.runs import load
from kzoo.weights import PUBLISHED, resolve, rows_of, table
from kzoo.weights.cache import check_checksum
from kzoo.weights.origins import ORIGINS
from kzoo.weights.table import SHIPPED
from kzoo.zoo import index, model_spec

GOLDEN = Path(__file__).parents[1] / "golden"
RULE = runpy.run_path(str(GOLDEN / "torchvision_values.py"))
VALUES = json.loads((GOLDEN / "torchvision.json").read_text(encoding="utf-8"))
STEP = VALUES["made with"]["step"]
SMALL = {"input_shape": (64, 64, 3), "classifier_activation": None}


@pytest.fixture(autouse=True)
def _cache(cache):
    return cache


def one_line(error, *parts):
    assert "\n" not in str(error.value)
    for part in parts:
        assert re.search(part, str(error.value)), f"{part!r} not in {error.value}"


# The table


@pytest.mark.parametrize("row", ORIGINS, ids=lambda row: f"{row.model}@{row.tag}")
def test_rows_are_whole(row):
    spec = model_spec(row.model)
    assert len(row.classes) == spec.classes == 1000
    assert not row.file and row.url.startswith(("https://", "hf://timm/"))
    assert row.inputs.output_shape == spec.input_shape
    (top_1, top_5) = row.metrics.values()
    assert 0.5 < top_1 < top_5 < 0.97
    assert row.licence and row.source and row.data == "imagenet2012"
    if row.checksum is None:
        assert row.url.startswith("hf://")
    else:
        check_checksum(row.checksum, row.tag)
    if row.size is not None:  # four bytes a parameter, and little more; GoogLeNet's file has its auxiliary heads
        heads = 2 if row.model == "googlenet_bn" else 1.02
        parameters = index()[row.model]["parameters"]
        assert 0.995 < row.size / (4 * parameters) < heads


def test_tags_are_taken_once():
    names = [(row.model, row.tag) for row in PUBLISHED]
    assert len(set(names)) == len(names)
    assert [row.tag for row in PUBLISHED if row in SHIPPED] == ["mnist", "cifar10"]
    assert sum(tag == "imagenet" for _, tag in names) == 9


def test_the_preprocessings_are_those_of_their_lineages():
    assert tuple(images(mode, 224) for mode in ("caffe", "torch", "tf")) == (CAFFE, TORCH, TF)
    for row in ORIGINS:
        plain = replace(row.inputs, crop=None, interpolation="bilinear")
        spec = model_spec(row.model)
        if row.tag == "imagenet":
            assert row.inputs == spec.inputs
        else:
            assert plain == spec.torch_names.inputs
            assert row.inputs.cover[0] in (256, 232, 235)


def test_the_checksums_are_keras_own():
    """As they stand in the sources of the Keras that is installed."""
    stated = {"vgg16": vgg16.VGG16, "vgg19": vgg19.VGG19, "inception_v3": inception_v3.InceptionV3}
    for row in ORIGINS:
        if row.tag != "imagenet":
            continue
        name = row.url.rpartition("/")[2]
        if row.model in stated:
            source = inspect.getsource(stated[row.model])
            assert re.search(rf'"{name}",\s+WEIGHTS_PATH,.*?file_hash="{row.checksum[4:]}"', source, re.S)
            assert row.url == sys.modules[stated[row.model].__module__].WEIGHTS_PATH
        else:
            key = row.model.replace("_", "")
            assert row.checksum == f"md5:{resnet.WEIGHTS_HASHES[key][0]}"
            assert row.url == f"{resnet.BASE_WEIGHTS_PATH}{key}_weights_tf_dim_ordering_tf_kernels.h5"


def test_cards_show_the_rows():
    recipe = kzoo.zoo.model_spec("lenet5").recipe.describe()
    assert f"- Recipe: {recipe}" in model_card("lenet5") and recipe.startswith("sparse_categorical_crossentropy; adam,")
    card = model_card("resnet50_v1_5")
    assert re.findall(r"## Weights `(\w+)`", card) == ["torchvision", "torchvision_v2", "timm", "timm_tv", "timm_tv2"]
    card = model_card("resnet18@torchvision")
    for line in (
        "- Top-1 accuracy: 0.6976",
        "- Preprocessing: 224x224x3, the middle of 256x256, / 255, mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        "- File: https://download.pytorch.org/models/resnet18-f37072fd.pth; 45 MB",
        "- Checksum: sha256:f37072fd",
    ):
        assert f"\n{line}\n" in card
    assert "licence: BSD-3-Clause\n" in card and "ostrich and 990 more\n" in card
    with pytest.raises(kzoo.KzooError, match="unknown weights of lenet5 'imagenet'"):
        model_card("lenet5@imagenet")


# What names mean


def test_names_are_checked_before_anything_is_fetched(server, monkeypatch, tmp_path):
    monkeypatch.setenv("KZOO_WEIGHTS_URL", server.url)
    for model, weights, said in (
        (
            "resnet18",
            "imagenet",
            "unknown weights of resnet18 'imagenet'; allowed: torchvision, timm, timm_tv; or a path",
        ),
        ("resnet50", "imagnet", "did you mean 'imagenet'"),
        ("mlp", "mnist", "none are published yet; give a path, an address or hf://owner/name"),
        ("resnet50", "there/imagenet", r"^weights='there/imagenet': no weight file there$"),
        ("resnet50", Path("imagenet"), r"^weights='imagenet': no weight file there$"),
        ("resnet50", "hf://timm", "is no model on Hugging Face; give hf://owner/name"),
        ("resnet50", "s3://bucket/w.h5", "is no address that kzoo fetches from; it takes https://, http:// and hf://"),
        ("resnet50", "file:///w.h5", "is no address that kzoo fetches from"),
        ("resnet50", f"{server.url}/", "is not the address of a file"),
        ("resnet50", f"{server.url}/w.h5#sha256=abc", "a checksum is sha256: or md5:"),
        ("resnet50", f"{server.url}/w.h5#v1", "a checksum is sha256: or md5:"),
        ("resnet50", 50, "weights must be None, a tag, a path or an address; received 50"),
    ):
        with pytest.raises(kzoo.KzooError) as error:
            resolve(model, weights)
        one_line(error, said)
    (tmp_path / "page.h5").write_text("<html>")
    with pytest.raises(kzoo.KzooError, match="^weights='page.h5' is a web page"):
        resolve("resnet50", "page.h5")
    assert server.asked == []


def test_what_only_pytorch_reads_is_not_fetched_without_it(server, monkeypatch):
    monkeypatch.setenv("KZOO_WEIGHTS_URL", server.url)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for model, weights, said in (
        (
            "resnet18",
            "torchvision",
            "resnet18-f37072fd.pth is PyTorch's own format.*; take 'timm' or 'timm_tv', or pip",
        ),
        ("vgg16", "torchvision", "take 'imagenet' or 'timm', or pip install torch"),
        ("googlenet_bn", "torchvision", "take a .safetensors or .h5 file, or pip install torch"),
        ("resnet18", "https://example.org/w.bin", "w.bin is PyTorch's own format"),
        ("resnet18", "hf://a/b/pytorch_model.bin", "pytorch_model.bin is PyTorch's own format"),
    ):
        with pytest.raises(kzoo.KzooError) as error:
            resolve(model, weights)
        one_line(error, said)
    assert server.asked == []


def test_addresses(monkeypatch):
    digits = "AB" * 32
    found = resolve("resnet18", f"https://example.org/w.safetensors#sha256={digits}")
    assert (found.url, found.checksum) == ("https://example.org/w.safetensors", f"sha256:{digits.lower()}")
    assert (found.row, found.inputs, found.classes) == (None, None, None)
    assert resolve("resnet18", "hf://me/net@v1/a/b.safetensors").url == (
        "https://huggingface.co/me/net/resolve/v1/a/b.safetensors"
    )
    assert resolve("resnet18", "https://me:key@example.org/w.h5?token=1#md5=12345678").label == (
        "weights='https://example.org/w.h5'"
    )
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    rows = rows_of("resnet18")
    for name in ("hf://timm/resnet18.a1_in1k", "hf://timm/resnet18.a1_in1k@main/model.safetensors", "timm"):
        found = resolve("resnet18", name)
        assert found.url == "https://mirror.example/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
        assert found.row == rows["timm"] and found.classes[0] == "tench"
    assert resolve("resnet18", "hf://timm/resnet18.a1_in1k@v1").row is None
    assert resolve("resnet34", "hf://timm/resnet18.a1_in1k").row is None, "known of another model"
    known = rows_of("resnet50")["imagenet"]
    assert resolve("resnet50", known.url).row == known and resolve("resnet50", known.url).checksum == known.checksum


# Files of the sources, against the source's model


@pytest.fixture
def published(monkeypatch):
    """published(model, tag, checksum): the row with the checksum of a file made here."""

    def change(model, tag, checksum):
        row = replace(rows_of(model)[tag], checksum=checksum)
        others = [r for r in PUBLISHED if (r.model, r.tag) != (model, tag)]
        monkeypatch.setattr(table, "PUBLISHED", (*others, row))
        return row

    return change


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory):
    """{kind: the file of a keras.applications ResNet50 of 1,000 classes}, its images and outputs."""
    rng = np.random.default_rng(0)
    model = keras.applications.ResNet50(weights=None, classes=1000, **SMALL)
    for variable in model.weights:
        uniform = rng.random(variable.shape, "float32")
        if len(variable.shape) > 1:
            uniform = (uniform * 2 - 1) * np.float32(np.sqrt(6 / np.prod(variable.shape[:-1])))
        elif variable.name in ("gamma", "moving_variance"):
            uniform += np.float32(0.5)
        variable.assign(uniform)
    folder = tmp_path_factory.mktemp("keras")
    with h5py.File(folder / "legacy.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    model.save_weights(folder / "new.weights.h5")
    inputs = rng.standard_normal((2, 64, 64, 3), "float32")
    files = {kind: (folder / kind).read_bytes() for kind in ("legacy.h5", "new.weights.h5")}
    for kind in files:
        (folder / kind).unlink()
    return files, inputs, model(inputs).numpy()


@pytest.mark.parametrize("kind", ["legacy.h5", pytest.param("new.weights.h5", marks=pytest.mark.slow)])
def test_keras_applications_files(kind, keras_files, server, published, monkeypatch, capsys):
    """`weights="imagenet"`, of the table's own address, from a mirror: the outputs are the source model's."""
    files, inputs, expected = keras_files
    monkeypatch.setenv("KZOO_WEIGHTS_URL", server.url)
    row = published("resnet50", "imagenet", f"md5:{hashlib.md5(files[kind]).hexdigest()}")
    place = "/" + row.url.removeprefix("https://")
    server.files[place] = File(files[kind], cut=[50_000_000])
    model = kzoo.resnet50(weights="imagenet", **SMALL)
    assert len(server.asked) == 2 and server.asked[1][1].startswith("bytes=")
    assert np.abs(model(inputs).numpy() - expected).max() < 1e-5 * np.abs(expected).max()
    assert model_info(model).labels == row.classes
    said = capsys.readouterr().err
    assert "weights='imagenet': fetched " in said and "layers loaded" not in said
    loaded = load("resnet50@imagenet")  # from the cache, at its own size
    assert loaded.reader.spec == row.inputs and loaded.labels[0] == "tench" and loaded.data == {"name": row.data}
    kernel = loaded.model.get_layer("predictions").kernel.numpy()
    np.testing.assert_array_equal(kernel, model.get_layer("predictions").kernel.numpy())
    assert len(server.asked) == 2 and capsys.readouterr().err == ""


def test_what_keras_has_fetched_is_used(keras_files, server, published, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KZOO_WEIGHTS_URL", server.url)
    file = keras_files[0]["legacy.h5"]
    row = published("resnet50", "imagenet", f"md5:{hashlib.md5(file).hexdigest()}")
    own = tmp_path / "keras" / "models" / row.url.rpartition("/")[2]
    own.parent.mkdir(parents=True)
    own.write_bytes(file)
    assert resolve("resnet50", "imagenet").path() == own and server.asked == []
    with pytest.raises(kzoo.KzooError, match=r"is not there \(404\)"):  # one that the table lacks
        resolve("resnet50", row.url.replace("_kernels", "_kernels_notop")).path()
    own.with_name(own.name.replace("_kernels", "_kernels_notop")).write_bytes(file)
    with pytest.raises(kzoo.KzooError, match=r"is not there \(404\)"):  # nothing vouches for it
        resolve("resnet50", row.url.replace("_kernels", "_kernels_notop")).path()
    own.write_bytes(file[:-1])
    with pytest.raises(kzoo.KzooError, match=r"is not there \(404\); the mirror has no such file"):
        resolve("resnet50", "imagenet").path()
    assert f"weights='imagenet': {str(own)!r} is not the published file, and is left aside\n" in capsys.readouterr().err


@pytest.fixture(scope="module")
def resnet18():
    """The bytes of a state dict of torchvision's ResNet-18, by the rule of the golden values."""
    shapes = VALUES["resnet18"]["state_dict"]
    tensors = {key: RULE["tensor"](key, tuple(shape)) for key, shape in shapes.items()}
    return tensors, safetensors.numpy.save(tensors, metadata={"format": "pt"})


def difference(model):
    """From torchvision's outputs, as a share of the largest."""
    inputs = RULE["images"](64).transpose(0, 2, 3, 1)
    golden = VALUES["resnet18"]
    return np.abs(model(inputs).numpy()[:, ::STEP] - golden["logits"]).max() / golden["scale"]


def test_timm_by_tag(resnet18, server, monkeypatch, capsys):
    """From Hugging Face, whose server names the sha256 of the file that it sends from elsewhere."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    _, data = resnet18
    place = "/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    server.files["/cdn/1"] = File(data)
    server.files[place] = File(redirect=f"{server.url}/cdn/1", linked=f'"{hashlib.sha256(data).hexdigest()}"')
    model = kzoo.resnet18(weights="timm", style="subclass", **SMALL)
    assert difference(model) < 1e-4
    row = rows_of("resnet18")["timm"]
    assert model_info(model).labels == row.classes
    assert model_info(model).inputs == row.inputs.for_model((64, 64, 3), {})
    assert "nothing vouches" not in capsys.readouterr().err
    assert difference(kzoo.resnet18(weights="hf://timm/resnet18.a1_in1k", **SMALL)) < 1e-4
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert difference(kzoo.resnet18(weights="timm", **SMALL)) < 1e-4
    assert [path for path, _ in server.asked] == [place, "/cdn/1"], "once"
    with pytest.raises(kzoo.KzooError, match="^weights='timm_tv': it is not in the cache, and HF_HUB_OFFLINE is set"):
        kzoo.resnet18(weights="timm_tv", **SMALL)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    server.files[place] = replace(server.files[place], linked="0" * 64)
    Path(resolve("resnet18", "timm").path()).unlink()
    with pytest.raises(kzoo.KzooError, match=f"gave a file of sha256 .*, expected {'0' * 64}; it was removed"):
        kzoo.resnet18(weights="timm", **SMALL)


TOLD = {
    "input_size": [3, 160, 160], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "crop_pct": 0.95,
    "interpolation": "bicubic",
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (json.dumps({"architecture": "resnet18", "pretrained_cfg": TOLD}), None),
        (
            json.dumps({"pretrained_cfg": {**TOLD, "interpolation": "random"}}),
            "its config.json does not tell it as timm",
        ),
        ("<html>", "its config.json does not tell it as timm does"),
        (None, "how its images were prepared is not known: http.*config.json is not there"),
    ],
)
def test_a_model_on_hugging_face_that_the_table_lacks(resnet18, server, monkeypatch, capsys, config, said):
    """Its preprocessing is in the config.json that timm writes beside it."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    _, data = resnet18
    digits = hashlib.sha256(data).hexdigest()
    server.files["/me/mine/resolve/v1/model.safetensors"] = File(data, linked=digits)
    if config is not None:
        server.files["/me/mine/resolve/v1/config.json"] = File(config.encode())
    model = kzoo.resnet18(weights="hf://me/mine@v1", **SMALL)
    assert difference(model) < 1e-4
    printed = capsys.readouterr().err
    assert "nothing vouches" not in printed and printed.count("fetch") == 2 + (config is None)
    if said:
        assert re.search(said, printed)
        return
    found = model_info(model).inputs
    assert (found.size, found.mean[0], found.std[0], found.crop) == ((64, 64), 0.5, 0.25, 0.95)
    assert found.interpolation == "bicubic" and "not known" not in printed


def test_an_address(resnet18, server, capsys):
    _, data = resnet18
    server.files["/w.safetensors"] = File(data)
    digits = hashlib.sha256(data).hexdigest()
    model = kzoo.resnet18(weights=f"{server.url}/w.safetensors#sha256={digits}", **SMALL)
    assert difference(model) < 1e-4 and "nothing vouches" not in capsys.readouterr().err
    model = kzoo.resnet18(weights=f"{server.url}/w.safetensors", classes=5, **SMALL)  # from the cache, another head
    assert model.output_shape == (None, 5) and len(server.asked) == 1
    with pytest.raises(kzoo.KzooError, match=r"gave a file of sha256 \w+, expected 0+; it was removed"):
        kzoo.resnet18(weights=f"{server.url}/w.safetensors#sha256={'0' * 64}", **SMALL)


class Tensor(np.ndarray):
    """Enough of torch.Tensor for what kzoo asks of it."""

    detach = float = lambda self: self
    numpy = lambda self: np.asarray(self)


def test_torchvision_by_tag(resnet18, server, published, monkeypatch, tmp_path):
    """A .pth, of the address in the table, by the first digits of its sha256; PyTorch reads it, plain tensors only."""
    tensors, _ = resnet18
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:  # the outer shape; what is inside is for PyTorch
        archive.writestr("model/data.pkl", b"\x80\x02}.")
    data, asked = (tmp_path / "model.pth").read_bytes(), {}

    def load(path, **arguments):
        assert path.read_bytes() == data
        asked.update(arguments)
        return {key: value.view(Tensor) for key, value in tensors.items()}

    torch = types.ModuleType("torch")
    torch.load, torch.Tensor = load, Tensor
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: torch)
    monkeypatch.setenv("KZOO_WEIGHTS_URL", server.url)
    row = published("resnet18", "torchvision", f"sha256:{hashlib.sha256(data).hexdigest()[:8]}")
    server.files["/download.pytorch.org/models/resnet18-f37072fd.pth"] = File(data)
    model = kzoo.resnet18(weights="torchvision", **SMALL)
    assert difference(model) < 1e-4 and asked == {"map_location": "cpu", "weights_only": True}
    assert model_info(model).inputs.crop == 0.875 and model_info(model).labels == row.classes


def test_real_torchvision_file(server, published, monkeypatch, tmp_path, resnet18):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; kzoo does not need it")
    torch.save({key: torch.from_numpy(value) for key, value in resnet18[0].items()}, tmp_path / "w.pth")
    data = (tmp_path / "w.pth").read_bytes()
    monkeypatch.setenv("KZOO_WEIGHTS_URL", server.url)
    published("resnet18", "torchvision", f"sha256:{hashlib.sha256(data).hexdigest()[:8]}")
    server.files["/download.pytorch.org/models/resnet18-f37072fd.pth"] = File(data)
    assert difference(kzoo.resnet18(weights="torchvision", **SMALL)) < 1e-4


@pytest.mark.network
@pytest.mark.parametrize("row", ORIGINS, ids=lambda row: f"{row.model}@{row.tag}")
def test_the_table_is_true(row, monkeypatch):
    """The real files, where PyTorch and room for some gigabytes are: `--network`."""
    if row.url.endswith(".pth"):
        pytest.importorskip("torch", reason="only PyTorch reads it")
    monkeypatch.delenv("XDG_CACHE_HOME")
    path = resolve(row.model, row.tag).path()
    if row.size is not None:
        assert os.path.getsize(path) == pytest.approx(row.size, rel=0.01)
    kzoo.create_model(row.model, weights=row.tag)
