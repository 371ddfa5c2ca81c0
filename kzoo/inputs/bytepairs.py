"""Prose to pieces of bytes as GPT-2 reads it, by operations of core TensorFlow alone.

Radford et al. 2019, https://openai.com/research/better-language-models, section 2.2, by the rules of its own encoder
(openai/gpt-2, encoder.py): a text is cut into words with the space in front of them, numbers, signs and white space;
each of these into its bytes; and of all neighbours that the list of merges names, the pair that stands first in it
becomes one piece, again and again. tests/data/test_bytepairs.py compares it with the library `tokenizers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.inputs.subwords import Merges, read_learned
from kzoo.inputs.text import as_utf8
from kzoo.inputs.windows import Windows
from kzoo.records.bytepairs import END_OF_TEXT, BytePairInputs

SPACE = r"\t-\r \x{85}\p{Z}"  # as Unicode has it: RE2's \s knows ASCII alone
CUT = "\x01"  # between words, in a text that has none
WORD = rf"('s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{SPACE}\p{{L}}\p{{N}}\x01]+|[{SPACE}]+)"


@lru_cache(maxsize=1)
def letters_of_bytes() -> dict[int, str]:
    """The letter that stands for each byte in `vocab.json`: itself where it can be seen, others from U+0100 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + k) for k, byte in enumerate(others)}


class BytePairs(Windows):
    def __init__(self, spec: BytePairInputs) -> None:
        super().__init__(spec)
        if not spec.known:
            return
        byte_of = {letter: byte for byte, letter in letters_of_bytes().items()}
        if missing := [letter for letter in byte_of if letter not in spec.vocabulary]:
            raise KzooError(f"a vocabulary of pieces of bytes has all 256 of them; this one lacks {missing[0]!r}")
        plain = lambda piece: bytes(byte_of[c] for c in piece) if all(c in byte_of for c in piece) else piece.encode()
        pieces = [plain(piece) for piece in spec.vocabulary]
        self.lookup = Merges(spec.vocabulary, spec.merges, spelled=pieces)  # an export tracks it
        marks = [b"" if k == spec.end else piece for k, piece in enumerate(pieces)]
        self.tokens = tf.constant([*marks, b""])  # the last one is padding's

    def learn(self, data: Any) -> BytePairInputs:
        """With pieces that the library `tokenizers` learns of the training texts."""
        return self.spec if self.spec.known else learned_bytes(self.spec, data.train)

    def ids(self, strings: tf.Tensor) -> tf.RaggedTensor:
        self.needs_vocabulary()
        text = tf.strings.regex_replace(as_utf8(strings), r"\x01", " ")
        # Of several spaces the last one belongs to the word behind them.
        text = tf.strings.regex_replace(text, rf"([{SPACE}]+)([{SPACE}][^{SPACE}])", rf"\1{CUT}\2")
        text = tf.strings.regex_replace(text, WORD, rf"{CUT}\1")
        words = tf.strings.split(text, CUT)
        words = tf.ragged.boolean_mask(words, tf.not_equal(words, ""))
        return words.with_flat_values(self.lookup(words.flat_values)).merge_dims(1, 2)

    def text(self, ids: tf.Tensor) -> tf.Tensor:
        """Bytes that are no UTF-8 become replacement marks; what ends a text is nothing."""
        places = tf.where(ids < 0, len(self.spec.vocabulary), ids)
        joined = tf.strings.reduce_join(tf.gather(self.tokens, places), axis=1)
        return as_utf8(joined)

    def spelling(self, ids: np.ndarray, text: str) -> int:
        count = int((ids != self.spec.padding).sum())
        grown = np.where(np.tri(count, len(ids), dtype=bool), ids, self.spec.padding)  # the first, the first two, …
        lengths = [len(spelled.decode()) for spelled in self.text(tf.constant(grown)).numpy()] if count else []
        return next((k + 1 for k, length in enumerate(lengths) if length >= len(text)), count) if text else 0


def learned_bytes(spec: BytePairInputs, split: tf.data.Dataset) -> BytePairInputs:
    """With at most `size` pieces of the texts of a split, END_OF_TEXT the last one.

    Raises:
        KzooError: The library is not there, or there is no room for all bytes.
    """
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError as error:
        raise KzooError(
            'pieces of bytes are learned by tokenizers; install it: pip install "kzoo[text]", or give a folder with'
            " vocab.json and merges.txt"
        ) from error
    if spec.size < 257:
        raise KzooError(f"a vocabulary of {spec.size} has no room for 256 bytes and {END_OF_TEXT}; give at least 257")
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=spec.size - 1, min_frequency=2, show_progress=False,
        initial_alphabet=sorted(letters_of_bytes().values()),
    )  # fmt: skip
    texts: Iterable[str] = (text.decode("utf-8", "replace") for text, *_ in split.as_numpy_iterator())
    learner.train_from_iterator(texts, trainer)
    pieces, merges = read_learned(learner)
    return replace(spec, vocabulary=(*pieces, END_OF_TEXT), merges=merges)


READER = BytePairs
