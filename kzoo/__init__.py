"""kzoo: a Keras / TensorFlow model zoo for people who learn, teach and use deep learning.

Every name here is loaded on first use: `import kzoo` itself imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module it lives in.
_PUBLIC = {
    "KzooError": "kzoo.errors",
    "Data": "kzoo.data",
    "Preprocess": "kzoo.spec",
    "bench": "kzoo.benchmark",
    "copy_weights": "kzoo.weights.store",
    "create_model": "kzoo.models._registry",
    "decode_predictions": "kzoo.runs",
    "evaluate": "kzoo.runs",
    "export": "kzoo.exporting",
    "feature_extractor": "kzoo.models._styles",
    "fine_tune": "kzoo.transfer",
    "find_learning_rate": "kzoo.runs",
    "fit": "kzoo.runs",
    "generate": "kzoo.runs",
    "hypermodel": "kzoo.tuning",
    "list_models": "kzoo.models._registry",
    "load_data": "kzoo.data",
    "load_model": "kzoo.runs",
    "load_weights": "kzoo.weights.store",
    "model_card": "kzoo.inspection.card",
    "predict": "kzoo.runs",
    "preprocess_input": "kzoo.runs",
    "register_model": "kzoo.models._registry",
    "save_weights": "kzoo.weights.store",
    "strategy": "kzoo.training",
    "summary": "kzoo.inspection.summary",
    "tune": "kzoo.tuning",
    "weights_by_name": "kzoo.weights.store",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    elif name.startswith("_"):
        raise AttributeError(f"module 'kzoo' has no attribute {name!r}")
    else:
        from kzoo.models import _registry

        if name not in _registry.list_models(hidden=True):
            raise AttributeError(f"module 'kzoo' has no attribute {name!r}")
        return _registry.builder(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from kzoo.models import _registry

    return sorted({*globals(), *_PUBLIC, *_registry.list_models(hidden=True)})
