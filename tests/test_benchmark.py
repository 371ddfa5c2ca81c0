"""bench: what it times, for every kind; that it leaves the model as it was; how a step grows."""

import keras
import numpy as np
import pytest
from keras import layers

import kzoo
from kzoo.benching import pytorch

QUICK = {"batch_size": 4, "seconds": 0.02, "rounds": 1}


@pytest.mark.slow
def test_a_name_and_an_opponent():
    found = kzoo.bench("lenet5", against="keras", **QUICK)
    assert found.training > 0 and found.inference > 0 and found.ratio > 0 and found.first_step > 0
    assert found.whole > 0 and found.whole_ratio == pytest.approx(found.whole_fit / found.whole)
    assert {call.name for call in found.calls} == {"kzoo.predict", "export", "Model.predict", "model(x)", "tf.function"}
    assert {call.examples for call in found.calls} == {1, 32} and all(call.p99 >= call.p50 > 0 for call in found.calls)
    assert "steps_per_execution" in str(found) and found.to_config()["calls"][0]["name"] == "kzoo.predict"


@pytest.mark.slow
def test_a_text_model_is_built_as_it_is_asked_for():
    found = kzoo.bench("lstm_classifier_tiny", style="subclass", set={"units": 3}, sweep="tokens", **QUICK)
    assert found.model == "lstm_classifier_tiny (subclass)"


@pytest.mark.parametrize("name", [
    pytest.param("lstm_classifier_tiny", marks=pytest.mark.slow),
    pytest.param("transformer_tiny", marks=pytest.mark.slow),
    pytest.param("gpt_tiny", marks=pytest.mark.slow), "dcgan_tiny",
    *(pytest.param(name, marks=pytest.mark.slow)
      for name in ("googlenet_tiny", "bert_test", "bert_pretraining_test", "word2vec_tiny", "gru_forecaster_tiny")),
])  # fmt: skip
def test_every_kind(name, capsys):
    found = kzoo.bench(name, **QUICK)
    assert "left out" not in (said := capsys.readouterr().err) and "are read" not in said
    assert found.training > 0 and found.whole > 0 and found.calls
    assert (found.inference is None) == (name == "dcgan_tiny")


def test_a_model_is_afterwards_what_it_was():
    model = kzoo.create_model("resnet_tiny")
    model.compile("sgd", "sparse_categorical_crossentropy")
    optimizer, before = model.optimizer, [w.copy() for w in model.get_weights()]
    kzoo.bench(model, **QUICK)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert model.optimizer is optimizer and not optimizer.iterations.numpy()


@pytest.mark.parametrize("reads", ["images", "ids"])
def test_a_model_of_ones_own_that_names_a_class(reads):
    """What it reads is no table, whatever a network of somebody else's counts as."""
    x = inputs = keras.Input((8, 8, 3)) if reads == "images" else keras.Input((8,), dtype="int32")
    x = layers.Conv2D(2, 3)(x) if reads == "images" else layers.Embedding(20, 3)(x)
    model = keras.Model(inputs, layers.Dense(3, "softmax")(layers.Flatten()(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    found = kzoo.bench(model, **QUICK)
    assert found.training > 0


@pytest.mark.parametrize("takes", [dict, list])
def test_a_model_of_ones_own_with_two_inputs_and_outputs(takes):
    a, b = keras.Input((3,), name="a"), keras.Input((4,), name="b")
    x = layers.Concatenate()([a, b])
    model = keras.Model(
        {"a": a, "b": b} if takes is dict else [a, b],
        {"c": layers.Dense(2, "softmax", name="c")(x), "d": layers.Dense(1)(x)},
    )
    model.compile("adam", {"c": "sparse_categorical_crossentropy", "d": "mse"})
    found = kzoo.bench(model, **QUICK)
    assert found.training > 0 and found.unit == "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name, over, values", [
    ("mlp", "batch", (8, 16, 32, 64, 128, 256)),
    pytest.param("resnet_tiny", "size", (16, 32, 48, 64), marks=pytest.mark.slow),
    pytest.param("lstm_classifier_tiny", "tokens", (16, 20), marks=pytest.mark.slow),
])  # fmt: skip
def test_sweeps(name, over, values, tmp_path):
    found = kzoo.bench(name, sweep=over, **QUICK)
    assert tuple(point.value for point in found.points) == values
    assert all(0 < p.least <= p.median <= p.most for p in found.points)
    assert len(str(found).splitlines()) == 2 + len(values)
    assert found.plot(tmp_path / "sweep.png").stat().st_size > 1000


@pytest.mark.slow
def test_beside_pytorch():
    pytest.importorskip("torchvision", reason="PyTorch is not installed")
    found = kzoo.bench("resnet18", size=32, against="torch", set={"classes": 10}, **QUICK)
    assert "PyTorch eager" in found.others and found.ratio > 0 and found.whole_fit is None


STAND_IN = """
import sys
if sys.argv[1] == "no_such":
    sys.exit("nothing of that name")
print("ready", flush=True)
for line in sys.stdin:
    print("done" if line.startswith("eager") else "error: no compiler", flush=True)
"""


def test_what_pytorch_cannot_take_is_said(monkeypatch, tmp_path, capsys):
    """By a stand-in for its process."""
    (tmp_path / "side.py").write_text(STAND_IN)
    monkeypatch.setattr(pytorch, "SIDE", tmp_path / "side.py")
    with pytorch.beside_torch("resnet18", 4, 32, 10, None) as found:
        assert list(found) == ["PyTorch eager"]
        found["PyTorch eager"](3)
    assert "PyTorch, compile: no compiler; left out" in capsys.readouterr().err
    says = "cannot train torchvision's no_such: nothing of that name"
    with pytest.raises(kzoo.KzooError, match=says), pytorch.beside_torch("no_such", 4, 32, 10, None):
        pass


def test_every_namesake_is_a_function(monkeypatch):
    monkeypatch.setattr(pytorch.importlib.util, "find_spec", lambda name: object())
    found = {
        name: pytorch.namesake(name) for name in ("alexnet_one_tower", "vgg11_bn", "googlenet_bn", "resnet50_v1_5")
    }
    assert list(found.values()) == ["alexnet", "vgg11_bn", "googlenet", "resnet50"]


@pytest.mark.parametrize("name, given, message", [
    ("lenet5", {"sweep": "tokens"}, "reads no texts of different lengths"),
    ("transformer_tiny", {"sweep": "size"}, "builds a network of images at several sizes"),
    ("mlp", {"sweep": "replicas", "devices": 2}, "strategies and devices of its own"),
    ("mlp", {"strategy": "multiworker"}, "bench times one process"),
    ("mlp", {"strategy": "mirrored", "devices": ["CPU:0", "CPU:1"], "batch_size": 1}, "less than the 2 replicas"),
    ("no_such", {}, "unknown model"),
    ("mlp_xor", {"size": 32}, "size=32 is of images; 'mlp_xor' reads none"),
    ("lstm_classifier_tiny", {"size": 32}, "is of images"),
    ("lstm_classifier_tiny", {"set": {"units": 0}}, "units must be"),
    ("lenet5", {"against": "torch"}, "torchvision has no lenet5; against='torch' goes with .*resnet18"),
])  # fmt: skip
def test_what_cannot_be_timed(name, given, message):
    with pytest.raises(kzoo.KzooError, match=message):
        kzoo.bench(name, **given)
