"""Arrays of images in any usual numbers: one decision for a set, said; an error where they could be anything."""

import numpy as np
import pytest

import kzoo
from kzoo.inputs import NUMBERS, numbers_of, range_of

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
    numbers = numbers_of([range_of(images)], "the images")
    assert bool(numbers) == bool(said)
    if numbers:
        assert NUMBERS[numbers].said.startswith(said)
    found = np.asarray(NUMBERS[numbers].to_bytes(images)) if numbers else images
    np.testing.assert_allclose(found, BYTES, atol=2e-3)


def test_true_and_false():
    assert numbers_of([range_of(BYTES > 127)], "the images") == "bits"
    assert set(np.unique(NUMBERS["bits"].to_bytes(BYTES > 127))) == {0, 255}


def test_what_was_learned_from_goes_first_where_it_can():
    signed, unit = BYTES / 127.5 - 1, BYTES / 255.0
    assert numbers_of([range_of(unit)], "x", "-1 to 1") == "-1 to 1"
    assert numbers_of([range_of(signed)], "x", "0 to 1") == "-1 to 1"
    assert numbers_of([range_of(BYTES)], "x", "-1 to 1") == numbers_of([range_of(BYTES * 1.0)], "x", "0 to 1") == ""
    assert numbers_of([range_of(BYTES.astype("uint16"))], "x", "16 bits") == "16 bits"
    assert numbers_of([range_of(BYTES > 127)], "x", "-1 to 1") == "bits"
    assert numbers_of([range_of(BYTES.astype("int64"))], "x", "16 bits") == ""


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ((BYTES - 120.0) / 60, "the images reach from -2 to 2.25: give pixels in 0 to 255 .*, not standardised"),
        (BYTES * 12.0, "reach from 0 to 3060"),
        (BYTES.astype("int64") - 3, "reach from -3 to 252"),
        (BYTES.astype("uint16") * 10, "reach from 0 to 2550"),
        (np.where(BYTES == 255, np.nan, BYTES), "the images hold nan or infinite numbers"),
        (np.where(BYTES == 255, np.inf, BYTES), "the images hold nan or infinite numbers"),
        (BYTES // 128, "are 0 and 1 alone, as whole numbers: give them as True and False, or times 255"),
    ],
)
def test_numbers_that_could_be_anything(images, says):
    with pytest.raises(kzoo.KzooError, match=says):
        numbers_of([range_of(images)], "the images")


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


@pytest.mark.parametrize(
    "form",
    ["-1 to 1", *(pytest.param(form, marks=pytest.mark.slow) for form in ("0 to a little more than 1", "16 bits"))],
)
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


@pytest.mark.parametrize(
    "kind",
    [
        "rescaling",
        "in the graph",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("normalization", "nested")),
    ],
)
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


@pytest.mark.slow
def test_a_run_keeps_what_its_pixels_were(tmp_path):
    """Of -1 to 1, some have no number below 0: taken for 0 to 1 they would all be too bright. So in the export."""
    signed = (BYTES / 127.5 - 1).astype("float32")
    run = kzoo.fit("lenet5", kzoo.Data((signed, Y)), epochs=1, verbose=False, run_dir=tmp_path / "run")
    bright = np.clip(signed[:4], 0, 1)
    again = kzoo.export(run, tmp_path / "out").path.parent
    scores = lambda model, images: [sorted(zip(p.labels, p.scores, strict=True)) for p in kzoo.predict(model, images)]
    for model in (run, run.path, run.path / "model.keras", again):
        for found, wanted in zip(scores(model, bright), scores(model, (bright + 1) * 127.5), strict=True):
            assert [s for _, s in found] == pytest.approx([s for _, s in wanted], abs=1e-4)
    found = kzoo.evaluate(run.path, kzoo.Data((bright, Y[:4]), test=(bright, Y[:4])))
    assert "pixels of -1 to 1 are rescaled to 0 to 255" in found.notes
    tuned = kzoo.fine_tune(
        run, kzoo.Data((signed, np.array(["a", "b"])[Y]), validation=(signed, np.array(["a", "b"])[Y])), epochs=1,
        verbose=False, run_dir=tmp_path / "tuned",
    )  # fmt: skip
    assert kzoo.load_model(tuned.path).kzoo_info.inputs.numbers == "-1 to 1"


FORMS_OF_OWN = {
    "0-255": lambda x: x,
    "0-1": lambda x: x / 255,
    "-1-1": lambda x: x / 127.5 - 1,
    "torch": lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "caffe": lambda x: x[..., ::-1] - [103.939, 116.779, 123.68],
}


@pytest.mark.parametrize("form", FORMS_OF_OWN)
def test_what_the_user_says(form, tmp_path):
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.SGD(1e-6), "sparse_categorical_crossentropy")
    rgb = np.repeat(BYTES, 3, axis=-1)
    rgb[..., 1] //= 2
    run = kzoo.fit(model, kzoo.Data((rgb, Y)), epochs=1, verbose=False, preprocess=form, run_dir=tmp_path / "run")
    assert "as you say" in run.plan.input
    expected = model.predict(FORMS_OF_OWN[form](rgb[:3].astype("float64")).astype("float32"), verbose=0)
    for source in (run, run.path):
        for answer, scores in zip(kzoo.predict(source, rgb[:3]), expected, strict=True):
            np.testing.assert_allclose(sorted(answer.scores), sorted(scores), rtol=1e-3, atol=1e-6)


def test_arithmetic_in_a_call_is_seen():
    import keras
    import tensorflow as tf

    class Net(keras.Model):
        def __init__(self, scale):
            super().__init__()
            self.scale, self.flat, self.dense = scale, keras.layers.Flatten(), keras.layers.Dense(2, "softmax")

        def call(self, x):
            return self.dense(self.flat(x / 127.5 - 1.0 if self.scale else x))

    def net(scale):
        model = Net(scale)
        model(np.zeros((1, 8, 8, 1), "float32"))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    data, layers = kzoo.Data((BYTES, Y)), keras.layers
    for model, seen in (
        (own(layers.Lambda(lambda x: x / 255)), True), (net(True), True), (net(False), False),
        (own(layers.Lambda(lambda x: tf.image.flip_left_right(x))), False), (own(layers.BatchNormalization()), False),
        (own(layers.Lambda(lambda x: keras.applications.mobilenet_v2.preprocess_input(x))), True),
    ):  # fmt: skip
        run = kzoo.fit(model, data, epochs=1, verbose=False)
        assert ("of the model scales them" in run.plan.input) == seen, run.plan.input


def test_what_nobody_sees_is_asked_for():
    import keras
    import tensorflow as tf

    def closed():
        python = lambda x: tf.ensure_shape(tf.numpy_function(lambda a: a / 255, [x], tf.float32), x.shape)
        return own(keras.layers.Lambda(python, output_shape=(8, 8, 1)))

    with pytest.raises(kzoo.KzooError, match="may scale the images.*preprocess='0-255'"):
        kzoo.fit(closed(), kzoo.Data((BYTES, Y)), epochs=1)
    run = kzoo.fit(closed(), kzoo.Data((BYTES, Y)), epochs=1, verbose=False, preprocess="0-255", xla="off")
    assert "* 1 (as you say)" in run.plan.input
    for model, data, options, says in (
        ("lenet5", "digits", {}, "is for models of your own; lenet5 knows what it reads"),
        (own(), (BYTES.astype("float32"), Y), {}, "arrays and datasets of yours are fed as they are"),
        (own(), kzoo.Data((BYTES, Y)), {"preprocess": "caffe"}, "is for RGB images; .* takes 1 channels"),
    ):
        with pytest.raises(kzoo.KzooError, match=says):
            kzoo.fit(model, data, **{"preprocess": "0-1", **options}, epochs=1)


@pytest.mark.slow
def test_networks_of_keras_applications_are_given_what_they_learned_from():
    import keras

    from kzoo.tasks.image_classification import application_in
    from kzoo.weights import KERAS_LEARNED_FROM

    for kind, form in (
        (keras.applications.ResNet50, "caffe"), (keras.applications.ResNet50V2, "-1-1"),
        (keras.applications.DenseNet121, "torch"), (keras.applications.MobileNetV2, "-1-1"),
    ):  # fmt: skip
        base = kind(weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg")
        model = keras.Sequential([base, keras.layers.Dense(2, "softmax")])
        assert KERAS_LEARNED_FROM[application_in(model)] == KERAS_LEARNED_FROM[application_in(base)] == form
        images = np.repeat(np.repeat(np.repeat(BYTES[:8], 3, -1), 4, 1), 4, 2)
    model.compile("sgd", "sparse_categorical_crossentropy")
    run = kzoo.fit(model, kzoo.Data((images, Y[:8])), epochs=1, verbose=False)
    assert "as mobilenetv2 of keras.applications is given them" in run.plan.input


def test_predict_says_what_it_did_and_that_ink_may_be_inverted(trained, tmp_path, capsys):
    from PIL import Image

    digits = [x for x, _ in kzoo.load_data("digits").test.take(3).as_numpy_iterator()]
    for k, x in enumerate(digits):
        Image.fromarray(x[..., 0]).save(tmp_path / f"like{k}.png")
        Image.fromarray(255 - x[..., 0]).convert("RGB").resize((60, 60 + k)).save(tmp_path / f"other{k}.png")
    for model in (trained, trained.path, "lenet5@mnist"):
        kzoo.predict(model, [tmp_path / f"like{k}.png" for k in range(3)])
        assert capsys.readouterr().err.splitlines() == ["images are resized from 8x8 to 28x28"]
        kzoo.predict(model, [tmp_path / f"other{k}.png" for k in range(3)])
        sizes, grey, ink = capsys.readouterr().err.splitlines()
        assert sizes == "images are resized from their own sizes to 28x28"
        assert grey == "images are converted from RGB to grey"
        assert ink.startswith("3 of 3 images have a light ground, and it learned from a dark one: likely the ink is")
        kzoo.predict(model, 255 - np.stack(digits))
        assert "3 of 3 images have a light ground" in capsys.readouterr().err


def test_parts_in_different_scales():
    unit = BYTES[:20] / np.float32(255)
    with pytest.raises(kzoo.KzooError, match="reach to 1 in one part and to 255 in another; give all parts in one"):
        kzoo.Data((unit, Y[:20]), test=(BYTES[20:].astype("float32"), Y[20:])).in_bytes()
