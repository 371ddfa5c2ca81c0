"""Export: a SavedModel that serves without kzoo, checked against the model it came from."""

from kzoo.exporting.saved_model import Exported, export

__all__ = ["Exported", "export"]
