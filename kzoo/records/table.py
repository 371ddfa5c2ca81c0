"""Inputs that are rows of numbers, each column brought to mean 0 and deviation 1 of the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kzoo.records.inputs import Inputs


@dataclass(frozen=True)
class TableInputs(Inputs):
    """From a row to (row - mean) / std.

    Attributes:
        columns: What the numbers are; () where nobody has named them.
        mean, std: Of each column; () until they have been taken from training data. A column that never changes has 1
            for its deviation.
    """

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def known(self) -> bool:
        return bool(self.mean)

    def adopted(self, theirs: Inputs) -> Inputs:
        return theirs if isinstance(theirs, TableInputs) else self

    def describe(self) -> str:
        """As plans have it."""
        return f"{len(self.mean)} numbers a row, each minus its mean, divided by its deviation in training"
