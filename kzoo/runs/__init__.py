"""The verbs on runs: fit writes one, evaluate and predict read it; load_model finds any model by what it is called."""

from kzoo.runs._applications import decode_predictions, preprocess_input
from kzoo.runs._evaluate import Evaluation, evaluate
from kzoo.runs._find_rate import RateSearch, find_learning_rate
from kzoo.runs._fit import fit
from kzoo.runs._folder import Run, RunFolder
from kzoo.runs._generate import generate
from kzoo.runs._load import Loaded, load, load_model
from kzoo.runs._predict import Prediction, predict

__all__ = [
    "Evaluation",
    "Loaded",
    "Prediction",
    "RateSearch",
    "Run",
    "RunFolder",
    "decode_predictions",
    "evaluate",
    "find_learning_rate",
    "fit",
    "generate",
    "load",
    "load_model",
    "predict",
    "preprocess_input",
]
