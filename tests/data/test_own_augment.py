"""Augmentations of the user's own beside the names of `augment=`: Keras layers and functions of images."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kzoo
from kzoo.inputs import Batches, reader_of
from kzoo.records import ImageInputs

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (24, 8, 8, 1), dtype="uint8"), np.arange(24) % 2
QUICK = {"epochs": 2, "batch_size": 8, "verbose": False, "xla": "off"}


def batches(augment, **options):
    reader = reader_of(ImageInputs(size=(8, 8), channels=1, scale=1.0))
    return Batches(tf.data.Dataset.from_tensor_slices((X, Y)), 8, reader, augment=augment, seed=3, **options)


def images(made, epoch=0, part=None, start=0):
    found = [batch if part is None else batch[1] for batch in made.epoch(epoch, part, start)]
    return np.concatenate([x.numpy() for x, _ in found])


def darker(images):
    return images / 2


def noisy(images, seed):
    return images + tf.random.stateless_uniform(tf.shape(images), seed)


def test_a_function_sees_pixels_before_they_are_scaled():
    np.testing.assert_array_equal(images(batches((darker,))), X / np.float32(2))


@pytest.mark.parametrize("own", [layers.RandomFlip(), layers.RandomTranslation(0.3, 0.3), noisy])
def test_numbers_are_of_the_batch(own):
    """Drawn anew in each batch and epoch; the same again, from the middle, and in the part that a replica takes."""
    made = batches((own, "shift"))
    first = images(made)
    assert not np.array_equal(first[:8], X[:8]) and not np.array_equal(first, images(made, 1))
    np.testing.assert_array_equal(first, images(batches((own, "shift"))))
    np.testing.assert_array_equal(first[8:], images(made, start=1))
    half = lambda rows: (rows // 2, rows - rows // 2)
    np.testing.assert_array_equal(first.reshape(3, 8, 8, 8)[:, 4:].reshape(12, 8, 8, 1), images(made, part=half))


def test_several_layers_in_one():
    both = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2)])
    np.testing.assert_array_equal(images(batches((both,))), images(batches((both,))))


def test_random_numbers_of_its_own_are_said():
    free = lambda images: images + tf.random.uniform(tf.shape(images))
    assert "draws random numbers of its own" in batches((free,)).notes[0]
    assert not batches((noisy, layers.RandomFlip())).notes


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (lambda images: images[:, :4], r"must give images \[None, 28, 28, 1\]; it gives float32 \[None, 4, 28, 1\]"),
        (lambda images: None, "must give images .* it gives NoneType"),
        (lambda images: images.numpy(), "fails on images .*numpy.* inside a TensorFlow graph"),
        (lambda images: images[:3][1:], "must give as many images as it is given; of 3 it gives 2"),
        (layers.Rescaling(1 / 255), "gives images in 0 to 1; give them in 0 to 255"),
        (layers.Conv2D(1, 3, padding="same"), "has weights, which nothing trains there"),
        (layers.MixUp(), "mixes labels too"),
        (layers.RandomFlip, r"is a class; give what it makes, RandomFlip\(…\)"),
        (lambda: 1, "fails on images"),
    ],
)
def test_what_is_no_augmentation(own, says, tmp_path):
    with pytest.raises(kzoo.KzooError, match=says):
        kzoo.fit("lenet5", kzoo.Data((X, Y)), augment=own, run_dir=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_mistakes():
    for wrong, says in ((3, "must be names"), ("flop", "did you mean 'flip'"), (["flip", None], "must be names")):
        with pytest.raises(kzoo.KzooError, match=says):
            kzoo.fit("lenet5", "digits", augment=wrong)
    with pytest.raises(kzoo.KzooError, match=r"augment=\['darker'\] needs raw images"):
        kzoo.fit("mlp_xor", "xor", augment=darker)


@pytest.mark.slow
def test_a_layer_is_kept_and_a_function_asked_for_again(tmp_path):
    data = kzoo.Data((X, Y), validation=(X, Y))
    whole = kzoo.fit("lenet5", data, augment=[layers.RandomFlip(name="mirror"), "shift"],
                     run_dir=tmp_path / "whole", **QUICK)  # fmt: skip
    assert whole.plan.augment == ("mirror", "shift")
    kept = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert kept["options"]["augment"][0]["class_name"] == "RandomFlip" and "augment" not in kept["objects"]
    again = kzoo.fit(data=data, config=tmp_path / "whole", run_dir=tmp_path / "again", verbose=False)
    assert again.history["loss"] == whole.history["loss"]

    function = lambda images, seed: noisy(images, seed)
    half = kzoo.fit("lenet5", data, augment=function, run_dir=tmp_path / "half", **{**QUICK, "epochs": 1})
    for way in ({"resume": half.path}, {"config": half.path}):
        with pytest.raises(kzoo.KzooError, match="augment.* was .*, which a file cannot hold; give it again"):
            kzoo.fit(data=data, **way)
    resumed = kzoo.fit(data=data, resume=half.path, augment=function, epochs=2, verbose=False)
    straight = kzoo.fit("lenet5", data, augment=function, run_dir=tmp_path / "straight", schedule="constant", **QUICK)
    assert len(resumed.history["loss"]) == len(straight.history["loss"]) == 2


def test_every_strategy_sees_the_same(tmp_path):
    losses = [
        kzoo.fit("lenet5", kzoo.Data((X, Y)), augment=[layers.RandomFlip(), noisy], strategy=strategy, devices=devices,
                 run_dir=tmp_path / strategy, **QUICK).history["loss"]
        for strategy, devices in (("one", 1), ("mirrored", 2))
    ]  # fmt: skip
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_fine_tuning_takes_them_too(tmp_path):
    names = np.array(["a", "b"])[Y]
    data = kzoo.Data((X, names), validation=(X, names))
    found = kzoo.fine_tune("lenet5@mnist", data, augment=layers.RandomFlip(name="mirror"), epochs=1, head_epochs=1,
                           depth=0, verbose=False, run_dir=tmp_path / "run")  # fmt: skip
    assert "mirror" in (found.path / "card.md").read_text()


def test_functions_of_tensorflow():
    """Their `seed` is a number that they know already."""
    assert "draws random numbers of its own" in batches((tf.image.random_flip_left_right,)).notes[0]


def test_a_resumed_run_says_that_it_changes(tmp_path):
    data = kzoo.Data((X, Y))
    run = kzoo.fit("lenet5", data, augment="shift", run_dir=tmp_path / "run", **{**QUICK, "epochs": 1})
    again = kzoo.fit(resume=run, data=data, augment="none", epochs=2, verbose=False)
    assert "begun with augment shift, goes on with another" in again.plan.notes and again.plan.augment == ()
