"""Inputs of word2vec: words, what stands around each of them, and words that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from kzoo.records.inputs import TextInputs


@dataclass(frozen=True)
class SkipGramInputs(TextInputs):
    """From raw texts to pairs of a word and another one, of which some stand together.

    Attributes:
        length: Words of a text at most.
        window: Words on either side that may be learned of a word: of each word as many as are drawn, 1 to `window`.
        negatives: Words that are drawn for each that stands there.
        sample: Of a word whose share of the text is above it, some places are left out: sqrt(sample / share) stay.
    """

    kind: ClassVar[str] = "skipgrams"
    length: int = 1_000_000
    window: int = 5
    negatives: int = 5
    sample: float = 1e-3

    def for_model(self, input_shape: Any, arguments: Mapping[str, Any]) -> SkipGramInputs:
        return replace(self, size=arguments.get("vocabulary", self.size))

    def describe(self) -> str:
        around = f"{self.window} on either side, {self.negatives} others for each"
        known = f"a vocabulary of {len(self.vocabulary):,}" if self.vocabulary else "no vocabulary yet"
        return f"{self.unit} in lower case, {around}, {known}"
