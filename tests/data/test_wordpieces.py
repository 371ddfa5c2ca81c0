"""Word pieces in the graph against the library `tokenizers`, on real reviews and on letters that nobody expects."""

import lzma
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.inputs.wordpieces import WordPieces
from kzoo.records import from_config
from kzoo.records.wordpieces import MARKS, WordPieceInputs

tokenizers = pytest.importorskip("tokenizers")
ODD = [
    "Ünïcödé İstanbul ﬁne naïve Ǆ café",
    "日本語のテキスト 中文字符 𠀀",
    "a" * 150 + " b",
    "don't stop-now… \"it's\" $5.00 ^_^ `x`",
    "\u200bzero\u00adwidth\ufeff \x01ctrl\ttab\nline\x85end",
    "한국어 문장입니다",
    "",
    "   ",
    "🎉🎊 emoji👍🏽",
    "e\u0301 \u1e69",
    "Ωμέγα ΑΣ ς ΣΑΣ",
    "ß ſ K Å ẞ",
    "عربى עִבְרִית हिन्दी ไทย",
    "1,234.5e-6 50% #tag @you a_b",
    "\u3000wide\u00a0space",
    "[CLS] [MASK]",
]
WORDS = ["the cat sat", "a dog ran away", "cats and dogs running", "it rained all day", "naive unicode cafe"]


def library(vocabulary, cased=False):
    pieces = {piece: k for k, piece in enumerate(vocabulary)}
    return tokenizers.BertWordPieceTokenizer(vocab=pieces, lowercase=not cased, strip_accents=not cased)


def learned(texts, size):
    data = kzoo.Data((np.array(texts, object), np.arange(len(texts)) % 2))
    return WordPieces(WordPieceInputs(size=size)).learn(data)


def differ(spec, texts):
    """Texts whose ids are not the library's."""
    reader, other = WordPieces(replace(spec, length=1_000_000)), library(spec.vocabulary, spec.cased)
    made = tf.function(reader.ids, input_signature=[tf.TensorSpec([None], tf.string)])
    found = [row for k in range(0, len(texts), 1024) for row in made(tf.constant(texts[k : k + 1024])).to_list()]
    return [text for text, ids in zip(texts, found, strict=True) if other.encode(text).ids != ids]


def test_odd_letters_are_cut_as_the_library_cuts_them():
    spec = learned(ODD * 3 + WORDS * 3, 400)
    assert spec.vocabulary[: len(MARKS)] == MARKS
    # The library takes marks that are written out for the marks; here they are texts, as in google-research/bert.
    assert differ(spec, ODD + WORDS) == ["[CLS] [MASK]"]
    cased = replace(spec, cased=True)
    assert differ(cased, ODD[:-1] + WORDS) == []


@pytest.mark.data
def test_reviews_are_cut_as_the_library_cuts_them(shared):
    with lzma.open(shared / "imdb" / "train_pos.txt.xz", "rt", encoding="utf-8") as file:
        texts = [line.split("\t", 1)[1].rstrip("\n") for line in file][:1000]
    assert differ(learned(texts, 4000), texts) == []


def test_the_same_is_learned_every_time():
    """Of many pairs that are equally common, and of more letters than are kept."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 8))) for _ in range(1000)]
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 1100)]
    texts = [*(" ".join(words[k : k + 8]) for k in range(0, len(words), 8)), "".join(letters), "isn't 3.5"]
    first, *others = (learned(texts, 1500) for _ in range(3))
    assert all(other == first for other in others)
    pieces = set(first.vocabulary)
    assert {"##j", "a", "'", letters[0]} <= pieces and not {"##'", "##.", letters[-1], f"##{letters[1]}"} & pieces


def test_a_vocabulary_is_read_from_its_file_and_kept():
    spec = WordPieceInputs().of_files("\n".join([*MARKS, "cat", "##s", "dog", "!"]) + "\n")
    reader = WordPieces(spec)
    assert reader.prepare(tf.constant(["Cats, DOG!", "x"])).numpy().tolist() == [
        [2, 5, 6, 1, 7, 8, 3],
        [2, 1, 3, 0, 0, 0, 0],
    ]
    assert reader.text(tf.constant([[2, 5, 6, 7, 3, 0]])).numpy().tolist() == [b"cats dog"]
    assert from_config(spec.to_config()) == spec
    with pytest.raises(kzoo.KzooError, match=r"has \[PAD\], .*; this one lacks \[CLS\]"):
        WordPieceInputs().of_files("[PAD]\n[UNK]\ncat\n")
    with pytest.raises(kzoo.KzooError, match=r"begins with \[PAD\]; this one with 'cat'"):
        WordPieceInputs().of_files("cat\n" + "\n".join(MARKS))
