"""Data: images in folders, tables, texts, TensorFlow Datasets and arrays, as splits of raw examples. To look whether a
named set is there needs no TensorFlow.
"""

from kzoo.lazy import lazily

__getattr__, __dir__ = lazily(
    __name__,
    prepared="EMBEDDED SPLITS_FILE builder_of means_path",
    data="SPLITS Data DataInfo balanced_weights",
    fed="batches_of held inputs_of is_batches",
    load="held_by load_data load_held",
    remembered="read_again",
    series="forecast_from",
)
