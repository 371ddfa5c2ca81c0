"""The search for a better recipe: `hypermodel` declares what is tried, `tune` tries it. On keras-tuner."""

from kzoo.search.tune import Comparison, Search, Trial, find_search, tune
from kzoo.search.space import ZooHyperModel, hypermodel

__all__ = ["Comparison", "Search", "Trial", "ZooHyperModel", "find_search", "hypermodel", "tune"]
