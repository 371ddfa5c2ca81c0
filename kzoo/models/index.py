"""Write `index.json`, what is known of every model without importing Keras, from the registry.

    python -m kzoo.models.index          rewrite kzoo/models/index.json
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import Any

import kzoo.models
from kzoo.models import _registry
from kzoo.weights import PUBLISHED

# The order in which a course meets them.
FAMILIES = ("perceptron", "mlp", "lenet")


def build_index() -> dict[str, dict[str, Any]]:
    """{name: row} of every registered model, each built once in the functional style to count it."""
    found = {m.name for m in pkgutil.iter_modules(kzoo.models.__path__)} - {"index"}
    families = sorted((f for f in found if not f.startswith("_")), key=FAMILIES.index)
    for family in families:
        importlib.import_module(f"kzoo.models.{family}")
    rows = {}
    for name, spec in _registry._specs.items():
        if spec.family not in families:
            continue
        model = _registry.create_model(name)
        rows[name] = {
            "family": spec.family,
            "task": spec.task,
            "summary": spec.summary,
            "input_shape": list(spec.input_shape),
            "classes": spec.classes,
            "classifier_activation": spec.classifier_activation,
            "overrides": _registry.overrides_of(spec),
            "parameters": model.count_params(),
            "trainable": sum(int(v.value.shape.num_elements()) for v in model.trainable_variables),
            "weights": [row.tag for row in PUBLISHED if row.model == name],
            "paper": spec.paper,
            "hidden": spec.hidden,
        }
    return rows


if __name__ == "__main__":
    text = json.dumps(build_index(), indent=1, ensure_ascii=False) + "\n"
    _registry.INDEX.write_text(text, encoding="utf-8")
    print(f"wrote {_registry.INDEX}")
