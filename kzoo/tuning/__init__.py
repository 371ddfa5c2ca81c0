"""The search for a better recipe: `hypermodel` declares what is tried, `tune` tries it. On keras-tuner."""

from kzoo.tuning._search import Search, Trial, tune
from kzoo.tuning._space import ZooHyperModel, hypermodel

__all__ = ["Search", "Trial", "ZooHyperModel", "hypermodel", "tune"]
