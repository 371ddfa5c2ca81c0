"""Inputs of BERT's pre-training: word pieces, of which some are hidden, in two segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from kzoo.errors import KzooError
from kzoo.records.wordpieces import WordPieceInputs


@dataclass(frozen=True)
class MaskedInputs(WordPieceInputs):
    """From raw texts, cut into parts of at most `length` pieces, to `[CLS] A [SEP] B [SEP]`.

    Attributes:
        length: Pieces of a part at most; a longer text is several parts.
        share: Of the pieces of a part that are to be guessed.
    """

    kind: ClassVar[str] = "masked"
    length: int = 124
    share: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary and "[MASK]" not in self.vocabulary:
            raise KzooError("a vocabulary to guess pieces of has [MASK]; this one lacks it")

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> MaskedInputs:
        length = (arguments.get("length", self.length + 4) - 4) // 4 * 4  # what a batch is padded to
        return replace(self, size=arguments.get("vocabulary", self.size), length=length)

    def describe(self) -> str:
        return f"{super().describe()}, {self.share:.0%} of them to be guessed"
