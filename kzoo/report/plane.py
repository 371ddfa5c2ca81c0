"""Many dimensions in two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def projected(table: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, tuple[float, float]]:
    """(float32 [rows, 2]: some rows of a table in the two directions in which all of them differ most, its principal
    components; the share of the variance that lies in each).
    """
    centred = table - table.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)  # of least variance first
    shares = np.maximum(variances[::-1], 0) / max(float(variances.sum()), 1e-12)
    return (centred[list(rows)] @ directions[:, :-3:-1]).astype("float32"), (float(shares[0]), float(shares[1]))
