"""Raw strings to token ids and back, as TensorFlow operations: the same code in data, generate and export.

Words and punctuation marks are split off by spaces and Unicode classes, characters one by one; the lookup is Keras'
TextVectorization. TensorFlow's `lower` and `\\w` know ASCII only: both are told about Unicode here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.spec import END, START, PairPreprocess, TextPreprocess

# How people write what was taken apart; hyphens are commoner than dashes.
SPACING = (
    (r" ([/-]) ", r"\1"),
    (r"\b(\pL{1,2}) (['’]) (\pL)", r"\1\2\3"),  # l'homme
    (r"(\pL) (['’]) (\pL{1,2})( |$)", r"\1\2\3\4"),  # it's, we'll
    (r" ([.,;:!?%)\]}»…])", r"\1"),
    (r"([(\[{«]) ", r"\1"),
)
BATCH = 1024  # strings tokenised at once


@keras.saving.register_keras_serializable("kzoo")
def normal_words(text: tf.Tensor) -> tf.Tensor:
    """Lower case, spaces around everything that is no letter, digit, combining mark or underscore."""
    text = normal_characters(text)
    text = tf.strings.regex_replace(text, r"([^\p{L}\p{M}\p{N}_\s])", r" \1 ")
    return tf.strings.strip(text)


@keras.saving.register_keras_serializable("kzoo")
def normal_characters(text: tf.Tensor) -> tf.Tensor:
    """Lower case, any run of white space one space; bytes that are not UTF-8 become U+FFFD."""
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
    text = tf.strings.lower(text, encoding="utf-8")
    return tf.strings.strip(tf.strings.regex_replace(text, r"[\s\p{Z}]+", " "))


NORMAL = {"words": normal_words, "characters": normal_characters}
SPLIT = {"words": "whitespace", "characters": "character"}


class TextLayer(tf.Module):
    """Strings to ids by a TextPreprocess that has its vocabulary, and ids to strings.

    Attributes:
        lookup: Keras' TextVectorization; an export tracks it.
    """

    unit = "tokens"

    def __init__(self, spec: TextPreprocess) -> None:
        super().__init__()
        if not spec.vocabulary:
            raise KzooError(
                "the model has no vocabulary: it is not trained, or comes from a .keras file, which carries none;"
                " train it with kzoo fit, or give its run"
            )
        self.spec = spec
        known = list(spec.vocabulary[2:])
        self.lookup = _vectorization(spec, known or ["[none]"])
        self.tokens = tf.constant(spec.vocabulary)

    def counts(self, strings: tf.Tensor) -> tf.Tensor:
        """int64 [n]: tokens in each of the strings [n], uncut."""
        return self._all(strings).row_lengths()

    def ids(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Strings [n] to int32 [n, at most length, and two marks where they are framed]."""
        return self._framed(self._all(strings))

    def ids_and_counts(self, strings: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """`ids` and `counts`, tokenised once."""
        ids = self._all(strings)
        return self._framed(ids), ids.row_lengths()

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        """Strings [n] to int32 [n, longest], padded with zeros; an empty batch and empty strings have one column."""
        ids = self.ids(strings)
        longest = tf.maximum(1, tf.cast(tf.reduce_max(tf.concat([[0], ids.row_lengths()], 0)), tf.int32))
        return ids.to_tensor(shape=tf.stack([-1, longest]))

    def text(self, ids: tf.Tensor) -> tf.Tensor:
        """int [n, tokens], padded with zeros, to strings [n]; marks and unknown tokens are left out."""
        known = tf.ragged.boolean_mask(ids, ids >= len(self.spec.reserved))
        words = tf.gather(self.tokens, known)
        return joined(words, self.spec.unit)

    def _all(self, strings: tf.Tensor) -> tf.RaggedTensor:
        return tf.cast(self.lookup(strings), tf.int32)

    def _framed(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        ids = ids[:, : self.spec.length]
        if not self.spec.framed:
            return ids
        ones = tf.ones([ids.nrows(), 1], tf.int32)
        return tf.concat([START * ones, ids, END * ones], axis=1)


class PairLayer(tf.Module):
    """Sentences and their translations to ids, by a PairPreprocess; either side alone as `source` and `target`."""

    unit = "tokens"

    def __init__(self, spec: PairPreprocess) -> None:
        super().__init__()
        self.spec = spec
        self.source, self.target = TextLayer(spec.source), TextLayer(spec.target)


def joined(tokens: tf.RaggedTensor, unit: str) -> tf.Tensor:
    """Tokens [n, (tokens)] to strings [n], with the spaces as people write them."""
    if unit == "characters":
        return tf.strings.reduce_join(tokens, axis=1)
    text = tf.strings.reduce_join(tokens, axis=1, separator=" ")
    for pattern, written in SPACING:
        text = tf.strings.regex_replace(text, pattern, written)
    return text


def learn_vocabulary(spec: Any, strings: tf.data.Dataset | Iterable[tf.data.Dataset]) -> Any:
    """A TextPreprocess with the commonest tokens of `strings` (a data set of scalars), at most `size` of them.

    A PairPreprocess takes two data sets, and one vocabulary for both sides where it is joint.
    """
    if isinstance(spec, PairPreprocess):
        source, target = strings
        if spec.joint and spec.source.unit == spec.target.unit:
            vocabulary = learn_vocabulary(spec.target, source.concatenate(target)).vocabulary
            sides = (replace(side, vocabulary=vocabulary) for side in (spec.source, spec.target))
        else:
            sides = (learn_vocabulary(spec.source, source), learn_vocabulary(spec.target, target))
            spec = replace(spec, joint=False)  # words on one side, characters on the other
        return PairPreprocess(*sides, joint=spec.joint)
    room = spec.size - len(spec.reserved)
    if room < 1:
        raise KzooError(f"a vocabulary of {spec.size} has no room for tokens; give at least {len(spec.reserved) + 1}")
    layer = _vectorization(spec, None, max_tokens=room + 2)
    layer.adapt(strings.batch(BATCH))
    tokens = [str(token) for token in layer.get_vocabulary()[2:]]
    if not tokens:
        raise KzooError("the training texts hold no tokens")
    return replace(spec, vocabulary=(*spec.reserved, *tokens))


def _vectorization(
    spec: TextPreprocess, vocabulary: list[str] | None, max_tokens: int | None = None
) -> keras.layers.TextVectorization:
    return keras.layers.TextVectorization(
        max_tokens=max_tokens, standardize=NORMAL[spec.unit], split=SPLIT[spec.unit], ragged=True, vocabulary=vocabulary
    )
