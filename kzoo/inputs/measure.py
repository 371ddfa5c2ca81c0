"""The number that is learned of each row, scaled as the rows are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kzoo.inputs.table import Table, moments
from kzoo.records.measure import MeasureInputs


class Measure(Table):
    reads = "a number a row"

    def learn(self, data: Any) -> MeasureInputs:
        if self.spec.known:
            return self.spec
        mean, std = moments(np.stack([np.ravel(y) for _, y, *_ in data.train.as_numpy_iterator()]), data.info.name)
        return replace(self.spec, columns=data.info.measured, mean=mean, std=std)


READER = Measure
