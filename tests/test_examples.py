"""The examples run, and what they print is true."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_three_styles_by_hand_equal_kzoos(capsys):
    assert load("three_styles").main() <= 1e-6
    assert capsys.readouterr().out.count("61,706 = 61,706") == 3


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_the_books_weights_solve_xor_exactly(style):
    assert load("xor").solved(style) == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(("data", "learned"), [("and", True), ("or", True), ("xor", False)])
def test_what_a_perceptron_learns(data, learned, tmp_path):
    assert (load("xor").accuracy("perceptron", data, 0, tmp_path) == 1.0) == learned


@pytest.mark.slow
def test_more_hidden_units_find_xor_more_often(capsys):
    xor = load("xor")
    found = {hidden: xor.successes(hidden, 8) for hidden in (2, 8)}
    print(f"XOR learned in {found[2]} of 8 seeds with 2 hidden units, in {found[8]} of 8 with 8")
    assert 1 <= found[2] < found[8]
    assert found[8] >= 6


@pytest.mark.slow
def test_one_or_seven_on_patches(tmp_path):
    """`mlp_16_16_16`: 1 against 7 on 4x4 patches, better than the commoner class every time."""
    import kzoo

    run = kzoo.fit("mlp_16_16_16", kzoo.load_data("digits", only=(1, 7)), run_dir=tmp_path / "run", verbose=False)
    found = kzoo.evaluate(run)
    assert found.labels == ("1", "7")
    assert found.accuracy > 0.9 > found.baseline


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("epochs", "status"), [("6", 0), ("1", 1)])
def test_a_speedrun_that_misses_its_score_has_no_time(epochs, status, shared, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["speedrun.py", "mnist", "--data", str(shared / "mnist"), "--epochs", epochs])
    assert load("speedrun").main() == status
    assert ("no time" in capsys.readouterr().err) == bool(status)
