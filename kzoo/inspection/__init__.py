"""Looking at models and runs: the table of layers, the card, pictures."""

from kzoo.inspection._card import model_card
from kzoo.inspection._summary import Summary, summary

__all__ = ["Summary", "model_card", "summary"]
