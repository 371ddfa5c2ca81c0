"""keras.applications' conventions: what a network is fed, and what its outputs mean."""

import keras
import numpy as np
import pytest

import kzoo

RAW = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), "uint8")


@pytest.mark.parametrize(
    ("name", "module"),
    [("vgg16", "vgg16"), ("resnet50", "resnet"), ("resnet50_v2", "resnet_v2"), ("resnet152", "resnet")],
)
def test_preprocess_input_is_keras_applications(name, module):
    expected = getattr(keras.applications, module).preprocess_input(RAW.astype("float32"))
    np.testing.assert_allclose(kzoo.preprocess_input(RAW, name), expected, atol=1e-4)


def test_preprocess_input_of_torchvisions_networks():
    expected = keras.applications.imagenet_utils.preprocess_input(RAW.astype("float32"), mode="torch")
    for name in ("resnet18", "vgg16_bn", "alexnet_one_tower"):
        np.testing.assert_allclose(kzoo.preprocess_input(RAW, name), expected, atol=1e-5)
    expected = keras.applications.imagenet_utils.preprocess_input(RAW.astype("float32"), mode="tf")
    np.testing.assert_allclose(kzoo.preprocess_input(RAW, "googlenet_bn"), expected, atol=1e-5)  # transform_input there


def test_preprocess_input_follows_the_model():
    """At the size and the channels that the model was built with."""
    model = kzoo.resnet18(input_shape=(48, 64, 1), classes=3)
    assert kzoo.preprocess_input(RAW, model).shape == (2, 48, 64, 1)
    assert kzoo.preprocess_input(RAW[0], "inception_v3").shape == (299, 299, 3)


def test_decode_predictions():
    scores = np.zeros((2, 1000), "float32")
    scores[0, 1], scores[0, 999], scores[1, 281] = 0.7, 0.3, 1.0
    first, second = kzoo.decode_predictions(scores, "vgg16", top=2)
    assert (first.labels, first.class_ids) == (("goldfish", "toilet tissue"), (1, 999))
    assert first.scores == pytest.approx((0.7, 0.3))
    assert second.labels[0].startswith("tabby")
    published = kzoo.create_model("resnet20", weights="cifar10")
    assert kzoo.decode_predictions(np.eye(10)[[3]], published, top=1)[0].labels == ("cat",)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kzoo.preprocess_input(RAW, "transformer"), "transformer reads no images"),
        (lambda: kzoo.preprocess_input(np.zeros((2, 5)), "vgg16"), r"images must be numbers .* float64 \[2, 5\]"),
        (lambda: kzoo.preprocess_input(RAW, "vgg61"), "unknown model 'vgg61'; did you mean .*'vgg16'"),
        (lambda: kzoo.preprocess_input(RAW, keras.Sequential(name="mine")), "'mine' is none of kzoo's models"),
        (lambda: kzoo.decode_predictions(np.zeros((1, 9)), "vgg16"), r"scores must be numbers \[n, 1000\] .* \[1, 9\]"),
        (lambda: kzoo.decode_predictions(np.zeros((1, 10)), "resnet20"), "classes of resnet20 have no names"),
        (lambda: kzoo.decode_predictions(np.zeros((1, 1000)), "vgg16", top=0), "top must be"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(call, message):
    with pytest.raises(kzoo.KzooError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
