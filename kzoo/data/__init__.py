"""Data: images in folders, tables, texts, TensorFlow Datasets and arrays, as splits of raw examples."""

from kzoo.data.data import SPLITS, Data, DataInfo, balanced_weights
from kzoo.data.fed import batches_of, held, inputs_of, is_batches
from kzoo.data.load import folder_holds, load_data, load_held
from kzoo.data.remembered import FILE as SPLITS_FILE
from kzoo.data.remembered import read_again
