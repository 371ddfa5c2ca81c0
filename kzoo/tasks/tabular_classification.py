"""Rows of numbers to one class each."""

from __future__ import annotations

from kzoo.tasks.classification import Classification


class TabularClassification(Classification):
    name, holds, is_default = "tabular-classification", "rows", True
    transfers = False  # rows of other numbers mean other things


TASK = TabularClassification()
