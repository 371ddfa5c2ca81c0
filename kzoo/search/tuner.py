"""keras-tuner's loop, with kzoo's engine inside: a trial is a run in `trials/`."""

from __future__ import annotations

import gc
import json
import shutil
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner

from kzoo.errors import KzooError
from kzoo.files import DiskError, atomic_folder, removed
from kzoo.records import Searched, Searching, Training, options_of
from kzoo.runs import NOT_METRICS, Run, RunFolder
from kzoo.search.results import Trial, counted, described, write_table
from kzoo.search.space import ZooHyperModel

# Options of each trial's training: those of any, that are not searched and not the trial's own.
PASSED = [n for n in options_of(Training) if n not in options_of(Searched) and n not in ("epochs", "seed")]


class Unwritable(keras_tuner.errors.FatalError):
    """The disk's error, as the one kind that keras-tuner does not take for a failed trial."""


class Tuner(base_tuner.BaseTuner):
    """keras-tuner's loop over trials, each trained by kzoo's engine. Needs no TensorBoard."""

    def __init__(self, oracle: Any, space: ZooHyperModel, options: Searching, folder: RunFolder, say: Any) -> None:
        self.space, self.options, self.folder, self.say = space, options, folder, say
        self.records: dict[str, dict[str, Any]] = {}  # {trial id: what keras-tuner does not keep}
        self.noted: set[str] = set()
        oracle.verbose = 0
        super().__init__(oracle, directory=str(folder.path.parent), project_name=folder.path.name)

    def run_trial(self, trial: Any) -> dict[str, float]:
        started = time.perf_counter()
        record = self.records[trial.trial_id] = {"epochs": None, "val_loss": None, "reason": ""}
        path = self.path(trial)
        try:
            run = self._train(trial, path)
            record["epochs"] = len(next(iter(run.history.values())))
            for note in run.plan.notes:
                if note not in self.noted:
                    self.noted.add(note)
                    self.say(f"{'note':13} {note}")
            last = self.space.scores(run)
            record["val_loss"] = last["val_loss"]
            return _finite({name: value for name, value in last.items() if name not in NOT_METRICS})
        except DiskError as error:  # no trial's fault: the search ends here, and goes on when there is room
            raise Unwritable(str(error)) from error
        except Exception as error:
            record["reason"] = reason_of(error)
            if not isinstance(error, KzooError):
                path.mkdir(parents=True, exist_ok=True)
                (path / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            raise
        finally:
            record["seconds"] = round(time.perf_counter() - started, 2)
            self._save_records()  # before keras-tuner notes that the trial is done, which is not run again then
            gc.collect()

    def _train(self, trial: Any, path: Path) -> Run:
        hp = trial.hyperparameters.values
        options = passed(self.options) | {"epochs": int(hp.get("tuner/epochs") or self.options.epochs)}
        if hp.get("tuner/trial_id") and self.space.weights is None and not path.is_dir():  # of Hyperband: from there on
            before = self.path(self.oracle.get_trial(hp["tuner/trial_id"]))
            if (before / "model.keras").is_file():
                with atomic_folder(path) as beside:
                    shutil.copytree(before, beside, dirs_exist_ok=True)
            else:
                self.say(f"trial {int(trial.trial_id)} begins anew: the weights of trial {before.name} are gone")
        if path.is_dir():
            try:
                RunFolder.find(path, self.space.verb)
            except KzooError as error:
                self.say(f"trial {int(trial.trial_id)} begins anew: {error}")
                shutil.rmtree(path)
            else:
                return self.space.go_on(path, **options)  # it was cut off by a kill
        return self.space.train(_own(trial), seed=self.options.seed, run_dir=path, **options)

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        table = self.table()
        write_table(self.folder, table)
        best, ended = self.best(), next(t for t in table if t.number == int(trial.trial_id))
        if self.options.algorithm != "hyperband":  # which goes on from any of them
            self.drop_weights(best)
        seconds = f"{ended.seconds:.1f} s" if ended.seconds is not None else ""
        if ended.status == "completed":
            outcome = f"{self.oracle.objective.name} {ended.score:.4f}  {counted(ended.epochs, 'epoch')}  {seconds}"
            outcome += "  the best so far" * (best is not None and best.number == ended.number)
        else:
            outcome = f"FAILED after {seconds}: {ended.reason}"
        self.say(f"{f'trial {ended.number}':13} {described(ended.values)}  {outcome}")

    def path(self, trial: Any) -> Path:
        return self.folder / "trials" / f"{int(trial.trial_id):04d}"

    def drop_weights(self, kept: Trial | None = None) -> None:
        for trial in self.oracle.trials.values():
            if kept is None or int(trial.trial_id) != kept.number:
                drop_weights(self.path(trial))

    def table(self) -> list[Trial]:
        rows = []
        for trial in sorted(self.oracle.trials.values(), key=lambda t: int(t.trial_id)):
            record = self.records.get(trial.trial_id, {})
            completed = trial.status == "COMPLETED"
            rows.append(
                Trial(
                    int(trial.trial_id),
                    _own(trial),
                    float(trial.score) if completed else None,
                    record.get("epochs"),
                    record.get("seconds"),
                    trial.status.lower(),
                    record.get("reason", "") if completed else record.get("reason") or _message(trial),
                )
            )
        return rows

    def best(self) -> Trial | None:
        """Of equal scores the one with the lower `val_loss`, then the earlier one."""
        sign = -1 if self.oracle.objective.direction == "max" else 1
        loss = {int(i): r.get("val_loss") for i, r in self.records.items()}
        order = lambda t: (sign * t.score, loss[t.number] if loss.get(t.number) is not None else float("inf"), t.number)
        return min((t for t in self.table() if t.status == "completed"), key=order, default=None)

    # What keras-tuner saves and reloads beside the oracle: whole files.
    def get_state(self) -> dict[str, Any]:
        return {"records": self.records}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.records = dict(state["records"])

    def save(self) -> None:
        self.oracle.save()
        self._save_records()

    def _save_records(self) -> None:
        with self.folder.manifest.writing(Path(self._get_tuner_fname()).name) as beside:
            beside.write_text(json.dumps(self.get_state()), encoding="utf-8")


def passed(options: Searching) -> dict[str, Any]:
    """Options of each trial's training."""
    given = options.given()
    return {"verbose": False, **{name: given[name] for name in PASSED if name in given}}


def _own(trial: Any) -> dict[str, Any]:
    """Without Hyperband's own."""
    return {k: v for k, v in trial.hyperparameters.values.items() if not k.startswith("tuner/")}


def _finite(last: dict[str, float]) -> dict[str, float]:
    """A training that lost its numbers has no score, whatever its accuracy is."""
    for name, value in last.items():
        if name.endswith("loss") and not abs(value) < float("inf"):
            raise KzooError(f"{name} is {value} after the last epoch")
    return last


def reason_of(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, KzooError) else f"{type(error).__name__}: {lines[0]}".rstrip(": ")


def _message(trial: Any) -> str:
    """keras-tuner's, of a failure that was not recorded: the last line of its traceback."""
    return (trial.message or "").strip().splitlines()[-1] if (trial.message or "").strip() else ""


def ended(folder: RunFolder) -> list[str]:
    """Ids of the trials that are done, whatever came of them."""
    found = (json.loads(p.read_text(encoding="utf-8")) for p in folder.path.glob("trial_*/trial.json"))
    return [t["trial_id"] for t in found if t["status"] in ("COMPLETED", "FAILED")]


def drop_weights(path: Path) -> None:
    """Of a run, with those of its stages where it was fine-tuned."""
    for folder in [path, *(path / "stages").glob("*")] if path.is_dir() else ():
        weights = [p for p in folder.iterdir() if p.name == "model.keras" or p.suffix == ".safetensors"]
        RunFolder(folder).manifest.forget(*(p.name for p in weights))
        for target in weights:
            target.unlink()
        if (folder / "checkpoints").is_dir():
            removed(folder / "checkpoints")
