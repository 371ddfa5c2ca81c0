"""Byte-pair encoding: words in pieces that are common, by operations of core TensorFlow and tables.

Rico Sennrich, Barry Haddow, Alexandra Birch (2016), "Neural Machine Translation of Rare Words with Subword Units",
https://arxiv.org/abs/1508.07909, section 3.2: a word begins as its letters, the last one marked as such; of all
neighbours that a list of merges names, the pair that stands first in it becomes one piece, again and again. The merges
are learned by the library `tokenizers`; tests/data/test_subwords.py compares what the graph makes of texts with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.records import END_OF_WORD, UNKNOWN, TextInputs

NEVER = 2**62  # the rank of neighbours that are not merged


class Merges(tf.Module):
    """Words to pieces, for tables of a vocabulary and its merges.

    Args:
        vocabulary: Pieces in the order of their ids.
        merges: "th e</w>": two pieces, the first merge first; what they make is in the vocabulary.
        spelled: Of pieces of bytes, the bytes of each: words begin as their bytes, of which none is marked.
    """

    def __init__(
        self, vocabulary: Sequence[str], merges: Sequence[str], spelled: Sequence[bytes] | None = None
    ) -> None:
        super().__init__()
        self.by_bytes = spelled is not None
        ids = {piece: k for k, piece in enumerate(vocabulary)}
        self.size, made = len(vocabulary), []
        pairs = {}
        for rank, merge in enumerate(merges):
            first, second = merge.split(" ")
            pairs[ids[first] * self.size + ids[second]] = rank
            made.append(ids[first + second])
        self.pieces = hash_table(list(spelled or vocabulary), range(self.size), tf.int64, UNKNOWN)
        keys, ranks = list(pairs) or [-1], list(pairs.values()) or [NEVER]
        self.ranks = hash_table(tf.constant(keys, tf.int64), ranks, tf.int64, NEVER)
        self.made = tf.constant(made or [0], tf.int64)  # id of what each merge makes

    def __call__(self, words: tf.Tensor) -> tf.RaggedTensor:
        """int32 [n, (pieces)] of words [n]; each different word is cut once."""
        different, places = tf.unique(words)
        return tf.gather(self._cut(different), places)

    def _cut(self, words: tf.Tensor) -> tf.RaggedTensor:
        letters = tf.strings.bytes_split(words) if self.by_bytes else tf.strings.unicode_split(words, "UTF-8")
        last = tf.concat([letters.value_rowids()[1:] != letters.value_rowids()[:-1], [True]], 0)
        last = last[: tf.size(letters.flat_values)]  # of no letters at all
        marked = letters.flat_values
        if not self.by_bytes:
            marked = tf.where(last, tf.strings.join([marked, END_OF_WORD]), marked)
        ids, rows = self.pieces.lookup(marked), letters.value_rowids()
        anyone = tf.TensorShape([None])
        ids, rows, _ = tf.while_loop(
            lambda ids, rows, going: going, lambda ids, rows, going: self._merged(ids, rows, tf.size(words)),
            (ids, rows, tf.constant(True)), shape_invariants=(anyone, anyone, tf.TensorShape([])),
        )  # fmt: skip
        found = tf.RaggedTensor.from_value_rowids(ids, rows, tf.size(words, tf.int64), validate=False)
        return tf.cast(found, tf.int32)

    def _merged(self, ids: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """In each word the neighbours that stand first in the list are one piece; (ids, words they are of, whether any
        were).
        """
        beside = tf.concat([ids[1:], [-1]], 0)
        same = tf.concat([rows[1:] == rows[:-1], [False]], 0)[: tf.size(rows)]
        beside = beside[: tf.size(ids)]
        ranks = tf.where(same, self.ranks.lookup(ids * self.size + tf.maximum(beside, 0)), NEVER)
        best = tf.math.unsorted_segment_min(ranks, rows, count)
        chosen = (ranks == tf.gather(best, rows)) & (ranks < NEVER)
        # Of "a a a" the first two: of pairs that overlap every other one.
        places = tf.range(tf.size(ids))
        run = tf.cumsum(tf.cast(~chosen, tf.int32))
        first = tf.math.unsorted_segment_min(tf.where(chosen, places, places[-1:] + 1), run, tf.size(ids) + 1)
        chosen &= (places - tf.gather(first, run)) % 2 == 0
        ids = tf.where(chosen, tf.gather(self.made, tf.where(chosen, ranks, 0)), ids)
        kept = tf.concat([[True], ~chosen[:-1]], 0)[: tf.size(ids)]
        return tf.boolean_mask(ids, kept), tf.boolean_mask(rows, kept), tf.reduce_any(chosen)


def neighbours_in(texts: Iterable[str]) -> set[tuple[str, str]]:
    """Which letters stand side by side; a space stands at either end of a text.

    What `tokenizers` learns depends on the order in which it meets the letters at the ends of words, or inside them,
    and that is another one in every call. Where they are named to it before, it is always the same.
    """
    found: set[tuple[str, str]] = set()
    for text in texts:
        whole = f" {text} "
        found.update(zip(whole, whole[1:], strict=False))
    return found


def learned_merges(spec: TextInputs, texts: Callable[[], Iterable[str]]) -> TextInputs:
    """With at most `size` pieces that `tokenizers` learns of texts whose words have spaces between them.

    Raises:
        KzooError: The library is not there, or the texts hold nothing.
    """
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError as error:
        raise KzooError('subwords are learned by tokenizers; install it: pip install "kzoo[text]"') from error
    marks = [f"[{k}]" for k in range(len(spec.reserved))]  # in place of marks that may be ""
    last = sorted({a for a, b in neighbours_in(texts()) if b.isspace() and not a.isspace()})
    ends = [f"{letter}{END_OF_WORD}" for letter in last][: spec.size - len(marks)]
    learner = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.size,
        min_frequency=2,
        special_tokens=[*marks, *ends],
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    learner.train_from_iterator(texts(), trainer)
    pieces, merges = read_learned(learner)
    if not pieces[len(marks) :]:
        raise KzooError("the training texts hold no tokens")
    return replace(spec, vocabulary=(*spec.reserved, *pieces[len(marks) :]), merges=merges)


def read_learned(learner: Any) -> tuple[list[str], tuple[str, ...]]:
    """(pieces in the order of their ids, merges) of a tokenizer of `tokenizers`."""
    found = json.loads(learner.to_str())["model"]
    merges = tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in found["merges"])
    return sorted(found["vocab"], key=found["vocab"].get), merges


def hash_table(keys: Any, values: Any, dtype: tf.DType, default: Any) -> tf.lookup.StaticHashTable:
    """Keys, a list of strings or a tensor, to values of `dtype`; the default for all others."""
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.constant(list(values), dtype))
    return tf.lookup.StaticHashTable(pairs, default)
