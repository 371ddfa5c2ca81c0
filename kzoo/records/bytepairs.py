"""Inputs of GPT-2: prose in pieces of bytes, as its own `vocab.json` and `merges.txt` have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from kzoo.errors import KzooError
from kzoo.records.inputs import Inputs, meaning_of

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class BytePairInputs(Inputs):
    """From prose to ids; no byte is unknown.

    Attributes:
        length: Pieces that the network reads at once.
        size: Entries of the vocabulary at most, where it is learned.
        vocabulary: The pieces in the order of their ids. Each letter stands for a byte, as in `vocab.json`, where "Ġ"
            is a space.
        merges: Pairs that become one piece, "Ġ t", the first one first.
    """

    kind: ClassVar[str] = "bytepairs"
    unit: ClassVar[str] = "pieces"
    padding: ClassVar[int] = -1  # 0 is a piece
    reserved: ClassVar[tuple[str, ...]] = ()
    length: int = 1024
    size: int = 50_257
    vocabulary: tuple[str, ...] = ()
    merges: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return bool(self.vocabulary)

    @property
    def end(self) -> int | None:
        """The id of what stands behind a text."""
        return self.vocabulary.index(END_OF_TEXT) if END_OF_TEXT in self.vocabulary else None

    @property
    def arguments(self) -> dict[str, Any]:
        return {"vocabulary": len(self.vocabulary)}

    @property
    def meaning(self) -> str:
        return meaning_of([self.vocabulary, self.merges])

    def for_model(self, input_shape: Any, arguments: Mapping[str, Any]) -> BytePairInputs:
        length, size = arguments.get("length", self.length), arguments.get("vocabulary", self.size)
        return replace(self, length=length, size=size)

    def adopted(self, theirs: Inputs) -> Inputs:
        """Their vocabulary."""
        if not isinstance(theirs, BytePairInputs):
            return self
        return replace(self, vocabulary=theirs.vocabulary, merges=theirs.merges)

    def of_files(self, vocabulary: str, merges: str) -> BytePairInputs:
        """With what stands in a `vocab.json` and a `merges.txt`.

        Raises:
            KzooError: They are none.
        """
        try:
            ids = json.loads(vocabulary)
            pieces = tuple(sorted(ids, key=ids.__getitem__))
            if [ids[piece] for piece in pieces] != list(range(len(pieces))):
                raise ValueError("its ids are not 0, 1, 2, …")
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise KzooError(f"vocab.json is no vocabulary of pieces and their numbers: {error}") from error
        lines = [line for line in merges.split("\n") if line and not line.startswith("#version")]
        for line in lines:
            first, _, second = line.partition(" ")
            if first not in ids or second not in ids or first + second not in ids:
                raise KzooError(f"merges.txt has a line whose pieces are not in vocab.json: {line!r}")
        if not lines and len(pieces) > 257:
            raise KzooError(f"merges.txt has no merges, and vocab.json has {len(pieces):,} pieces that they would make")
        return replace(self, vocabulary=pieces, merges=tuple(lines))

    def to_files(self) -> tuple[str, str]:
        """What `of_files` reads."""
        ids = json.dumps({piece: k for k, piece in enumerate(self.vocabulary)}, ensure_ascii=False)
        return ids, "\n".join(["#version: 0.2", *self.merges]) + "\n"

    def describe(self) -> str:
        known = f"{len(self.vocabulary):,} different ones" if self.vocabulary else "no vocabulary yet"
        return f"{self.length} pieces of bytes at once, {known}"
