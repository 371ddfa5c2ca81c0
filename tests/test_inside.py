"""What is inside networks for texts: gates step by step as the layers take them, embeddings and places."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.keras_internals import layers_in
from kzoo.models import model_info
from kzoo.records import STYLES
from kzoo.runs import load
from kzoo.verbs.inside import inside

TEXTS = np.array(["the film is good", "a bad film", "bad is the film", "good a good film"] * 10, object)
DATA = kzoo.Data((TEXTS, np.array([1, 0, 0, 1] * 10)))
QUICK = {"epochs": 1, "verbose": False, "xla": "off"}


@pytest.fixture(scope="module", params=["lstm_classifier_tiny", "gru_classifier_tiny"])
def run(request, tmp_path_factory):
    return kzoo.fit(request.param, DATA, run_dir=tmp_path_factory.mktemp("inside") / "r", **QUICK)


def test_gates_are_the_layers_own_steps(run, tmp_path):
    """Forwards and backwards, in each layer: the last state that they come to is what the layer gives."""
    found = kzoo.gate_maps(run, "the film is good")
    assert found.tokens == ("the", "film", "is", "good")
    names = [y.name for y in layers_in(run.model) if isinstance(y, keras.layers.LSTM | keras.layers.GRU)]
    assert sorted(found.layers) == sorted(set(names)) and len(names) in (2, 4)
    table = next(y.embeddings for y in layers_in(run.model) if hasattr(y, "embeddings"))
    known = model_info(run.model).inputs.vocabulary
    x = np.asarray(table)[[known.index(token) for token in found.tokens]][None]
    for name in [name for name in names if name.endswith(("lstm", "gru"))]:  # the first layer reads the embedding
        layer = next(y for y in layers_in(run.model) if y.name == name)
        outputs = layer(x)
        states = np.asarray(outputs[0] if layer.return_state else outputs)[0]
        states = states[::-1] if layer.go_backwards else states
        np.testing.assert_allclose(found.layers[name]["state"], states, atol=1e-5)
        for gate in {"input", "forget", "output", "update", "reset"} & found.layers[name].keys():
            assert 0 <= found.layers[name][gate].min() <= found.layers[name][gate].max() <= 1
    assert found.plot(tmp_path / "gates.png").stat().st_size > 5000
    with pytest.raises(kzoo.KzooError, match="must end in .png"):
        found.plot(tmp_path / "gates.jpg")


def test_who_reads_no_texts_says_so():
    with pytest.raises(kzoo.KzooError, match="gru_forecaster_tiny reads no texts"):
        kzoo.gate_maps(kzoo.create_model("gru_forecaster_tiny"), "a text")


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("lstm_classifier_tiny", {"gates", "embeddings"}),
        ("bert_test", {"heads", "embeddings", "positions"}),
        pytest.param("textcnn_tiny", {"embeddings"}, marks=pytest.mark.slow),
    ],
)
def test_a_run_of_texts_has_their_pictures(name, pictures, tmp_path):
    labels = np.array([1, 0, 0, 1] * 10)
    kzoo.fit(name, kzoo.Data((TEXTS, labels), (TEXTS[:8], labels[:8])), run_dir=tmp_path / "r", **QUICK)
    all_of_them = {"gates", "heads", "embeddings", "positions"}
    assert {path.stem for path in (tmp_path / "r").glob("*.png")} & all_of_them == pictures


@pytest.mark.parametrize("texts", [[b"caf\xe9 is good"], [b""], np.array([], "S1")])
def test_no_text_ends_a_training_with_an_error(run, texts):
    found = inside(load(run), tf.data.Dataset.from_tensor_slices(texts))
    assert [shown.name for shown in found] == ["gates.png"] * (b"good" in b"".join(texts)) + ["embeddings.png"]


@pytest.mark.parametrize("style", STYLES)
def test_gates_are_the_same_in_every_style(run, style):
    twin = kzoo.zoo.twin(run.model, style)
    one, two = (kzoo.gate_maps(model, "a bad film").layers for model in (run.model, twin))
    for name, gates in one.items():
        for gate, values in gates.items():
            np.testing.assert_allclose(two[name][gate], values, atol=1e-6)


def test_embeddings_lie_as_far_apart_as_in_all_their_numbers(run, tmp_path):
    """Of two directions alone the distances are at most the whole ones, and of most variance."""
    found = kzoo.embedding_map(run)
    known = model_info(run.model).inputs.vocabulary
    assert found.tokens == tuple(word for word in known[2:] if len(word) > 1)
    assert found.points.shape == (len(found.tokens), 2)
    assert 1 >= found.explained[0] >= found.explained[1] > 0
    few = kzoo.embedding_map(run, ["good", "bad"])
    k = [found.tokens.index(word) for word in few.tokens]
    np.testing.assert_allclose(few.points, found.points[k], atol=1e-5)
    assert found.plot(tmp_path / "embeddings.png").stat().st_size > 5000
    with pytest.raises(kzoo.KzooError, match="'film!' is not in the vocabulary of .*; it has 6 tokens, 'film', "):
        kzoo.embedding_map(run, ["film!"])


def test_places_near_each_other_are_alike(tmp_path):
    found = kzoo.position_map(kzoo.transformer_small())
    near, far = (np.diagonal(found.likeness, k).min() for k in (1, 40))
    assert found.table.shape == (80, 128) and near > 0.9 > far
    assert kzoo.position_map(kzoo.gpt_tiny()).table.shape == (32, 16)
    assert found.plot(tmp_path / "places.png").stat().st_size > 5000


def test_what_has_none_is_one_line():
    for call, line in (
        (lambda: kzoo.gate_maps(kzoo.gpt_tiny(), "a"), "gpt_tiny has no LSTM or GRU"),
        (lambda: kzoo.gate_maps(kzoo.lstm_classifier_tiny(), " "), "gate_maps looks at one text; received ' '"),
        (
            lambda: kzoo.embedding_map(kzoo.lstm_classifier_tiny()),
            "has no vocabulary: it was not trained; give its run",
        ),
        (lambda: kzoo.position_map(kzoo.gpt_tiny(positions="rotary")), "gpt_tiny adds no vectors for places"),
    ):
        with pytest.raises(kzoo.KzooError, match=line) as error:
            call()
        assert "\n" not in str(error.value)
