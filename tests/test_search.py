"""The tuner: its space, its three algorithms, what fails, and what a kill leaves."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.runs import RunFolder
from kzoo.search import ZooHyperModel, oracles

ALGORITHMS = ("random", "hyperband", "bayesian")
QUICK = {"epochs": 1, "limit_train_batches": 3, "xla": "off"}
QUIET = {"compare_seeds": 0, "verbose": False}


def write_points(path="points.npz"):
    """Points of the plane, on which side of a line they lie: a fit takes a second."""
    x = np.random.default_rng(0).normal(size=(240, 2)).astype("float32")
    y = (x @ [1.0, -2.0] > 0.3).astype("int64")
    parts = {"train": slice(0, 160), "validation": slice(160, 200), "test": slice(200, 240)}
    arrays = {f"{k}_{part}": v[rows] for part, rows in parts.items() for k, v in (("x", x), ("y", y))}
    np.savez(path, **arrays)
    return str(path)


def rows_of(path):
    with open(Path(path) / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def colour_images(classes=2):
    x, y = np.zeros((20, 32, 32, 3), "uint8"), np.arange(20) % classes
    return kzoo.Data((x, y), (x, y))


# --- the space --------------------------------------------------------------------------------------------------------


def declared(space):
    hp = keras_tuner.HyperParameters()
    values = space.values(hp)
    return values, {h.name: h for h in hp.space}


def test_defaults_are_the_recipe_and_ranges_are_around_it():
    values, found = declared(kzoo.hypermodel("mlp", "digits"))
    assert values == {
        "learning_rate": 1e-3, "batch_size": 64, "optimizer": "adam", "dropout": 0.2, "augment": "none"
    }  # fmt: skip
    assert found["learning_rate"].min_value == pytest.approx(1e-4)
    assert found["learning_rate"].max_value == pytest.approx(1e-2)
    assert found["learning_rate"].sampling == "log"
    assert found["batch_size"].values == [32, 64, 128]
    assert found["augment"].values == ["none", "shift"]
    assert 0.2 in found["dropout"].values and found["dropout"].values[-1] == 0.6


def test_each_model_has_the_hyperparameters_that_it_takes():
    assert "dropout" not in declared(kzoo.hypermodel("lenet5", "digits"))[1]
    values, found = declared(kzoo.hypermodel("resnet20", colour_images()))
    assert "optimizer" not in values, "its recipe has a warm-up"
    assert found["augment"].values == ["none", "flip", "crop-flip"]
    assert found["batch_size"].values == [128], "no batch of more than the 20 examples, but the recipe's"
    optimizers = declared(kzoo.hypermodel("alexnet_tiny", colour_images()))[1]["optimizer"].values
    assert all(text.startswith("sgd") for text in optimizers), "one range of rates fits one kind"
    texts = np.array(["a good film", "a bad film"] * 4)
    data = kzoo.Data((texts, np.array([1, 0] * 4)), (texts, np.array([1, 0] * 4)))
    values, _ = declared(kzoo.hypermodel("lstm_classifier_tiny", data))
    assert "dropout" in values and "augment" not in values


def test_what_is_fixed_is_not_searched():
    space = kzoo.hypermodel("mlp", "digits", batch_size=16, augment=["shift"], dropout=0.5, set={"activation": "tanh"})
    values, found = declared(space)
    assert (values["batch_size"], values["augment"], values["dropout"]) == (16, "shift", 0.5)
    assert isinstance(found["batch_size"], keras_tuner.engine.hyperparameters.Fixed)
    assert isinstance(found["learning_rate"], keras_tuner.engine.hyperparameters.Float)
    model = space.make(values)
    assert model.get_layer("dropout1").rate == 0.5
    assert model.get_layer("hidden1").activation.__name__ == "tanh"
    assert space.recipe(values)["augment"] == ["shift"]


def test_another_optimizer_keeps_the_recipes_schedule():
    space = kzoo.hypermodel("lenet5", "digits")
    values = declared(space)[0]
    assert "optimizer" not in space.recipe(values), "the recipe's is left to the recipe"
    assert space.recipe({**values, "optimizer": "nadam"})["schedule"] == "cosine"


@pytest.mark.filterwarnings("ignore:threading.currentThread|getName:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:(currentThread|getName)\\(\\) is deprecated:DeprecationWarning")
def test_a_tuner_of_keras_tuner_takes_the_hypermodel():
    space = kzoo.hypermodel("lenet5", "digits", optimizer="adam")
    assert space.build(keras_tuner.HyperParameters()).compiled
    tuner = keras_tuner.RandomSearch(space, objective="val_accuracy", max_trials=1, directory="stock", seed=1)
    tuner.search(verbose=0, **QUICK)
    (trial,) = tuner.oracle.trials.values()
    assert trial.status == "COMPLETED" and 0 <= trial.score <= 1
    assert (Path("runs/0001-lenet5-digits") / "metrics.csv").is_file(), "trained by kzoo's engine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "lenet"}, "did you mean 'lenet5'"),
        ({"name": 5}, "a name from kzoo list"),
        ({"name": "dcgan_tiny", "data": "digits"}, "do not say which is better; it cannot be tuned"),
        ({"name": "lenet5", "momentum": 0.9}, "unknown argument of hypermodel 'momentum'"),
        ({"name": "lenet5", "set": {"momentum": 0.9}}, "unknown argument of lenet5 'momentum'"),
        ({"name": "lenet5", "dropout": 0.5}, "unknown hyperparameter of lenet5 'dropout'"),
        ({"name": "mlp", "dropout": 2}, "dropout must be a number from 0 to below 1"),
        ({"name": "mlp", "batch_size": 0}, "batch_size must be a whole number"),
        ({"name": "mlp", "learning_rate": -1}, "learning_rate must be a number above 0"),
        ({"name": "mlp", "optimizer": "adamm"}, "did you mean 'adam'"),
        ({"name": "mlp", "optimizer": "sgd:learning_rate=1"}, "give it as learning_rate"),
        ({"name": "mlp", "augment": "turn"}, "unknown augment 'turn'; allowed: none, shift"),
        ({"name": "mlp", "depth": 1}, "unknown hyperparameter of mlp 'depth'"),
        ({"name": "lenet5@mnist", "depth": 9}, "depth=9, but lenet5 has 4 groups"),
        ({"name": "lenet5@mnist", "weights": "mnist"}, "names its weights already"),
        ({"name": "lenet5@minst"}, "mnist"),
        ({"name": "lenet5@mnist", "optimizer": "adam"}, "unknown hyperparameter of lenet5 'optimizer'"),
        ({"name": "mlp_xor", "data": "xor"}, "xor has none; give kzoo.Data"),
        ({"name": "mlp", "style": "eager"}, "unknown style 'eager'"),
        ({"name": "mlp", "data": (np.zeros((4, 28, 28, 1)), np.zeros(4))}, "has none; give kzoo.Data"),
    ],
)  # fmt: skip
def test_a_space_that_cannot_hold(arguments, says):
    with pytest.raises(kzoo.KzooError, match=says.replace("(", r"\(")):
        kzoo.hypermodel(**{"data": "digits", **arguments})


def test_augmentation_needs_images():
    x, y = np.zeros((8, 2), "float32"), np.arange(8) % 2
    assert "augment" not in declared(kzoo.hypermodel("perceptron", kzoo.Data((x, y), (x, y))))[0]
    with pytest.raises(kzoo.KzooError, match="augment='shift' needs images; your data has none"):
        kzoo.hypermodel("perceptron", kzoo.Data((x, y), (x, y)), augment="shift")


# --- the oracles: without training ------------------------------------------------------------------------------------


def make(algorithm, folder, seed=0, trials=9):
    space = keras_tuner.HyperParameters()
    space.Float("x", 1e-3, 1.0, sampling="log", default=0.1)
    space.Choice("k", ["a", "b"], default="b")
    objective = keras_tuner.Objective("score", "max")
    oracle = oracles.make_oracle(algorithm, space, objective, trials, 9, seed)
    oracle._set_project_dir(str(folder), "project")
    oracle.verbose = 0
    return oracle


def drive(oracle, counted=None):
    """Run it to its end; returns [(id, values)] of the trials in their order; `counted` gets each id that is run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="currentThread|getName", category=DeprecationWarning)
        while (trial := oracle.create_trial("tuner0")).status != "STOPPED":
            values = trial.hyperparameters.values
            if counted is not None:
                counted.append(trial.trial_id)
            oracle.update_trial(trial.trial_id, {"score": -abs(values["x"] - 0.03) - (values["k"] == "a")})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
            oracle.save()
    return [(t.trial_id, t.hyperparameters.values) for t in sorted(oracle.trials.values(), key=lambda t: t.trial_id)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_default_comes_first_and_a_seed_gives_the_same_trials(algorithm, tmp_path):
    trials = 5 if algorithm == "bayesian" else 9
    first = drive(make(algorithm, tmp_path / "a", trials=trials))
    again = drive(make(algorithm, tmp_path / "b", trials=trials))
    other = drive(make(algorithm, tmp_path / "c", trials=trials, seed=1))
    assert len(first) == trials
    assert {k: first[0][1][k] for k in ("x", "k")} == {"x": 0.1, "k": "b"}
    assert first == again
    assert first != other
    own = [tuple(sorted(v.items())) for _, v in first]
    assert len(set(own)) == trials, "no trial twice"


def test_hyperband_lets_the_best_go_on(tmp_path):
    found = dict(drive(make("hyperband", tmp_path)))
    on = {i: v for i, v in found.items() if v.get("tuner/trial_id")}
    assert on, "of 9 trials some go on"
    for values in on.values():
        before = found[values["tuner/trial_id"]]
        assert (before["x"], before["k"]) == (values["x"], values["k"])
        assert values["tuner/epochs"] > values["tuner/initial_epoch"] == before["tuner/epochs"]


def test_bayesian_is_not_random_search(tmp_path):
    bayesian = drive(make("bayesian", tmp_path / "b", trials=5))
    random = drive(make("random", tmp_path / "r", trials=5))
    assert bayesian[:3] == random[:3] and bayesian[3:] != random[3:]


@pytest.mark.parametrize("algorithm", ["random", "hyperband", pytest.param("bayesian", marks=pytest.mark.slow)])
def test_a_kill_after_any_file_repeats_nothing_and_loses_nothing(algorithm, tmp_path, monkeypatch):
    """The project as it is after each file written is what a kill there leaves; each is gone on with to the end."""
    oracle, copies = make(algorithm, tmp_path / "whole", trials=4), []
    replace = os.replace

    def noted(source, target):
        replace(source, target)
        if (tmp_path / "whole/project/oracle.json").is_file():
            copies.append(tmp_path / f"copy{len(copies)}")
            shutil.copytree(tmp_path / "whole", copies[-1])

    monkeypatch.setattr(os, "replace", noted)
    whole = drive(oracle)
    monkeypatch.setattr(os, "replace", replace)
    assert len(copies) >= 4 * 4
    for copy in copies:
        done = {
            json.loads(p.read_text())["trial_id"]
            for p in copy.glob("project/trial_*/trial.json")
            if json.loads(p.read_text())["status"] == "COMPLETED"
        }
        resumed, counted = make(algorithm, copy, trials=4), []
        resumed.reload()
        assert drive(resumed, counted) == whole, copy
        assert not done & set(counted), "what was done is not run again"
        assert done | set(counted) == {i for i, _ in whole}


# --- a search ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """Three random trials of the perceptron, compared on two seeds."""
    folder = tmp_path_factory.mktemp("search")
    points = write_points(folder / "points.npz")
    options = {"epochs": 2, "xla": "off", "limit_train_batches": 20, "verbose": False}
    return kzoo.tune("perceptron", points, trials=3, seed=4, compare_seeds=2, run_dir=folder / "tuned", **options)


def test_a_search_is_a_table_and_its_best(search):
    assert [t.number for t in search.trials] == [0, 1, 2]
    assert search.best_trial.score == max(t.score for t in search.trials)
    assert search.best == search.best_trial.values
    assert search.trials[0].values == {"learning_rate": 0.1, "batch_size": 4, "optimizer": "adam"}
    assert all(t.status == "completed" and t.epochs == 2 and t.seconds > 0 and not t.reason for t in search.trials)
    rows = rows_of(search.path)
    assert [float(r["score"]) for r in rows] == [t.score for t in search.trials]
    assert rows[1]["optimizer"] == search.trials[1].values["optimizer"]


def test_the_folder_is_the_best_trials_run(search):
    run = search.run
    assert run.path == search.path
    assert run.history["val_binary_accuracy"][-1] == search.best_trial.score
    assert f"learning rate {search.best['learning_rate']:g}" in run.plan.optimizer
    found = kzoo.evaluate(search.path, split="validation", output_dir="figures")
    assert found.accuracy == pytest.approx(search.best_trial.score, abs=1e-6)
    card = (search.path / "card.md").read_text()
    assert card.startswith(f"# {search.path.name}\n") and card.count("## Search") == 1


def test_weights_are_kept_once(search):
    kept = sorted(str(p.relative_to(search.path)) for p in search.path.rglob("*.keras"))
    assert kept == ["model.keras"]
    states = sorted(str(p.relative_to(search.path)) for p in search.path.rglob("*.safetensors"))
    assert states == [f"checkpoints/{place}-000000/state.safetensors" for place in ("0001", "0002")]
    for number in range(3):
        assert (search.path / f"trials/{number:04d}/metrics.csv").is_file()


def test_the_comparison_is_on_test_and_on_other_seeds(search):
    found = search.comparison
    assert (found.metric, found.seeds, len(found.default)) == ("accuracy", (5, 6), 2)
    assert search.best_trial.number, "with this seed another trial than the default is the best"
    rows = {(r["trial"], r["seed"]): r["score"] for r in json.loads((search.path / "comparison.json").read_text())}
    for name, number in (("default", 0), ("best", search.best_trial.number)):
        assert getattr(found, name) == (rows[number, 5], rows[number, 6])
    (figures,) = (search.path / "comparison/trial0-seed5").glob("evaluation-*-test.json")
    assert json.loads(figures.read_text())["accuracy"] == found.default[0]
    mean, spread = np.mean(found.best), np.std(found.best, ddof=1)
    assert str(search).splitlines()[-1].endswith(f"{mean:.4f}  {spread:.4f}")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_scores(search):
    points = write_points()
    options = {"epochs": 2, "xla": "off", "limit_train_batches": 20}
    again = kzoo.tune("perceptron", points, trials=3, seed=4, **QUIET, **options)
    assert [t.values for t in again.trials] == [t.values for t in search.trials]
    assert [t.score for t in again.trials] == [t.score for t in search.trials]
    assert again.path == Path("runs/0001-tune-perceptron-points"), "numbered like any run"


def test_a_finished_search_goes_on_with_more_trials(search, capsys):
    copy = Path(shutil.copytree(search.path, "more"))
    before = rows_of(copy)
    found = kzoo.tune(resume=copy, trials=4, compare_seeds=0)
    assert rows_of(copy)[:3] == before
    assert len(found.trials) == 4
    assert (copy / "model.keras").is_file()
    assert shown(capsys.readouterr().err) == ["3"]


def shown(err):
    """Numbers of the trials that have a line."""
    return [line.split()[1] for line in err.splitlines() if line.startswith("trial ")]


@pytest.mark.slow
def test_of_images_the_best_is_a_run_like_any_other():
    options = {"epochs": 1, "limit_train_batches": 10}
    found = kzoo.tune("lenet5", "digits", trials=2, **QUIET, **options)
    assert kzoo.evaluate("last", split="validation").accuracy == pytest.approx(found.best_trial.score, abs=1e-6)
    assert "serve_bytes" in kzoo.export("last", "saved").signatures
    run = kzoo.fit("lenet5", "digits", verbose=False, **options)
    assert run.history["val_accuracy"][-1] == pytest.approx(found.trials[0].score, abs=1e-6), "trial 0 is the recipe"


@pytest.mark.slow
def test_hyperband_goes_on_in_the_run_it_began():
    found = kzoo.tune("perceptron", write_points(), algorithm="hyperband", trials=4, **QUIET, **{**QUICK, "epochs": 3})
    states = [json.loads(p.read_text()) for p in sorted(found.path.glob("trial_*/trial.json"))]
    on = {int(s["trial_id"]): s["hyperparameters"]["values"] for s in states}
    went = [(number, int(v["tuner/trial_id"])) for number, v in on.items() if v.get("tuner/trial_id")]
    assert len(went) == 1
    for number, before in went:
        lines = (found.path / f"trials/{number:04d}/metrics.csv").read_text().splitlines()
        earlier = (found.path / f"trials/{before:04d}/metrics.csv").read_text().splitlines()
        assert lines[: len(earlier)] == earlier and (len(earlier), len(lines)) == (2, 4)
        assert (found.trials[before].epochs, found.trials[number].epochs) == (1, 3)
        assert found.trials[number].values == found.trials[before].values
    assert sorted(str(p.relative_to(found.path)) for p in found.path.rglob("*.keras")) == ["model.keras"]


@pytest.mark.slow
def test_bayesian_search_trains():
    found = kzoo.tune("perceptron", write_points(), algorithm="bayesian", trials=4, **QUIET, **QUICK)
    assert [t.status for t in found.trials] == ["completed"] * 4
    assert found.objective == "val_binary_accuracy"


def test_data_of_your_own_is_given_again():
    x, y = np.eye(2, dtype="float32").repeat(8, 0), np.arange(2).repeat(8)
    data = kzoo.Data((x, y), (x, y))
    found = kzoo.tune("perceptron", data, trials=1, **QUIET, **QUICK)
    assert found.comparison is None, "no test split"
    with pytest.raises(kzoo.KzooError, match="on data that you gave as an object; give data=… to tune it again"):
        kzoo.tune(resume=found.path, trials=2)
    assert len(kzoo.tune(resume=found.path, data=data, trials=2, verbose=False).trials) == 2


def test_fine_tuning_searches_how_deep_to_unfreeze():
    space = kzoo.hypermodel("lenet5", "digits", weights="mnist")
    values, found = declared(space)
    assert "optimizer" not in values
    assert found["depth"].values == [0, 1, 2, 3, 4] and values["depth"] == 4

    def learning(depth):
        model = kzoo.hypermodel("lenet5@mnist", "digits", depth=depth).build(keras_tuner.HyperParameters())
        return [layer.name for layer in model.layers if layer.trainable and layer.weights]

    assert learning(0) == ["output"]
    assert learning(2) == ["c5", "f6", "output"]


@pytest.mark.slow
def test_a_fine_tuning_is_a_trial():
    options = {"epochs": 1, "limit_train_batches": 5, "depth": 0, "seed": 1}
    found = kzoo.tune("lenet5@mnist", "digits", trials=1, **QUIET, **options)
    assert found.best["depth"] == 0 and found.trials[0].epochs == 1
    assert kzoo.evaluate("last", split="validation").accuracy == pytest.approx(found.best_trial.score, abs=1e-6)
    config = json.loads((found.path / "config.json").read_text())
    assert (config["source"], config["trial"]["weights"]) == ("lenet5@mnist", "mnist")
    stages = json.loads((found.path / "stages.json").read_text())
    assert stages["after"]["split"] == "validation", "no trial sees the test split"
    assert not list((found.path / "trials").rglob("*.safetensors")), "weights are kept once"


# --- failures ---------------------------------------------------------------------------------------------------------


def test_failed_trials_are_shown_and_the_search_goes_on(monkeypatch, capsys):
    train = ZooHyperModel.train
    errors = {
        0: kzoo.KzooError("too large"),
        2: tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nmore lines"),
    }
    numbers = iter(range(9))

    def failing(self, *args, **options):
        if (error := errors.get(next(numbers))) is not None:
            raise error
        return train(self, *args, **options)

    monkeypatch.setattr(ZooHyperModel, "train", failing)
    found = kzoo.tune("perceptron", write_points(), trials=3, compare_seeds=0, **QUICK)
    assert [t.status for t in found.trials] == ["failed", "completed", "failed"]
    assert [t.reason for t in found.trials] == ["too large", "", "ResourceExhaustedError: OOM when allocating"]
    assert found.best_trial.number == 1
    err = capsys.readouterr().err
    assert "too large" in err and "ResourceExhaustedError: OOM when allocating" in err
    assert "2 failed" in str(found)
    assert [row["reason"] for row in rows_of(found.path)] == [t.reason for t in found.trials]
    assert "Traceback" in (found.path / "trials/0002/error.txt").read_text()


def test_a_search_whose_trials_all_failed_is_an_error(here):
    """With a real divergence: a training without numbers has no score, whatever its accuracy."""
    options = ["--epochs", 2, "--limit-train-batches", 5, "--xla", "off", "--learning-rate", 1e30, "--optimizer", "sgd"]
    status, out, err = here("tune", "mlp_xor", "--data", write_points(), "--trials", 2, *options)
    assert status == 2 and out == ""
    assert err.count("FAILED") == 2, "one line each"
    assert re.fullmatch(r"kzoo: all 2 trials failed; the first: loss is (nan|inf) .*trials.csv", err.splitlines()[-1])
    folder = "runs/0001-tune-mlp_xor-points"
    config = json.loads(Path(folder, "config.json").read_text())
    assert "model" not in config and not config["finished"]
    with pytest.raises(kzoo.KzooError, match="is a search that is not finished: go on with kzoo tune --resume"):
        kzoo.evaluate(folder)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"algorithm": "grid"}, "unknown algorithm 'grid'; allowed: random, hyperband, bayesian"),
        ({"trials": 0}, "trials must be a whole number"),
        ({"epochs": 0}, "epochs must be a whole number"),
        ({"compare_seeds": -1}, "compare_seeds must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"objective": "val_acuracy"}, "did you mean 'val_accuracy'"),
        ({"objective": "test_accuracy"}, "unknown objective"),
        ({"precision": "float8"}, "precision"),
        ({"xla": "maybe"}, "unknown xla 'maybe'; allowed: auto, on, off"),
        ({"strategy": "multiworker"}, "one process"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"depth": 3}, "unknown hyperparameter of lenet5 'depth'"),
        ({"model": None}, "tune needs a model"),
        ({"data": None}, "data must be a name such as 'digits', .*; received none"),
        ({"resume": "last"}, "is no search"),
        ({"resume": "last", "run_dir": "x"}, "give run_dir or resume"),
        ({"data": "digist"}, "digits"),
        ({"optimizer": 3}, "optimizer must be a name, such as 'adam' or 'sgd:momentum=0.9'; received 3"),
        ({"epoch": 3}, "unknown argument of tune 'epoch'; did you mean 'epochs'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(arguments, says):
    with pytest.raises(kzoo.KzooError, match=says) as raised:
        kzoo.tune(**{"model": "lenet5", "data": "digits", **arguments})
    assert len(str(raised.value).splitlines()) == 1
    assert list(Path().iterdir()) == []


def test_a_resumed_search_is_the_same_search(search):
    for arguments, says in (
        ({"algorithm": "bayesian"}, "algorithm of"),
        ({"seed": 1}, "seed of"),
        ({"model": "mlp_xor"}, "model of"),
        ({"batch_size": 16}, "batch_size of"),
        ({"data": "mnist"}, "data of"),
        ({"per_class": 5}, "per_class of"),
        ({"languages": "en-de"}, "languages of"),
        ({"trials": 2}, "the search has 3 already"),
    ):
        if says.endswith(" of"):
            says += r" .*tuned cannot be changed when it is resumed \(only trials, compare_seeds can\); start a new one"
        with pytest.raises(kzoo.KzooError, match=says):
            kzoo.tune(resume=search.path, **arguments)


# --- killed and interrupted -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_restarted_it_repeats_no_trial(here):
    options = ["tune", "perceptron", "--data", write_points(), "--trials", "4", "--epochs", "3", "--compare-seeds", "0"]
    options += ["--seed", "3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kzoo.cli", *options, "--run-dir", "killed"], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not Path("killed/trials/0002/config.json").is_file():  # trial 2 has begun
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    states = lambda: {
        p.parent.name: json.loads(p.read_text())["status"] for p in Path("killed").glob("trial_*/trial.json")
    }
    assert states() == {"trial_0": "COMPLETED", "trial_1": "COMPLETED", "trial_2": "RUNNING"}
    done = {n: Path(f"killed/trials/{n:04d}/metrics.csv").stat().st_mtime_ns for n in (0, 1)}
    before = rows_of("killed")
    status, out, err = here(*options, "--resume", "killed", "--json")
    assert status == 0, err
    assert {n: Path(f"killed/trials/{n:04d}/metrics.csv").stat().st_mtime_ns for n in (0, 1)} == done
    assert rows_of("killed")[:2] == before[:2]
    assert shown(err) == ["2", "3"]
    found = json.loads(out)
    assert [t["status"] for t in found["trials"]] == ["completed"] * 4
    assert set(states().values()) == {"COMPLETED"}
    # The values are those of a search that nobody killed.
    space = keras_tuner.HyperParameters()
    kzoo.hypermodel("perceptron", "points.npz").values(space)
    oracle = oracles.make_oracle("random", space, keras_tuner.Objective("score", "max"), 4, 3, 3)
    whole = []
    while len(whole) < 4:
        values = oracle._random_values()
        oracle._tried_so_far.add(oracle._compute_values_hash(values))
        whole.append(values)
    assert [t["values"] for t in found["trials"]] == whole


def test_ctrl_c_prints_how_to_go_on(monkeypatch, capsys):
    train, numbers = ZooHyperModel.train, iter(range(9))

    def interrupted(self, *args, **options):
        if next(numbers) == 1:
            raise KeyboardInterrupt
        return train(self, *args, **options)

    monkeypatch.setattr(ZooHyperModel, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kzoo.tune("perceptron", write_points(), trials=2, compare_seeds=0, **QUICK)
    err = capsys.readouterr().err
    assert "interrupted; 1 of 2 trials are done" in err
    assert "resume: kzoo tune --resume runs/0001-tune-perceptron-points" in err
    found = kzoo.tune(resume="last")
    assert [t.status for t in found.trials] == ["completed"] * 2
    assert shown(capsys.readouterr().err) == ["1"]


def test_an_interrupted_comparison_trains_nothing_twice(search, monkeypatch):
    copy = Path(shutil.copytree(search.path, "compared"))
    rows = json.loads((copy / "comparison.json").read_text())
    RunFolder(copy).write("comparison.json", json.dumps(rows[:-1]))
    trained = []
    monkeypatch.setattr(ZooHyperModel, "train", lambda self, values, *, seed, **options: trained.append(seed) or 1 / 0)
    found = kzoo.tune(resume=copy, verbose=False)
    assert trained == [6], "the one that was missing"
    assert found.comparison.default[0] == search.comparison.default[0]
    assert "failed" in str(found), "a training that fails is shown as that"


def test_the_command_line(here):
    options = ["--trials", 1, "--epochs", 1, "--limit-train-batches", 3, "--compare-seeds", 1, "--xla", "off"]
    status, out, err = here("tune", "perceptron", "--data", write_points(), "--batch-size", 16, *options)
    assert status == 0, err
    assert "random, 1 trial of 1 epoch, seed 0" in err
    assert "batch_size    16, not searched" in err
    assert "best trial" in out and "is the default recipe" in out
    assert out.splitlines()[-1] == "next          kzoo evaluate runs/0001-tune-perceptron-points"
    found = {RunFolder.find(name, "tune").path for name in ("1", "last", Path("runs/0001-tune-perceptron-points"))}
    assert found == {Path("runs/0001-tune-perceptron-points")}
