"""The table of weights: those that come with kzoo, and those that others published (`origins`).

Of those that come with it, `published/<model>-<tag>.safetensors` has beside it the row that describes it.
`python .ci/publish.py RUN --tag TAG` writes both from a run; nothing in a row is typed by hand that can be
computed.
"""

from __future__ import annotations

import json
from pathlib import Path

from kzoo.errors import KzooError
from kzoo.records import WeightSpec, from_config
from kzoo.weights.cache import digests_of, matches
from kzoo.weights.origins import ORIGINS

FOLDER = Path(__file__).with_name("published")


def _row(path: Path) -> WeightSpec:
    values = json.loads(path.read_text(encoding="utf-8"))
    return WeightSpec(**{**values, "inputs": from_config(values["inputs"]), "classes": tuple(values["classes"])})


SHIPPED: tuple[WeightSpec, ...] = tuple(_row(path) for path in sorted(FOLDER.glob("*.json")))
PUBLISHED: tuple[WeightSpec, ...] = (*SHIPPED, *ORIGINS)


def rows_of(model: str) -> dict[str, WeightSpec]:
    """{tag: row} of a model's weights.

    >>> list(rows_of("resnet34"))
    ['torchvision', 'timm', 'timm_tv']
    """
    return {row.tag: row for row in PUBLISHED if row.model == model}


def published_path(row: WeightSpec) -> Path:
    """The file of a row that comes with kzoo, checked.

    Raises:
        KzooError: It is missing, or not the file that the row describes.
    """
    path = FOLDER / row.file
    if not path.is_file():
        raise KzooError(f"{path} is missing; install kzoo again")
    digests = digests_of(path, row.checksum)
    if not matches(digests, row.checksum):
        algorithm, _, digits = row.checksum.partition(":")
        raise KzooError(f"{path} is damaged: {algorithm} {digests[algorithm]}, expected {digits}; install kzoo again")
    return path
