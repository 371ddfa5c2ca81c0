"""Pictures that can be read whatever they show: sizes in pixels, names shortened, nothing drawn outside."""

import numpy as np
import pytest
from PIL import Image

from kzoo.report import pictures


def size_of(path):
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize(
    ("labels", "widest"),
    [
        (["only"], 1300),
        (["good", "a_really_long_defect_class_name_with_scratches"], 1700),
        ([f"class number {k}" for k in range(20)], 3000),
        ([f"some long name {k}" for k in range(100)], 3700),
        ([f"synonyms, and others {k}" for k in range(1000)], 3700),
    ],
)
def test_confusion_of_any_number_of_classes(tmp_path, rng, labels, widest):
    matrix = rng.integers(0, 3, (len(labels), len(labels)))
    pictures.confusion(matrix, labels, tmp_path / "c.png", "of a test")
    width, height = size_of(tmp_path / "c.png")
    assert 900 < width < widest and height < 0.6 * width


def test_confusion_of_nothing(tmp_path):
    pictures.confusion(np.zeros((2, 2), int), ["a", "b"], tmp_path / "c.png", "an empty one")
    assert size_of(tmp_path / "c.png")[0] > 900


@pytest.mark.parametrize("count", [1, 5, 40])
def test_mistakes_of_any_size_and_kind(tmp_path, rng, count):
    shapes = [(30, 40, 3), (8, 8, 1), (10, 3000, 3), (600, 20, 4)]
    images = [rng.integers(0, 256, shapes[k % 4], dtype="uint8") for k in range(count)]
    images[0] = np.full((9, 9, 1), 300.0)  # numbers beyond white are white
    said = [("a_really_long_defect_class_name", "$x_1$", 0.987)] * count
    pictures.mistakes(images, said, tmp_path / "m.png", "of a test")
    width, height = size_of(tmp_path / "m.png")
    assert width < 1400 and height < 1000


def test_a_grid_shows_the_pixels_themselves(tmp_path):
    """Not stretched to their own range: a dark photograph looks dark."""
    images = [np.full((16, 16, 3), value, "uint8") for value in (40, 200)]
    pictures.mistakes(images, [("a", "b", 0.5)] * 2, tmp_path / "m.png", "two")
    pixels = np.asarray(Image.open(tmp_path / "m.png").convert("L"))
    assert (pixels == 40).sum() > 5000 and (pixels == 200).sum() > 5000


def test_shortened_keeps_both_ends():
    assert pictures.shortened("rolled-in_scale", 24) == "rolled-in_scale"
    short = pictures.shortened("a_really_long_defect_class_name_with_scratches_3", 20)
    assert len(short) == 20 and short.startswith("a_really_") and short.endswith("ratches_3")
