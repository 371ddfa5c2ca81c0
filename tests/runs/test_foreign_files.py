"""Models that others made: files of Keras' applications with a head of one's own, whole .h5 files, .keras files that
are given image files, classes that Keras cannot write.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image
from serving import served

import kzoo

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A ResNet-50 of keras.applications with another head, whole and inside a Sequential, in every kind of file; and
    some photographs.
    """
    folder = tmp_path_factory.mktemp("foreign")
    base = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    flat = keras.Model(base.input, layers.Dense(5, "softmax", name="my_head")(base.output))
    nested = keras.Sequential([base, layers.Dense(5, "softmax", name="another")])
    flat.compile("sgd", "sparse_categorical_crossentropy")
    flat.layers[-1].set_weights([w + 0.01 for w in flat.layers[-1].get_weights()])
    for name, model in (("flat", flat), ("nested", nested)):
        for suffix in ("keras", "h5"):
            model.save(folder / f"{name}.{suffix}")
        model.save_weights(folder / f"{name}.weights.h5")
    for k in range(4):
        Image.fromarray(RNG.integers(0, 256, (70, 60, 3), dtype="uint8")).save(folder / f"{k}.png")
    return folder, {"flat": flat, "nested": nested}


ALL = [pytest.param(file, marks=pytest.mark.slow) for file in ("flat.h5", "nested.h5", "nested.weights.h5")]


@pytest.mark.parametrize("file", ["flat.weights.h5", *ALL])
def test_a_head_of_another_name(folder, file):
    folder, models = folder
    x = RNG.random((2, 64, 64, 3), dtype="float32")
    model = kzoo.resnet50(classes=5, input_shape=(64, 64, 3), weights=folder / file)
    theirs = models[file.split(".")[0]]
    np.testing.assert_allclose(model(x), theirs(x), atol=1e-5)
    other = kzoo.resnet50(classes=6, input_shape=(64, 64, 3))  # the head of another number of classes
    with pytest.raises(kzoo.KzooError, match="predictions"):
        kzoo.load_weights(other, folder / file)
    assert kzoo.load_weights(other, folder / file, head="keep").reinitialised == ("predictions",)


def test_a_network_of_another_kind_is_still_refused(folder, tmp_path):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="one"), layers.Dense(5, name="two")])
    model.save(tmp_path / "x.h5")
    with pytest.raises(kzoo.KzooError, match="does not fit"):
        kzoo.resnet50(classes=5, weights=tmp_path / "x.h5")


def test_a_whole_h5(folder, tmp_path):
    folder, _ = folder
    x = RNG.random((4, 8, 8, 1), dtype="float32")
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.save(tmp_path / "whole.h5")
    np.testing.assert_array_equal(kzoo.load_model(tmp_path / "whole.h5")(x), model(x))
    run = kzoo.fit(tmp_path / "whole.h5", (x, np.arange(4)), epochs=1, verbose=False, run_dir=tmp_path / "run")
    assert np.isfinite(run.history["loss"][0])
    with pytest.raises(kzoo.KzooError, match="holds weights alone; give it to a builder"):
        kzoo.load_model(folder / "flat.weights.h5")
    (tmp_path / "bad.h5").write_bytes(b"no file of HDF5")
    with pytest.raises(kzoo.KzooError, match=r"cannot load .*bad\.h5"):
        kzoo.load_model(tmp_path / "bad.h5")


@pytest.mark.slow
def test_image_files_for_a_file_of_ones_own(folder, capsys, tmp_path):
    """VGG of keras.applications learned from Caffe's numbers; so is what begins with it given images, and says it."""
    paths = [folder[0] / f"{k}.png" for k in range(4)]
    file = tmp_path / "mine.keras"
    base = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 5, 4), layers.Flatten()], name="vgg16")
    model = keras.Sequential([base, layers.Dense(5, "softmax")])
    model.save(file)
    images = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths]).astype("float32")
    resized = tf.image.resize(images, (16, 16), antialias=True)
    expected = np.sort(model((resized[..., ::-1] - [103.939, 116.779, 123.68]) / 1), axis=1)
    scores = lambda found: [sorted(p.scores) for p in found]
    np.testing.assert_allclose(scores(kzoo.predict(file, paths)), expected, atol=1e-5)
    assert "as vgg16 of keras.applications is given them; preprocess=… says otherwise" in capsys.readouterr().err
    np.testing.assert_allclose(scores(kzoo.predict(file, paths, preprocess="caffe")), expected, atol=1e-5)
    unit = np.sort(model(resized / 255), axis=1)
    np.testing.assert_allclose(scores(kzoo.predict(file, paths, preprocess="0-1")), unit, atol=1e-5)
    for name in "abcde":
        (tmp_path / "held" / name).mkdir(parents=True)
        Image.open(paths[0]).save(tmp_path / "held" / name / "0.png")
    found = kzoo.evaluate(file, tmp_path / "held")
    assert found.examples == 5 and found.accuracy == pytest.approx(0.2)
    export = kzoo.export(file, tmp_path / "out", preprocess="caffe")
    answers = served(export.path, "serve_bytes", bytes=[{"file": str(p)} for p in paths])
    np.testing.assert_allclose(np.sort(answers["scores"], axis=1), expected, atol=1e-5)
    assert "serve_bytes" not in kzoo.export(file, tmp_path / "bare").signatures


def test_preprocess_where_it_says_nothing(tmp_path):
    rows = keras.Sequential([keras.Input((4,)), layers.Dense(2, "softmax")])
    for model, says in (("lenet5@mnist", "knows what it reads"), (rows, "takes none")):
        with pytest.raises(kzoo.KzooError, match=says):
            kzoo.predict(model, np.zeros((1, 28, 28, 1)), preprocess="0-1")


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.flat, self.dense = layers.Flatten(), layers.Dense(2, "softmax")

    def call(self, x):
        return self.dense(self.flat(x))


class Sized(Net):
    def __init__(self, size):
        super().__init__()
        self.size = size


def sized():
    model = Sized(3)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model(np.zeros((1, 4), "float32"))
    return model


def test_a_class_without_get_config(tmp_path):
    x, y = RNG.random((8, 4), dtype="float32"), np.arange(8) % 2
    model = sized()
    run = kzoo.fit(model, (x, y), epochs=1, verbose=False, run_dir=tmp_path / "run")
    for call in (lambda: kzoo.load_model(run.path), lambda: kzoo.predict(run.path, x)):
        with pytest.raises(kzoo.KzooError, match=r"for Sized has no get_config; .* kzoo.load_model\(run, model=…\)"):
            call()
    np.testing.assert_array_equal(kzoo.load_model(run.path, model=sized())(x), model(x))
    with pytest.raises(kzoo.KzooError, match="call it on a batch first"):
        kzoo.load_model(run.path, model=Sized(3))
    with pytest.raises(kzoo.KzooError, match="give the model, built anew, to resume it"):
        kzoo.fit(resume=run.path, data=(x, y), epochs=2)
    again = kzoo.fit(sized(), (x, y), resume=run.path, epochs=2, verbose=False)
    assert len(again.history["loss"]) == 2


def test_a_class_without_get_config_goes_on_with_what_it_was_trained_by(tmp_path):
    x, y = RNG.random((8, 4), dtype="float32"), np.arange(8) % 2
    made = lambda: (model := Sized(3), model(x))[0]
    how = {"loss": "sparse_categorical_crossentropy", "optimizer": "adam"}
    run = kzoo.fit(made(), (x, y), epochs=1, verbose=False, run_dir=tmp_path / "run", **how)
    again = kzoo.fit(made(), (x, y), resume=run, epochs=2, verbose=False)
    assert len(again.history["loss"]) == 2 and again.plan.optimizer == run.plan.optimizer


def test_a_lambda_of_a_function_is_said_before_and_after(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x), layers.Dense(2, "softmax")])
    x, y = RNG.random((8, 4), dtype="float32"), np.arange(8) % 2
    with pytest.raises(kzoo.KzooError, match="no loss and no optimizer: .* pass loss=…, optimizer=…"):
        kzoo.fit(model, (x, y), epochs=1)
    model.compile("sgd", "sparse_categorical_crossentropy")
    run = kzoo.fit(model, (x, y), epochs=1, verbose=False, run_dir=tmp_path / "run")
    assert any("enable_unsafe_deserialization" in note for note in run.plan.notes)
    with pytest.raises(kzoo.KzooError, match=r"only if you trust the file: call keras\.config\.enable"):
        kzoo.predict(run.path, x)
