"""Texts to word pieces as BERT reads them, by operations of core TensorFlow alone: the same in training and in exports.

Devlin et al. 2019, https://arxiv.org/abs/1810.04805, by the rules of its own tokenizer (google-research/bert,
tokenization.py): control characters go, Chinese characters are words, letters lose case and accents, punctuation stands
alone; then of each word, again and again, the longest piece of the vocabulary. tests/data/test_wordpieces.py compares
them with the library `tokenizers`.
"""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.inputs.subwords import hash_table, neighbours_in
from kzoo.inputs.text import Texts, as_utf8
from kzoo.records.wordpieces import MARKS, WordPieceInputs

LONGEST = 100  # letters of a word; a longer one is unknown
LETTERS = 1000  # that are learned of texts; rarer ones are unknown
CONTROL = r"[\x{00}-\x{08}\x{0B}\x{0C}\x{0E}-\x{1F}\x{7F}-\x{9F}\x{FFFD}\p{Cf}\p{Co}]"
SPACE = r"[\t\n\r\p{Z}]+"
PUNCTUATION = r"([!-/:-@\[-`{-~]|\p{P})"
HAN = (
    r"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B920}-\x{2CEAF}"
    r"\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}])"
)


class WordPieces(Texts):
    unit, reads = "tokens", "texts"

    def __init__(self, spec: WordPieceInputs) -> None:
        super(Texts, self).__init__(spec)  # not Texts' own, which makes a table of words
        if not spec.known:
            return
        places = range(len(spec.vocabulary))
        self.lookup = tf.Module()  # an export tracks it, and the tables in it
        self.lookup.pieces = hash_table(list(spec.vocabulary), places, tf.int32, -1)
        if not spec.cased:
            letters, plain = zip(*plain_letters(), strict=True)
            self.lookup.plain = hash_table(list(letters), plain, tf.string, "")
        self.tokens = tf.constant(spec.vocabulary)
        self.longest = max(len(piece.removeprefix("##")) for piece in spec.vocabulary)
        self.start, self.end = spec.vocabulary.index("[CLS]"), spec.vocabulary.index("[SEP]")

    def learn(self, data: Any) -> WordPieceInputs:
        """With pieces that the library `tokenizers` learns of the training texts."""
        if self.spec.known:
            return self.spec
        return replace(self.spec, vocabulary=learned_pieces(self.spec, data.train))

    def words(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Strings [n] to words and punctuation marks [n, (words)]."""
        text = tf.strings.regex_replace(as_utf8(strings), CONTROL, "")
        text = tf.strings.regex_replace(text, HAN, r" \1 ")
        if not self.spec.cased:
            # Letter by letter, as the library does it: a sigma at the end of a word is a sigma.
            text = tf.strings.lower(tf.strings.regex_replace(self._without_accents(text), "Σ", "σ"), encoding="utf-8")
        text = tf.strings.regex_replace(text, PUNCTUATION, r" \1 ")
        text = tf.strings.strip(tf.strings.regex_replace(text, SPACE, " "))
        return tf.strings.split(text, " ")

    def _without_accents(self, text: tf.Tensor) -> tf.Tensor:
        letters = tf.strings.unicode_split(text, "UTF-8")
        plain = self.lookup.plain.lookup(letters.flat_values)
        kept = tf.where(tf.equal(plain, ""), letters.flat_values, plain)
        return tf.strings.reduce_join(letters.with_flat_values(tf.where(tf.equal(kept, NOTHING), "", kept)), axis=-1)

    def _all(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Pieces of each string, int32 [n, (pieces)]; each different word is cut once."""
        self.needs_vocabulary()
        words = self.words(strings)
        different, places = tf.unique(words.flat_values)
        pieces = tf.gather(self._pieces(different), places)  # [words, (pieces)]
        return words.with_flat_values(pieces).merge_dims(1, 2)

    def _pieces(self, words: tf.Tensor) -> tf.RaggedTensor:
        """int32 [n, (pieces)] of words [n]: the longest piece first, then the longest of what is left."""
        lengths = tf.strings.length(words, "UTF8_CHAR")
        unknown = tf.constant(self.spec.unknown, tf.int32)
        sizes = tf.range(1, self.longest + 1)[None]  # [1, longest]

        def body(start: tf.Tensor, fine: tf.Tensor, found: tf.TensorArray, k: tf.Tensor) -> Any:
            left = tf.where(fine, lengths - start, 0)  # letters that are to be cut
            shape = tf.stack([tf.size(words), self.longest])
            tried = tf.strings.substr(
                tf.broadcast_to(words[:, None], shape), tf.broadcast_to(tf.minimum(start, lengths)[:, None], shape),
                tf.broadcast_to(sizes, shape), "UTF8_CHAR",
            )  # fmt: skip
            tried = tf.where(start[:, None] > 0, tf.strings.join(["##", tried]), tried)
            ids = tf.where(sizes <= left[:, None], self.lookup.pieces.lookup(tried), -1)
            size = tf.reduce_max(tf.where(ids >= 0, sizes, 0), axis=1)
            here = tf.gather(ids, tf.maximum(size - 1, 0), axis=1, batch_dims=1)
            going = left > 0
            found = found.write(k, tf.where(going, here, -1))
            return start + tf.where(going, size, 0), fine & ~(going & (size == 0)), found, k + 1

        unfinished = lambda start, fine, *_: tf.reduce_any(fine & (start < lengths))
        begun = (
            tf.zeros_like(lengths), lengths <= LONGEST,
            tf.TensorArray(tf.int32, 1, dynamic_size=True, element_shape=[None]).write(0, tf.fill(tf.shape(words), -1)),
            tf.constant(0),
        )  # fmt: skip
        _, fine, found, _ = tf.while_loop(unfinished, body, begun)
        table = tf.transpose(found.stack())  # [n, steps], -1 where a word has no more
        table = tf.where(fine[:, None], table, tf.where(tf.range(tf.shape(table)[1]) == 0, unknown, -1))
        return tf.ragged.boolean_mask(table, table >= 0)

    def _framed(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        ids = ids[:, : self.spec.length]
        ones = tf.ones([ids.nrows(), 1], tf.int32)
        return tf.concat([self.start * ones, ids, self.end * ones], axis=1)

    def text(self, ids: tf.Tensor) -> tf.Tensor:
        """int [n, pieces] to strings [n]; marks are left out."""
        marks = tf.constant(self.spec.marks, tf.int32)
        real = tf.reduce_all(tf.not_equal(tf.cast(ids, tf.int32)[..., None], marks), axis=-1)
        pieces = tf.gather(self.tokens, tf.ragged.boolean_mask(ids, real))
        return tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1, separator=" "), " ##", "")


NOTHING = "\0"  # in place of a letter of which nothing is left


@lru_cache(maxsize=1)
def plain_letters() -> tuple[tuple[str, str], ...]:
    """(a letter, what is left of it without its accents, decomposed as Unicode's NFD has it)."""
    found = []
    for code in range(0x80, sys.maxunicode + 1):
        letter = chr(code)
        if 0xD800 <= code < 0xE000:
            continue
        plain = "".join(c for c in unicodedata.normalize("NFD", letter) if unicodedata.category(c) != "Mn")
        if plain != letter:
            found.append((letter, plain or NOTHING))
    return tuple(found)


def learned_pieces(spec: WordPieceInputs, split: tf.data.Dataset) -> tuple[str, ...]:
    """The vocabulary of at most `size` pieces that `tokenizers` learns of a split's texts.

    Raises:
        KzooError: The library is not there, or the texts hold nothing.
    """
    try:
        from tokenizers import BertWordPieceTokenizer
    except ImportError as error:
        raise KzooError(
            'word pieces are learned by tokenizers; install it: pip install "kzoo[text]", or give a vocab.txt'
        ) from error
    learner = BertWordPieceTokenizer(lowercase=not spec.cased)
    texts: Callable[[], Iterable[str]] = lambda: (
        text.decode("utf-8", "replace") for text, *_ in split.as_numpy_iterator()
    )
    counts: Counter[str] = Counter()
    normal = learner.normalizer.normalize_str
    neighbours = neighbours_in(counted(map(normal, texts()), counts))
    letters = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))[:LETTERS]
    inner = sorted({b for a, b in neighbours if _in_a_word(a) and _in_a_word(b)} & set(letters))
    known = [*MARKS, *(f"##{letter}" for letter in inner)][: spec.size]
    learner.train_from_iterator(
        texts(), vocab_size=spec.size, min_frequency=2, special_tokens=known, initial_alphabet=letters,
        limit_alphabet=LETTERS, show_progress=False,
    )  # fmt: skip
    known = learner.get_vocab()
    if len(known) <= len(MARKS):
        raise KzooError("the training texts hold no pieces")
    return tuple(sorted(known, key=known.get))


def counted(texts: Iterable[str], counts: Counter[str]) -> Iterator[str]:
    """The same texts; how often each letter stands in them is added to `counts`."""
    for text in texts:
        counts.update(text)
        yield text


def _in_a_word(letter: str) -> bool:
    """Whether others may stand beside it in a word: no space, punctuation or other ASCII sign."""
    sign = letter.isascii() and not letter.isalnum()
    return not (letter.isspace() or sign or unicodedata.category(letter).startswith("P"))


READER = WordPieces
