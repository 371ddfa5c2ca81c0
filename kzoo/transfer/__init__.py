"""Transfer learning: a network that has learned elsewhere, on data of your own."""

from kzoo.transfer._fine_tune import fine_tune

__all__ = ["fine_tune"]
