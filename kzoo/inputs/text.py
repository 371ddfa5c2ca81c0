"""Raw strings to token ids and back, as TensorFlow operations: the same code in data, generate and export.

Words and punctuation marks are split off by spaces and Unicode classes, characters one by one; the lookup is Keras'
TextVectorization. TensorFlow's `lower` and `\\w` know ASCII only: both are told about Unicode here.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError, say
from kzoo.inputs.left_out import leave_out_all
from kzoo.inputs.letters import composed, is_blank
from kzoo.inputs.reader import Reader, Served
from kzoo.inputs.sequences import Sequences
from kzoo.inputs.subwords import Merges, learned_merges
from kzoo.models import registering
from kzoo.records import END, END_OF_WORD, START, UNKNOWN, TextInputs
from kzoo.report import Shown, Text

register = registering("text")
# How people write what was taken apart; hyphens are commoner than dashes.
SPACING = (
    (r" ([/-]) ", r"\1"),
    (r"\b(\pL{1,2}) (['’]) (\pL)", r"\1\2\3"),  # l'homme
    (r"(\pL) (['’]) (\pL{1,2})( |$)", r"\1\2\3\4"),  # it's, we'll
    (r" ([.,;:!?%)\]}»…])", r"\1"),
    (r"([(\[{«]) ", r"\1"),
)
BATCH = 1024  # strings tokenised at once
COMPOSE = "Letters with accents must come composed (Unicode NFC): a graph does not compose them, as Python does."
SAID = 5  # texts of which something is said, at most
LOOK_AT = 2000  # rows whose letters decide between words and characters
# Written without spaces: Han, Hiragana, Katakana, Thai, Lao, Tibetan, Myanmar, Khmer.
SPACELESS = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


@register
def normal_words(text: tf.Tensor) -> tf.Tensor:
    """Lower case, spaces around everything that is no letter, digit, combining mark or underscore."""
    text = normal_characters(text)
    text = tf.strings.regex_replace(text, r"([^\p{L}\p{M}\p{N}_\s])", r" \1 ")
    return tf.strings.strip(text)


@register
def normal_characters(text: tf.Tensor) -> tf.Tensor:
    """Lower case, any run of white space one space, HTML's line breaks too; nothing of what nobody sees (soft hyphens,
    zero-width spaces, byte order marks); bytes that are not UTF-8 become U+FFFD.
    """
    text = as_utf8(text)
    text = tf.strings.regex_replace(text, r"[\x{00AD}\x{200B}\x{2060}\x{FEFF}]", "")
    text = tf.strings.regex_replace(text, r"(?i)<br\s*/?>", " ")
    text = tf.strings.lower(text, encoding="utf-8")
    return tf.strings.strip(tf.strings.regex_replace(text, r"[\s\p{Z}]+", " "))


def as_utf8(text: tf.Tensor) -> tf.Tensor:
    """Bytes that are not UTF-8 become U+FFFD."""
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)


def is_utf8(text: tf.Tensor) -> tf.Tensor:
    """bool [n] of strings [n]."""
    return tf.equal(text, tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="ignore"))


NORMAL = {"words": normal_words, "characters": normal_characters, "subwords": normal_words}
SPLIT = {"words": "whitespace", "characters": "character"}


class Texts(Reader):
    """Strings to ids by a TextInputs, once it has its vocabulary, and ids to strings."""

    unit, reads, as_given = "tokens", "texts", False

    def __init__(self, spec: TextInputs) -> None:
        super().__init__(spec)
        if not spec.known:
            return
        known = list(spec.vocabulary[2:])
        if spec.unit == "subwords":
            self.lookup = Merges(spec.vocabulary, spec.merges)
        else:
            self.lookup = _vectorization(spec, known or ["[none]"])  # Keras' TextVectorization; an export tracks it
        self.tokens = tf.constant(spec.vocabulary)

    def check(self, name: str, data: Any) -> None:
        check_texts(name, data, 1, self.reads)
        if data.info.holds == "prose":  # each passage with the same number in the place of a label
            raise KzooError(
                f"{name} learns labels of texts, and {data.info.name} is prose without any; give a table of text and"
                " label; prose is for language models: kzoo list --task text-generation"
            )

    def check_fed(self, name: str, data: Any) -> None:
        check_ids(name, data)

    def learn(self, data: Any) -> TextInputs:
        """With the commonest tokens of the training texts, in the unit that the data is written in."""
        if self.spec.known:
            return self.spec
        column = data.train.map(lambda *row: row[0])
        unit = data.info.units[0] if data.info.units else unit_of_column(column)
        return learn_vocabulary(replace(self.spec, unit=unit), column)

    def batches(self, split: tf.data.Dataset, batch_size: int | None, **options: Any) -> Any:
        return Sequences(split, batch_size, self, [self], **options)

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

    def prepare(self, raw: tf.Tensor) -> tf.Tensor:
        """Strings [n] to int32 [n, longest], padded with zeros; an empty batch and empty strings have one column."""
        return _padded(self.ids(raw))

    def text(self, ids: tf.Tensor, copies: tf.Tensor | None = None) -> tf.Tensor:
        """int [n, tokens], padded with zeros, to strings [n]; marks and unknown tokens are left out.

        Args:
            copies: Strings [n, tokens] that stand in the place of unknown tokens.
        """
        said = ids >= len(self.spec.reserved)
        words = tf.gather(self.tokens, ids)
        if copies is not None:
            unknown = tf.equal(ids, UNKNOWN)
            words, said = tf.where(unknown, copies, words), said | unknown
        return joined(tf.ragged.boolean_mask(words, said), self.spec.unit)

    def written(self, strings: tf.Tensor) -> tf.Tensor:
        """Strings [n] to what stands there for each of their ids, strings [n, longest]; "" for marks and padding."""
        words = tf.strings.split(NORMAL["words"](strings))[:, : self.spec.length]
        if self.spec.framed:
            mark = tf.fill([words.nrows(), 1], "")
            words = tf.concat([*([mark] if self.spec.starts else []), words, mark], axis=1)
        return words.to_tensor()

    def said(self, ids: Any) -> str:
        """The tokens of one row of ids, with spaces between them; padding left out."""
        return " ".join(self.spec.vocabulary[k] for k in ids if k)

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        """Of texts, or the lines of a .txt file; what is cut off is said."""
        self.needs_vocabulary()
        texts = texts_of(given)
        prepared, counts = (part.numpy() for part in self._padded_and_counts(tf.constant(texts)))
        for k in np.flatnonzero(counts > self.spec.length)[:SAID]:
            cut = f"only its first {self.spec.length} are read"
            say(f"text {k + 1} has {counts[k]} {self.spec.unit}: {cut}")
        self.say_unknown(prepared, counts)
        for i in range(0, len(texts), batch_size):
            yield texts[i : i + batch_size], prepared[i : i + batch_size]

    def say_unknown(self, ids: np.ndarray, counts: np.ndarray) -> None:
        """Of which texts the vocabulary has no token: of ids [n, time], and uncut numbers of tokens [n], not 0."""
        for k in np.flatnonzero(np.isin(ids, self.spec.marks).all(axis=1) & (counts > 0))[:SAID]:
            say(f"text {k + 1}: none of its {counts[k]} {self.spec.unit} is in the vocabulary; the answer is a guess")

    @functools.cached_property
    def _padded_and_counts(self) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Of strings [n], as one graph: operation by operation it takes ten times as long."""

        def read(strings: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            ids, counts = self.ids_and_counts(strings)
            return _padded(ids), counts

        return tf.function(read, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def served(self) -> Served | None:
        if not self.spec.known:
            return None
        takes = tf.TensorSpec([None], tf.string, name="text")

        def read(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            ids, counts = self.ids_and_counts(text)
            return _padded(ids), (counts > 0) & is_utf8(text)

        notes = (
            f"A text without {self.spec.unit}, or no UTF-8, is not valid; of a longer one the first {self.spec.length}"
            " are read.",
            COMPOSE,
        )
        return Served("serve_text", takes, read, keeps=(self.lookup,), notes=notes)

    def shown_raw(
        self, raw: Callable[[], Sequence[Any]], said: Sequence[tuple[str, str, float]], name: str, title: str
    ) -> list[Shown]:
        """A line each, as its writer wrote it."""
        lines = [f"{title}; wrong ones say what they are", ""]
        for text, (guess, true, sure) in zip(raw(), said, strict=True):
            wrong = f" (is {true})" if guess != true else ""
            lines.append(f"{guess} {sure:.2f}{wrong}: {' '.join(text.decode('utf-8', 'replace').split())}")
        return [Text(f"{name}.txt", "\n".join(lines) + "\n")]

    def shown(self, x: Any, titles: Sequence[str], name: str, title: str) -> list[Shown]:
        """Each text under its title: its tokens."""
        rows = np.asarray(x)[: len(titles)]
        lines = [f"{said}: {self.said(row)}\n" for said, row in zip(titles, rows, strict=True)]
        return [Text(f"{name}.txt", f"{title}\n\n" + "\n".join(lines))]

    def _all(self, strings: tf.Tensor) -> tf.RaggedTensor:
        self.needs_vocabulary()
        if self.spec.unit != "subwords":
            return tf.cast(self.lookup(strings), tf.int32)
        words = tf.strings.split(NORMAL["subwords"](strings))
        return words.with_flat_values(self.lookup(words.flat_values)).merge_dims(1, 2)

    def _framed(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        ids = ids[:, : self.spec.length]
        if not self.spec.framed:
            return ids
        ones = tf.ones([ids.nrows(), 1], tf.int32)
        return tf.concat([*([START * ones] if self.spec.starts else []), ids, END * ones], axis=1)


def _padded(ids: tf.RaggedTensor) -> tf.Tensor:
    """int32 [n, longest]; with one column at least."""
    longest = tf.maximum(1, tf.cast(tf.reduce_max(tf.concat([[0], ids.row_lengths()], 0)), tf.int32))
    return ids.to_tensor(shape=tf.stack([-1, longest]))


class Strings(Reader):
    """Texts as they are, for a network of the user's that tokenises them itself."""

    unit, reads = "texts", "texts"

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        texts = texts_of(given)
        raw = np.array(texts, object).reshape(-1, *[1] * len(shape or ()))
        for i in range(0, len(texts), batch_size):
            yield texts[i : i + batch_size], raw[i : i + batch_size]


def check_texts(name: str, data: Any, columns: int, reads: str) -> None:
    """The first columns hold texts."""
    specs = data.train.element_spec[:columns]
    if len(specs) < columns or not all(getattr(spec, "dtype", None) == tf.string for spec in specs):
        gives = ", ".join(f"{s.dtype.name} {list(s.shape)}" for s in tf.nest.flatten(data.train.element_spec))
        raise KzooError(f"{name} reads {reads}, but {data.info.name} gives {gives}")


def check_passages(name: str, data: Any) -> None:
    """Texts, with labels that are not looked at or without; of pairs one side would be lost without a word."""
    check_texts(name, data, 1, "texts")
    if data.info.holds == "pairs":
        raise KzooError(f"{name} reads texts, but {data.info.name} gives pairs; give one side of them")


def check_ids(name: str, data: Any) -> None:
    """What is fed as it is holds ids already."""
    if any(spec.dtype == tf.string for spec in tf.nest.flatten(data.train.element_spec)):
        raise KzooError(
            f"{name} reads token ids, and what you give is fed as it is; give kzoo.Data((texts, …)), whose texts kzoo"
            " tokenises"
        )


def joined(tokens: tf.RaggedTensor, unit: str) -> tf.Tensor:
    """Tokens [n, (tokens)] to strings [n], with the spaces as people write them."""
    if unit == "characters":
        return tf.strings.reduce_join(tokens, axis=1)
    if unit == "subwords":
        text = tf.strings.regex_replace(tf.strings.reduce_join(tokens, axis=1), END_OF_WORD, " ")
        text = tf.strings.strip(text)
    else:
        text = tf.strings.reduce_join(tokens, axis=1, separator=" ")
    for pattern, written in SPACING:
        text = tf.strings.regex_replace(text, pattern, written)
    return text


def learn_vocabulary(spec: TextInputs, strings: tf.data.Dataset) -> TextInputs:
    """With the commonest tokens of `strings` (a data set of scalars), at most `size` of them."""
    room = spec.size - len(spec.reserved)
    if room < 1:
        raise KzooError(f"a vocabulary of {spec.size} has no room for tokens; give at least {len(spec.reserved) + 1}")
    if spec.unit == "subwords":
        normal = strings.batch(BATCH).map(NORMAL["subwords"])
        return learned_merges(spec, lambda: (t.decode() for part in normal.as_numpy_iterator() for t in part))
    layer = _vectorization(spec, None, max_tokens=room + 2)
    layer.adapt(tf.data.Dataset.from_tensor_slices([composed(t) for t in strings.as_numpy_iterator()]).batch(BATCH))
    tokens = [str(token) for token in layer.get_vocabulary()[2:]]
    if not tokens:
        raise KzooError("the training texts hold no tokens")
    return replace(spec, vocabulary=(*spec.reserved, *tokens))


def _vectorization(
    spec: TextInputs, vocabulary: list[str] | None, max_tokens: int | None = None
) -> keras.layers.TextVectorization:
    return keras.layers.TextVectorization(
        max_tokens=max_tokens, standardize=NORMAL[spec.unit], split=SPLIT[spec.unit], ragged=True, vocabulary=vocabulary
    )


# ----------------------------------------------------------------------------------------------------------------------
# Words or characters
# ----------------------------------------------------------------------------------------------------------------------


def unit_of(column: Iterable[str | bytes]) -> str:
    """What a column is cut into: characters where most letters are of a script written without spaces, else words.

    >>> unit_of(["A dog runs."]), unit_of(["一只狗在跑。"]), unit_of(["개가 달린다."])
    ('words', 'characters', 'words')
    """
    some = itertools.islice(column, LOOK_AT)
    text = "".join(t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in some)
    letters = Counter({c: n for c, n in Counter(text).items() if c.isalpha()})
    spaceless = sum(n for letter, n in letters.items() if SPACELESS.match(letter))
    return "characters" if 2 * spaceless > letters.total() else "words"


def unit_of_column(column: tf.data.Dataset) -> str:
    """`unit_of` the first texts of a data set of scalars."""
    return unit_of([t.decode() for t in column.take(1000).as_numpy_iterator()])


# ----------------------------------------------------------------------------------------------------------------------
# What people give
# ----------------------------------------------------------------------------------------------------------------------


def random_texts(count: int, words: int, seed: int) -> np.ndarray:
    """So many texts of so many words each; some words are common, most are rare."""
    rng = np.random.default_rng(seed)
    ranks = np.minimum(rng.zipf(1.3, (count, words)), 5000)
    return np.array([" ".join(f"w{rank}" for rank in row) for row in ranks])


def words_for(spec: Any, tokens: int) -> int:
    """How many words of `random_texts` are a text of at most so many tokens; of pieces a word may have four, a letter
    and three digits.
    """
    return max(min(tokens, spec.most_tokens) // (4 if spec.unit == "pieces" else 1), 1)


def has_lines(given: Any) -> bool:
    """Whether it is no text but what has one a line: a .txt file, or `-`, stdin."""
    return isinstance(given, str | os.PathLike) and (str(given) == "-" or str(given).endswith(".txt"))


def texts_of(given: Any) -> list[str]:
    """Texts as given, or the lines of a .txt file, of `-` those of stdin. One of several that is empty or no UTF-8 is
    left out and named.

    Raises:
        KzooError: No texts, or none that can be read.
    """
    alone = given[0] if isinstance(given, list | tuple) and len(given) == 1 else given
    if has_lines(alone):
        if str(alone) == "-":
            return _readable(*_lines(sys.stdin.buffer.read(), "stdin"))
        if not Path(alone).is_file():
            raise KzooError(f"no file {str(alone)!r}")
        return _readable(*_lines(Path(alone).read_bytes(), str(alone)))
    if not isinstance(given, str) and not hasattr(given, "__iter__"):
        raise KzooError(f"texts must be strings, or the path of a .txt file; received {str(given)[:60]!r}")
    texts = [given] if isinstance(given, str) else list(given)
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise KzooError(f"texts must be strings; number {number} is {str(text)[:60]!r}")
        if len(text) < 256 and "\n" not in text and Path(text).suffix and Path(text).is_file():
            raise KzooError(f"text {number} is the file {text!r}; give one .txt file alone, or texts")
        if text == "-":
            raise KzooError(f"text {number} is '-', which stands for stdin; give it alone, or texts")
    if not texts:
        raise KzooError("no texts; give at least one")
    return _readable(
        [text.encode("utf-8", "surrogatepass") for text in texts], [f"text {k + 1}" for k in range(len(texts))]
    )


def _lines(whole: bytes, name: str) -> tuple[list[bytes], list[str]]:
    """(lines, what each is called)."""
    whole = whole.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n")
    lines = [line.removesuffix(b"\r") for line in whole.split(b"\n")] if whole else []  # as tables are cut
    if not lines:
        raise KzooError(f"{name!r} is empty; give a text a line")
    return lines, [f"{name}, line {k + 1}" for k in range(len(lines))]


def _readable(lines: Sequence[bytes], called: Sequence[str]) -> list[str]:
    texts, wrong = [], []
    for line, name in zip(lines, called, strict=True):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            wrong.append((name, f"it is not UTF-8 ({error.reason})"))
            continue
        if not is_blank(text):
            texts.append(composed(text))
        else:
            wrong.append((name, "it is empty"))
    leave_out_all(wrong, texts, "{what}: {why}; give a text with words")
    return texts


READER = Texts
