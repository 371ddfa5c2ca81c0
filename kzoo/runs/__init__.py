"""Runs: the folder that a training writes, its checkpoints, and any model by what it is called. To find one needs no
TensorFlow.
"""

from kzoo.lazy import lazily

__getattr__, __dir__ = lazily(
    __name__,
    places="CONFIG find_run numbered",
    beginning="Begun begin config_of config_of_model resumable",
    checkpoints="Checkpoints",
    folder="NOT_METRICS Run RunFolder aside history_of run_of temporary_folder",
    listing="comparison_of list_runs table_of",
    loading="EXPORT_INFO EXPORT_SEAL KERAS_FILES load load_model newest_version read_keras",
    predictor="Predictor",
    record="Recorder described load_weights",
)
