"""LeNet-5 of 1998 against the paper's own figures."""

import math

import keras
import numpy as np
import pytest

import kzoo
from kzoo.inputs import reader_of
from kzoo.models import model_info
from kzoo.models.lenet import C3_TABLE, RBF, Subsampling, TableConvolution, bitmaps, scaled_tanh
from kzoo.records import STYLES


@pytest.mark.parametrize("style", STYLES)
def test_trainable_parameters_are_the_papers(style):
    model = kzoo.lenet5_1998(style=style)
    counts = {row.name: row.trainable for row in kzoo.summary(model).rows if row.trainable}
    assert counts == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164}
    assert sum(math.prod(v.shape) for v in model.trainable_variables) == 60_000


def test_map_sizes_are_figure_2s():
    shapes = {row.name: row.output_shape[1:] for row in kzoo.summary("lenet5_1998").rows}
    assert shapes["c1"] == (28, 28, 6) and shapes["s2"] == (14, 14, 6)
    assert shapes["c3"] == (10, 10, 16) and shapes["s4"] == (5, 5, 16)
    assert shapes["c5"] == (1, 1, 120) and shapes["f6"] == (84,) and shapes["output"] == (10,)


def test_c3_reads_what_table_1_says():
    """Each output map moves with the maps in its column and with no other."""
    assert [len(c) for c in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    layer = TableConvolution()
    base = np.random.default_rng(0).random((1, 14, 14, 6), dtype="float32")
    layer.build(base.shape)
    for variable in layer.weights:
        variable.assign(np.random.default_rng(1).normal(0, 0.1, variable.shape))
    plain = np.asarray(layer(base))
    for i in range(6):
        changed = base.copy()
        changed[..., i] += 0.5
        moved = np.abs(np.asarray(layer(changed)) - plain).max(axis=(0, 1, 2)) > 1e-6
        assert [j for j in range(16) if moved[j]] == [j for j, inputs in enumerate(C3_TABLE) if i in inputs]


def test_c3_is_sixteen_small_convolutions():
    """Against one plain convolution for each column of the table."""
    layer = TableConvolution()
    x = np.random.default_rng(0).normal(size=(2, 14, 14, 6)).astype("float32")
    layer.build(x.shape)
    kernel, bias = (v.numpy() for v in layer.weights)
    found, first = np.asarray(layer(x)), 0
    for j, inputs in enumerate(C3_TABLE):
        part = np.moveaxis(kernel[:, :, first : first + len(inputs)], 2, 2)[..., None]
        first += len(inputs)
        expected = scaled_tanh(keras.ops.conv(x[..., list(inputs)], part, padding="valid") + bias[j])
        np.testing.assert_allclose(found[..., j], np.asarray(expected)[..., 0], atol=1e-5)


def test_subsampling_adds_four_scales_and_squashes():
    layer = Subsampling()
    x = np.random.default_rng(0).random((2, 6, 6, 3), dtype="float32")
    layer.build(x.shape)
    coefficient, bias = (v.numpy() for v in layer.weights)
    total = x.reshape(2, 3, 2, 3, 2, 3).sum(axis=(2, 4))
    expected = 1.7159 * np.tanh(2 / 3 * (total * coefficient + bias))
    np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=1e-5)


def test_scaled_tanh_is_one_at_one():
    assert float(scaled_tanh(1.0)) == pytest.approx(1, abs=1e-4)
    assert float(scaled_tanh(-1.0)) == pytest.approx(-1, abs=1e-4)


def test_the_bitmaps_are_distinct_7x12_drawings():
    drawn = bitmaps()
    assert drawn.shape == (10, 84) and set(np.unique(drawn)) == {-1.0, 1.0}
    distances = ((drawn[:, None] - drawn[None]) ** 2).sum(-1) + 1000 * np.eye(10)
    assert distances.min() >= 4 * 8, "every two digits differ in at least eight pixels"
    assert np.flatnonzero(drawn[1].reshape(12, 7)[0] == 1).tolist() == [3, 4], "the tip of the 1"


def test_the_output_is_minus_the_distance_to_each_bitmap():
    """A perfect F6 for digit d gives 0 for d, and the largest value of all."""
    out = np.asarray(RBF()(bitmaps()))
    assert np.diag(out).tolist() == [0.0] * 10
    assert out.argmax(axis=1).tolist() == list(range(10))
    x = np.random.default_rng(0).normal(size=(3, 84)).astype("float32")
    expected = -((x[:, None] - bitmaps()[None]) ** 2).sum(-1)
    np.testing.assert_allclose(np.asarray(RBF()(x)), expected, rtol=1e-5)


def test_pixels_are_the_papers():
    """Section II.B: background -0.1, foreground 1.175, 28x28 in a 32x32 field; padding, not resizing."""
    reader = reader_of(model_info(kzoo.lenet5_1998()).inputs)
    image = np.zeros((28, 28, 1), "uint8")
    image[0, 0] = 255
    out = np.asarray(reader.prepare(image))
    assert out.shape == (32, 32, 1)
    assert out[2, 2, 0] == pytest.approx(1.175, abs=1e-6)
    assert out[0, 0, 0] == out[5, 5, 0] == pytest.approx(-0.1, abs=1e-6)


def test_the_paper_network_learns(tmp_path):
    run = kzoo.fit("lenet5_1998", "digits", epochs=8, run_dir=tmp_path / "run", verbose=False)
    assert kzoo.evaluate(run).accuracy > 0.9
    scores = kzoo.predict(run, np.zeros((1, 28, 28), "uint8"))[0].scores
    assert 0 < scores[0] <= 1, "distances are shown as probabilities"
