"""Exports: a trained model as files that need neither kzoo nor Keras."""

from kzoo.exporting.saved_model import Exported, export
