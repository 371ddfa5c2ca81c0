"""The published weights: one row each, with origin, preprocessing and proof."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError
from kzoo.spec import WeightSpec
from kzoo.weights._store import load_weights

FOLDER = Path(__file__).with_name("published")

PUBLISHED: tuple[WeightSpec, ...] = ()


def load_published(model: Any, row: WeightSpec, *, include_top: bool = True) -> None:
    """Read a published file into `model`, after its sha256 was checked."""
    path = FOLDER / row.file
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != row.sha256:
        raise KzooError(f"{path} is damaged: sha256 {found}, expected {row.sha256}; install kzoo again")
    load_weights(model, path)
