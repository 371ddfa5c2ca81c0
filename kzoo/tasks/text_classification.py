"""Texts to one label each."""

from __future__ import annotations

from typing import Any

import numpy as np

from kzoo.data import Data
from kzoo.inputs import random_texts, words_for
from kzoo.tasks.classification import Classification
from kzoo.tasks.task import read_by


class TextClassification(Classification):
    name, holds, is_default = "text-classification", "texts", True
    asks_export = "predict {} 'a text'"

    def made_up(self, model: Any, count: int, tokens: int) -> Data:
        return Data((random_texts(count, words_for(read_by(model), tokens), seed=0), np.arange(count) % 2))


TASK = TextClassification()
