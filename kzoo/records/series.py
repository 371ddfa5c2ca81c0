"""Inputs that are windows of a series: so many moments that are read, and so many that come next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from kzoo.records.inputs import Inputs


@dataclass(frozen=True)
class SeriesInputs(Inputs):
    """From moments float32 [time, columns] to (moments - mean) / std.

    Attributes:
        length: Moments that the network reads at once.
        horizon: Moments that it forecasts.
        columns: What the numbers of a moment are.
        targets: The columns that are forecast.
        mean, std: Of each column; () until they have been taken from training data.
    """

    kind: ClassVar[str] = "series"
    length: int = 24
    horizon: int = 1
    columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def known(self) -> bool:
        return bool(self.mean)

    @property
    def places(self) -> list[int]:
        """Of the targets among the columns."""
        return [self.columns.index(name) for name in self.targets]

    def for_model(self, input_shape: tuple[int | None, ...], arguments: Mapping[str, Any]) -> SeriesInputs:
        length = input_shape[0] if input_shape[0] is not None else self.length
        return replace(self, length=length, horizon=arguments.get("horizon", self.horizon))

    def adopted(self, theirs: Inputs) -> Inputs:
        """Their scaling, at this length and horizon."""
        if not isinstance(theirs, SeriesInputs):
            return self
        return replace(theirs, length=self.length, horizon=self.horizon)

    def describe(self) -> str:
        return (
            f"{self.length} moments of {len(self.columns)} numbers, each minus its mean, divided by its deviation in"
            f" training; the next {self.horizon} of {', '.join(self.targets)} are forecast"
        )
