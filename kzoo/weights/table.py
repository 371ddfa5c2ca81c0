"""The published weights: `published/<model>-<tag>.safetensors`, and beside each the row that describes it.

`python -m kzoo.runs.publish RUN --tag TAG` writes both from a run; nothing in a row is typed by hand that can be
computed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError
from kzoo.spec import WeightSpec, preprocess_from_config

FOLDER = Path(__file__).with_name("published")


def _row(path: Path) -> WeightSpec:
    values = json.loads(path.read_text(encoding="utf-8"))
    return WeightSpec(
        **{**values, "preprocess": preprocess_from_config(values["preprocess"]), "classes": tuple(values["classes"])}
    )


PUBLISHED: tuple[WeightSpec, ...] = tuple(_row(path) for path in sorted(FOLDER.glob("*.json")))


def load_published(model: Any, row: WeightSpec, *, include_top: bool = True) -> None:
    """Read a published file into `model`, after its sha256 was checked; without the top, only the rest of it."""
    from kzoo.weights.store import assign, read_tensors, weights_by_name

    path = FOLDER / row.file
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != row.sha256:
        raise KzooError(f"{path} is damaged: sha256 {found}, expected {row.sha256}; install kzoo again")
    tensors = read_tensors(path)
    if not include_top:
        tensors = {key: tensors[key] for key in weights_by_name(model) if key in tensors}
    assign(model, tensors, f"the weights {row.tag!r}")
