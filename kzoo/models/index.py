"""Write `index.json`, what is known of every model without importing Keras, from the registry.

python -m kzoo.models.index          rewrite kzoo/models/index.json
"""

from __future__ import annotations

import json
from typing import Any

from kzoo.models import _registry


def build_index() -> dict[str, dict[str, Any]]:
    """{name: row} of every registered model."""
    _registry.import_families()
    return {name: _registry.described(spec) for name, spec in _registry._specs.items()}


if __name__ == "__main__":
    text = json.dumps(build_index(), indent=1, ensure_ascii=False) + "\n"
    _registry.INDEX.write_text(text, encoding="utf-8")
    print(f"wrote {_registry.INDEX}")
