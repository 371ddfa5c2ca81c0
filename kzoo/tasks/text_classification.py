"""Texts to one label each."""

from __future__ import annotations

from kzoo.tasks.classification import Classification


class TextClassification(Classification):
    name, holds, is_default = "text-classification", "texts", True


TASK = TextClassification()
