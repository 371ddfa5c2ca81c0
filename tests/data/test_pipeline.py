"""Batches: the order of an epoch, caching, augmentation."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo import records
from kzoo.inputs import AUGMENTATIONS, Batches, Reader
from kzoo.inputs.augment import Draw
from kzoo.inputs.image import Images
from kzoo.records import ImageInputs


def numbers(count=100):
    return tf.data.Dataset.from_tensor_slices((np.arange(count, dtype="float32")[:, None], np.arange(count)))


def order(batches, epoch):
    return [int(y) for _, ys in batches.epoch(epoch) for y in ys]


def test_an_epochs_order_depends_on_seed_and_number_alone():
    a, b = (
        Batches(numbers(), 16, Reader(), shuffle=True, seed=1),
        Batches(numbers(), 16, Reader(), shuffle=True, seed=1),
    )
    a_first = order(a, 0)
    assert a_first != order(a, 1) and order(a, 1) == order(b, 1), "a resumed run sees what it would have seen"
    assert a_first == order(a, 0)
    assert order(Batches(numbers(), 16, Reader(), shuffle=True, seed=2), 0) != a_first
    assert sorted(a_first) == list(range(100))
    assert order(Batches(numbers(), 16, Reader()), 0) == list(range(100))


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (3, 2)])
def test_one_stream_gives_the_epochs_one_by_one(seed, start):
    """Augmented, shuffled, cut into parts: as each epoch's own batches."""
    images = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3)).astype("uint8")
    data = tf.data.Dataset.from_tensor_slices((images, np.arange(30)))
    make = Images(ImageInputs((6, 6), 3)).batches
    batches = make(data, 8, shuffle=True, seed=seed, augment=("flip", "shift"), limit=3, label_limit=30)
    part = lambda n: (n // 2, n - n // 2)
    assert batches.runs_on
    for of, then in ((part, "next"), (None, "again")):
        one_by_one = list(batches.epoch(1, of, start))
        one_by_one += [b for k in (2, 3) for b in batches.epoch(k if then == "next" else 1, of)]
        stream = list(batches.epoch(1, of, start, then).take(len(one_by_one)))
        assert len(stream) == 9 - start
        for a, b in zip(tf.nest.flatten(one_by_one), tf.nest.flatten(stream), strict=True):
            np.testing.assert_array_equal(a, b)


def test_steps_examples_and_limit():
    batches = Batches(numbers(), 16, Reader())
    assert (batches.steps, batches.examples) == (7, 100)
    assert [len(y) for _, y in batches.epoch(0)] == [16] * 6 + [4], "the ragged batch is kept"
    limited = Batches(numbers(), 16, Reader(), limit=2)
    assert (limited.steps, limited.examples, len(order(limited, 0))) == (2, 32, 32)


def test_examples_are_made_once():
    """Decoded images are cached for all epochs, whatever their order."""
    seen = []

    def slow(x, y):
        tf.py_function(lambda: seen.append(1), [], [])
        return x, y

    batches = Batches(numbers(20).map(slow), 8, Reader(), shuffle=True)
    assert order(batches, 0) != order(batches, 1)
    assert len(seen) == 20


def test_images_of_different_sizes_are_batched():
    sizes = [(5, 7), (9, 4), (6, 6)]
    data = tf.data.Dataset.from_generator(
        lambda: ((np.full((*s, 3), 100, "uint8"), k) for k, s in enumerate(sizes)),
        output_signature=(tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64)),
    ).apply(tf.data.experimental.assert_cardinality(3))
    (x, _) = next(iter(Images(ImageInputs(size=(8, 8), channels=1)).batches(data, 3).epoch(0)))
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
    whole = Images(ImageInputs((12, 12), 1)).batches(images, 16, shuffle=True, augment=("crop-flip",))
    second = lambda rows: (rows // 2, rows - rows // 2)
    for (x, y), (rows, (x_part, y_part)) in zip(whole.epoch(3), whole.epoch(3, second), strict=True):
        half = int(rows) // 2
        np.testing.assert_array_equal(x_part, x[half:])
        np.testing.assert_array_equal(y_part, y[half:])


def test_unknown_augmentation():
    with pytest.raises(kzoo.KzooError, match="unknown augment 'shfit'; did you mean 'shift'"):
        kzoo.fit("lenet5", "digits", augment="shfit")


def augmented(name, images, seed=(0, 1)):
    return AUGMENTATIONS[name](tf.constant(images), Draw(tf.constant(seed), 0, len(images))).numpy()


class TestAugmentations:
    @pytest.mark.parametrize("name", [n for n in AUGMENTATIONS if n != "rotate90"])
    @pytest.mark.parametrize("shape", [(20, 31, 1), (15, 9, 3)])
    def test_any_shape_stays_in_range(self, name, shape, rng):
        images = rng.uniform(0, 255, (40, *shape)).astype("float32")
        images[:5], images[5:10] = 0, 255
        out = augmented(name, images)
        assert out.shape == images.shape and out.dtype == np.float32
        assert out.min() >= 0 and out.max() <= 255

    @pytest.mark.parametrize("name", AUGMENTATIONS)
    def test_xla_gives_the_same_but_for_rounding(self, name, rng):
        images = tf.constant(rng.uniform(0, 255, (8, 12, 12, 3)).astype("float32"))
        change = lambda x: AUGMENTATIONS[name](x, Draw(tf.constant([0, 1]), 0, 8))
        rounded = name in ("rotate", "zoom", "color")
        compiled = tf.function(change, jit_compile=True)(images)
        np.testing.assert_allclose(compiled, change(images), rtol=0, atol=0.01 if rounded else 0)

    def test_flips_go_both_ways(self, rng):
        images = rng.random((400, 4, 4, 1), dtype="float32")
        out = augmented("flips", images)
        ways = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
        counts = [sum(np.array_equal(o, w) for o, w in zip(out, way, strict=True)) for way in ways]
        assert sum(counts) == 400 and min(counts) > 60
        vertical = augmented("flip-vertical", images)
        assert {np.array_equal(o, i[::-1]) for o, i in zip(vertical, images, strict=True)} == {True, False}

    def test_rotate90_turns_by_whole_quarters(self, rng):
        images = rng.random((400, 5, 5, 3), dtype="float32")
        out = augmented("rotate90", images)
        counts = [sum(np.array_equal(o, np.rot90(i, k)) for o, i in zip(out, images, strict=True)) for k in range(4)]
        assert sum(counts) == 400 and min(counts) > 60
        pairs = tf.data.Dataset.from_tensor_slices((rng.integers(0, 255, (4, 9, 9, 1), dtype="uint8"), np.arange(4)))
        with pytest.raises(kzoo.KzooError, match="turns square images; the network reads 5x6; use rotate or flips"):
            Images(ImageInputs((5, 6), 1)).batches(pairs, 2, augment=("rotate90",))

    def test_rotate_turns_about_the_centre_by_up_to_15_degrees(self):
        """A ramp is a plane: turned, it is the plane with the turned slope, which gives the angle back."""
        y, x = np.mgrid[:41, :41] - 20.0
        ramp = (2 * x + 120)[None, :, :, None].astype("float32")
        out = augmented("rotate", np.repeat(ramp, 300, axis=0))[:, 12:29, 12:29, 0]  # whose places lie inside
        right, down = np.diff(out, axis=2).mean((1, 2)) / 2, np.diff(out, axis=1).mean((1, 2)) / 2
        np.testing.assert_allclose(right**2 + down**2, 1, atol=0.01)
        angles = np.degrees(np.arctan2(down, right))
        assert -15.2 < angles.min() < -13 and 13 < angles.max() < 15.2 and abs(angles.mean()) < 1.5
        np.testing.assert_allclose(out[:, 8, 8], 120, atol=0.1, err_msg="the centre stays")

    def test_rotate_is_pillows(self, rng):
        from PIL import Image

        smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8), dtype="uint8")).resize((64, 64), 3), "float32")
        out = augmented("rotate", np.repeat(smooth[None, :, :, None], 8, axis=0))[..., 0]
        inner = (slice(12, -12), slice(12, -12))
        theirs = lambda angle: np.asarray(Image.fromarray(smooth).rotate(angle, Image.Resampling.BILINEAR))[inner]
        for turned in out:
            far = lambda angle, turned=turned: np.abs(theirs(angle) - turned[inner]).max()
            near = min(np.arange(-60, 61) / 4, key=far)
            assert min(far(near + fine) for fine in np.linspace(-0.25, 0.25, 51)) < 0.5

    def test_zoom_shows_80_to_100_percent_of_each_side(self):
        ramp = np.broadcast_to(np.arange(50, dtype="float32")[None, None, :, None] * 4, (400, 30, 50, 1))
        out = augmented("zoom", np.ascontiguousarray(ramp))[:, 15, :, 0]
        slope = (out[:, 40] - out[:, 10]) / 30 / 4
        assert slope.min() + 0.002 >= 0.8 and slope.min() < 0.81 and slope.max() > 0.99 and slope.max() < 1.002
        first, last = out[:, 0] / 4, out[:, -1] / 4
        assert first.min() >= 0 and last.max() <= 49, "never outside"
        np.testing.assert_allclose((first + (49 - last)).mean(), 49 * 0.1, atol=0.6)
        assert abs(first.mean() - (49 - last).mean()) < 0.6, "anywhere, not in a corner"

    def test_color_changes_by_up_to_20_percent(self, rng):
        images = np.full((500, 6, 6, 3), 100, "float32")
        images[:, :3] += 40
        images[..., 0] += 20
        out = augmented("color", images)
        brightness = out.mean((1, 2, 3)) / images.mean((1, 2, 3))
        assert 0.79 < brightness.min() < 0.82 and 1.18 < brightness.max() < 1.21
        assert abs(brightness.mean() - 1) < 0.02
        grey = out.mean(3)
        contrast = (grey[:, 0, 0] - grey[:, 5, 0]) / 40 / brightness
        assert 0.78 < contrast.min() < 0.83 and 1.17 < contrast.max() < 1.22
        saturation = (out[:, 0, 0, 0] - out[:, 0, 0, 1]) / 20 / brightness / contrast
        assert 0.75 < saturation.min() < 0.84 and 1.16 < saturation.max() < 1.25

    def test_cutout_hides_a_square_of_half_the_side(self, rng):
        images = np.zeros((300, 16, 20, 3), "float32")
        hidden = (augmented("cutout", images) == 127.5).all(-1)
        assert hidden.sum((1, 2)).max() == 64 and hidden.sum((1, 2)).min() >= 16
        assert hidden.any(0).all(), "anywhere"


def test_the_options_know_them_all():
    """They are said in the records too, which import no TensorFlow."""
    assert tuple(AUGMENTATIONS) == records.AUGMENTATIONS == Images.augmentations
