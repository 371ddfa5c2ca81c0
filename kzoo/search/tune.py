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
import io
import shutil
import warnings
from dataclasses import replace
from typing import Any

import keras_tuner

from kzoo import errors
from kzoo.engine import check_precision, own_seeds, recipe_metrics
from kzoo.engine import strategy as make_strategy
from kzoo.errors import KzooError, unknown
from kzoo.files import LOCK, MANIFEST, DiskError, atomic, atomic_folder, removed
from kzoo.records import VERBS, Searched, Searching, takes
from kzoo.runs import RunFolder, begin, config_of, resumable
from kzoo.search.compare import compare, seeds_of
from kzoo.search.oracles import make_oracle
from kzoo.search.results import Search, Trial, counted, short, write_card
from kzoo.search.space import ZooHyperModel, space_of
from kzoo.search.tuner import Tuner, Unwritable, ended
from kzoo.signals import spared

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
OF_A_MODEL = (
    "model",
    "task",
    "inputs",
    "targets",
    "labels",
    "decided",
    "stopped",
)  # of the best trial's config.json
LATER = ("trials", "compare_seeds")  # what a resumed search may be given anew


@takes(*VERBS["tune"])
@own_seeds()
@spared()
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
    if folder is not None and options.trials < (done := len(ended(folder))):
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
    say = errors.say if begun.keeping.verbose else lambda _: None
    with folder.written(say):
        if not begun.resumed:
            folder.write_json("config.json", {**config_of(begun, space.data), "finished": False})
            folder.write_splits(space.data.info)
            folder.settle()
        else:
            changed = {**begun.config["options"], **Searching.of(begun.given).to_config()}
            folder.update_config(options=changed, finished=False)
        for label, text in _plan(options, space, goal, hyperparameters, folder):
            say(f"{label:13} {text}")
        with resumable("tune", folder.path, say):
            search = _searched(folder, space, oracle, options, goal, say)
            write_card(folder, search)
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
        comparison = compare(folder, space, options, trials[0], best, say)
    except Unwritable as error:
        raise DiskError(str(error)) from error
    except (KeyboardInterrupt, SystemExit):
        say(f"\ninterrupted; {len(ended(folder))} of {options.trials} trials are done, in {folder.path}")
        raise
    return Search(folder.path, goal.name, best, tuple(trials), comparison)


def _objective(options: Searching, space: ZooHyperModel) -> keras_tuner.Objective:
    first = (*space.info.outputs, "")[0]  # of several outputs the first one is measured
    metrics = [getattr(metric, "name", metric) for metric in recipe_metrics(space.info)]
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
        ("search", f"{options.algorithm}, {counted(options.trials, 'trial')} of {upto}"
                   f"{counted(options.epochs, 'epoch')}{' a stage' * transfer}, seed {options.seed}"),
        ("model", f"{space.spec.name}, {space.info.style}" + f", from the weights {space.weights}" * transfer),
        ("data", space.data.info.describe()),
        ("objective", f"{goal.name} after the {last} epoch, the {order} the better; of equals the lower val_loss"),
    ]  # fmt: skip
    for h in hp.space:
        if isinstance(h, keras_tuner.engine.hyperparameters.Fixed):
            rows.append((h.name, f"{short(h.value)}, not searched"))
        elif isinstance(h, keras_tuner.engine.hyperparameters.Choice):
            rows.append((h.name, f"{', '.join(map(str, h.values))}; {whose} {short(h.default)}"))
        else:
            by = f" by {h.step:g}" if h.step else f", {h.sampling}"
            rows.append((h.name, f"{h.min_value:g} to {h.max_value:g}{by}; {whose} {short(h.default)}"))
    if options.compare_seeds:
        seeds = ", ".join(map(str, seeds_of(options)))
        text = f"the default recipe and the best trial, trained on seeds {seeds}, by their test scores"
        rows.append(("then", text if space.data.test is not None else "no comparison: the data has no test split"))
    return [*rows, ("folder", str(folder.path))]


def _keep_best(folder: RunFolder, tuner: Tuner, best: Trial) -> None:
    """The best trial's run becomes the folder's own; its part of config.json, by which a model is known, comes last."""
    source = RunFolder(folder / "trials" / f"{best.number:04d}")
    if not (source / "model.keras").is_file():  # already there, from before the search was resumed
        return
    mine, theirs, kept = folder.read_json("config.json"), source.read_json("config.json"), source.manifest.read()
    mine = {k: v for k, v in mine.items() if k not in OF_A_MODEL}
    folder.write_json("config.json", {**mine, "id": theirs["id"]})  # of its checkpoints
    stale = [path for pattern in OF_A_RUN for path in folder.path.glob(pattern)]  # of another best, before
    folder.manifest.forget(*(path.name for path in stale))
    for path in stale:
        removed(path) if path.is_dir() else path.unlink()
    for path in sorted(source.path.iterdir()):
        target = folder / path.name
        if path.is_dir():
            with atomic_folder(target) as beside:
                shutil.copytree(path, beside, dirs_exist_ok=True)
        elif path.name not in ("config.json", MANIFEST, LOCK):
            with folder.manifest.writing(path.name) if path.name in kept else atomic(target) as beside:
                shutil.copyfile(path, beside)
    told = {**{name: theirs[name] for name in OF_A_MODEL if name in theirs}, "trial": theirs["options"]}
    folder.update_config(**told)
    tuner.drop_weights()
