"""What a training leaves, to be compared with what another one has left."""

import csv
import json
import re

import numpy as np

from kzoo.runs import read_keras
from kzoo.weights import read_tensors


def left(folder):
    """What a training has left that must be the same however often it was killed: {name: value}."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or "tensorboard" in name or name in NOT_COMPARED or path.name == "manifest.json":
            continue
        if path.name == "metrics.csv":
            with path.open(newline="") as file:
                found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
        elif path.suffix == ".safetensors":
            found[name] = {k: v.tobytes() for k, v in read_tensors(path).items()}
        elif path.name == "card.md":
            found[name] = without_seconds(path.read_text()).replace(f"{folder.parent}/", "")
        elif path.suffix == ".json":
            found[name] = plain(json.loads(path.read_text()))
        elif path.suffix == ".keras":
            found[name] = [v.tobytes() for v in weights_in(path)]
        else:
            found[name] = path.read_bytes()
    return found


NOT_COMPARED = {"trials.csv"}  # seconds of each trial


def weights_in(path):
    return [np.asarray(v) for v in read_keras(path).weights]


def without_seconds(text):
    return re.sub(r"in \d+ s", "in s", re.sub(r"\d+\.\d s\b|\| *[\d.]+ *\|$", "", text))


def plain(value):
    """Without what a clock or chance has written."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in ("id", "run", "seconds", "sha256", "size", "options")}
    return [plain(v) for v in value] if isinstance(value, list) else value


def differences(mine, theirs):
    """Names of what is not the same."""
    return sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))


def nothing_beside(folder):
    """No file that was being written, no lock, neither in the run folder nor beside it."""
    return [str(p) for p in folder.parent.rglob(".*") if p.is_file() or p.is_dir()]
