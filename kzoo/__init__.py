"""kzoo: a Keras / TensorFlow model zoo for people who learn, teach and use deep learning.

Every name here is loaded on first use: `import kzoo` itself imports neither TensorFlow nor Keras. `__init__.pyi` says
the same to type checkers; it is generated (`python .ci/generate.py`).
"""

from __future__ import annotations

import importlib
from typing import Any

from kzoo.lazy import lazily

__version__ = "0.1.0"

_offered, _names = lazily(
    __name__,
    errors="KzooError",
    records="ImageInputs ModelSpec NoiseInputs PairInputs Recipe TextInputs",
    zoo="create_model list_models register_model",
    models="Block Definition Networks feature_extractor registering",
    weights="copy_weights load_weights save_weights weights_by_name",
    report="model_card summary",
    inputs="Inputs",
    data="Data load_data",
    engine="Objective Phase strategy",
    tasks="Task register_task",
    runs="list_runs load_model",
    verbs="attention_maps decode_predictions embedding_map evaluate find_learning_rate fit gate_maps generate"
    " position_map predict preprocess_input",
    exporting="export",
    benching="bench",
    finetuning="fine_tune",
    search="hypermodel tune",
)


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and name not in _names():
        zoo = importlib.import_module("kzoo.zoo")
        if name in zoo.list_models(hidden=True):
            return zoo.builder(name)
    return _offered(name)


def __dir__() -> list[str]:
    return sorted({*_names(), *importlib.import_module("kzoo.zoo").list_models(hidden=True)})
