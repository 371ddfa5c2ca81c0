"""Exports: signatures, versions, what stands in the folder, what is refused."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from crosses import one_style
from PIL import Image
from serving import served

import kzoo
import kzoo.exporting.saved_model
from kzoo.runs import newest_version


def test_signatures_by_name(trained, tmp_path):
    found = kzoo.export(trained, tmp_path / "out")
    loaded = tf.saved_model.load(str(found.path))
    assert set(loaded.signatures) == {"serving_default", "serve_bytes", "features"}
    x = np.random.default_rng(0).random((2, 28, 28, 1), dtype="float32")
    out = loaded.signatures["serving_default"](image=tf.constant(x))
    np.testing.assert_allclose(out["output"], trained.model.predict_on_batch(x), atol=1e-6)
    features = loaded.signatures["features"](image=tf.constant(x))["features"]
    head = trained.model.get_layer("output")
    np.testing.assert_allclose(head(features), out["output"], atol=1e-6)
    assert found.difference <= 1e-6
    for signature, output, expected in (
        ("serving_default", "output", out["output"]),
        ("features", "features", features),
    ):
        alone = served(found.path, signature, image=x.tolist())[output]  # by a process without kzoo
        np.testing.assert_allclose(alone, expected, atol=1e-6)


def test_bytes_of_many_kinds_and_sizes_in_one_batch(trained, tmp_path):
    rng = np.random.default_rng(0)
    files = []
    for k, (mode, size, suffix) in enumerate([("L", (8, 8), "png"), ("RGB", (50, 31), "png"), ("RGB", (40, 40), "bmp"),
                                              ("RGB", (33, 20), "jpg"), ("RGBA", (28, 28), "png")]):  # fmt: skip
        shape = size if mode == "L" else (*size, len(mode))
        Image.fromarray(rng.integers(0, 256, shape, dtype="uint8"), mode=None).save(tmp_path / f"{k}.{suffix}")
        files.append(tmp_path / f"{k}.{suffix}")
    found = kzoo.export(trained, tmp_path / "out")
    serve = tf.saved_model.load(str(found.path))
    out = serve.signatures["serve_bytes"](bytes=tf.constant([f.read_bytes() for f in files]))
    expected = kzoo.predict(trained, files)
    np.testing.assert_allclose(out["scores"], [p.scores for p in expected], atol=1e-5)
    assert [[x.decode() for x in row] for row in out["labels"].numpy()] == [list(p.labels) for p in expected]


def test_what_cannot_be_read_fails_no_other_row(trained, tmp_path):
    export, good = kzoo.export(trained, tmp_path / "out"), tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype="uint8")).save(good)
    half, none, text = tmp_path / "half.png", tmp_path / "none.png", tmp_path / "text.png"
    half.write_bytes(good.read_bytes()[:150])
    none.write_bytes(b"")
    text.write_text("no image")
    alone = served(export.path, "serve_bytes", bytes=[{"file": str(good)}])
    given = [half, good, none, text, good]
    found = served(export.path, "serve_bytes", bytes=[{"file": str(f)} for f in given])
    assert found["valid"] == [False, True, False, False, True]
    for row, valid in enumerate(found["valid"]):
        expected = {k: v[0] for k, v in alone.items()}
        if not valid:
            expected = {"scores": [0.0] * 5, "labels": [""] * 5, "class_ids": [-1] * 5, "valid": False}
        np.testing.assert_allclose(found["scores"][row], expected.pop("scores"), atol=1e-6)
        assert {k: v[row] for k, v in found.items() if k != "scores"} == expected, row
    assert served(export.path, "serve_bytes", bytes=[{"file": str(none)}])["valid"] == [False]
    assert served(export.path, "serve_bytes", bytes=[]) == {k: [] for k in alone}


def test_the_card_tells_of_this_run(tmp_path):
    """Its data, size and score; not where the weights of others of its kind came from."""
    run = kzoo.fit("lenet5", "digits", epochs=1, verbose=False, run_dir=tmp_path / "mine", limit_train_batches=2)
    found = kzoo.evaluate(run)
    card = (kzoo.export(run, tmp_path / "out").path / "card.md").read_text()
    assert "data: digits: 1,295 train" in card and "- Parameters: 61,706" in card
    assert f"evaluated on digits, test, 359 examples: accuracy {found.accuracy:.4f}" in card
    assert "mnist" not in card.lower() and "## Weights" not in card
    assert "TIFF" in card  # what serve_bytes does not read


def test_versions_count_up_and_nothing_else_is_left(trained, tmp_path):
    assert [kzoo.export(trained, tmp_path / "out").path.name for _ in range(2)] == ["1", "2"]
    (tmp_path / "out" / "9").mkdir()
    assert kzoo.export(trained, tmp_path / "out").path.name == "10"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"1", "2", "9", "10"}
    assert newest_version(tmp_path / "out").name == "10"
    info = json.loads((tmp_path / "out" / "1" / "assets.extra" / "kzoo.json").read_text())
    assert info["labels"] == list("0123456789") and info["inputs"]["size"] == [28, 28]
    card = (tmp_path / "out" / "1" / "card.md").read_text()
    assert card.startswith("# lenet5") and "serve_bytes" in card


@pytest.mark.parametrize("style", one_style())
def test_half_precision_gives_float32(style, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = kzoo.lenet5(style=style)
    finally:
        keras.config.set_dtype_policy("float32")
    found = kzoo.export(model, tmp_path / "out")
    out = tf.saved_model.load(str(found.path)).signatures["serving_default"](image=tf.zeros((1, 28, 28, 1)))
    assert out["output"].dtype == tf.float32


def test_a_model_of_your_own(tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Own()
    with pytest.raises(kzoo.KzooError, match="must have inputs of known shapes"):
        kzoo.export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    model(np.zeros((1, 5), "float32"))
    assert kzoo.export(model, tmp_path / "out").difference <= 1e-6


def test_labels_given(tmp_path):
    found = kzoo.export(kzoo.lenet5(classes=2), tmp_path / "out", labels=("good", "bad"))
    out = tf.saved_model.load(str(found.path)).signatures["serve_bytes"]
    png = tf.io.encode_png(tf.zeros((28, 28, 1), tf.uint8)).numpy()
    assert sorted(x.decode() for x in out(bytes=tf.constant([png]))["labels"].numpy()[0]) == ["bad", "good"]


@pytest.mark.parametrize("labels", [("a", "b"), "abcdefghij"])
def test_labels_that_do_not_fit(labels, tmp_path):
    with pytest.raises(kzoo.KzooError, match="labels must name the 10 classes of mlp"):
        kzoo.export(kzoo.mlp(), tmp_path / "out", labels=labels)
    assert not (tmp_path / "out").exists()


def test_an_export_that_differs_is_removed(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(kzoo.exporting.saved_model.TOLERANCE, "float32", -1.0)
    with pytest.raises(kzoo.KzooError, match="the export differs from the model by"):
        kzoo.export(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_refused(trained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(kzoo.KzooError, match="is a file; give a folder"):
        kzoo.export(trained, tmp_path / "file")
    kzoo.export(trained, tmp_path / "out")
    with pytest.raises(kzoo.KzooError, match="is an export already"):
        kzoo.export(tmp_path / "out", tmp_path / "again")
    with pytest.raises(kzoo.KzooError, match="is itself a SavedModel"):
        kzoo.export(trained, tmp_path / "out" / "1")
    with pytest.raises(kzoo.KzooError, match="'nothing' is no run"):
        kzoo.export("nothing", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_foreign_saved_model_says_so(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "foreign"))
    with pytest.raises(kzoo.KzooError, match="not one of kzoo's"):
        kzoo.load_model(tmp_path / "foreign")
