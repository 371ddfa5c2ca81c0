"""Where the heads look: the same in every style, rows that add up to one, nothing from the future."""

import numpy as np
import pytest

import kzoo
from kzoo.data import DataInfo
from kzoo.records import STYLES


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    x = np.array(["one two three", "two one", "three three one"] * 8, object)
    options = {"epochs": 1, "verbose": False, "xla": "off", "run_dir": tmp_path_factory.mktemp("m") / "r"}
    return kzoo.fit("transformer_tiny", kzoo.Data((x, x)), **options)


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    x = np.array(["the cat sat on the mat. "] * 60, object)
    data = kzoo.Data((x, np.zeros(60, np.int64)), info=DataInfo("cats", "prose"))
    return kzoo.fit("gpt_tiny", data, epochs=1, verbose=False, xla="off", run_dir=tmp_path_factory.mktemp("m") / "g")


def test_a_language_model_looks_back_only(prose, tmp_path):
    found = kzoo.attention_maps(prose, "the cat")
    assert found.tokens == tuple("the cat") and found.said == ()
    assert list(found.layers) == ["layer1_attention", "layer2_attention"]
    for maps in found.layers.values():
        assert maps.shape == (2, 7, 7)
        np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
        assert np.triu(maps, 1).max() == 0
    assert found.plot(tmp_path / "maps.png").stat().st_size > 5000
    with pytest.raises(kzoo.KzooError, match="must end in .png"):
        found.plot(tmp_path / "maps.jpg")


@pytest.mark.parametrize("style", STYLES)
def test_the_same_in_every_style_and_nothing_is_left_behind(prose, style):
    twin = kzoo.zoo.twin(prose.model, style)
    one, two = (kzoo.attention_maps(model, "the cat").layers for model in (prose.model, twin))
    for name, maps in one.items():
        np.testing.assert_allclose(two[name], maps, atol=1e-6)
    assert not any("call" in vars(layer) for layer in twin._flatten_layers() if getattr(layer, "gives_weights", False))


@pytest.mark.slow
def test_a_translator_looks_at_source_and_at_what_it_said(pairs, tmp_path):
    found = kzoo.attention_maps(pairs.path, "two one three")
    assert found.tokens == ("[start]", "two", "one", "three", "[end]") and found.said[0] == "[start]"
    for name, maps in found.layers.items():
        looking, looked = found.names(name)
        assert maps.shape == (2, len(looking), len(looked))
        np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
    assert found.names("decoder1_cross") == (found.said, found.tokens)
    found.plot(tmp_path / "maps.png")


def test_what_has_none_is_one_line(prose):
    with pytest.raises(kzoo.KzooError, match="lenet5 has no attention of Transformers to look at"):
        kzoo.attention_maps(kzoo.lenet5(), "a text")
    with pytest.raises(kzoo.KzooError, match="looks at one text; received ''"):
        kzoo.attention_maps(prose, "")
