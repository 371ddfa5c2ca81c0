"""Batches: the order of an epoch, caching, augmentation."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.data._augment import AUGMENTATIONS, Draw
from kzoo.data._pipeline import Batches, check_augment
from kzoo.preprocess import PreprocessLayer
from kzoo.spec import Preprocess


def numbers(count=100):
    return tf.data.Dataset.from_tensor_slices((np.arange(count, dtype="float32")[:, None], np.arange(count)))


def order(batches, epoch):
    return [int(y) for _, ys in batches.epoch(epoch) for y in ys]


def test_an_epochs_order_depends_on_seed_and_number_alone():
    a, b = Batches(numbers(), 16, shuffle=True, seed=1), Batches(numbers(), 16, shuffle=True, seed=1)
    a_first = order(a, 0)
    assert a_first != order(a, 1) and order(a, 1) == order(b, 1), "a resumed run sees what it would have seen"
    assert a_first == order(a, 0)
    assert order(Batches(numbers(), 16, shuffle=True, seed=2), 0) != a_first
    assert sorted(a_first) == list(range(100))
    assert order(Batches(numbers(), 16), 0) == list(range(100))


def test_steps_examples_and_limit():
    batches = Batches(numbers(), 16)
    assert (batches.steps, batches.examples) == (7, 100)
    assert [len(y) for _, y in batches.epoch(0)] == [16] * 6 + [4], "the ragged batch is kept"
    limited = Batches(numbers(), 16, limit=2)
    assert (limited.steps, limited.examples, len(order(limited, 0))) == (2, 32, 32)


def test_examples_are_made_once():
    """Decoded images are cached for all epochs, whatever their order."""
    seen = []

    def slow(x, y):
        tf.py_function(lambda: seen.append(1), [], [])
        return x, y

    batches = Batches(numbers(20).map(slow), 8, shuffle=True)
    assert order(batches, 0) != order(batches, 1)
    assert len(seen) == 20


def test_images_of_different_sizes_are_batched():
    sizes = [(5, 7), (9, 4), (6, 6)]
    data = tf.data.Dataset.from_generator(
        lambda: ((np.full((*s, 3), 100, "uint8"), k) for k, s in enumerate(sizes)),
        output_signature=(tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64)),
    ).apply(tf.data.experimental.assert_cardinality(3))
    layer = PreprocessLayer(Preprocess(size=(8, 8), channels=1))
    (x, _) = next(iter(Batches(data, 3, layer).epoch(0)))
    np.testing.assert_allclose(x, np.full((3, 8, 8, 1), 100 / 255), atol=1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_is_stateless_and_differs_by_image(name, rng):
    images = tf.constant(np.repeat(rng.random((1, 12, 12, 3), dtype="float32"), 64, axis=0))
    change = lambda x, seed, start=0: AUGMENTATIONS[name](x, Draw(seed, start, 64))
    seed = tf.constant([1, 2])
    once, again = change(images, seed).numpy(), change(images, seed).numpy()
    np.testing.assert_array_equal(once, again)
    assert once.shape == images.shape
    assert len({image.tobytes() for image in once}) > 1, "each image draws its own numbers"
    assert np.abs(change(images, seed + 1).numpy() - once).max() > 0
    compiled = tf.function(change, jit_compile=True)(images, seed)
    np.testing.assert_array_equal(compiled, once)
    np.testing.assert_array_equal(change(images[20:30], seed, 20), once[20:30])  # a worker's rows of the batch


def test_shift_moves_and_fills_with_zeros():
    image = np.zeros((1, 8, 8, 1), "float32")
    image[0, 4, 4] = 1
    where = set()
    for k in range(200):
        out = AUGMENTATIONS["shift"](tf.constant(image), Draw(tf.constant([0, k]), 0, 1)).numpy()
        assert out.sum() == 1
        where.add(tuple(np.argwhere(out[0, :, :, 0])[0]))
    assert where == {(i, j) for i in range(2, 7) for j in range(2, 7)}


def test_flip_mirrors_about_half(rng):
    images = rng.random((400, 4, 4, 1), dtype="float32")
    out = AUGMENTATIONS["flip"](tf.constant(images), Draw(tf.constant([0, 1]), 0, 400)).numpy()
    mirrored = np.array([np.array_equal(o, i[:, ::-1]) for o, i in zip(out, images, strict=True)])
    kept = np.array([np.array_equal(o, i) for o, i in zip(out, images, strict=True)])
    assert (mirrored ^ kept).all() and 150 < mirrored.sum() < 250


def test_a_part_of_the_batches_is_prepared_like_the_whole(rng):
    images = tf.data.Dataset.from_tensor_slices((rng.integers(0, 255, (50, 9, 9, 1), dtype="uint8"), np.arange(50)))
    layer = PreprocessLayer(Preprocess((12, 12), 1))
    whole = Batches(images, 16, layer, shuffle=True, augment=("crop-flip",))
    second = lambda rows: (rows // 2, rows - rows // 2)
    for (x, y), (rows, (x_part, y_part)) in zip(whole.epoch(3), whole.epoch(3, second), strict=True):
        half = int(rows) // 2
        np.testing.assert_array_equal(x_part, x[half:])
        np.testing.assert_array_equal(y_part, y[half:])


def test_unknown_augmentation():
    with pytest.raises(kzoo.KzooError, match="unknown augmentation 'shfit'; did you mean 'shift'"):
        check_augment("shfit")
