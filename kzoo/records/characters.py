"""Inputs of a language model on characters: prose as it is, every character a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from kzoo.records.inputs import Inputs, meaning_of

RESERVED = ("", "[UNK]")  # ids 0, padding, and 1, a character that training did not have


@dataclass(frozen=True)
class CharacterInputs(Inputs):
    """From prose to ids; upper case, spaces and line ends are characters like any other.

    Attributes:
        length: Characters that the network reads at once.
        vocabulary: The characters in the order of their ids, the reserved entries first; empty until it has been taken
            from training data.
    """

    kind: ClassVar[str] = "characters"
    unit: ClassVar[str] = "characters"
    padding: ClassVar[int] = 0
    reserved: ClassVar[tuple[str, ...]] = RESERVED
    end: ClassVar[int | None] = None
    length: int = 64
    vocabulary: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return bool(self.vocabulary)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"vocabulary": len(self.vocabulary)}

    @property
    def meaning(self) -> str:
        return meaning_of([self.vocabulary])

    def for_model(self, input_shape: Any, arguments: Mapping[str, Any]) -> CharacterInputs:
        return replace(self, length=arguments.get("length", self.length))

    def adopted(self, theirs: Inputs) -> Inputs:
        return theirs if isinstance(theirs, CharacterInputs) else self

    def describe(self) -> str:
        return f"{self.length} characters at once, {len(self.vocabulary)} different ones"
