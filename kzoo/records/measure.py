"""The number that is learned of each row of a table, float32 [1], scaled as the rows are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kzoo.records.table import TableInputs


@dataclass(frozen=True)
class MeasureInputs(TableInputs):
    """Networks learn (number - mean) / std; answers are in the number's own unit."""

    kind: ClassVar[str] = "measure"
