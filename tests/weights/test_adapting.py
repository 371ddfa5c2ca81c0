"""Any weights into any head, another input size, grey or four-channel images: every image family in every style."""

import numpy as np
import pytest

import kzoo
from kzoo.models import model_info
from kzoo.records import STYLES
from kzoo.weights import adapted_kernel
from kzoo.zoo import index, model_spec

FAMILIES = {
    row["family"]: name
    for name, row in index().items()
    if row["task"] == "image-classification" and len(row["input_shape"]) == 3 and name != "lenet5_1998"
    and (row["hidden"] or name in ("mlp", "lenet5"))
}  # fmt: skip
LARGER = {"mlp": 40, "lenet": 48}  # else 96


# ResNets in every style, the others in one by default: weights have the same names in all of them.
EACH = [
    pytest.param(name, style, id=f"{family}-{style}", marks=() if by_default else pytest.mark.slow)
    for k, (family, name) in enumerate(FAMILIES.items())
    for style in STYLES
    for by_default in [family != "inception" and (family == "resnet" or style == STYLES[k % 3])]  # that is large
]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A model whose every weight is random, and its weight file; tests only read them."""
    made, folder, rng = {}, tmp_path_factory.mktemp("pretrained"), np.random.default_rng(0)

    def make(name):
        if name not in made:
            model = kzoo.create_model(name)
            for variable in model.variables:
                if variable.dtype == "float32":
                    variance = "variance" in variable.path
                    drawn = rng.uniform(0.1, 1, variable.shape) if variance else rng.normal(0, 0.1, variable.shape)
                    variable.assign(drawn)
            made[name] = model, kzoo.save_weights(model, folder / f"{name}.safetensors")
        return made[name]

    return make


@pytest.mark.parametrize(("name", "style"), EACH)
class TestEveryImageFamily:
    def test_another_number_of_classes(self, name, style, pretrained, capsys):
        source, path = pretrained(name)
        model = kzoo.create_model(name, style=style, weights=path, classes=3)
        head = model_spec(name).head
        assert f"not from the file: {head}" in capsys.readouterr().err
        mine, theirs = kzoo.weights_by_name(model), kzoo.weights_by_name(source)
        assert mine.keys() == theirs.keys()
        for key in mine:
            if key.split("/")[0] != head:
                np.testing.assert_array_equal(mine[key].numpy(), theirs[key].numpy())
        assert mine[f"{head}/kernel"].shape[-1] == 3

    def test_grey_images_are_seen_as_their_copies(self, name, style, pretrained, rng):
        """The outputs of the network for a grey image are those of the original for three copies of it."""
        source, path = pretrained(name)
        height, width, channels = model_info(source).arguments["input_shape"]
        if name == "mlp":  # flattens its input: no convolution to adapt
            with pytest.raises(kzoo.KzooError, match="images of another size"):
                kzoo.create_model(name, style=style, weights=path, input_shape=(height, width, 3))
            return
        if channels == 1:
            model = kzoo.create_model(name, style=style, weights=path, input_shape=(height, width, 3))
            x = rng.random((2, height, width, 1), dtype="float32")
            ours, theirs = model(np.repeat(x, 3, -1)), source(x)
        else:
            model = kzoo.create_model(name, style=style, weights=path, input_shape=(height, width, 1))
            x = rng.random((2, height, width, 1), dtype="float32")
            ours, theirs = model(x), source(np.repeat(x, 3, -1))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)

    def test_four_channels(self, name, style, pretrained, capsys, rng):
        source, path = pretrained(name)
        height, width, _ = model_info(source).arguments["input_shape"]
        model = kzoo.create_model(name, style=style, weights=path, input_shape=(height, width, 4), classes=10)
        said = capsys.readouterr().err
        assert "hidden1" in said if "mlp" in name else "adapted to the image's channels" in said
        assert np.isfinite(model(rng.random((2, height, width, 4), dtype="float32"))).all()

    def test_another_size(self, name, style, pretrained, capsys, rng):
        source, path = pretrained(name)
        channels = model_info(source).arguments["input_shape"][2]
        side = LARGER.get(index()[name]["family"], 96)
        model = kzoo.create_model(name, style=style, weights=path, input_shape=(side, side, channels), classes=10)
        mine, theirs = kzoo.weights_by_name(model), kzoo.weights_by_name(source)
        fresh = {key.split("/")[0] for key in mine if mine[key].shape != theirs[key].shape}
        said = capsys.readouterr().err
        assert all(layer in said for layer in fresh)
        kept = [
            k for k in mine if k.endswith("/kernel") and k.split("/")[0] not in said.partition("not from the file")[2]
        ]
        assert kept or "mlp" in name
        for key in kept:
            np.testing.assert_array_equal(mine[key].numpy(), theirs[key].numpy())
        assert np.isfinite(model(rng.random((2, side, side, channels), dtype="float32"))).all()


def test_the_rule_of_channels(rng):
    kernel = rng.normal(size=(3, 3, 3, 2))
    np.testing.assert_allclose(adapted_kernel(kernel, 1)[:, :, 0], kernel.sum(axis=2))
    four = adapted_kernel(kernel, 4)
    np.testing.assert_allclose(four, kernel[:, :, [0, 1, 2, 0]] * 3 / 4)
    np.testing.assert_allclose(adapted_kernel(kernel, 4, "BGR"), kernel[:, :, [2, 1, 0, 2]] * 3 / 4)
    np.testing.assert_allclose(adapted_kernel(kernel[:, :, :1], 3), np.repeat(kernel[:, :, :1], 3, axis=2) / 3)


def test_colours_of_caffe_come_as_rgb_beside_a_fourth_channel(tmp_path):
    """Caffe's networks read BGR; one of four channels reads RGB and one more."""
    source = kzoo.googlenet_tiny()
    assert model_info(source).inputs.order == "BGR"
    path = kzoo.save_weights(source, tmp_path / "w.safetensors")
    model = kzoo.googlenet_tiny(weights=path, input_shape=(72, 72, 4))
    name = next(k for k, v in kzoo.weights_by_name(model).items() if v.shape[2:3] == (4,))
    mine, theirs = kzoo.weights_by_name(model)[name].numpy(), kzoo.weights_by_name(source)[name].numpy()
    np.testing.assert_allclose(mine, theirs[:, :, [2, 1, 0, 2]] * 0.75, rtol=1e-6)


def test_a_size_that_does_not_fit_the_top_needs_classes(tmp_path):
    path = kzoo.save_weights(kzoo.vgg_tiny(), tmp_path / "w.safetensors")
    with pytest.raises(kzoo.KzooError, match=r"images of another size; give input_shape as it was trained with"):
        kzoo.vgg_tiny(weights=path, input_shape=(64, 64, 3))
    assert kzoo.vgg_tiny(weights=path, input_shape=(64, 64, 3), include_top=False).output_shape[-1] == 8
