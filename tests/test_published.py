"""The published weights: what their rows say is true."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.models import model_info
from kzoo.records import STYLES
from kzoo.weights import FOLDER
from kzoo.weights.table import SHIPPED

NAMES = [f"{row.model}@{row.tag}" for row in SHIPPED]
EXPORTS = Path(__file__).parents[1] / "saved_models"


@pytest.mark.parametrize("row", SHIPPED, ids=NAMES)
def test_the_file_is_the_one_described(row):
    path = FOLDER / row.file
    assert f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == row.checksum
    assert path.stat().st_size == row.size < 5e6
    model = kzoo.create_model(row.model, weights=row.tag)
    assert model.count_params() == row.parameters
    assert model.output_shape[-1] == len(row.classes)
    assert (FOLDER / row.file).with_suffix(".csv").is_file(), "the log of its training"


@pytest.mark.parametrize("name", NAMES)
def test_all_styles_give_the_same(name, rng):
    model, tag = name.split("@")
    images = rng.random((2, *kzoo.create_model(model).input_shape[1:]), dtype="float32")
    outputs = [kzoo.create_model(model, style=s, weights=tag).predict_on_batch(images) for s in STYLES]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-6)
    np.testing.assert_allclose(outputs[0], outputs[2], atol=1e-6)


def accuracy_of(row, *arguments, **keywords):
    """It is the one described: one example may fall to the other side on another processor."""
    found = kzoo.evaluate(f"{row.model}@{row.tag}", *arguments, **keywords)
    assert found.examples == row.metrics["test examples"]
    assert abs(found.accuracy - row.metrics["test accuracy"]) <= 1.5 / found.examples


LONG = ["resnet20@cifar10"]  # 10,000 photographs
ROWS = [
    pytest.param(row, marks=pytest.mark.slow if name in LONG else (), id=name)
    for row, name in zip(SHIPPED, NAMES, strict=True)
]


@pytest.mark.data
@pytest.mark.parametrize("row", ROWS)
def test_the_accuracy_is_the_one_described(row, shared, monkeypatch):
    """On the files that TensorFlow Datasets' set is made of, without writing its 70,000 examples first."""
    if row.data == "mnist":
        return accuracy_of(row, shared / "mnist")
    monkeypatch.syspath_prepend(shared)
    import load

    train, (x, y) = getattr(load, row.data)()
    accuracy_of(row, kzoo.Data(tuple(part[:10] for part in train), test=(x, y.astype("int64"))))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("row", SHIPPED, ids=NAMES)
def test_the_accuracy_is_that_on_the_data_of_its_name(row, tfds_folder):
    accuracy_of(row, row.data, data_dir=str(tfds_folder))


@pytest.mark.data
def test_lenet5_on_mnist_is_as_good_as_promised(shared):
    exported = kzoo.evaluate(EXPORTS / "lenet5_mnist", shared / "mnist")
    assert exported.accuracy >= 0.990


def test_the_committed_export_is_of_the_published_weights(rng):
    images = rng.random((4, 28, 28, 1), dtype="float32")
    loaded = tf.saved_model.load(str(EXPORTS / "lenet5_mnist" / "1"))
    found = loaded.signatures["serving_default"](image=tf.constant(images))["output"].numpy()
    np.testing.assert_allclose(found, kzoo.load_model("lenet5@mnist").predict_on_batch(images), atol=1e-6)
    assert (EXPORTS / "lenet5_mnist" / "1" / "card.md").read_text().startswith("# lenet5@mnist")


def test_without_the_top_the_rest_is_read():
    whole, trunk = kzoo.lenet5(weights="mnist"), kzoo.lenet5(weights="mnist", include_top=False, pooling="avg")
    assert trunk.output_shape == (None, 16)
    np.testing.assert_array_equal(whole.get_layer("c3").get_weights()[0], trunk.get_layer("c3").get_weights()[0])


def test_a_damaged_file_is_refused(monkeypatch, tmp_path):
    row = SHIPPED[0]
    (tmp_path / row.file).write_bytes((FOLDER / row.file).read_bytes()[:-1] + b"\0")
    monkeypatch.setattr("kzoo.weights.table.FOLDER", tmp_path)
    with pytest.raises(kzoo.KzooError, match="is damaged: sha256"):
        kzoo.create_model(row.model, weights=row.tag)


def test_other_classes_than_the_weights_get_a_fresh_head(capsys):
    model = kzoo.lenet5(weights="mnist", classes=5)
    assert "not from the file: output" in capsys.readouterr().err
    assert model.output_shape == (None, 5) and model_info(model).labels is None
    whole = kzoo.lenet5(weights="mnist")
    np.testing.assert_array_equal(model.get_layer("c1").kernel.numpy(), whole.get_layer("c1").kernel.numpy())
    assert model_info(kzoo.lenet5(weights="mnist", classes=10)).labels == model_info(whole).labels
