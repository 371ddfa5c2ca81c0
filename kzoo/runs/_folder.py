"""The run folder: `runs/0007-lenet5-digits/`, enough to repeat, resume, evaluate and export.

    plan.json          what was decided before training, and by whom
    config.json        how to build the model and read the data again
    metrics.csv        a row an epoch
    tensorboard/       the same numbers for TensorBoard, train and validation
    checkpoints/       best.safetensors, last.safetensors: model and optimizer, exact; raw.safetensors where `last`
                       has an average of the weights, or those of an earlier epoch
    model.keras        the whole Keras model
    curves.png …       pictures
    card.md            the model's card

Every file is written beside its place and renamed into it: a reader sees the old one or the new one, never half of one.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from kzoo.errors import KzooError
from kzoo.models._players import networks_of
from kzoo.spec import to_json
from kzoo.training.plan import Plan
from kzoo.training.schedules import inner
from kzoo.weights.store import read_metadata, read_tensors, write_tensors

ROOT = Path("runs")
RATE = "optimizer/learning_rate"
# The file by which a folder is known: what it is called, and how one that was interrupted is gone on with.
KINDS = {
    "config.json": ("a run", ""),
    "transfer.json": ("a fine-tuning", "kzoo fine-tune --resume"),
    "search.json": ("a search", "kzoo tune --resume"),
}


@dataclass
class Run:
    """A finished (or interrupted) training.

    Attributes:
        model: The caller's model, with the trained weights of the last epoch.
        path: The run folder.
        history: A list a metric, one value an epoch.
        plan: What was decided before training.
        seconds: Of training, the compilation included.
        worker: Number of this process among several; the folders of all but 0 go when the process ends.
        stopped: When and why it ended before its last epoch; "" where it did not.
        weights_of: The epoch whose weights the model has, where that is not the last one.
    """

    model: keras.Model
    path: Path
    history: dict[str, list[float]] = field(repr=False)
    plan: Plan = field(repr=False)
    seconds: float = 0.0
    worker: int = 0
    stopped: str = ""
    weights_of: int | None = None


class RunFolder:
    """Paths, reading and writing of one run folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    # --- which folder ---------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, name: str, run_dir: str | os.PathLike[str] | None = None) -> RunFolder:
        """A new folder: `run_dir` exactly, or the next number in `runs/`.

        Raises:
            KzooError: `run_dir` exists and is not empty.
        """
        if run_dir is not None:
            path = Path(run_dir)
            check_free(path)
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise KzooError(f"the run folder {str(path)!r} cannot be made: {error.strerror}") from error
            return cls(path)
        ROOT.mkdir(exist_ok=True)
        number = max((n for n, _ in _numbered()), default=0) + 1
        while True:
            path = ROOT / f"{number:04d}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-')}"
            try:
                path.mkdir()  # two runs started at once take two numbers
                return cls(path)
            except FileExistsError:
                number += 1

    @classmethod
    def find(cls, run: str | os.PathLike[str], file: str = "config.json") -> RunFolder:
        """By path, by number (`7` or `0007`), or `last`; a folder that has `file`, one of KINDS.

        Raises:
            KzooError: None of that name, or one that is not finished.
        """
        what, remedy = KINDS[file]
        if isinstance(run, bool) or not isinstance(run, int | str | os.PathLike):
            raise KzooError(f"{what} is named by a path, a number or 'last'; received {run!r}")
        text, runs = str(run), sorted(_numbered())
        if file != "config.json":
            runs = [(number, path) for number, path in runs if (path / file).is_file()]
        found = Path(text) if Path(text).is_dir() and text else None
        if found is None or not any((found / name).is_file() for name in KINDS):
            if text == "last" and runs:
                found = runs[-1][1]
            elif text.isdecimal():
                found = next((path for number, path in runs if number == int(text)), found)
        if found is not None and (found / file).is_file():
            return cls(found)
        for other, (kind, go_on) in KINDS.items():
            if found is None or other in (file, "config.json") or not (found / other).is_file():
                continue
            if file == "config.json":
                raise KzooError(f"{text!r} is {kind} that is not finished: go on with {go_on} {found}")
            raise KzooError(f"{text!r} is {kind}; {remedy} takes {what}")
        have = f"runs/ has {', '.join(p.name for _, p in runs[-5:])}" if runs else "runs/ has none yet"
        why = f"is not {what}: it has no {file}" if found is not None else f"is no {what.split(' ', 1)[1]}"
        raise KzooError(f"{text!r} {why}; give a path, a number or 'last'; {have}")

    # --- files ----------------------------------------------------------------------------------------------------

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def read_json(self, name: str) -> Any:
        try:
            return json.loads((self / name).read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise KzooError(f"{str(self / name)!r} cannot be read: {error}") from error

    def write_json(self, name: str, value: Any) -> None:
        with atomic(self / name) as beside:
            beside.write_text(to_json(value) + "\n", encoding="utf-8")

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with atomic(self / "metrics.csv") as beside:
            beside.write_text(text.getvalue(), encoding="utf-8")

    def read_metrics(self) -> list[dict[str, float]]:
        if not (self / "metrics.csv").is_file():
            return []
        with open(self / "metrics.csv", newline="", encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        return [{**row, "epoch": int(row["epoch"])} for row in rows]

    def save_model(self, model: keras.Model) -> bool:
        """Write model.keras; False where Keras cannot, for want of a get_config. The checkpoints hold all weights."""
        try:
            with atomic(self / "model.keras") as beside:
                model.save(beside)
        except (NotImplementedError, TypeError):
            return False
        return True

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def save_checkpoint(self, kind: str, model: keras.Model, epoch: int) -> None:
        """Every variable of the model and of its optimizer after `epoch` whole epochs, in their order."""
        (self / "checkpoints").mkdir(exist_ok=True)
        tensors = {key: variable.value.numpy() for key, variable in _state(model).items()}
        write_tensors(self / "checkpoints" / f"{kind}.safetensors", tensors, {"epoch": str(epoch)})

    def load_checkpoint(self, kind: str, model: keras.Model, *, optimizer: bool = True) -> int:
        """Put a checkpoint into `model` (and its optimizer); returns the number of whole epochs it has seen."""
        path = self / "checkpoints" / f"{kind}.safetensors"
        if not path.is_file():
            have = sorted(p.stem for p in (self / "checkpoints").glob("*.safetensors"))
            raise KzooError(f"{str(self.path)!r} has no {kind} checkpoint; it has {', '.join(have) or 'none'}")
        values, state = read_tensors(path), _state(model, optimizer=optimizer)
        for key in [k for k in state if k.endswith(RATE) and k not in values]:  # a schedule gave it
            state.pop(key)
        wrong = [
            key for key, variable in state.items()
            if key not in values or tuple(values[key].shape) != tuple(variable.shape)
        ]  # fmt: skip
        if wrong:
            raise KzooError(
                f"{str(path)!r} is of another model: {len(wrong)} of its arrays do not fit, {wrong[0]} first"
            )
        for key, variable in state.items():
            variable.assign(values[key])
        return int(read_metadata(path)["epoch"])

    def keep_raw(self) -> None:
        """Before other weights, an average or those of an earlier epoch, take their place in the last checkpoint: what
        training goes on from.
        """
        last = self / "checkpoints" / "last.safetensors"
        with atomic(self / "checkpoints" / "raw.safetensors") as beside:
            shutil.copyfile(last, beside)

    def to_resume(self) -> str:
        """The checkpoint that training goes on from."""
        epochs = {}
        for kind in ("last", "raw"):
            path = self / "checkpoints" / f"{kind}.safetensors"
            epochs[kind] = read_metadata(path)["epoch"] if path.is_file() else None
        return "raw" if epochs["raw"] is not None and epochs["raw"] == epochs["last"] else "last"


def temporary_folder() -> Path:
    """Of a worker that is not the first; it goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="kzoo-worker-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def aside(folder: RunFolder | None) -> RunFolder | None:
    """A copy of the run that is resumed, for a worker that is not the first."""
    return None if folder is None else RunFolder(shutil.copytree(folder.path, temporary_folder() / folder.path.name))


def check_free(path: Path) -> None:
    """A run folder given by name must not exist, or be empty."""
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise KzooError(f"the run folder {str(path)!r} cannot be made: {str(parent)!r} is a file")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise KzooError(
            f"the run folder {str(path)!r} exists and is not empty; give another, or resume it with --resume {path}"
        )


def _state(model: keras.Model, *, optimizer: bool = True) -> dict[str, keras.Variable]:
    """Of a model that trains on: weights, statistics, seed states, and the optimizer's slots, each by its position.

    Of a holder of several networks, each of theirs under the network's name.
    """
    networks = networks_of(model)
    if networks == [model]:
        return _own_state(model, optimizer)
    return {f"{n.name}/{k}": v for n in networks for k, v in _own_state(n, optimizer).items()}


def _own_state(model: keras.Model, optimizer: bool) -> dict[str, keras.Variable]:
    state = {f"model/{i:04d}": v for i, v in enumerate(_all_variables(model))}
    if optimizer and getattr(model, "optimizer", None) is not None:
        rate = inner(model.optimizer)._learning_rate  # a variable where no schedule gives it
        slots = [v for v in model.optimizer.variables if v is not rate]
        state |= {f"optimizer/{i:04d}": v for i, v in enumerate(slots)}
        state |= {RATE: rate} if len(slots) < len(model.optimizer.variables) else {}
    return state


def _all_variables(model: keras.Model) -> list[keras.Variable]:
    """Weights, statistics and seed states, without those of metrics."""
    metrics = {id(v) for metric in getattr(model, "metrics", []) for v in metric.variables}
    return [v for v in model.variables if id(v) not in metrics]


def _numbered() -> list[tuple[int, Path]]:
    if not ROOT.is_dir():
        return []
    names = ((re.match(r"(\d{4,})-", p.name), p) for p in ROOT.iterdir() if p.is_dir())
    return [(int(match[1]), path) for match, path in names if match]


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path beside `path` with the same suffix; moved over it when the block ends well, removed when not."""
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
