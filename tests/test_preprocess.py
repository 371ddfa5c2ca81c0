"""Inputs of images: the same values eagerly, inside tf.data and inside a SavedModel; the decoder against Pillow."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kzoo.inputs import decode_image, reader_of
from kzoo.inputs.image import Images, to_channels
from kzoo.records import ImageInputs, from_config

SPECS = {
    "plain": ImageInputs(size=(28, 28), channels=1),
    "padded": ImageInputs(size=(28, 28), channels=1, pad=2, mean=(0.1 / 1.275,), std=(1 / 1.275,)),
    "rgb": ImageInputs(size=(20, 24), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "middle": ImageInputs(size=(28, 28), channels=3, crop=0.875, interpolation="bicubic", order="BGR"),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (31, 40, 3), (9, 9, 4)])
def test_eager_tf_data_and_saved_model_agree(spec, shape, rng, tmp_path):
    """You'd be surprised how much these can differ."""
    reader = Images(spec)
    images = rng.integers(0, 256, (5, *shape), dtype="uint8")
    eager = reader.prepare(images).numpy()
    assert eager.shape == (5, *spec.output_shape) and eager.dtype == np.float32

    batched = next(iter(tf.data.Dataset.from_tensor_slices(images).batch(5).map(reader.prepare)))
    np.testing.assert_allclose(batched, eager, atol=1e-6)
    single = np.stack(list(tf.data.Dataset.from_tensor_slices(images).map(reader.prepare).as_numpy_iterator()))
    np.testing.assert_allclose(single, eager, atol=1e-6)

    module = tf.Module()
    module.call = tf.function(
        lambda x: reader.prepare(x), input_signature=[tf.TensorSpec([None, None, None, shape[2]], tf.uint8)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    np.testing.assert_allclose(tf.saved_model.load(str(tmp_path / "saved")).call(images), eager, atol=1e-6)


def test_values_by_hand():
    out = Images(SPECS["rgb"]).prepare(np.full((20, 24, 3), 255, "uint8")).numpy()
    np.testing.assert_allclose(out[0, 0], (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], rtol=1e-6)
    assert Images(SPECS["plain"]).prepare(np.full((28, 28, 1), 51, "uint8")).numpy().max() == pytest.approx(0.2)


def test_resizing_is_pillows(rng):
    """Bilinear with antialiasing, on float images."""
    image = rng.random((97, 131), dtype="float32") * 255
    expected = np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BILINEAR))
    found = Images(SPECS["plain"]).geometry(image[..., None]).numpy()[..., 0]
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("shape", [(97, 131), (131, 97), (32, 32), (28, 28), (29, 400), (61, 62)])
@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos3"])
def test_the_middle_is_torchvisions(name, shape, rng):
    """Its Resize of the shorter side and CenterCrop, in its arithmetic, on Pillow's float images."""
    image = np.cumsum(rng.random(shape, dtype="float32") - 0.5, axis=1) * 10 + 128
    short, side = int(28 / 0.875), 28
    height, width = shape
    size = (int(short * width / height), short) if height < width else (short, int(short * height / width))  # w, h
    method = {"lanczos3": "LANCZOS"}.get(name, name.upper())
    resized = Image.fromarray(image).resize(size, Image.Resampling[method])
    left, top = (int(round((n - side) / 2.0)) for n in size)
    expected = np.clip(np.asarray(resized.crop((left, top, left + side, top + side))), 0, 255)
    spec = ImageInputs(size=(side, side), channels=1, crop=0.875, interpolation=name)
    found = Images(spec).geometry(image[..., None]).numpy()[..., 0]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_a_middle_that_is_not_square():
    spec = ImageInputs(size=(20, 30), channels=3, crop=0.5)
    assert spec.cover == (40, 60)
    assert Images(spec).prepare(np.zeros((100, 60, 3), "uint8")).shape == (20, 30, 3)
    assert Images(spec).prepare(np.zeros((2, 41, 300, 3), "uint8")).shape == (2, 20, 30, 3)
    with pytest.raises(ValueError, match="crop must be above 0"):
        ImageInputs(size=(20, 30), channels=3, crop=0.0)
    with pytest.raises(ValueError, match="interpolation 'cubic' is not one of"):
        ImageInputs(size=(20, 30), channels=3, interpolation="cubic")


def test_grey_of_rgb_is_pillows_within_rounding(rng):
    image = rng.integers(0, 256, (16, 16, 3), dtype="uint8")
    expected = np.asarray(Image.fromarray(image).convert("L")).astype(int)
    found = to_channels(tf.constant(image), 1).numpy()[..., 0].astype(int)
    assert np.abs(found - expected).max() <= 1


def test_a_grey_image_keeps_its_values_through_rgb(rng):
    grey = rng.integers(0, 256, (8, 8, 1), dtype="uint8")
    np.testing.assert_array_equal(to_channels(to_channels(tf.constant(grey), 3), 1), grey)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP"])
def test_files_decode_as_pillow_does(kind, rng):
    image = rng.integers(0, 256, (11, 7, 3), dtype="uint8")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    expected = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    np.testing.assert_array_equal(decode_image(tf.constant(buffer.getvalue())).numpy(), expected)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_record_that_was_written_down_prepares_the_same(spec, rng):
    """As JSON holds it: what runs, exports and weight files keep."""
    again = from_config(json.loads(json.dumps(spec.to_config())))
    assert again == spec
    image = rng.integers(0, 256, (2, 30, 30, 3), dtype="uint8")
    np.testing.assert_array_equal(reader_of(again).prepare(image), Images(spec).prepare(image))


def test_for_another_input_size_the_padding_stays():
    assert SPECS["padded"].for_model((40, 40, 3), {}).size == (36, 36)
    assert SPECS["padded"].for_model((32, 32, 1), {}) == SPECS["padded"]
    assert from_config({"size": [28, 28], "channels": 1}) == ImageInputs(size=(28, 28), channels=1)


@pytest.mark.parametrize("size", [(10_000, 4), (4, 10_000)])
def test_an_extreme_strip_is_cut_before_it_is_enlarged(size):
    """10,000x4 pixels would be 560,000x224 of them, 1.5 GB as floats."""
    reader = reader_of(ImageInputs((224, 224), 3, crop=0.875))
    images = np.zeros((1, *size, 3), "uint8")
    middle = (slice(None), slice(size[0] // 2 - 2, size[0] // 2 + 2), slice(size[1] // 2 - 2, size[1] // 2 + 2))
    images[middle] = 200
    found = reader.geometry(images).numpy()
    assert found.shape == (1, 224, 224, 3) and found[0, 112, 112, 0] > 150
