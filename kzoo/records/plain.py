"""Plain data: what JSON holds, written so that every parser reads it."""

from __future__ import annotations

import json
import math
import sys
from typing import Any


class Printed:
    """What a notebook shows of it is what `print` shows."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def to_json(value: Any) -> str:
    """Indented JSON that every parser reads: arrays become lists, what is no finite number becomes null."""
    plain = lambda v: v.tolist() if hasattr(v, "tolist") else str(v)
    return json.dumps(_finite(json.loads(json.dumps(value, default=plain))), indent=1, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def same_source(one: Any, other: Any) -> bool:
    """Whether two classes or functions are one that was run twice: of the same name, in the same file or module."""
    file = lambda thing: getattr(sys.modules.get(thing.__module__), "__file__", None) or thing.__module__
    return (file(one), one.__qualname__) == (file(other), other.__qualname__)


def tuples(value: Any) -> Any:
    """Lists as tuples, as frozen records hold them."""
    if isinstance(value, dict):
        return {key: tuples(v) for key, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list | tuple) else value
