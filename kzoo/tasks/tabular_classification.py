"""Rows of numbers to one class each."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kzoo.data import Data, DataInfo
from kzoo.errors import KzooError
from kzoo.models import input_shape_of, model_info
from kzoo.records import ModelSpec
from kzoo.tasks.classification import Classification


class TabularClassification(Classification):
    name, holds, is_default = "tabular-classification", "rows", True
    asks_export = "predict {} table.csv"
    transfers = False  # rows of other numbers mean other things

    def arguments(self, spec: ModelSpec, data: Data) -> dict[str, Any]:
        return {**super().arguments(spec, data), **width_of(spec, data)}

    def check(self, model: keras.Model, data: Data) -> None:
        if data.info.holds == "measurements":
            raise KzooError(
                f"{model.name} learns classes, and {data.info.name} has a number a row; use mlp_regressor, or say the"
                " column of the class with columns={'label': …} (--columns label=…)"
            )
        super().check(model, data)

    def made_up(self, model: Any, count: int, tokens: int) -> Data | None:
        return random_rows(model, count, classes=2)


def width_of(spec: ModelSpec, data: Data) -> dict[str, Any]:
    """As many inputs as a row has numbers, of a network that reads tables."""
    return {"input_shape": tuple(data.info.shape)} if spec.inputs is not None and data.info.shape else {}


def random_rows(model: Any, count: int, classes: int) -> Data | None:
    """Rows with a class each, or with a number; None of a network that takes them ready, or is not kzoo's."""
    rng = np.random.default_rng(0)
    spec = model if isinstance(model, ModelSpec) else None
    if (spec is not None and spec.inputs is None) or (spec is None and model_info(model) is None):
        return None
    (width,) = spec.input_shape if spec is not None else input_shape_of(model)
    x = rng.normal(size=(count, width)).astype("float32")
    if classes:
        return Data((x, np.arange(count) % classes))
    y = x[:, :1] + rng.normal(size=(count, 1)).astype("float32")
    columns = tuple(str(k + 1) for k in range(width))
    return Data((x, y), info=DataInfo("random", "measurements", shape=(width,), columns=columns, measured=("y",)))


TASK = TabularClassification()
