"""Searches: recipes, the order of trials by keras-tuner, the best of them a run like any other."""

from kzoo.search.results import Comparison, Search, Trial
from kzoo.search.space import ZooHyperModel, hypermodel
from kzoo.search.tune import tune
