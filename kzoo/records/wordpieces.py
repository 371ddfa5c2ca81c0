"""Inputs of BERT: words in the pieces of a vocabulary, the marks [CLS] and [SEP] around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from kzoo.errors import KzooError
from kzoo.records.inputs import Inputs, TextInputs

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class WordPieceInputs(TextInputs):
    """From a raw string to ids as BERT reads it: words and punctuation marks, each cut into the longest pieces that the
    vocabulary has, from its beginning on; pieces inside a word begin with `##`.

    Attributes:
        length: Pieces at most, the two marks not counted.
        size: Entries of the vocabulary at most, where it is learned.
        vocabulary: The pieces in the order of their ids, as in a `vocab.txt`; `[PAD]` first, the other marks anywhere.
        cased: Whether capital letters and accents stay.
    """

    kind: ClassVar[str] = "wordpieces"
    equal: ClassVar[tuple[str, ...]] = ("separator",)
    unit: str = "pieces"
    length: int = 126
    size: int = 30_522
    framed: bool = True
    cased: bool = False

    def __post_init__(self) -> None:
        if self.vocabulary and (missing := [mark for mark in MARKS[:4] if mark not in self.vocabulary]):
            raise KzooError(f"a vocabulary of word pieces has {', '.join(MARKS)}; this one lacks {missing[0]}")
        if self.vocabulary and self.vocabulary[0] != MARKS[0]:
            raise KzooError(f"a vocabulary of word pieces begins with [PAD]; this one with {self.vocabulary[0]!r}")

    @property
    def reserved(self) -> tuple[str, ...]:
        return MARKS

    @property
    def arguments(self) -> dict[str, Any]:
        return {"vocabulary": len(self.vocabulary), "separator": self.vocabulary.index("[SEP]")}

    @property
    def unknown(self) -> int:
        return self.vocabulary.index("[UNK]")

    @property
    def marks(self) -> tuple[int, ...]:
        """Ids that stand for no piece of a text."""
        return tuple(self.vocabulary.index(mark) for mark in MARKS if mark in self.vocabulary)

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> WordPieceInputs:
        length = arguments.get("length", self.length + 2) - 2  # the marks take two places
        return replace(self, size=arguments.get("vocabulary", self.size), length=length)

    def adopted(self, theirs: Inputs) -> Inputs:
        """Their vocabulary; texts are cut at this length."""
        if not isinstance(theirs, WordPieceInputs):
            return self
        return replace(self, vocabulary=theirs.vocabulary, cased=theirs.cased)

    def of_files(self, text: str) -> WordPieceInputs:
        """With the vocabulary of a `vocab.txt`: a piece a line, in the order of the ids.

        Raises:
            KzooError: It is none.
        """
        return replace(self, vocabulary=tuple(text.removesuffix("\n").split("\n")))

    def to_files(self) -> tuple[str]:
        """What `of_files` reads."""
        return ("\n".join(self.vocabulary) + "\n",)

    def describe(self) -> str:
        known = f"a vocabulary of {len(self.vocabulary):,}" if self.vocabulary else "no vocabulary yet"
        return f"word pieces{' in lower case' * (not self.cased)}, at most {self.length}, {known}"
