"""The command line as a user types it, in real processes where the process matters."""

import csv
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import kzoo
import kzoo.records
import kzoo.tasks
import kzoo.zoo
from kzoo import cli

VERBS = (
    "list", "info", "runs", "checks", "fit", "fine-tune", "tune", "find-learning-rate", "bench", "evaluate", "predict",
    "generate", "export",
)  # fmt: skip


def kz(*arguments, cwd="."):
    """(status, stdout, stderr) of a real process."""
    command = [sys.executable, "-m", "kzoo.cli", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)
    return result.returncode, result.stdout, result.stderr


def test_without_arguments_it_says_what_to_type(here):
    status, out, _ = here()
    assert status == 0 and "kzoo fit lenet5 --data digits" in out
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example(here, verb):
    for flag in ("-h", "--help"):
        status, out, _ = here(verb, flag)
        assert status == 0 and f"kzoo {verb}" in out.split("Usage:")[1].split("\n", 1)[1]


def test_help_and_list_need_no_tensorflow():
    for arguments in (["--help"], ["list"], ["info", "lenet5_1998"]):
        code = f"""
import sys
sys.argv = ["kzoo", *{arguments}]
from kzoo.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
assert not {{"tensorflow", "keras"}} & set(sys.modules), "it was imported"
"""
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_list(here):
    status, out, _ = here("list", "lenet*")
    assert status == 0 and out.splitlines()[1].split()[:2] == ["lenet5", "image-classification"]
    assert "mnist" in out
    assert set(json.loads(here("list", "--json")[1])) == set(kzoo.list_models())
    assert list(json.loads(here("list", "--weights", "--json")[1])) == kzoo.list_models(weights=True)


def test_info(here):
    assert "60,000 trainable" in here("info", "lenet5_1998")[1]
    assert "TableConvolution" in here("info", "lenet5_1998", "--layers")[1]
    assert "Test accuracy: 0.99" in here("info", "lenet5@mnist")[1]
    assert json.loads(here("info", "mlp", "--json")[1])["parameters"] == 101_770


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fti lenet5", "unknown verb 'fti'; did you mean 'fit'? See kzoo -h"),
        ("fit lenet5 --epoch 3", "unknown option '--epoch'; did you mean '--epochs'? See kzoo fit -h"),
        ("fit lenet5 --epochs three", "epochs must be a whole number of at least 1; received 'three'"),
        ("fit lenet5 --data digits --epochs 0", "epochs must be a whole number of at least 1; received 0"),
        ("fit lenet5 --data digits --set clases=3", "unknown argument of lenet5 'clases'; did you mean 'classes'?"),
        ("fit lenet5 --data digits --set residual", "set is written NAME=VALUE; received 'residual'"),
        ("fit lenet5 --data digits --config absent.json", "'absent.json' is no run"),
        ("fit lenet5 --data digits --config a.json --resume last", "give resume or config, not both"),
        ("fit lenet5 --data digits --augment spin", "unknown augment 'spin'"),
        ("--import absent.py fit lenet5", "--import: no file 'absent.py'"),
        ("runs 3", "'3' is no run"),
        ("find-learning-rate lenet5 --data digits --plot rates.jpg", "must end in .png"),
        (
            "generate lenet5@mnist",
            "lenet5@mnist does not generate (its task is image-classification); use kzoo predict",
        ),
        ("bench lenet5 --batch-size 0", "batch_size must be a whole number of at least 1; received 0"),
        ("bench lenet5 --batch-size --0", "batch_size must be a whole number of at least 1; received '--0'"),
        ("bench lenet5 --devices ²", "devices=['²'] goes with strategy"),
        ("fine-tune lenet5 --data digits", "fine_tune starts from weights that have learned something"),
        ("tune lenet5 --data digits --trials 0", "trials must be a whole number of at least 1"),
        ("predict", "Missing argument 'MODEL'; see kzoo predict -h"),
        ("fit lenett", "unknown model 'lenett'; did you mean 'lenet5'"),
        ("fit lenet5 --data digitz", "unknown data set 'digitz'; did you mean 'digits'"),
        ("fit lenet5 --style eager", "unknown style 'eager'; allowed: sequential, functional, subclass"),
        ("fit", "fit needs a model"),
        ("fit --resume last", "'last' is no run"),
        ("evaluate nothing", "'nothing' is no run; give a path, a number or 'last'; runs/ has none yet"),
        ("predict lenet5@mnist absent.png", "no file 'absent.png'"),
        ("predict lenet5@mnist absent.png --csv no/such/folder.csv", "no folder 'no/such'"),
        ("export nothing out", "'nothing' is no run"),
        ("list resnext*", "no model fits 'resnext*'"),
        ("list --task vision", "unknown task 'vision'"),
        ("info lenet", "unknown model 'lenet'; did you mean 'lenet5'"),
    ],
)
def test_a_mistake_is_one_line_and_exits_2(here, line, message):
    status, out, err = here(*line.split())
    assert status == 2 and out == ""
    assert err.startswith("kzoo: ") and message in err and err.count("\n") == 1
    assert list(Path(".").iterdir()) == [], "nothing was written"


def test_anything_else_keeps_its_traceback_in_a_log(here, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(kzoo, "evaluate", broken)
    status, _, err = here("evaluate", "lenet5@mnist")
    assert status == 1 and err.startswith("kzoo: RuntimeError: a bug (traceback in ") and err.count("\n") == 1
    log = Path(err.split("traceback in ")[1].split(";")[0])
    assert "raise RuntimeError" in log.read_text()
    log.unlink()
    status, _, err = here("evaluate", "lenet5@mnist", "--debug")
    assert status == 1 and "Traceback" in err


def test_another_backend_is_refused(here, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    status, _, err = here("fit", "lenet5")
    assert status == 2 and "KERAS_BACKEND is 'jax'" in err


def test_the_whole_road(tmp_path):
    """fit, evaluate, export, predict, in real processes: outputs, files, and what goes to stdout and stderr."""
    status, out, err = kz("fit", "lenet5", "--data", "digits", "--epochs", 2, cwd=tmp_path)
    assert status == 0, err
    run = tmp_path / "runs/0001-lenet5-digits"
    assert out.splitlines()[0].split() == ["run", "runs/0001-lenet5-digits"]
    assert out.splitlines()[-1].split(maxsplit=1) == ["next", "kzoo evaluate runs/0001-lenet5-digits"]
    assert "curves.png" in out and (run / "curves.png").is_file()
    assert "model      lenet5, functional, 61,706 parameters" in err and "xla        off" in err
    assert [line.split()[1] for line in err.splitlines() if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert "images/s" in err and "\r" not in err and "\x1b" not in err, "not a terminal: plain lines"
    assert "oneDNN" not in err and "cuda" not in err.lower(), "TensorFlow's start-up lines do not reach the user"

    status, out, err = kz("evaluate", "last", "--json", cwd=tmp_path)
    assert status == 0 and err == ""
    figures = json.loads(out)
    assert figures["accuracy"] > 0.5 > figures["baseline"]
    assert (tmp_path / figures["files"]["confusion"]).is_file()

    status, out, _ = kz("export", "last", "saved_models/digits", cwd=tmp_path)
    assert status == 0 and (tmp_path / "saved_models/digits/1/saved_model.pb").is_file()

    x, _ = next(kzoo.load_data("digits").test.as_numpy_iterator())
    Image.fromarray(np.asarray(x)[..., 0]).save(tmp_path / "ziffer ä.png")
    status, out, err = kz("predict", "saved_models/digits", "ziffer ä.png", "--csv", "out.csv", cwd=tmp_path)
    assert status == 0, err
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines())
    assert out.startswith(f"ziffer ä.png: {row['label1']} {float(row['score1']):.4f}")
    assert list(row) == ["file", *(f"{name}{k}" for k in range(1, 6) for name in ("label", "score"))]


def test_after_an_export_was_judged_nothing_comes(here, tmp_path):
    kzoo.export(kzoo.lenet5(), tmp_path / "e")
    status, out, _ = here("evaluate", tmp_path / "e", "--data", "digits")
    assert status == 0 and "accuracy" in out and "next" not in out
    status, out, _ = here("evaluate", "lenet5@mnist", "--data", "digits")
    assert status == 0 and out.splitlines()[-1].split()[:4] == ["next", "kzoo", "export", "lenet5@mnist"]


def commands():
    for group in ("models", "train", "use"):
        importlib.import_module(f"kzoo.cli.{group}")
    return typer.main.get_command(cli.app).commands


@pytest.mark.parametrize("verb", [verb for verb in kzoo.records.VERBS if verb != "hypermodel"])  # of Python alone
def test_options_are_the_fields_of_the_records(verb):
    """Each field that can be typed is an option, with its name, and the command has no others than its own few."""
    own = {"model", "data", "inputs", "path", "csv", "plot", "output", "json_", "help"}
    command = commands()[verb.replace("_", "-")]
    options = {parameter.name: parameter for parameter in command.params}
    fields = {
        name: option
        for record in kzoo.records.VERBS[verb]
        for name, option in kzoo.records.options_of(record).items()
        if option.kind.typed
    }
    tasks = {name for row in kzoo.zoo.task_index().values() for name in row.get(verb, {})}
    assert fields.keys() | tasks == options.keys() - own
    for name, option in fields.items():
        assert " ".join(option.help.split()) in options[name].help, name


def test_an_option_of_a_task_is_one_of_the_verb(here):
    _, out, _ = here("generate", "-h")
    text = " ".join(out.split())
    assert (
        "--beams" in text
        and "For translation: " in text
        and "--temperature" in text
        and "For text-generation: " in text
    )


@pytest.mark.parametrize("name", kzoo.tasks.task_names())
def test_what_an_export_can_be_asked_is_a_line(name):
    task = kzoo.tasks.find_task(name)
    verb, *inputs = task.asks_export.split(" {}")
    assert verb in (task.verb, "") and verb in (*commands(), "")
    assert bool(inputs) == bool(verb) and (verb == "generate" or inputs != [""])


def test_checks(here):
    out = json.loads(here("checks", "--json")[1])
    assert out["tensorflow"].startswith("2.") and out["devices"]


def test_colours_and_bars_are_for_terminals_only(here, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    status, out, err = here("fit", "perceptron", "--data", "or", "--epochs", 1)
    assert status == 0 and "\x1b" not in out + err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run that was given options of every kind: names, numbers, lists, tables."""
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        kzoo.fit(
            "mlp", "digits", epochs=1, only=["1", "7"], augment=["shift"], optimizer="sgd:momentum=0.5",
            class_weight={0: 2, 1: 1}, set={"dropout": 0.0}, limit_train_batches=2, verbose=False,
        )  # fmt: skip
    return place


@pytest.fixture
def there(trained, here, monkeypatch):
    """`here`, in a copy of the folder with the run."""
    shutil.copytree(trained, "place")
    monkeypatch.chdir("place")
    return here


def config_of(run):
    return json.loads(Path(run, "config.json").read_text())


def test_the_same_line_typed_gives_the_same_configuration(there):
    line = (
        "fit mlp --data digits --epochs 1 --only 1 --only 7 --augment shift --optimizer sgd:momentum=0.5"
        " --class-weight 0=2 --class-weight 1=1 --set dropout=0 --limit-train-batches 2"
    )
    status, _, err = there(*line.split())
    assert status == 0, err
    typed, given = config_of("runs/0002-mlp-digits"), config_of("runs/0001-mlp-digits")
    assert typed["options"] == given["options"] and typed["data"] == given["data"]
    rows = [Path(f"runs/000{k}-mlp-digits/metrics.csv").read_text().splitlines()[1].split(",") for k in (1, 2)]
    head = Path("runs/0001-mlp-digits/metrics.csv").read_text().splitlines()[0].split(",")
    assert [r[head.index("loss")] for r in rows][0] == [r[head.index("loss")] for r in rows][1]


def test_config_takes_up_a_run_and_what_is_typed_goes_first(there):
    status, out, err = there("fit", "--config", "last", "--seed", 3)
    assert status == 0, err
    first, second = config_of("runs/0001-mlp-digits"), config_of("runs/0002-mlp-digits")
    assert second["options"] == {**first["options"], "seed": 3} and second["data"] == first["data"]
    assert out.splitlines()[0].split() == ["run", "runs/0002-mlp-digits"]
    shutil.copy("runs/0001-mlp-digits/config.json", "recipe.json")  # any file of this form, wherever it lies
    status, _, err = there("fit", "--config", "recipe.json", "--only", 0, "--only", 3, "--data", "digits")
    assert status == 0, err
    third = config_of("runs/0003-mlp-digits")
    assert third["options"] == first["options"] and third["data"] == {**first["data"], "only": ["0", "3"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("verb"), "is no config.json of a run: it names no verb"),
        (lambda c: c.update(verb="tune"), "was made by tune; its config goes with kzoo.tune"),
        (
            lambda c: c["options"].update(epoch=3),
            "unknown argument of fit in recipe.json: 'epoch'; did you mean 'epochs'?",
        ),
        (lambda c: c.update(data="digits"), "is no config of a run: its data is 'digits'"),
        (
            lambda c: c["data"].update(ony=1),
            "unknown argument of load_data in recipe.json: 'ony'; did you mean 'only'?",
        ),
        (lambda c: c["options"].update(epochs=0), "epochs must be a whole number of at least 1; received 0"),
        (lambda c: c.update(objects=["loss"]), "loss was given as an object, which a file cannot hold"),
    ],
)
def test_a_wrong_config_is_one_line(there, change, message):
    config = config_of("runs/0001-mlp-digits")
    change(config)
    Path("recipe.json").write_text(json.dumps(config))
    status, out, err = there("fit", "--config", "recipe.json")
    assert status == 2 and out == "" and message in err and err.count("\n") == 1
    assert [p.name for p in Path("runs").iterdir()] == ["0001-mlp-digits"]


def test_runs_lists_and_compares(there):
    status, _, err = there("fit", "--config", "last", "--seed", 3, "--optimizer", "adam")
    assert status == 0, err
    status, out, _ = there("runs")
    head, first, second = out.splitlines()
    assert status == 0 and head.split()[:4] == ["run", "by", "model", "data"]
    assert first.split()[:4] == ["0001-mlp-digits", "fit", "mlp", "digits"] and first.split()[-1] == "finished"
    assert second.startswith("0002-mlp-digits")
    rows = json.loads(there("runs", "--json")[1])
    assert [row["name"] for row in rows] == ["0001-mlp-digits", "0002-mlp-digits"]
    assert rows[0]["score"] == pytest.approx(float(first.split()[6]), abs=1e-4)
    status, out, _ = there("runs", 1, "last")
    assert status == 0
    differs = out.split("what differs")[1]
    assert "seed" in differs and "optimizer" in differs and "epochs" not in differs


def test_runs_of_an_empty_folder(here):
    assert here("runs")[1] == "runs/ has no runs yet\n"
    assert json.loads(here("runs", "--json")[1]) == []


def test_find_learning_rate(here):
    status, out, err = here("find-learning-rate", "mlp", "--data", "digits", "--steps", 20, "--plot", "rates.png")
    assert status == 0, err
    with Image.open("rates.png") as picture:
        assert picture.size[0] > 300
    suggestion = float(out.splitlines()[-1].split("--learning-rate ")[1])
    assert 1e-7 < suggestion < 10
    assert [p.name for p in Path(".").iterdir()] == ["rates.png"], "nothing is trained for good"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine.txt", "", "--import takes files of Python; received 'mine.txt'"),
        ("wrong.py", "def (", "--import: 'wrong.py' cannot be run: SyntaxError"),
        ("zero.py", "1 / 0", "--import: 'zero.py' cannot be run: ZeroDivisionError"),
        ("none.py", "import kzoo\nkzoo.register_model(None)", "registered by a kzoo.ModelSpec; received None"),
        ("leaves.py", "import sys\nsys.exit(3)", "--import: 'leaves.py' cannot be run: SystemExit: 3"),
        ("numpy.py", "", "--import: 'numpy.py' has the name of a module that Python has already; rename the file"),
        ("sys.py", "", "--import: 'sys.py' has the name of a module that Python has already; rename the file"),
    ],
)
def test_files_that_cannot_be_imported(name, text, said, here):
    Path(name).write_text(text, encoding="utf-8")
    status, _, err = here("--import", name, "list")
    assert status == 2 and said in err and err.count("\n") == 1


def test_an_imported_file_finds_its_neighbours(here, monkeypatch):
    """As a script of Python would; two files that share one run it once."""
    monkeypatch.setattr(kzoo.zoo, "_specs", dict(kzoo.zoo._specs))
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("mine").mkdir()
    shared = "from kzoo.zoo import model_spec\nROW = model_spec('mlp_xor')\nprint('shared')\n"
    Path("mine/shared_rows.py").write_text(shared, encoding="utf-8")
    register = "import kzoo\nfrom dataclasses import replace\nfrom shared_rows import ROW\n"
    for name in ("one", "two"):
        text = f"{register}kzoo.register_model(replace(ROW, name='{name}_of_mine'))\n"
        Path(f"mine/rows_{name}.py").write_text(text, encoding="utf-8")
    files = [part for name in ("one", "two") for part in ("--import", f"mine/rows_{name}.py")]
    status, out, err = here(*files, "--import", "mine/shared_rows.py", "list", "*_of_mine")
    assert status == 0 and "one_of_mine" in out and "two_of_mine" in out, err
    assert out.count("shared") == 1
