"""BERT: strings in, labels out, with its own word pieces; in runs, exports and weights of transformers."""

import json
import shlex

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.records.wordpieces import MARKS

TEXTS = np.array([f"{word} film number {k % 7}" for k in range(60) for word in ("good", "bad")], object)
LABELS = np.array([0, 1] * 60)


def data():
    return kzoo.Data((TEXTS, LABELS), validation=(TEXTS[:20], LABELS[:20]), test=(TEXTS[:20], LABELS[:20]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("tokenizers")
    options = {"epochs": 12, "learning_rate": 0.02, "verbose": False, "warmup": 4, "set": {"vocabulary": 200}}
    return kzoo.fit("bert_test", data(), run_dir=tmp_path_factory.mktemp("b") / "r", batch_size=20, **options)


def test_it_learns_and_answers_strings(run):
    assert kzoo.evaluate(run, data()).accuracy == 1
    good, bad = kzoo.predict(run, ["GOOD film number 3", "bad film number 5"])
    assert (good.class_ids[0], bad.class_ids[0]) == (0, 1)
    again = kzoo.predict(run.path, ["GOOD film number 3"])
    assert again[0].scores == pytest.approx(good.scores, abs=1e-6)


def test_the_export_cuts_pieces_in_a_bare_tensorflow(run, tmp_path, here):
    place = tmp_path / "a place"
    status, out, _ = here("export", run.path, place)
    asked = shlex.split(out.splitlines()[-1])
    assert status == 0 and asked == ["next", "kzoo", "predict", str(place), "a text"]
    assert here(*asked[2:])[0] == 0
    served = tf.saved_model.load(str(place / "1")).signatures["serve_text"](
        text=tf.constant(["GOOD film number 3", ""])
    )
    assert served["valid"].numpy().tolist() == [True, False]
    expected = kzoo.predict(run, ["GOOD film number 3"])[0].scores
    np.testing.assert_allclose(served["scores"][0], expected, atol=1e-5)


@pytest.mark.slow
def test_the_pooler_without_the_top_has_the_published_count():
    """bert-base-uncased in transformers: 109,482,240."""
    assert kzoo.bert_base(include_top=False).count_params() == 109_482_240


def test_padding_changes_nothing_and_segments_do():
    keras.utils.set_random_seed(0)
    model = kzoo.bert_test()
    for v in model.trainable_variables:
        v.assign(keras.random.normal(v.shape))
    ids = np.array([[2, 10, 11, 3, 12, 13, 3]])
    padded = np.pad(ids, [(0, 0), (0, 5)])
    np.testing.assert_allclose(model(padded), model(ids), atol=1e-6)
    one = np.where(ids == 3, 20, ids)  # of one segment
    assert np.abs(np.asarray(model(one)) - np.asarray(model(ids))).max() > 1e-5


def test_a_folder_of_transformers_brings_its_vocabulary(tmp_path):
    source = kzoo.bert_test(vocabulary=9, separator=3, classes=3)
    kzoo.save_weights(source, tmp_path / "theirs", names="transformers")
    (tmp_path / "theirs" / "vocab.txt").write_text("\n".join([*MARKS, "cat", "##s", "dog", "!"]) + "\n")
    model = kzoo.bert_test(vocabulary=9, classes=3, weights=str(tmp_path / "theirs"))
    assert kzoo.predict(model, ["Cats!"])[0].scores == pytest.approx(
        np.sort(np.asarray(source(np.array([[2, 5, 6, 8, 3]]))).ravel())[::-1].tolist(), abs=1e-6
    )
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2 and len(config["id2label"]) == 3


def test_a_run_goes_to_transformers_with_its_vocabulary(run, tmp_path):
    folder = kzoo.save_weights(run.model, tmp_path / "mine", names="transformers")
    mine = kzoo.models.model_info(run.model)
    assert (folder / "vocab.txt").read_text(encoding="utf-8").splitlines() == list(mine.inputs.vocabulary)
    sizes = {name: mine.settings[name] for name in ("vocabulary", "separator", "classes")}
    again = kzoo.bert_test(**sizes, weights=str(folder))
    text = ["GOOD film number 3"]
    assert kzoo.predict(again, text)[0].scores == pytest.approx(kzoo.predict(run, text)[0].scores, abs=1e-6)


@pytest.mark.parametrize(
    "call, line",
    [
        (lambda: kzoo.bert_test(heads=3), "d_model=8 must be a multiple of heads=3"),
        (lambda: kzoo.predict(kzoo.bert_test(), ["a"]), "has no vocabulary"),
        (
            lambda: kzoo.fit(kzoo.bert_test(vocabulary=200, separator=7), data(), verbose=False),
            "built with separator=7, but",
        ),
        (lambda: kzoo.fit(kzoo.bert_test(vocabulary=9), data(), verbose=False), "vocabulary"),
    ],
)
def test_what_does_not_fit_is_one_line(call, line):
    with pytest.raises(kzoo.KzooError, match=line):
        call()
