"""The command line as a user types it, in real processes where the process matters."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kzoo
from kzoo import cli

VERBS = ("list", "info", "fit", "evaluate", "predict", "export", "checks")


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
        ("fit lenet5 --epochs three", "Invalid value for '--epochs'"),
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
    assert list(row) == ["file", "label1", "score1", "label2", "score2", "label3", "score3"]


def test_options_are_the_python_arguments():
    import inspect

    data = set(inspect.signature(kzoo.load_data).parameters)
    for verb, function in (
        ("fit", kzoo.fit), ("fine_tune", kzoo.fine_tune), ("tune", kzoo.tune),
        ("evaluate", kzoo.evaluate), ("predict", kzoo.predict),
    ):  # fmt: skip
        python = set(inspect.signature(function).parameters) | data
        options = set(inspect.signature(getattr(cli, verb)).parameters)
        options -= {"json_", "csv", "images", "balanced"}  # class_weight="balanced"
        assert options <= python | {"inputs"}, f"{verb}: {options - python}"


def test_checks(here):
    out = json.loads(here("checks", "--json")[1])
    assert out["tensorflow"].startswith("2.") and out["devices"]


def test_colours_and_bars_are_for_terminals_only(here, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    status, out, err = here("fit", "perceptron", "--data", "or", "--epochs", 1)
    assert status == 0 and "\x1b" not in out + err
