"""Runs: the folder that a training writes, its checkpoints, and any model by what it is called."""

from kzoo.runs.begin import Begun, begin, config_of, config_of_model, resumable
from kzoo.runs.checkpoints import Checkpoints
from kzoo.runs.folder import (
    CONFIG,
    NOT_METRICS,
    Run,
    RunFolder,
    aside,
    history_of,
    run_of,
    temporary_folder,
)
from kzoo.runs.listing import comparison_of, list_runs, table_of
from kzoo.runs.load import EXPORT_INFO, KERAS_FILES, load, load_model, newest_version, read_keras
from kzoo.runs.predictor import Predictor
from kzoo.runs.record import Recorder, described, load_weights
