"""Arrays of images in any usual numbers: one decision for a set, said; an error where they could be anything."""

import numpy as np
import pytest

import kzoo
from kzoo.inputs import range_of, to_bytes_of

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 8, 8, 1), dtype="uint8")
BYTES[0, 0, 0], BYTES[0, 0, 1] = 0, 255
Y = np.arange(40) % 2
FORMS = {
    "bytes": (BYTES, ""),
    "floats of bytes": (BYTES.astype("float32"), ""),
    "whole numbers": (BYTES.astype("int64"), ""),
    "0 to 1": (BYTES / np.float32(255), "pixels of 0 to 1 are rescaled to 0 to 255"),
    "0 to a little more than 1": (BYTES / np.float32(255) * np.float32(1.0000002), "pixels of 0 to 1"),
    "-1 to 1": (BYTES / np.float64(127.5) - 1, "pixels of -1 to 1 are rescaled to 0 to 255"),
    "16 bits": (BYTES.astype("uint16") * 257, "pixels of 16 bits are divided by 257"),
}


@pytest.mark.parametrize("form", FORMS)
def test_numbers_that_are_used(form):
    images, said = FORMS[form]
    change, told = to_bytes_of([range_of(images)], "the images")
    assert told.startswith(said) and bool(told) == bool(said)
    found = images if change is None else np.asarray(change(images))
    np.testing.assert_allclose(found, BYTES, atol=2e-3)


def test_true_and_false():
    change, told = to_bytes_of([range_of(BYTES > 127)], "the images")
    assert set(np.unique(change(BYTES > 127))) == {0, 255} and "false and true" in told


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ((BYTES - 120.0) / 60, "the images reach from -2 to 2.25: give pixels in 0 to 255 .*, not standardised"),
        (BYTES * 12.0, "reach from 0 to 3060"),
        (BYTES.astype("int64") - 3, "reach from -3 to 252"),
        (BYTES.astype("uint16") * 10, "reach from 0 to 2550"),
        (np.where(BYTES == 255, np.nan, BYTES), "the images hold nan or infinite numbers"),
        (np.where(BYTES == 255, np.inf, BYTES), "the images hold nan or infinite numbers"),
    ],
)
def test_numbers_that_could_be_anything(images, says):
    with pytest.raises(kzoo.KzooError, match=says):
        to_bytes_of([range_of(images)], "the images")


def test_one_decision_for_a_set(tmp_path):
    """A single value of one part would have decided otherwise."""
    x = BYTES / np.float32(255)
    dark, bright = x[:20] * 0.5, x[20:].copy()
    bright[0, 0, 0] = 1.0000002
    np.savez(tmp_path / "set.npz", x_train=dark, y_train=Y[:20], x_test=bright, y_test=Y[20:])
    whole = kzoo.load_data(tmp_path / "set.npz", validation=0)
    given = kzoo.Data((dark, Y[:20]), test=(bright, Y[20:])).in_bytes()
    for data in (whole, given):
        assert "pixels of 0 to 1 are rescaled to 0 to 255" in data.info.notes
        for split, images in (("train", dark), ("test", bright)):
            found = np.stack([image for image, _ in data[split].as_numpy_iterator()])
            np.testing.assert_allclose(found, np.clip(images * 255, 0, 255), atol=1e-3)


@pytest.mark.parametrize("form", ["0 to a little more than 1", "-1 to 1", "16 bits"])
def test_the_same_everywhere(form):
    """Training, evaluation and answers of arrays in any numbers are those of bytes."""
    images, said = FORMS[form]

    def scores(images):
        data = kzoo.Data((images, Y), test=(images, Y))
        run = kzoo.fit("lenet5", data, epochs=1, batch_size=8, verbose=False)
        return (
            run,
            kzoo.evaluate(run, data),
            np.array([sorted(zip(p.labels, p.scores, strict=True)) for p in kzoo.predict(run, images)])[..., 1].astype(
                float
            ),
        )

    (run, found, answers), (_, expected, wanted) = scores(images), scores(BYTES)
    np.testing.assert_allclose(answers, wanted, atol=2e-4)
    assert found.accuracy == expected.accuracy
    assert bool(said) == any(note.startswith(said) for note in run.plan.notes if said)


def test_what_could_be_anything_is_refused_before_a_run(tmp_path):
    standard = (BYTES - 120.0) / 60
    both = (standard, np.array(["a", "b"])[Y])
    named = kzoo.Data(both, validation=both)
    for call in (
        lambda: kzoo.fit("lenet5", kzoo.Data((standard, Y)), run_dir=tmp_path / "run"),
        lambda: kzoo.predict(kzoo.lenet5(weights="mnist"), standard),
        lambda: kzoo.evaluate("lenet5@mnist", kzoo.Data((BYTES, Y), test=(standard, Y))),
        lambda: kzoo.fine_tune("lenet5", named, weights="mnist", run_dir=tmp_path / "run"),
    ):
        with pytest.raises(kzoo.KzooError, match="not standardised"):
            call()
    assert not (tmp_path / "run").exists()


def own(*before):
    import keras

    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *before, keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def test_arrays_are_fed_to_an_own_model_as_they_are():
    standard = (BYTES - 120.0) / 60
    run = kzoo.fit(own(), (standard, Y), epochs=1, verbose=False)
    assert not any("pixels" in note for note in run.plan.notes)
    with pytest.raises(kzoo.KzooError, match=r"goes in as arrays, \(x, y\)"):
        kzoo.fit(own(), kzoo.Data((standard, Y)), epochs=1)


def scaled(kind):
    import keras
    from keras import layers

    if kind == "rescaling":
        return own(layers.Rescaling(1 / 255)), "rescaling"
    if kind == "normalization":
        return own(layers.Normalization(mean=127.5, variance=127.5**2)), "normalization"
    if kind == "nested":
        inner = keras.Sequential([keras.Input((8, 8, 1)), layers.Rescaling(1 / 127.5, -1), layers.Conv2D(2, 3)])
        return own(inner), "rescaling"
    x = keras.Input((8, 8, 1))
    y = layers.Dense(2, "softmax")(layers.Flatten()(keras.applications.mobilenet_v2.preprocess_input(x)))
    model = keras.Model(x, y)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model, "true_divide"


@pytest.mark.parametrize("kind", ["rescaling", "normalization", "nested", "in the graph"])
def test_a_model_that_scales_is_given_bytes(kind, tmp_path):
    """Scaled twice, its images would be almost black; so in the export."""
    import serving
    from PIL import Image

    model, name = scaled(kind)
    run = kzoo.fit(model, kzoo.Data((BYTES, Y)), epochs=1, verbose=False, run_dir=tmp_path / "run")
    assert f"in 0 to 255: {name}" in run.plan.input and "of the model scales them" in run.plan.input
    expected = model.predict(BYTES[:3].astype("float32"), verbose=0)
    for source in (run, run.path):
        for answer, scores in zip(kzoo.predict(source, BYTES[:3]), expected, strict=True):
            np.testing.assert_allclose(sorted(answer.scores), sorted(scores), rtol=1e-5)
    Image.fromarray(BYTES[0, ..., 0]).save(tmp_path / "0.png")
    export = kzoo.export(run.path, tmp_path / "out")
    found = serving.served(export.path, "serve_bytes", bytes=[{"file": str(tmp_path / "0.png")}])
    np.testing.assert_allclose(sorted(found["scores"][0]), sorted(expected[0]), rtol=1e-4)


def test_what_scales_nothing_is_scaled():
    from keras import layers

    for before in ((), (layers.Conv2D(2, 3), layers.Rescaling(2.0)), (layers.RandomFlip(),)):
        run = kzoo.fit(own(*before), kzoo.Data((BYTES, Y)), epochs=1, verbose=False)
        assert "kzoo's default for images" in run.plan.input


def test_networks_of_keras_applications():
    import keras

    from kzoo.tasks.image_classification import own_scaling

    make = lambda kind, **options: kind(weights=None, input_shape=(64, 64, 3), classes=2, **options)
    for kind in (
        keras.applications.MobileNetV3Small,
        keras.applications.EfficientNetB0,
        keras.applications.ConvNeXtTiny,
    ):
        assert own_scaling(make(kind)), kind.__name__
    assert not own_scaling(make(keras.applications.MobileNetV3Small, include_preprocessing=False))
    assert not own_scaling(make(keras.applications.ResNet50))
