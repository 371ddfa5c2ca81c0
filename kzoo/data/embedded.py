"""Data that comes along: scikit-learn's handwritten digits and diabetes, the truth tables of AND, OR and XOR."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kzoo.data.data import DataInfo, Examples
from kzoo.data.number_tables import measured
from kzoo.data.prepared import EMBEDDED
from kzoo.data.shares import stratified


def _digits() -> tuple[dict[str, Examples], DataInfo]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.round(digits.images * (255 / 16)).astype("uint8")[..., None]  # ink 0 to 16 -> 0 to 255
    y = digits.target.astype("int64")
    train, test = stratified(y, 0.2, seed=0)
    info = DataInfo(
        name="digits",
        holds="images",
        classes=tuple(map(str, range(10))),
        source="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; by way of scikit-learn",
        licence="CC BY 4.0",
        notes=("test: 20 % of scikit-learn's 1,797, stratified, seed 0", "ink of 0 to 16 rescaled to 0 to 255"),
    )
    return {"train": Examples.of_arrays(x[train], y[train]), "test": Examples.of_arrays(x[test], y[test])}, info


def _truth_table(name: str, outputs: tuple[int, ...]) -> Callable[[], tuple[dict[str, Examples], DataInfo]]:
    def read() -> tuple[dict[str, Examples], DataInfo]:
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
        y = np.array(outputs, "int64")
        note = "the four rows are the whole truth: train repeats them 100 times, test has them once"
        info = DataInfo(name=name, holds="rows", classes=("0", "1"), notes=(note,), whole=True)
        train = Examples.of_arrays(np.tile(x, (100, 1)), np.tile(y, 100))
        return {"train": train, "test": Examples.of_arrays(x, y)}, info

    return read


def _diabetes() -> tuple[dict[str, Examples], DataInfo]:
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    x, y = found.data.astype("float32"), found.target.astype("float32")[:, None]
    train, test = stratified(np.zeros(len(x), "int64"), 0.2, seed=0)
    info = DataInfo(
        name="diabetes",
        holds="measurements",
        source="Efron, Hastie, Johnstone, Tibshirani 2004, Least Angle Regression; by way of scikit-learn",
        notes=("test: 20 % of scikit-learn's 442 patients, seed 0",),
        columns=tuple(found.feature_names),
        measured=("progression after a year",),
    )
    return {"train": measured(x[train], y[train]), "test": measured(x[test], y[test])}, info


TABLES = (_truth_table("and", (0, 0, 0, 1)), _truth_table("or", (0, 1, 1, 1)), _truth_table("xor", (0, 1, 1, 0)))
READERS: dict[str, Callable[[], tuple[dict[str, Examples], DataInfo]]] = dict(
    zip(EMBEDDED, (_digits, *TABLES, _diabetes), strict=True)
)
