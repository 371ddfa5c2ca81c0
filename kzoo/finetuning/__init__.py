"""Transfer learning: a network that has learned elsewhere, on data of your own."""

from kzoo.finetuning.fine_tune import find_tuning, fine_tune

__all__ = ["find_tuning", "fine_tune"]
