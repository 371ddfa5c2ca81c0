"""tune: trials through kzoo's own engine, resumable, the best of them a run like any other.

runs/0009-tune-lenet5-digits/
    oracle.json trial_*/   keras-tuner's project
    trials.csv             a row a trial: values, score, epochs, seconds, status, reason
    trials/0003/           the run of trial 3; weights are kept only where they are needed
    comparison.json        test scores of the default recipe and of the best trial, by seed
    config.json            what is searched, and how; with the best trial's model and, as `trial`, its options
    model.keras …          the best trial's run: evaluate, export and fit --resume take the folder
"""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import json
import shutil
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner

from kzoo.engine import check_precision, recipe_metrics
from kzoo.engine import strategy as make_strategy
from kzoo.errors import KzooError, unknown
from kzoo.files import atomic
from kzoo.records import VERBS, Searched, Searching, Training, options_of, takes
from kzoo.runs import NOT_METRICS, Run, RunFolder, begin, config_of, load_model, resumable, run_of
from kzoo.search.oracles import make_oracle
from kzoo.search.space import ZooHyperModel, space_of
from kzoo.verbs import evaluate, fit

COMPARISON = "comparison.json"
OF_A_RUN = (
    "model.keras",
    "*.safetensors",
    "checkpoints",
    "stages",
    "evaluation-*",
    "confusion-*",
    "mistakes-*",
    "worst-*",
)
OF_A_MODEL = ("model", "task", "inputs", "targets", "labels", "decided", "stopped")  # of the best trial's config.json
LATER = ("trials", "compare_seeds")  # what a resumed search may be given anew
# Options of each trial's training: those of any, that are not searched and not the trial's own.
PASSED = [n for n in options_of(Training) if n not in options_of(Searched) and n not in ("epochs", "seed")]


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
    def has_test(self) -> bool:
        """Whether the data that was searched on has a test split."""
        return " test" in RunFolder(self.path).read_json("plan.json")["data"]

    @property
    def run(self) -> Run:
        return run_of(RunFolder(self.path), load_model(self.path))

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


@takes(*VERBS["tune"])
def tune(model: str | None = None, data: Any = None, **given: Any) -> Search:
    """Search for a better recipe: trials through kzoo's own engine, their values by keras-tuner.

    Trial 0 has the default recipe. A trial is scored on the validation split after its last epoch, never on test; of
    equal scores the lower `val_loss` is better. A trial that fails is shown with its reason, and the search goes on.
    With `compare_seeds` the default recipe and the best trial are trained anew on other seeds and scored on the test
    split.

    With `weights` trials are fine-tuned: `epochs` are those of each stage at most, and a trial's score is that of its
    best epoch, whose weights it keeps. A search that is resumed runs again what was running when it stopped, and
    nothing that was done.

    Args:
        model: A name from `list_models`, or `"resnet20@cifar10"`: fine-tuned from these weights.
        data: Data, or what `load_data` takes.

    Returns:
        Search. Its folder is the best trial's run as well: `evaluate`, `export` and `fit(resume=…)` take it.

    Raises:
        KzooError: Arguments that cannot hold; nothing has been written then. Or every trial failed.
        KeyboardInterrupt: After the resuming command was printed.
    """
    begun = begin("tune", given, model, data, changeable=LATER)
    options, folder = begun.options, begun.folder
    if begun.model is None:
        raise KzooError("tune needs a model: a name from kzoo list")
    check_precision(options.precision)
    if not isinstance(options.strategy, str | None) or options.strategy in ("multiworker", "parameter_server"):
        raise KzooError(
            f"a search runs in one process, under a strategy by name; received strategy={options.strategy!r}"
        )
    if options.learning_rate is not None and options.optimizer is not None and "learning_rate=" in options.optimizer:
        raise KzooError(f"optimizer={options.optimizer!r} sets the learning rate; give it as learning_rate=…")
    make_strategy(options.strategy, options.devices)
    begun.check_folder()
    if folder is not None and options.trials < (done := len(_ended(folder))):
        raise KzooError(f"trials={options.trials}, but the search has {done} already; give {done} or more")
    space = space_of(begun.model, begun.data, Searched.of(options.given()), begun.reading)
    options = replace(options, epochs=options.epochs or space.epochs)
    goal = _objective(options, space)
    hyperparameters = keras_tuner.HyperParameters()
    space.values(hyperparameters)
    oracle = make_oracle(options.algorithm, hyperparameters, goal, options.trials, options.epochs, options.seed)

    # Everything holds: from here on files are written.
    if folder is None:
        name = f"tune-{space.spec.name}-{space.data.info.name}".replace("your data", "own-data")
        folder = RunFolder.create(name, begun.keeping.run_dir)
        folder.write_json("config.json", {**config_of(begun, space.data), "finished": False})
    else:
        folder.update_config(
            options={**begun.config["options"], **Searching.of(begun.given).to_config()}, finished=False
        )
    say = lambda text: print(text, file=sys.stderr, flush=True) if begun.keeping.verbose else None
    for label, text in _plan(options, space, goal, hyperparameters, folder):
        say(f"{label:13} {text}")
    with resumable("tune", folder.path, say):
        search = _searched(folder, space, oracle, options, goal, say)
    _write_card(folder, search)
    folder.update_config(finished=True)
    return search


def _searched(folder: RunFolder, space: ZooHyperModel, oracle: Any, options: Searching, goal: Any, say: Any) -> Search:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # "Reloading Tuner from …"
            tuner = Tuner(oracle, space, options, folder, say)
        with warnings.catch_warnings():
            # keras-tuner's own calls of threading.currentThread().getName()
            warnings.filterwarnings("ignore", message="currentThread|getName", category=DeprecationWarning)
            tuner.save()
            tuner.search()
        trials, best = tuner.table(), tuner.best()
        if best is None:
            failed = [t for t in trials if t.status == "failed"]
            first = failed[0].reason if failed else "the oracle gave none"
            raise KzooError(f"all {len(trials)} trials failed; the first: {first}; see {folder / 'trials.csv'}")
        if len(trials) < options.trials:
            say(f"the space has no more than {len(trials)} different trials")
        _keep_best(folder, tuner, best)
        comparison = _compare(folder, space, options, trials[0], best, say)
    except KeyboardInterrupt:
        say(f"\ninterrupted; {len(_ended(folder))} of {options.trials} trials are done, in {folder.path}")
        raise
    return Search(folder.path, goal.name, best, tuple(trials), comparison)


def _objective(options: Searching, space: ZooHyperModel) -> keras_tuner.Objective:
    first = (*space.info.outputs, "")[0]  # of several outputs the first one is measured
    metrics = [getattr(metric, "name", metric) for metric in recipe_metrics(space.spec.recipe)]
    known = [*(f"val_{first}_{name}" if first else f"val_{name}" for name in metrics), "val_loss"]
    ranked = [name for name, _ in space.task.score.epochs if name in known]  # as the task ranks epochs
    name = options.objective or (ranked or known)[0]
    if name not in known:
        raise unknown("objective", name, known)
    return keras_tuner.Objective(name, "min" if name.endswith("loss") else "max")


def _plan(
    options: Searching, space: ZooHyperModel, goal: keras_tuner.Objective, hp: Any, folder: RunFolder
) -> list[tuple[str, str]]:
    order = "larger" if goal.direction == "max" else "smaller"
    transfer = space.weights is not None
    last, whose = ("best", "fine_tune's") if transfer else ("last", "the recipe's")
    upto = "up to " if options.algorithm == "hyperband" else ""
    rows = [
        ("search", f"{options.algorithm}, {_counted(options.trials, 'trial')} of {upto}"
                   f"{_counted(options.epochs, 'epoch')}{' a stage' * transfer}, seed {options.seed}"),
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
    if options.compare_seeds:
        seeds = ", ".join(map(str, _seeds(options)))
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
        options = _passed(self.options) | {"epochs": int(hp.get("tuner/epochs") or self.options.epochs)}
        if hp.get("tuner/trial_id") and self.space.weights is None:  # of Hyperband: go on from there
            before = self.path(self.oracle.get_trial(hp["tuner/trial_id"]))
            if (before / "model.keras").is_file():
                shutil.copytree(before, path)
                return fit(data=self.space.data, resume=path, **options)
            self.say(f"trial {int(trial.trial_id)} begins anew: the weights of trial {before.name} are gone")
        return self.space.train(values, seed=self.options.seed, run_dir=path, **options)

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        table = self.table()
        _write_table(self.folder, table)
        best, ended = self.best(), next(t for t in table if t.number == int(trial.trial_id))
        if self.options.algorithm != "hyperband":  # which goes on from any of them
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


def _passed(options: Searching) -> dict[str, Any]:
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
    """The best trial's run becomes the folder's own; its part of config.json, by which a model is known, comes last."""
    source = RunFolder(folder / "trials" / f"{best.number:04d}")
    if not (source / "model.keras").is_file():  # already there, from before the search was resumed
        return
    mine = folder.read_json("config.json")
    folder.write_json("config.json", {k: v for k, v in mine.items() if k not in OF_A_MODEL})
    for stale in [path for pattern in OF_A_RUN for path in folder.path.glob(pattern)]:  # of another best, before
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    ours = lambda place, names: ["config.json"] if Path(place) == source.path else []
    shutil.copytree(source.path, folder.path, ignore=ours, dirs_exist_ok=True)
    theirs = source.read_json("config.json")
    told = {**{name: theirs.get(name) for name in OF_A_MODEL}, "trial": theirs["options"]}
    folder.update_config(**told)
    tuner.drop_weights()


def _seeds(options: Searching) -> tuple[int, ...]:
    """Fresh ones: the search chose by its own."""
    return tuple((options.seed + k) % 2**32 for k in range(1, options.compare_seeds + 1))


def _compare(
    folder: RunFolder, space: ZooHyperModel, options: Searching, default: Trial, best: Trial, say: Any
) -> Comparison | None:
    """Train both on each seed and score them on test; what is written already is not trained again."""
    if not options.compare_seeds or space.data.test is None:
        return None
    known = folder.read_json(COMPARISON) if (folder / COMPARISON).is_file() else []
    passed = _passed(options) | {"epochs": options.epochs}
    names = {best.number: "best trial", default.number: "default recipe"}  # of one that is both, the latter
    trials, metric = {default.number: default, best.number: best}, ""
    for seed in _seeds(options):
        for trial in trials.values():
            row = next((r for r in known if (r["trial"], r["seed"]) == (trial.number, seed)), None)
            if row is None:
                row = _scored(folder, space, trial, seed, passed)
                known.append(row)
                folder.write_json(COMPARISON, known)
                found = f"test {row['metric']} {row['score']:.4f}" if not row["reason"] else f"FAILED: {row['reason']}"
                say(f"{names[trial.number]:14} seed {seed}  {found}  {row['seconds']:.1f} s")
            metric = metric or row["metric"]
    score = {(r["trial"], r["seed"]): r["score"] for r in known}
    scores = lambda trial: tuple(score[trial.number, seed] for seed in _seeds(options))
    others = () if best.number == default.number else scores(best)
    return Comparison(metric or "score", options.epochs, _seeds(options), scores(default), others)


def _scored(
    folder: RunFolder, space: ZooHyperModel, trial: Trial, seed: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    started, path = time.perf_counter(), folder / "comparison" / f"trial{trial.number}-seed{seed}"
    shutil.rmtree(path, ignore_errors=True)
    row = {"trial": trial.number, "seed": seed, "metric": "", "score": None, "reason": ""}
    try:
        found = evaluate(space.train(trial.values, seed=seed, run_dir=path, **options), space.data)
        row["metric"], row["score"] = found.score
    except Exception as error:
        row["reason"] = _reason(error)
    _drop_weights(path)
    gc.collect()
    return {**row, "seconds": round(time.perf_counter() - started, 2)}


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
