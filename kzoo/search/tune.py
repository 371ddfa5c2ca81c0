"""tune: trials through kzoo's own engine, resumable, the best of them a run like any other.

runs/0009-tune-lenet5-digits/
    search.json            what is searched, and how
    oracle.json trial_*/   keras-tuner's project
    trials.csv             a row a trial: values, score, epochs, seconds, status, reason
    trials/0003/           the run of trial 3; weights are kept only where they are needed
    comparison.json        test scores of the default recipe and of the best trial, by seed
    config.json model.keras …   the best trial's run: evaluate, export and fit --resume take the folder
"""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import json
import os
import shlex
import shutil
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner

import kzoo
from kzoo.data import Data, load_data
from kzoo.errors import KzooError, unknown, whole_number
from kzoo.zoo import auxiliary_outputs
from kzoo.runs import Run, RunFolder, evaluate, fit, load_model
from kzoo.runs.folder import atomic, check_free
from kzoo.verbs.given import check_options
from kzoo.runs.record import NOT_METRICS
from kzoo.spec import ModelSpec
from kzoo.engine.plan import Plan
from kzoo.engine.precision import check_precision
from kzoo.engine.strategies import strategy as make_strategy
from kzoo.search.oracles import ALGORITHMS, make_oracle
from kzoo.search.space import ZooHyperModel, hypermodel

SEARCH, COMPARISON = "search.json", "comparison.json"
OF_A_RUN = ("model.keras", "*.safetensors", "checkpoints", "stages", "evaluation-*", "confusion-*", "mistakes-*")
DEFAULTS = {"algorithm": "random", "trials": 8, "seed": 0, "compare_seeds": 3}
FIT = ("strategy", "devices", "xla", "precision", "deterministic", "limit_train_batches", "limit_validation_batches")


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: From 0, which has the default recipe's values.
        values: {hyperparameter: value}.
        score: The objective after the last epoch; None where it failed.
        epochs: That its model has seen; of Hyperband, those of the trial that it went on from included.
        seconds: Of this trial; None where a kill came before they were written.
        status: `"completed"`, `"failed"` or `"running"`.
        reason: Of the failure, one line; "" where there was none.
    """

    number: int
    values: Mapping[str, Any]
    score: float | None
    epochs: int | None
    seconds: float | None
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Test scores of the default recipe and of the best trial, each trained anew on every seed.

    Attributes:
        metric: What `evaluate` gives: accuracy, or BLEU.
        epochs: Of each training; of each stage where it is fine-tuned.
        seeds: None of them is the search's.
        default, best: A score a seed; None where the training failed. `best` is () where the default recipe is best.
    """

    metric: str
    epochs: int
    seeds: tuple[int, ...]
    default: tuple[float | None, ...]
    best: tuple[float | None, ...]

    def lines(self) -> list[str]:
        """A table: a column a seed, the mean and the standard deviation."""
        title = f"test {self.metric}, {_counted(self.epochs, 'epoch')}"
        lines = [
            title + "".join(f"  seed {s:<3d}" for s in self.seeds)
            + "    mean  spread"
        ]  # fmt: skip
        width = len(title)
        for name, scores in (("default recipe", self.default), ("best trial", self.best)):
            if not scores:
                lines.append(f"{'best trial':{width}}  is the default recipe")
                continue
            cells = "".join(f"  {s:8.4f}" if s is not None else "    failed" for s in scores)
            whole = [s for s in scores if s is not None]
            mean = f"  {statistics.mean(whole):6.4f}" if whole else "        "
            spread = f"  {statistics.stdev(whole):6.4f}" if len(whole) > 1 else ""
            lines.append(f"{name:{width}}{cells}{mean}{spread}")
        return lines


@dataclass(frozen=True)
class Search:
    """A finished search.

    Attributes:
        path: Its folder, which is also the run of the best trial.
        objective: What trials are scored by.
        best: The best trial's values, {hyperparameter: value}.
        best_trial: The best trial.
        trials: All of them, in their order.
        comparison: On the test split; None where there is none, or it was left out.
        run: The best trial's run; its model is read when first asked for.
    """

    path: Path
    objective: str
    best_trial: Trial
    trials: tuple[Trial, ...] = field(repr=False)
    comparison: Comparison | None = field(repr=False, default=None)

    @property
    def best(self) -> dict[str, Any]:
        return dict(self.best_trial.values)

    @property
    def run(self) -> Run:
        return _run_of(RunFolder(self.path))

    def to_config(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "best": self.best}

    def __str__(self) -> str:
        best, failed = self.best_trial, sum(t.status == "failed" for t in self.trials)
        rows = [
            ("search", str(self.path)),
            ("trials", f"{len(self.trials)}, {failed} failed; {self.path / 'trials.csv'}"),
            ("best", f"trial {best.number}: {_described(best.values)}"),
            (self.objective, f"{best.score:.4f} after {_counted(best.epochs, 'epoch')}"),
        ]
        if self.trials[0].score is not None and best.number:
            first = self.trials[0]
            default = f"the default recipe, trial 0: {first.score:.4f} after {_counted(first.epochs, 'epoch')}"
            rows[-1] = (self.objective, f"{rows[-1][1]}; {default}")
        lines = [f"{label:13} {text}" for label, text in rows]
        if self.comparison is not None:
            lines += ["", *self.comparison.lines()]
        return "\n".join(lines)


def tune(
    model: str | None = None,
    data: Any = None,
    *,
    algorithm: str | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    objective: str | None = None,
    compare_seeds: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    dropout_rate: float | None = None,
    depth: int | None = None,
    augment: str | Sequence[str] | None = None,
    seed: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    style: str | None = None,
    strategy: str | None = None,
    devices: Sequence[str] | int | None = None,
    xla: bool | str | None = None,
    precision: str | None = None,
    deterministic: bool | None = None,
    limit_train_batches: int | None = None,
    limit_validation_batches: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    languages: str | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    verbose: bool = True,
    **fixed: Any,
) -> Search:
    """Search for a better recipe: trials through kzoo's own engine, their values by keras-tuner.

    Trial 0 has the default recipe. A trial is scored on the validation split after its last epoch, never on test; of
    equal scores the lower `val_loss` is better. A trial that fails is shown with its reason, and the search goes on.
    At the end the default recipe and the best trial are trained anew on other seeds and scored on the test split.

    Args:
        model: A name from `list_models`.
        data: Data, or what `load_data` takes (default `"digits"`).
        algorithm: `"random"` (default), `"hyperband"` (many trials of few epochs, the best of them go on, each in the
            run that it began; fine-tuned ones begin anew) or `"bayesian"`.
        trials: How many; default 8. Of Hyperband, each time that one goes on counts.
        epochs: Of a trial, default the recipe's; of Hyperband, of the longest.
        objective: `"val_loss"` or a metric of the recipe with `val_` before it; default the first of these.
        compare_seeds: On how many seeds the two are compared in the end; default 3, 0 leaves it out.
        learning_rate, batch_size, optimizer, dropout_rate, depth, augment: Given, it is not searched.
        seed: Of the values and of each trial's training. The same seed gives the same trials. Default 0.
        weights: Fine-tune from these, see `kzoo.hypermodel`; the same as a model `"resnet20@cifar10"`. `epochs` are
            then those of each stage at most, and a trial's score is that of its best epoch, whose weights it keeps.
        style, strategy, devices, xla, precision, deterministic: As for `fit`.
        limit_train_batches, limit_validation_batches: As for `fit`.
        data_dir, download, languages: For `load_data`.
        run_dir: The search's folder, exactly; default the next number in `runs/`.
        resume: A search to go on with (path, number, or `last`), in its own folder. Everything is read from it; only
            `trials` and `compare_seeds` can be changed. What was running when it stopped is run again, what was done
            is not.
        verbose: Print what is searched and a line a trial, on stderr.
        **fixed: Arguments of the model, see `kzoo.hypermodel`.

    Returns:
        Search. Its folder is the best trial's run as well: `evaluate`, `export` and `fit(resume=…)` take it.

    Raises:
        KzooError: Arguments that cannot hold; nothing has been written then. Or every trial failed.
        KeyboardInterrupt: After the resuming command was printed.
    """
    given = {
        k: v for k, v in locals().items() if k in (*DEFAULTS, "model", "weights", "epochs", "objective", "style", *FIT)
    }
    given = {k: os.fspath(v) if k == "weights" else v for k, v in given.items() if v is not None}
    own = {"learning_rate": learning_rate, "batch_size": batch_size, "optimizer": optimizer,
           "dropout_rate": dropout_rate, "depth": depth, "augment": augment}  # fmt: skip
    fixed |= {name: value for name, value in own.items() if value is not None}
    given |= {"fixed": fixed} if fixed else {}
    folder = stored = None
    if resume is not None:
        if run_dir is not None:
            raise KzooError("give run_dir or resume, not both: a resumed search writes into its own folder")
        folder = find_search(resume)
        stored = folder.read_json(SEARCH)
        settings, data = _resumed(stored, given, data, data_dir, languages, folder)
    elif model is None:
        raise KzooError("tune needs a model: a name from kzoo list")
    else:
        settings = {**DEFAULTS, **given}
        data = "digits" if data is None else data
    _check(settings)
    if not isinstance(run_dir, str | os.PathLike | None):
        raise KzooError(f"run_dir must be a path; received {run_dir!r}")
    if run_dir is not None:
        check_free(Path(run_dir))
    the_strategy = settings.get("strategy")
    if not isinstance(the_strategy, str | None) or the_strategy in ("multiworker", "parameter_server"):
        raise KzooError(f"a search runs in one process, under a strategy by name; received strategy={the_strategy!r}")
    make_strategy(the_strategy or "auto", settings.get("devices"))
    where = {} if stored and stored["data"] else {"data_dir": data_dir, "download": download, "languages": languages}
    space = hypermodel(
        settings["model"], data, weights=settings.get("weights"), style=settings.get("style", "functional"), **where,
        **settings.get("fixed", {}),
    )  # fmt: skip
    settings.setdefault("epochs", space.epochs)
    goal = _objective(settings, space)
    settings["objective"] = goal.name
    hyperparameters = keras_tuner.HyperParameters()
    space.values(hyperparameters)
    oracle = make_oracle(
        settings["algorithm"], hyperparameters, goal, settings["trials"], settings["epochs"], settings["seed"]
    )

    # Everything holds: from here on files are written.
    if folder is None:
        folder = RunFolder.create(
            f"tune-{space.spec.name}-{space.data.info.name}".replace("your data", "own-data"), run_dir
        )
    folder.write_json(SEARCH, {"kzoo": kzoo.__version__, "data": space.data.info.arguments or None, **settings})
    say = lambda text: print(text, file=sys.stderr, flush=True) if verbose else None
    for label, text in _plan(settings, space, goal, hyperparameters, folder):
        say(f"{label:13} {text}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # "Reloading Tuner from …"
            tuner = Tuner(oracle, space, settings, folder, say)
        with warnings.catch_warnings():
            # keras-tuner's own calls of threading.currentThread().getName()
            warnings.filterwarnings("ignore", message="currentThread|getName", category=DeprecationWarning)
            tuner.save()
            tuner.search()
        trials_ = tuner.table()
        best = tuner.best()
        if best is None:
            failed = [t for t in trials_ if t.status == "failed"]
            first = failed[0].reason if failed else "the oracle gave none"
            raise KzooError(f"all {len(trials_)} trials failed; the first: {first}; see {folder / 'trials.csv'}")
        if len(trials_) < settings["trials"]:
            say(f"the space has no more than {len(trials_)} different trials")
        _keep_best(folder, tuner, best)
        comparison = _compare(folder, space, settings, trials_[0], best, say)
    except KeyboardInterrupt:
        done = len(_ended(folder))
        say(
            f"\ninterrupted; {done} of {settings['trials']} trials are done, in {folder.path}\n"
            f"resume: kzoo tune --resume {shlex.quote(str(folder.path))}"
        )
        raise
    search = Search(folder.path, goal.name, best, tuple(trials_), comparison)
    _write_card(folder, search)
    return search


# ----------------------------------------------------------------------------------------------------------------------
# Arguments
# ----------------------------------------------------------------------------------------------------------------------


def _check(settings: Mapping[str, Any]) -> None:
    if settings["algorithm"] not in ALGORITHMS:
        raise unknown("algorithm", settings["algorithm"], ALGORITHMS)
    whole_number("trials", settings["trials"])
    seeds = settings["compare_seeds"]
    if seeds != 0:
        whole_number("compare_seeds", seeds)
    check_options(
        {k: settings.get(k) for k in ("epochs", *FIT, "seed") if settings.get(k) is not None}, settings.get("style")
    )
    check_precision(settings.get("precision"))


def _objective(settings: Mapping[str, Any], space: ZooHyperModel) -> keras_tuner.Objective:
    spec = space.spec
    known = [*(f"val_{name}" for name in _metrics(spec, space)), "val_loss"]
    name = settings.get("objective") or known[0]
    if name not in known:
        raise unknown("objective", name, known)
    return keras_tuner.Objective(name, "min" if name.endswith("loss") else "max")


def _metrics(spec: ModelSpec, space: ZooHyperModel) -> list[str]:
    if not space.info.arguments.get("aux"):
        return list(spec.recipe.metrics)
    first = auxiliary_outputs(space.make(space.values(keras_tuner.HyperParameters())))[0]
    return [f"{first}_{name}" for name in spec.recipe.metrics]


def _resumed(
    stored: dict[str, Any], given: Mapping[str, Any], data: Any, data_dir: Any, languages: Any, folder: RunFolder
) -> tuple[dict[str, Any], Any]:
    """(the settings of a search that goes on, its data)."""
    settings = {k: v for k, v in stored.items() if k not in ("kzoo", "data")}
    for key, value in given.items():
        if key in ("trials", "compare_seeds"):
            continue
        before = settings.get(key)
        if json.loads(json.dumps(value, default=str)) != before:
            raise KzooError(
                f"{key}={value!r} cannot be changed when a search is resumed: it has {before!r}; start a new one"
            )
    settings |= {k: given[k] for k in ("trials", "compare_seeds") if k in given}
    if "trials" in given:
        whole_number("trials", given["trials"])
        done = len(_ended(folder))
        if given["trials"] < done:
            raise KzooError(f"trials={given['trials']}, but the search has {done} already; give {done} or more")
    known = stored["data"]
    if known is None:
        if not isinstance(data, Data):
            raise KzooError("this search was made on kzoo.Data of your own; give data=… to resume it")
        return settings, data
    if isinstance(data, Data) and data.info.arguments == known:
        return settings, data
    named = str(Path(data).absolute()) if isinstance(data, str | os.PathLike) else ""
    if data is not None and known["name"] not in (named, str(data)):
        raise KzooError(f"the search is on {known['name']!r}; received data={data!r}: start a new one for that")
    if languages not in (None, known.get("languages")):
        raise KzooError(f"the search is on languages={known.get('languages')!r}; received {languages!r}")
    return settings, load_data(**{**known, **({"data_dir": data_dir} if data_dir else {})})


def find_search(search: str | os.PathLike[str] | int) -> RunFolder:
    """A search's folder by path, by number, or `last`."""
    return RunFolder.find(search, SEARCH)


def _plan(
    settings: Mapping[str, Any], space: ZooHyperModel, goal: keras_tuner.Objective, hp: Any, folder: RunFolder
) -> list[tuple[str, str]]:
    order = "larger" if goal.direction == "max" else "smaller"
    transfer = space.weights is not None
    last, whose = ("best", "fine_tune's") if transfer else ("last", "the recipe's")
    upto = "up to " if settings["algorithm"] == "hyperband" else ""
    rows = [
        ("search", f"{settings['algorithm']}, {_counted(settings['trials'], 'trial')} of {upto}"
                   f"{_counted(settings['epochs'], 'epoch')}{' a stage' * transfer}, seed {settings['seed']}"),
        ("model", f"{space.spec.name}, {space.info.style}" + f", from the weights {space.weights}" * transfer),
        ("data", space.data.info.describe()),
        ("objective", f"{goal.name} after the {last} epoch, the {order} the better; of equals the lower val_loss"),
    ]  # fmt: skip
    for h in hp.space:
        if isinstance(h, keras_tuner.engine.hyperparameters.Fixed):
            rows.append((h.name, f"{_short(h.value)}, not searched"))
        elif isinstance(h, keras_tuner.engine.hyperparameters.Choice):
            rows.append((h.name, f"{', '.join(map(str, h.values))}; {whose} {_short(h.default)}"))
        else:
            by = f" by {h.step:g}" if h.step else f", {h.sampling}"
            rows.append((h.name, f"{h.min_value:g} to {h.max_value:g}{by}; {whose} {_short(h.default)}"))
    if settings["compare_seeds"]:
        seeds = ", ".join(map(str, _seeds(settings)))
        text = f"the default recipe and the best trial, trained on seeds {seeds}, by their test scores"
        rows.append(("then", text if space.data.test is not None else "no comparison: the data has no test split"))
    return [*rows, ("folder", str(folder.path))]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _described(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {_short(value)}" for name, value in values.items())


# ----------------------------------------------------------------------------------------------------------------------
# Trials
# ----------------------------------------------------------------------------------------------------------------------


class Tuner(base_tuner.BaseTuner):
    """keras-tuner's loop over trials, each trained by kzoo's engine. Needs no TensorBoard."""

    def __init__(
        self, oracle: Any, space: ZooHyperModel, settings: Mapping[str, Any], folder: RunFolder, say: Any
    ) -> None:
        self.space, self.settings, self.folder, self.say = space, settings, folder, say
        self.records: dict[str, dict[str, Any]] = {}  # {trial id: what keras-tuner does not keep}
        self.noted: set[str] = set()
        oracle.verbose = 0
        super().__init__(oracle, directory=str(folder.path.parent), project_name=folder.path.name)

    def run_trial(self, trial: Any) -> dict[str, float]:
        started = time.perf_counter()
        record = self.records[trial.trial_id] = {"epochs": None, "val_loss": None, "reason": ""}
        path = self.path(trial)
        shutil.rmtree(path, ignore_errors=True)  # half a run, from before a kill
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
        except Exception as error:
            record["reason"] = _reason(error)
            if not isinstance(error, KzooError):
                path.mkdir(parents=True, exist_ok=True)
                (path / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            raise
        finally:
            record["seconds"] = round(time.perf_counter() - started, 2)
            gc.collect()

    def _train(self, trial: Any, path: Path) -> Run:
        values = _own(trial)
        hp = trial.hyperparameters.values
        options = {k: self.settings[k] for k in FIT if k in self.settings}
        options |= {"epochs": int(hp.get("tuner/epochs") or self.settings["epochs"]), "verbose": False}
        if hp.get("tuner/trial_id") and self.space.weights is None:  # of Hyperband: go on from there
            before = self.path(self.oracle.get_trial(hp["tuner/trial_id"]))
            if (before / "model.keras").is_file():
                shutil.copytree(before, path)
                return fit(data=self.space.data, resume=path, **options)
            self.say(f"trial {int(trial.trial_id)} begins anew: the weights of trial {before.name} are gone")
        return self.space.train(values, seed=self.settings["seed"], run_dir=path, **options)

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        table = self.table()
        _write_table(self.folder, table)
        best, ended = self.best(), next(t for t in table if t.number == int(trial.trial_id))
        if self.settings["algorithm"] != "hyperband":  # which goes on from any of them
            self.drop_weights(best)
        seconds = f"{ended.seconds:.1f} s" if ended.seconds is not None else ""
        if ended.status == "completed":
            outcome = f"{self.oracle.objective.name} {ended.score:.4f}  {_counted(ended.epochs, 'epoch')}  {seconds}"
            outcome += "  the best so far" * (best is not None and best.number == ended.number)
        else:
            outcome = f"FAILED after {seconds}: {ended.reason}"
        self.say(f"{f'trial {ended.number}':13} {_described(ended.values)}  {outcome}")

    def path(self, trial: Any) -> Path:
        return self.folder / "trials" / f"{int(trial.trial_id):04d}"

    def drop_weights(self, kept: Trial | None = None) -> None:
        for trial in self.oracle.trials.values():
            if kept is None or int(trial.trial_id) != kept.number:
                _drop_weights(self.path(trial))

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
        with atomic(Path(self._get_tuner_fname())) as beside:
            beside.write_text(json.dumps(self.get_state()), encoding="utf-8")


def _own(trial: Any) -> dict[str, Any]:
    """Without Hyperband's own."""
    return {k: v for k, v in trial.hyperparameters.values.items() if not k.startswith("tuner/")}


def _finite(last: dict[str, float]) -> dict[str, float]:
    """A training that lost its numbers has no score, whatever its accuracy is."""
    for name, value in last.items():
        if name.endswith("loss") and not abs(value) < float("inf"):
            raise KzooError(f"{name} is {value} after the last epoch")
    return last


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, KzooError) else f"{type(error).__name__}: {lines[0]}".rstrip(": ")


def _message(trial: Any) -> str:
    """keras-tuner's, of a failure that was not recorded: the last line of its traceback."""
    return (trial.message or "").strip().splitlines()[-1] if (trial.message or "").strip() else ""


def _ended(folder: RunFolder) -> list[str]:
    """Ids of the trials that are done, whatever came of them."""
    found = (json.loads(p.read_text(encoding="utf-8")) for p in folder.path.glob("trial_*/trial.json"))
    return [t["trial_id"] for t in found if t["status"] in ("COMPLETED", "FAILED")]


def _write_table(folder: RunFolder, table: Sequence[Trial]) -> None:
    names = list(dict.fromkeys(name for trial in table for name in trial.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *names, "score", "epochs", "seconds", "status", "reason"])
    for t in table:
        values = [t.values.get(name, "") for name in names]
        writer.writerow([t.number, *values, t.score, t.epochs, t.seconds, t.status, t.reason])
    with atomic(folder / "trials.csv") as beside:
        beside.write_text(text.getvalue(), encoding="utf-8")


def _drop_weights(path: Path) -> None:
    """Of a run, with those of its stages where it was fine-tuned."""
    for target in [*path.rglob("model.keras"), *path.rglob("*.safetensors")]:
        target.unlink()


# ----------------------------------------------------------------------------------------------------------------------
# The best
# ----------------------------------------------------------------------------------------------------------------------


def _keep_best(folder: RunFolder, tuner: Tuner, best: Trial) -> None:
    """The best trial's run becomes the folder's own; config.json, by which a run is known, comes last."""
    source = folder / "trials" / f"{best.number:04d}"
    if not (source / "model.keras").is_file():  # already there, from before the search was resumed
        return
    (folder / "config.json").unlink(missing_ok=True)
    for stale in [path for pattern in OF_A_RUN for path in folder.path.glob(pattern)]:  # of another best, before
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    ours = lambda place, names: ["config.json"] if Path(place) == Path(source) else []
    shutil.copytree(source, folder.path, ignore=ours, dirs_exist_ok=True)
    folder.write_json("config.json", RunFolder(source).read_json("config.json"))
    tuner.drop_weights()


def _seeds(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Fresh ones: the search chose by its own."""
    return tuple((settings["seed"] + k) % 2**32 for k in range(1, settings["compare_seeds"] + 1))


def _compare(
    folder: RunFolder, space: ZooHyperModel, settings: Mapping[str, Any], default: Trial, best: Trial, say: Any
) -> Comparison | None:
    """Train both on each seed and score them on test; what is written already is not trained again."""
    if not settings["compare_seeds"] or space.data.test is None:
        return None
    known = folder.read_json(COMPARISON) if (folder / COMPARISON).is_file() else []
    options = {k: settings[k] for k in FIT if k in settings} | {"epochs": settings["epochs"], "verbose": False}
    names = {best.number: "best trial", default.number: "default recipe"}  # of one that is both, the latter
    trials, metric = {default.number: default, best.number: best}, ""
    for seed in _seeds(settings):
        for trial in trials.values():
            row = next((r for r in known if (r["trial"], r["seed"]) == (trial.number, seed)), None)
            if row is None:
                row = _scored(folder, space, trial, seed, options)
                known.append(row)
                folder.write_json(COMPARISON, known)
                found = f"test {row['metric']} {row['score']:.4f}" if not row["reason"] else f"FAILED: {row['reason']}"
                say(f"{names[trial.number]:14} seed {seed}  {found}  {row['seconds']:.1f} s")
            metric = metric or row["metric"]
    score = {(r["trial"], r["seed"]): r["score"] for r in known}
    scores = lambda trial: tuple(score[trial.number, seed] for seed in _seeds(settings))
    others = () if best.number == default.number else scores(best)
    return Comparison(metric or "score", settings["epochs"], _seeds(settings), scores(default), others)


def _scored(
    folder: RunFolder, space: ZooHyperModel, trial: Trial, seed: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    started, path = time.perf_counter(), folder / "comparison" / f"trial{trial.number}-seed{seed}"
    shutil.rmtree(path, ignore_errors=True)
    row = {"trial": trial.number, "seed": seed, "metric": "", "score": None, "reason": ""}
    try:
        found = evaluate(space.train(trial.values, seed=seed, run_dir=path, **options), space.data)
        row["metric"] = "BLEU" if hasattr(found, "bleu") else "accuracy"
        row["score"] = found.bleu if hasattr(found, "bleu") else found.accuracy
    except Exception as error:
        row["reason"] = _reason(error)
    _drop_weights(path)
    gc.collect()
    return {**row, "seconds": round(time.perf_counter() - started, 2)}


def _run_of(folder: RunFolder) -> Run:
    """A finished run, as its folder has it."""
    rows = folder.read_metrics()
    history = {k: [row[k] for row in rows if k in row] for k in rows[-1] if k not in NOT_METRICS}
    return Run(
        load_model(folder.path),
        folder.path,
        history,
        Plan.from_config(folder.read_json("plan.json")),
        rows[-1]["seconds"],
    )


def _write_card(folder: RunFolder, search: Search) -> None:
    """The best run's card, and how it was found."""
    text = (folder / "card.md").read_text(encoding="utf-8").partition("\n## Search\n")[0].rstrip()
    text = f"# {folder.path.name}\n{text.partition(chr(10))[2]}"  # it was written as that of trials/0003
    lines = ["## Search", "", "```", str(search), "```"]
    lines += ["", f"Scored on validation. {len(search.trials)} trials:", ""]
    lines += [
        f"- {t.number}: {_described(t.values)}: {f'{t.score:.4f}' if t.score is not None else t.reason}"
        for t in search.trials
    ]
    with atomic(folder / "card.md") as beside:
        beside.write_text(text + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
