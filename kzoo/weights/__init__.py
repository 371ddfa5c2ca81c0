"""Weights by name: between styles, to and from a file, and the table of published ones."""

from kzoo.weights._published import PUBLISHED, load_published
from kzoo.weights._store import copy_weights, load_weights, save_weights, weights_by_name

__all__ = ["PUBLISHED", "copy_weights", "load_published", "load_weights", "save_weights", "weights_by_name"]
