"""Data: where it comes from, and how it is shuffled, augmented, preprocessed and batched."""

from kzoo.data._data import Data, DataInfo
from kzoo.data._sources import load_data

__all__ = ["Data", "DataInfo", "load_data"]
