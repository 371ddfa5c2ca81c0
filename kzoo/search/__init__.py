"""Searches: recipes, the order of trials by keras-tuner, the best of them a run like any other."""

from kzoo.search.space import ZooHyperModel, hypermodel
from kzoo.search.tune import Comparison, Search, Trial, tune
