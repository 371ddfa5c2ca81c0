"""Byte pairs in the graph against the library `tokenizers`, and translators on them."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.data import DataInfo
from kzoo.inputs.text import Texts, learn_vocabulary, normal_words
from kzoo.records import TextInputs, from_config

tokenizers = pytest.importorskip("tokenizers")
ODD = [
    "aaaaaaaa aaa aa a",
    "Ünïcödé İstanbul naïve",
    "日本語",
    "x" * 500,
    "",
    "  ",
    "don't stop-now",
    "hahahahaha hahah",
]


def learned(texts, size):
    return learn_vocabulary(
        TextInputs(unit="subwords", size=size, framed=True), tf.data.Dataset.from_tensor_slices(texts)
    )


def differ(spec, texts):
    """Texts whose pieces are not the library's."""
    pieces = {piece: k for k, piece in enumerate(spec.vocabulary)}
    merges = [tuple(merge.split(" ")) for merge in spec.merges]
    model = tokenizers.models.BPE(vocab=pieces, merges=merges, end_of_word_suffix="</w>", unk_token="[UNK]")
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    reader = Texts(replace(spec, length=1_000_000, framed=False))
    made = tf.function(reader.ids, input_signature=[tf.TensorSpec([None], tf.string)])
    wrong = []
    for k in range(0, len(texts), 1024):
        part = texts[k : k + 1024]
        normal = [text.decode() for text in normal_words(tf.constant(part)).numpy()]
        found = made(tf.constant(part)).to_list()
        wrong += [t for t, n, ids in zip(part, normal, found, strict=True) if library.encode(n).ids != ids]
    return wrong


def test_odd_texts_are_cut_as_the_library_cuts_them():
    spec = learned(ODD * 2, 60)
    assert spec.vocabulary[:4] == ("", "[UNK]", "[start]", "[end]") and len(spec.vocabulary) <= 60
    assert differ(spec, [*ODD, "never seen letters: qvw"]) == []
    assert from_config(spec.to_config()) == spec


def many_words():
    """Of few letters: many pairs are equally common."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 8))) for _ in range(2000)]
    return [" ".join(words[k : k + 8]) for k in range(0, len(words), 8)]


def test_the_same_is_learned_every_time():
    first, *others = (learned(many_words(), 200) for _ in range(3))
    assert all(other == first for other in others) and len(first.merges) > 100


@pytest.mark.data
def test_sentences_are_cut_as_the_library_cuts_them(shared):
    texts = []
    for language in ("en", "de"):
        with gzip.open(shared / "multi30k" / f"train.{language}.gz", "rt", encoding="utf-8") as file:
            texts += [line.rstrip("\n") for line in file][:5000]
    assert differ(learned(texts, 4000), texts) == []


def test_pieces_become_words_again():
    texts = ["a man isn't asleep, really!", "the man sleeps"] * 3
    reader = Texts(learned(texts, 60))
    assert reader.text(reader.prepare(tf.constant(texts[:2]))).numpy().tolist() == [t.encode() for t in texts[:2]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seq2seq_luong_tiny", "transformer_tiny"])
def test_a_translator_reads_and_says_pieces(name, tmp_path):
    rng = np.random.default_rng(0)
    words = ["walking", "walks", "talking", "talks", "walked", "talked"]
    x = np.array([" ".join(rng.choice(words, 3)) for _ in range(60)], object)
    y = np.array([" ".join(reversed(t.split())) for t in x], object)
    info = DataInfo("words", "pairs", units=("subwords", "subwords"))
    run = kzoo.fit(
        name, kzoo.Data((x, y), info=info), epochs=1, verbose=False, batch_size=20, run_dir=tmp_path / "r",
        set={"source_vocabulary": 40, "target_vocabulary": 40},
    )  # fmt: skip
    (said,) = kzoo.generate(run, "walking talks", beams=2)
    assert any(token.endswith("</w>") for token in said.source_tokens) and "</w>" not in said.text
    chosen = kzoo.embedding_map(run).tokens
    assert chosen and all(len(t) > 5 and t.endswith("</w>") for t in chosen)
    word = chosen[0].removesuffix("</w>")
    assert kzoo.embedding_map(run, [word]).tokens == (chosen[0],)
    path = kzoo.export(run, tmp_path / "e", beams=2).path
    served = tf.saved_model.load(str(path)).signatures["serve_text"](text=tf.constant(["walking talks"]))
    assert served["text"].numpy()[0].decode() == said.text
    (again,) = kzoo.generate(run.path, "walking talks", beams=2)
    assert again.text == said.text


def test_what_data_is_cut_into_is_said_when_it_is_read(tmp_path):
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + "a walking man\tu\na talking man\tv\n" * 9)
    data = kzoo.load_data(tmp_path / "t.tsv", units="subwords")
    assert data.info.units == ("subwords",) and kzoo.load_data(**data.info.arguments).info.units == ("subwords",)
    with pytest.raises(kzoo.KzooError, match="units='subwords' is of texts, and digits holds images"):
        kzoo.load_data("digits", units="subwords")
    with pytest.raises(kzoo.KzooError, match="unknown units 'letters'"):
        kzoo.load_data(tmp_path / "t.tsv", units="letters")
