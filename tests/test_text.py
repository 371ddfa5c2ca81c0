"""Strings to ids and back: in the pipeline, eagerly and inside a SavedModel the same."""

import subprocess
import sys

import pytest
import tensorflow as tf

import kzoo
from kzoo.spec import PairPreprocess, TextPreprocess, preprocess_config, preprocess_from_config
from kzoo.inputs.text import PairLayer, TextLayer, learn_vocabulary, normal_words

TEXTS = ["Über den Café-Tisch, don't! 100%", "hello (World) über", "नमस्ते दुनिया", ""]
ASKED = ["ÜBER den CAFÉ", "hello  world", "我们 never seen", "", "नमस्ते", "a\u00a0hello\u3000world"]


def learned(unit="words", framed=True, size=60, length=30):
    return learn_vocabulary(
        TextPreprocess(unit=unit, framed=framed, size=size, length=length), tf.data.Dataset.from_tensor_slices(TEXTS)
    )


def test_words_are_lower_case_and_marks_stand_alone():
    found = normal_words(tf.constant(["ÜBER Café-Tisch, don't!", "  a\tb\u00a0c  ", "नमस्ते"])).numpy()
    words = [text.decode().split() for text in found]
    assert words == [["über", "café", "-", "tisch", ",", "don", "'", "t", "!"], ["a", "b", "c"], ["नमस्ते"]]


def test_vocabulary_is_ordered_by_frequency_and_cut():
    spec = learned(size=6)
    assert spec.vocabulary[:5] == ("", "[UNK]", "[start]", "[end]", "über")  # the only word that comes twice
    assert len(spec.vocabulary) == 6
    assert learned(framed=False).vocabulary[:2] == ("", "[UNK]")


def test_ids_are_framed_cut_and_padded():
    layer = TextLayer(learned(length=2))
    ids = layer(tf.constant(["über hello world", "xyz", ""])).numpy()
    über, hello = (layer.spec.vocabulary.index(w) for w in ("über", "hello"))
    assert ids.tolist() == [[2, über, hello, 3], [2, 1, 3, 0], [2, 3, 0, 0]]
    assert layer.counts(tf.constant(["über hello world", "", "a-b"])).numpy().tolist() == [3, 0, 3]


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_text_comes_back(unit):
    layer = TextLayer(learned(unit, length=60))
    again = layer.text(layer(tf.constant(TEXTS))).numpy()
    assert [text.decode() for text in again] == [text.lower() for text in TEXTS]


def test_empty_batch():
    layer = TextLayer(learned())
    assert layer(tf.constant([], tf.string)).shape[0] == 0
    assert layer.text(tf.zeros([0, 3], tf.int32)).shape == (0,)


def test_joint_vocabulary():
    side = TextPreprocess(framed=True, size=50)
    texts = [tf.data.Dataset.from_tensor_slices([t]) for t in ("a b", "c a")]
    joint = learn_vocabulary(PairPreprocess(side, side, joint=True), texts)
    assert joint.source.vocabulary == joint.target.vocabulary and {"a", "b", "c"} <= set(joint.source.vocabulary)
    apart = learn_vocabulary(PairPreprocess(side, side), texts)
    assert "c" not in apart.source.vocabulary and "b" not in apart.target.vocabulary


def test_configuration_comes_back():
    side = learned()
    for spec in (side, PairPreprocess(side, side, joint=True)):
        assert preprocess_from_config(preprocess_config(spec)) == spec


def test_mistakes_are_one_line():
    with pytest.raises(kzoo.KzooError, match="has no vocabulary"):
        TextLayer(TextPreprocess())
    with pytest.raises(kzoo.KzooError, match="no tokens"):
        learn_vocabulary(TextPreprocess(), tf.data.Dataset.from_tensor_slices([" ", ""]))
    with pytest.raises(kzoo.KzooError, match="no room"):
        learned(size=4)


SERVE = """
import sys
sys.modules["kzoo"] = None
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
print(loaded.signatures["ids"](text=tf.constant(sys.argv[2:]))["ids"].numpy().tolist())
"""


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_pipeline_and_export_have_the_same_ids(unit, tmp_path):
    layer = TextLayer(learned(unit))
    expected = layer(tf.constant(ASKED)).numpy().tolist()
    data = tf.data.Dataset.from_tensor_slices(ASKED).batch(len(ASKED)).map(layer)
    assert next(iter(data)).numpy().tolist() == expected
    module = tf.Module()
    module.layer = layer
    spec = [tf.TensorSpec([None], tf.string, name="text")]
    function = tf.function(lambda text: {"ids": layer(text)}, input_signature=spec, autograph=False)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"ids": function.get_concrete_function()})
    command = [sys.executable, "-c", SERVE, str(tmp_path / "m"), *ASKED]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr[-2000:]
    assert eval(found.stdout) == expected


def test_pair_layer_has_both_sides():
    side = learned()
    layer = PairLayer(PairPreprocess(side, side))
    assert layer.source(tf.constant(["über"])).numpy().tolist() == layer.target(tf.constant(["über"])).numpy().tolist()
