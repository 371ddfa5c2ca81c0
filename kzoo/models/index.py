"""Write `index.json`, what is known of every model without importing Keras, from the registry.

python -m kzoo.models.index          rewrite kzoo/models/index.json
"""

from __future__ import annotations

import json
import math
from typing import Any

from kzoo.models import _registry
from kzoo.weights.table import PUBLISHED


def build_index() -> dict[str, dict[str, Any]]:
    """{name: row} of every registered model, each built once in the functional style to count it."""
    _registry.import_families()
    rows = {}
    for name, spec in _registry._specs.items():
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
            "trainable": sum(math.prod(v.shape) for v in model.trainable_variables),
            "weights": [row.tag for row in PUBLISHED if row.model == name],
            "paper": spec.paper,
            "hidden": spec.hidden,
        }
    return rows


if __name__ == "__main__":
    text = json.dumps(build_index(), indent=1, ensure_ascii=False) + "\n"
    _registry.INDEX.write_text(text, encoding="utf-8")
    print(f"wrote {_registry.INDEX}")
