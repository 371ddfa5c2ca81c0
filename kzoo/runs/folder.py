"""The run folder: `runs/0007-lenet5-digits/`, enough to repeat, resume, evaluate and export.

    plan.json          what was decided before training, and by whom
    config.json        by which verb it was made and with which options; how to build the model and read the data again
    metrics.csv        a row an epoch
    tensorboard/       the same numbers for TensorBoard, train and validation
    checkpoints/       everything that training changes, see `checkpoints.py`
    model.keras        the whole Keras model
    curves.png …       pictures
    card.md            the model's card
    manifest.json      sizes and sha256 of those of these files that are read again
    .lock              who writes it, while somebody does

The folder comes into being whole: it is made aside and renamed. So does every file: a reader sees the old one or the
new one, never half of one.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import io
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from kzoo.data import SPLITS_FILE, DataInfo
from kzoo.errors import KzooError
from kzoo.files import DiskError, Lock, Manifest, atomic, left_behind, made_aside, named_as, sweep, writing
from kzoo.records import Plan, Printed, to_json
from kzoo.report import Shown
from kzoo.runs.checkpoints import Checkpoints
from kzoo.runs.places import CONFIG, ROOT, config_in, find_run, numbered, read_json_file, understood

NOT_METRICS = ("epoch", "seconds", "learning_rate", "stage")  # columns of metrics.csv


@dataclass
class Run(Printed):
    """A finished (or interrupted) training.

    Attributes:
        model: The caller's model, with the trained weights: of the last epoch, or of `weights_of`.
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

    @property
    def last(self) -> dict[str, float]:
        """The numbers of the epoch whose weights the model has."""
        epoch = -1 if self.weights_of is None else self.weights_of - 1
        return {name: values[epoch] for name, values in self.history.items() if values}

    def __str__(self) -> str:
        rows = [("run", str(self.path)), ("time", f"{self.seconds:.1f} s")]
        rows += [("stopped", self.stopped.removeprefix("stopped "))] * bool(self.stopped)
        if self.weights_of is not None:
            rows.append(("weights", f"of epoch {self.weights_of}, whose numbers follow"))
        rows += [(name, f"{value:.4f}") for name, value in self.last.items()]
        rows += list(RunFolder(self.path).shown().items())
        return "\n".join(f"{label:13} {text}" for label, text in rows)

    def to_config(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "run": str(self.path), "seconds": self.seconds, "stopped": self.stopped, "weights_of": self.weights_of,
            "metrics": self.last, "history": self.history, "files": RunFolder(self.path).shown(),
        }  # fmt: skip


class RunFolder:
    """Paths, reading and writing of one run folder.

    Attributes:
        place: Of a new one, made aside: where it goes when it is whole.
        numbers: Whether the next number will do, where that place is taken.
        lock: While it is written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.place: Path | None = None
        self.numbers = False
        self.lock: Lock | None = None

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints", self.read_config().get("id", ""))

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.path)

    # --- which folder ---------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, name: str, run_dir: str | os.PathLike[str] | None = None) -> RunFolder:
        """A new folder, made aside: `settle` brings it to `run_dir` exactly, or to the next number in `runs/`.

        Raises:
            KzooError: `run_dir` exists and is not empty, or cannot be made.
        """
        if run_dir is not None:
            place = Path(run_dir)
            check_free(place)
        else:
            place = ROOT / re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")
        try:
            aside = made_aside(
                place if place.is_dir() and run_dir is not None else place.parent
            )  # a mounted disk stays
        except OSError as error:
            raise DiskError(f"the run folder {str(place)!r} cannot be made: {error.strerror}") from error
        folder = cls(aside)
        folder.place, folder.numbers = place, run_dir is None
        with folder.named_by_its_place():
            folder.lock = Lock(aside).take()
        return folder

    @contextlib.contextmanager
    def named_by_its_place(self) -> Iterator[None]:
        """A disk's error inside names the run's place, not the one aside."""
        with contextlib.nullcontext() if self.place is None else named_as(self.place, self.path):
            yield

    def settle(self) -> None:
        """The folder is whole: it takes its place."""
        if self.place is None:
            return
        place = self.place
        with writing(place):
            if self.path.parent == place:
                for path in sorted(self.path.iterdir(), key=lambda p: p.name == CONFIG):  # by which it is known
                    os.replace(path, place / path.name)
                self.path.rmdir()
            else:
                place = self._numbered(place) if self.numbers else place
                os.rename(self.path, place)
        self.path, self.place = place, None
        if self.lock is not None:
            self.lock.moved(place)

    def _numbered(self, place: Path) -> Path:
        """The next number is taken; two runs that are whole at once take two."""
        number = max((n for n, _ in numbered()), default=0) + 1
        while True:
            mine = place.with_name(f"{number:04d}-{place.name}")
            with contextlib.suppress(FileExistsError):
                mine.mkdir()
                return mine
            number += 1

    @contextlib.contextmanager
    def written(self, say: Callable[[str], Any] = lambda _: None) -> Iterator[None]:
        """Inside, this process alone writes the folder; what killed ones have left half written in it goes.

        Raises:
            KzooError: Another one writes it: which, and since when.
        """
        self.lock = self.lock or Lock(self.path).take()
        try:
            if self.lock.taken_over:
                say(self.lock.taken_over)
            sweep(self.path)
            with self.named_by_its_place():
                yield
        finally:
            self.lock.release()
            self.lock = None
            if self.place is not None:  # never whole
                shutil.rmtree(self.path, ignore_errors=True)

    @classmethod
    def find(cls, run: str | os.PathLike[str] | int, verb: str | None = None) -> RunFolder:
        """See `find_run`."""
        return cls(find_run(run, verb))

    # --- files ----------------------------------------------------------------------------------------------------

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def read_json(self, name: str) -> Any:
        return read_json_file(self / name)

    def read_plan(self) -> dict[str, Any]:
        """plan.json.

        Raises:
            KzooError: It is none: somebody else has written it.
        """
        plan = self.read_json("plan.json")
        if not isinstance(plan, dict):
            raise KzooError(f"{str(self / 'plan.json')!r} is no plan of a run: it holds {plan!r:.60}")
        return plan

    def read_config(self) -> dict[str, Any]:
        """See `config_in`."""
        return config_in(self.path)

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, to_json(value) + "\n")

    def write_splits(self, info: DataInfo) -> None:
        """Which example is in which part, where that was drawn."""
        if info.drawn:
            self.write(SPLITS_FILE, json.dumps(info.drawn, ensure_ascii=False) + "\n")

    def data_arguments(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """`load_data`'s, by which the run's data is read again; each example in its part."""
        found = dict(config.get("data") or {})
        return found | ({"splits": str(self / SPLITS_FILE)} if found and (self / SPLITS_FILE).is_file() else {})

    def update_config(self, **values: Any) -> None:
        self.write_json(CONFIG, {**self.read_json(CONFIG), **values})

    def write(self, name: str, text: str) -> None:
        """A file that is read again."""
        coded = text.encode()
        with self.manifest.writing(name, len(coded)) as beside:
            beside.write_bytes(coded)

    def write_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write(name, text.getvalue())

    def read_metrics(self) -> list[dict[str, float]]:
        if not (self / "metrics.csv").is_file():
            return []
        try:
            with open(self / "metrics.csv", newline="", encoding="utf-8") as file:
                rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
            return [{**row, "epoch": int(row["epoch"])} for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise KzooError(f"{str(self / 'metrics.csv')!r} cannot be read: {error}") from error

    def save_model(self, model: keras.Model) -> bool:
        """Write model.keras; False where Keras cannot, for want of a get_config. The checkpoints hold all weights."""
        try:
            size = sum(math.prod(v.shape) * 4 for v in model.variables)
            with self.manifest.writing("model.keras", size) as beside:
                model.save(beside)
        except (NotImplementedError, TypeError):
            return False
        return True

    def show(self, shown: Sequence[Shown], end: str = "") -> dict[str, str]:
        """Write pictures and texts; returns {stem: path}. `end` goes before the suffix."""
        found = {}
        for item in shown:
            name = Path(item.name)
            path = self / f"{name.stem}{end}{name.suffix}"
            with atomic(path) as beside:
                item.write(beside)
            found[name.stem] = str(path)
        return found

    def shown(self) -> dict[str, str]:
        """{stem: path} of the pictures and texts in the folder."""
        kinds = (".png", ".txt")
        return {path.stem: str(path) for path in sorted(self.path.iterdir()) if path.suffix in kinds and path.is_file()}


def history_of(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """A list a metric, of the rows of metrics.csv."""
    names = dict.fromkeys(k for row in rows for k in row if k not in NOT_METRICS)
    return {name: [row[name] for row in rows if name in row] for name in names}


def run_of(folder: RunFolder, model: keras.Model) -> Run:
    """A finished run, as its folder has it."""
    rows, config = folder.read_metrics(), folder.read_config()
    seconds = rows[-1]["seconds"] if rows else 0.0
    with understood(folder / "plan.json"):
        plan = Plan.from_config(folder.read_plan())
    return Run(
        model, folder.path, history_of(rows), plan, seconds, stopped=config.get("stopped", ""),
        weights_of=config.get("weights_of"),
    )  # fmt: skip


def temporary_folder() -> Path:
    """Of a worker that is not the first; it goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="kzoo-worker-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def aside(folder: RunFolder | None) -> RunFolder | None:
    """A copy of the run that is resumed, for a worker that is not the first."""
    if folder is None:
        return None
    copy = temporary_folder() / folder.path.name
    return RunFolder(shutil.copytree(folder.path, copy, ignore=shutil.ignore_patterns(".*")))


def check_free(path: Path) -> None:
    """A run folder given by name must not exist, or be empty."""
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise KzooError(f"the run folder {str(path)!r} cannot be made: {str(parent)!r} is a file")
    if path.exists() and (not path.is_dir() or set(path.iterdir()) - set(left_behind(path))):
        raise KzooError(
            f"the run folder {str(path)!r} exists and is not empty; give another, or resume it with --resume {path}"
        )
