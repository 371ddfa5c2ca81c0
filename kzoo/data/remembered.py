"""Parts that were drawn once stay: a run keeps what its examples are known by, and the same data read again, with more
or fewer examples by now, has each in the part where it was.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.data.data import Examples
from kzoo.data.prepared import SPLITS_FILE
from kzoo.errors import KzooError, unknown
from kzoo.files import ALWAYS, read_json, read_small
from kzoo.records import DataOptions, options_of

LEFT = "left"
PARTS = ("train", "validation", "test", LEFT)


def read_again(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`load_data`'s arguments of a run, with those given now; other parts that are asked for are drawn anew.

    Raises:
        KzooError: They are none: somebody else has written them.
    """
    known = ("name", *options_of(DataOptions))
    for name in arguments:
        if name not in known:
            raise unknown("argument of load_data in what it was trained on:", name, known)
    if "name" not in arguments:
        raise KzooError("what it was trained on has no name there; give data=… (--data)")
    anew = {"validation", "test", "per_class", "split_seed", "splits"} & set(given)
    return {k: v for k, v in arguments.items() if k != "splits" or not anew} | dict(given)


def drawn_parts(
    splits: Mapping[str, Examples], indices: Mapping[str, np.ndarray], before: np.ndarray, parts: Sequence[str]
) -> dict[str, list[str]]:
    """{part: keys} of train and what was taken of it; "left": what was in train before and is in none now. {} where
    nothing was taken, or examples are known by nothing.
    """
    if not (keys := splits["train"].keys()) or not (parts or len(before) > len(indices["train"])):
        return {}
    held = {part: [keys[i] for i in indices[part]] for part in ("train", *parts)}
    used = Counter(i for part in ("train", *parts) for i in indices[part].tolist())
    return {**held, LEFT: [keys[i] for i in before.tolist() if i not in used]}


def read_parts(source: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Of a run folder, or of its splits.json.

    Raises:
        KzooError: It is none.
    """
    path = Path(source)
    path = path / SPLITS_FILE if path.is_dir() else path
    try:
        found = read_json(read_small(path, ALWAYS), path)
    except (OSError, ValueError) as error:
        raise KzooError(f"splits={str(source)!r} cannot be read: {error}; give a run, or its {SPLITS_FILE}") from error
    fine = isinstance(found, dict) and set(found) <= set(PARTS) and "train" in found
    if not fine or not all(isinstance(v, list) and all(isinstance(k, str) for k in v) for v in found.values()):
        raise KzooError(
            f"splits={str(source)!r} does not say which example is in which part; give a run, or its {SPLITS_FILE}"
        )
    return found


def as_before(
    source: Any, splits: dict[str, Examples], indices: dict[str, np.ndarray], drawn: Mapping[str, list[str]], name: str
) -> tuple[list[str], list[str]]:
    """Give each example of train the part where it was; new ones stay in train. (notes, parts taken of train).

    Raises:
        KzooError: None of them was there, or the data has such a part of its own by now.
    """
    own = [part for part in ("validation", "test") if part in splits and part in drawn]
    if own:
        raise KzooError(f"splits={str(source)!r} draws {own[0]} of train, and {name!r} has one of its own by now")
    keys = splits["train"].keys()
    if not keys:
        raise KzooError(f"splits={str(source)!r} goes with files of yours; {name!r} has its own parts")
    where: dict[str, deque[str]] = defaultdict(deque)
    for part in PARTS:
        for key in drawn.get(part, ()):
            where[key].append(part)
    known, parts, new = sum(map(len, drawn.values())), defaultdict(list), []
    for i in indices["train"].tolist():
        part = where[keys[i]].popleft() if where[keys[i]] else None
        if part is None:
            new.append(keys[i])
        parts[part or "train"].append(i)
    if known and len(new) == len(indices["train"]):
        raise KzooError(
            f"splits={str(source)!r} knows none of the examples of {name!r}; give the data that it was made of"
        )
    gone = sum(map(len, where.values()))
    taken = [part for part in ("validation", "test") if part in drawn]
    for part in taken:
        splits[part] = splits["train"]
        indices[part] = np.array(parts[part], int)
    indices["train"] = np.array(parts["train"], int)
    notes = [f"parts as in {Path(source).parent.name if Path(source).name == SPLITS_FILE else Path(source).name}"]
    notes += [f"{len(new):,} new since then, in train: {new[0]}{' …' * (len(new) > 1)}"] if new else []
    notes += [f"{gone:,} of them gone since then"] if gone else []
    return notes, taken
