"""Strings to ids and back: in the pipeline, eagerly and inside a SavedModel the same."""

import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from serving import served

import kzoo
from kzoo.inputs import notes_what_is_left_out, reader_of, texts_of
from kzoo.inputs.pairs import Pairs
from kzoo.inputs.text import Texts, learn_vocabulary, normal_words
from kzoo.records import PairInputs, TextInputs, from_config

TEXTS = ["Über den Café-Tisch, don't! 100%", "hello (World) über", "नमस्ते दुनिया", ""]
ASKED = ["ÜBER den CAFÉ", "hello  world", "我们 never seen", "", "नमस्ते", "a\u00a0hello\u3000world"]


def learned(unit="words", framed=True, size=60, length=30):
    return learn_vocabulary(
        TextInputs(unit=unit, framed=framed, size=size, length=length), tf.data.Dataset.from_tensor_slices(TEXTS)
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
    reader = Texts(learned(length=2))
    ids = reader.prepare(tf.constant(["über hello world", "xyz", ""])).numpy()
    über, hello = (reader.spec.vocabulary.index(w) for w in ("über", "hello"))
    assert ids.tolist() == [[2, über, hello, 3], [2, 1, 3, 0], [2, 3, 0, 0]]
    assert reader.counts(tf.constant(["über hello world", "", "a-b"])).numpy().tolist() == [3, 0, 3]


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_text_comes_back(unit):
    reader = Texts(learned(unit, length=60))
    again = reader.text(reader.prepare(tf.constant(TEXTS))).numpy()
    assert [text.decode() for text in again] == [text.lower() for text in TEXTS]


def test_empty_batch():
    reader = Texts(learned())
    assert reader.prepare(tf.constant([], tf.string)).shape[0] == 0
    assert reader.text(tf.zeros([0, 3], tf.int32)).shape == (0,)


def test_joint_vocabulary():
    side = TextInputs(framed=True, size=50)
    data = kzoo.Data((["a b"], ["c a"]))
    joint = Pairs(PairInputs(side, side, joint=True)).learn(data)
    assert joint.source.vocabulary == joint.target.vocabulary and {"a", "b", "c"} <= set(joint.source.vocabulary)
    apart = Pairs(PairInputs(side, side)).learn(data)
    assert "c" not in apart.source.vocabulary and "b" not in apart.target.vocabulary


def test_configuration_comes_back():
    side = learned()
    for spec in (side, PairInputs(side, side, joint=True)):
        assert from_config(spec.to_config()) == spec


def test_mistakes_are_one_line():
    with pytest.raises(kzoo.KzooError, match="has no vocabulary"):
        Texts(TextInputs()).prepare(tf.constant(["a"]))
    with pytest.raises(kzoo.KzooError, match="no tokens"):
        learn_vocabulary(TextInputs(), tf.data.Dataset.from_tensor_slices([" ", ""]))
    with pytest.raises(kzoo.KzooError, match="no room"):
        learned(size=4)


def test_pipeline_and_export_have_the_same_ids(tmp_path):
    """In words and in characters; the export is read where there is no kzoo."""
    module, signatures, expected = tf.Module(), {}, {}
    module.lookups = []
    for unit in ("words", "characters"):
        reader = Texts(learned(unit))
        expected[unit] = reader.prepare(tf.constant(ASKED)).numpy().tolist()
        data = tf.data.Dataset.from_tensor_slices(ASKED).batch(len(ASKED)).map(reader.prepare)
        assert next(iter(data)).numpy().tolist() == expected[unit]
        inside = reader.served()
        ids = lambda text, inside=inside: {"ids": inside.prepare(text)[0]}
        module.lookups.extend(inside.keeps)
        signatures[unit] = tf.function(ids, autograph=False).get_concrete_function(text=inside.takes)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    for unit, ids in expected.items():
        assert served(tmp_path / "m", unit, text=ASKED)["ids"] == ids


def test_pairs_have_both_sides():
    side = learned()
    reader = Pairs(PairInputs(side, side))
    ids = [part.prepare(tf.constant(["über"])).numpy().tolist() for part in (reader.source, reader.target)]
    assert ids[0] == ids[1] == [[2, side.vocabulary.index("über"), 3]]


SEEN = "Ein schöner Café-Film"
WRITTEN = {
    "decomposed": unicodedata.normalize("NFD", SEEN),
    "with soft hyphens": SEEN.replace("schöner", "schö\u00adner"),
    "with zero-width spaces": SEEN.replace(" ", " \u200b"),
    "with a mark in front": "\ufeff" + SEEN,
    "full-width": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in SEEN),
    "with HTML's breaks": SEEN.replace(" ", "<br /><BR>", 1),
    "with another space": SEEN.replace(" ", "\u00a0"),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_what_looks_alike_is_read_alike(how, tmp_path):
    rows = [(SEEN, "good"), ("Ein langer Abend", "bad")] * 10
    (tmp_path / "all.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{label}\n" for t, label in rows))
    (tmp_path / "other.tsv").write_text(
        "text\tlabel\n" + "".join(f"{WRITTEN[how] if label == 'good' else t}\t{label}\n" for t, label in rows)
    )
    data, other = kzoo.load_data(tmp_path / "all.tsv"), kzoo.load_data(tmp_path / "other.tsv")
    reader = reader_of(TextInputs(length=20, size=50))
    known, again = reader.learn(data), reader.learn(other)
    assert known.vocabulary == again.vocabulary
    reader = reader_of(known)
    one, two = (next(iter(reader.batches(d.train, 64).epoch(0)))[0].numpy() for d in (data, other))
    np.testing.assert_array_equal(one, two)
    (_, read), (_, wanted) = (next(reader.examples([text], 8, "it")) for text in (WRITTEN[how], SEEN))
    np.testing.assert_array_equal(read, wanted)


def test_what_nobody_sees_is_empty(tmp_path):
    (tmp_path / "all.tsv").write_text("text\tlabel\ngood\ta\n\u200b\u00ad\ufeff \tb\n")
    with pytest.raises(kzoo.KzooError, match="line 3 of .* has an empty text"):
        kzoo.load_data(tmp_path / "all.tsv")
    (tmp_path / "one.txt").write_text("a film\n\u200b\u00ad\nanother\rone\n")
    with notes_what_is_left_out() as told:
        assert texts_of(str(tmp_path / "one.txt")) == ["a film", "another\rone"], (
            "a lone return ends no line, as in tables"
        )
    assert len(told) == 1 and "line 2: it is empty" in told[0]


def test_texts_among_numbers():
    with pytest.raises(kzoo.KzooError, match="the train split has texts, and nan in their place 1; give a text there"):
        kzoo.Data((["a film", float("nan"), "another"], [0, 1, 0]))
