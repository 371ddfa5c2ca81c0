"""Weights: by name between styles and files, and the published ones. The table of those needs no Keras."""

from kzoo.lazy import lazily

__getattr__, __dir__ = lazily(
    __name__,
    names="copy_weights key_of numpy_of values_of weights_by_name",
    files="read_metadata read_tensors save_weights write_tensors",
    keras_files="check_inside",
    load="LoadReport adapted_kernel load_file load_source load_weights",
    table="FOLDER PUBLISHED rows_of",
    sources="Source resolve",
    origins="KERAS_LEARNED_FROM imagenet_classes",
    cache="cache_folder",
)
