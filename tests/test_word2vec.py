"""word2vec: pairs as the paper draws them, words that stand in like places, and what runs and exports say of them."""

import numpy as np
import pytest
import tensorflow as tf
from serving import served

import kzoo
from kzoo.inputs import reader_of
from kzoo.records import from_config
from kzoo.records.inputs import RESERVED

WORDS = (*RESERVED, *(f"w{k}" for k in range(40)))
SPEC = from_config({"kind": "skipgrams", "vocabulary": WORDS, "window": 3, "negatives": 4, "sample": 1.0})


def batches(texts, spec=SPEC, batch_size=8, **options):
    split = tf.data.Dataset.from_tensor_slices(texts).map(lambda x: (x, 0))
    return reader_of(spec).batches(split, batch_size, **options)


def pairs(of, number=0):
    """(word, context, whether it is real) of an epoch, a row each; the window's places in front."""
    found = [(x["word"], x["context"], truth[..., 0], weights) for x, truth, weights in of.epoch(number)]
    return [np.concatenate([part.numpy() for part in column]) for column in zip(*found, strict=True)]


def test_what_stands_around_a_word_is_its_own_text():
    word, context, truth, weights = pairs(batches(["w1 w2 unheard w3", "w4 w5"]))
    assert context.shape == (5, 6 + 24) and (truth[:, :6] == 1).all() and (truth[:, 6:] == 0).all()
    real = weights[:, :6] > 0
    near = {(WORDS[w], WORDS[c]) for w, row, r in zip(word[:, 0], context, real, strict=True) for c in row[:6][r]}
    assert near <= {(a, b) for text in (("w1", "w2", "w3"), ("w4", "w5")) for a in text for b in text if a != b}
    assert {("w4", "w5"), ("w5", "w4"), ("w2", "w3")} <= near  # what the vocabulary lacks is not there
    np.testing.assert_array_equal(weights[:, 6:], np.repeat(real, 4, axis=1))


def test_windows_and_others_are_drawn_as_in_the_paper():
    rng = np.random.default_rng(0)
    common = [f"w{k}" for k in np.minimum(rng.zipf(1.5, 30_000) - 1, 39)]
    of = batches([" ".join(common)], batch_size=500)
    word, context, _, weights = pairs(of)
    reach = (weights[10:-10, :6] > 0).sum(axis=1) / 2  # 1, 2 or 3, each in a third
    assert [abs((reach == k).mean() - 1 / 3) < 0.02 for k in (1, 2, 3)] == [True] * 3
    counts = np.bincount(word[:, 0], minlength=42)[2:].astype("float64")
    drawn = np.bincount(context[:, 6:].ravel(), minlength=42)[2:]
    np.testing.assert_allclose(drawn / drawn.sum(), counts**0.75 / (counts**0.75).sum(), atol=0.005)
    again, other = pairs(batches([" ".join(common)], batch_size=500))[1], pairs(of, 1)[1]
    np.testing.assert_array_equal(again, context)
    assert (other != context).mean() > 0.5


def test_of_the_commonest_places_are_left_out():
    texts = [" ".join(["w0"] * 90 + [f"w{1 + k % 10}" for k in range(10)])] * 50
    few = batches(texts, from_config({**SPEC.to_config(), "sample": 0.01}))
    word = pairs(few)[0][:, 0]
    left = np.bincount(word, minlength=42)
    assert abs(left[2] / 4500 - np.sqrt(0.01 / 0.9)) < 0.02 and left[3] == 50  # of a share of 0.01 all stay
    assert any("so common that they are left out" in note for note in few.notes)


def test_replicas_see_what_one_device_sees():
    of = batches([" ".join(f"w{k % 40}" for k in range(100))], shuffle=True)
    halves = [lambda total: (0 * total, total // 2), lambda total: (total // 2, total - total // 2)]
    parts = [[x["context"].numpy() for _, (x, *_) in of.epoch(1, part)] for part in halves]
    for (x, *_), one, two in zip(of.epoch(1), *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([one, two]), x["context"])


GROUPS = [[f"{letter}{k}" for k in range(12)] for letter in "xyz"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of texts in each of which words of one group stand."""
    rng = np.random.default_rng(0)
    texts = np.array([" ".join(rng.choice(GROUPS[k % 3], 20)) for k in range(240)], object)
    data = kzoo.Data((texts, np.zeros(240, np.int64)), validation=(texts[:60], np.zeros(60, np.int64)))
    options = {"epochs": 30, "batch_size": 64, "learning_rate": 0.02, "xla": "off", "verbose": False}
    return kzoo.fit("word2vec_tiny", data, run_dir=tmp_path_factory.mktemp("w") / "r", **options), data


def test_words_of_like_places_are_neighbours(run):
    run, data = run
    told = kzoo.evaluate(run, data, split="validation")
    assert told.told > 0.75 and told.examples > 100
    one, two = kzoo.predict(run.path, ["x1", "x1 - x2 + x3"], top=8)
    assert all(word[0] == "x" for word in one.words[:6]) and "x1" not in one.words
    assert all(word[0] == "x" for word in two.words[:4]) and not {"x1", "x2", "x3"} & {*two.words}
    assert sorted(one.scores, reverse=True) == list(one.scores) and len(one.rows()) == 8
    assert {"batch.txt", "predictions.txt", "embeddings.png"} <= {p.name for p in run.path.iterdir()}
    for given, line in (
        ("q7", "'q7' is not in the vocabulary of r"),
        ("x1-x2", "takes single words"),
        ("+", "received"),
    ):
        with pytest.raises(kzoo.KzooError, match=line) as error:
            kzoo.predict(run, [given])
        assert "\n" not in str(error.value)
    assert [found.input for found in kzoo.predict(run, ["x1", "q7"])] == ["x1"], "one that is unknown fails no other"


def test_the_export_gives_vectors_without_kzoo(run, tmp_path):
    found = served(kzoo.export(run[0], tmp_path / "e").path, "serve_text", text=["x1", "X2", "q7", "x1 x2"])
    assert found["valid"] == [True, True, False, False] and found["vector"][2] == [0.0] * 8
    one, two = (np.array(v) / np.linalg.norm(v) for v in found["vector"][:2])
    (near,) = kzoo.predict(run[0], "x1", top=40)
    assert dict(zip(near.words, near.scores, strict=True))["x2"] == pytest.approx(float(one @ two), abs=1e-5)
