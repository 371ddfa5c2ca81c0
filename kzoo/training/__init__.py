"""Training: the plan, the objective, the compiled step and the loop around it."""

from kzoo.training.strategies import strategy

__all__ = ["strategy"]
