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
        pytest.param([f"some long name {k}" for k in range(100)], 3700, marks=pytest.mark.slow),
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
    pictures.judged(images, said, tmp_path / "m.png", "of a test")
    width, height = size_of(tmp_path / "m.png")
    assert width < 1400 and height < 1000


def test_a_grid_shows_the_pixels_themselves(tmp_path):
    """Not stretched to their own range: a dark photograph looks dark."""
    images = [np.full((16, 16, 3), value, "uint8") for value in (40, 200)]
    pictures.judged(images, [("a", "b", 0.5)] * 2, tmp_path / "m.png", "two")
    pixels = np.asarray(Image.open(tmp_path / "m.png").convert("L"))
    assert (pixels == 40).sum() > 5000 and (pixels == 200).sum() > 5000


def test_shortened_keeps_both_ends():
    assert pictures.shortened("rolled-in_scale", 24) == "rolled-in_scale"
    short = pictures.shortened("a_really_long_defect_class_name_with_scratches_3", 20)
    assert len(short) == 20 and short.startswith("a_really_") and short.endswith("ratches_3")


def test_right_ones_beside_wrong_ones(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "_grid", lambda images, titles, colours, path, title: drawn.append((titles, colours)))
    images = [np.zeros((4, 6, 3), "uint8")] * 2
    pictures.judged(images, [("cat", "dog", 0.51), ("dog", "dog", 0.98)], tmp_path / "p.png", "some")
    pictures.judged(images, [("cat", "dog", 0.51)] * 2, tmp_path / "w.png", "all wrong")
    assert drawn[0] == (["cat 0.51\n(is dog)", "dog 0.98"], [pictures.ORANGE, "black"])
    assert drawn[1][1] == ["black", "black"]


def test_the_best_epoch_is_marked(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pictures, "save", lambda figure, title, path: figures.append(figure))
    pictures.curves({"loss": [3.0, 1.0, 2.0], "val_loss": [3.0, 1.0, 2.0]}, tmp_path / "c.png", "a run", best=2)
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "validation", "best epoch, 2"]
    assert axes.lines[-1].get_xdata() == [2, 2]


def test_samples_carry_their_epoch(tmp_path):
    images = np.zeros((4, 8, 8, 1), "uint8")
    pictures.sample_grid(images, tmp_path / "bare.png")
    pictures.sample_grid(images, tmp_path / "said.png", "epoch 3")
    bare, said = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("bare", "said"))
    assert said.shape == (bare.shape[0] + pictures.LINE, bare.shape[1])
    np.testing.assert_array_equal(said[pictures.LINE :], bare)
    assert said[: pictures.LINE].min() < 128 < said[: pictures.LINE].max()


def test_two_classes_can_be_read(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pictures, "save", lambda figure, title, path: figures.append(figure))
    pictures.confusion(np.array([[17, 1], [0, 18]]), ["good", "with_scratch"], tmp_path / "c.png", "a run")
    counts = figures[0].axes[0]
    assert [text.get_text() for text in counts.texts] == ["17", "1", "0", "18"]
    assert min(text.get_fontsize() for text in counts.texts) > 12
    assert {label.get_rotation() for label in counts.get_xticklabels()} == {0}
