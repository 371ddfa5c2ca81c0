"""The public names for type checkers: a user's program passes mypy --strict, and its mistakes are found."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = '''\
"""Forty lines of a user of kzoo."""

from pathlib import Path

import kzoo


def best(names: list[str], folder: Path) -> tuple[str, float]:
    """The best of several models on the digits."""
    scores: dict[str, float] = {}
    data = kzoo.load_data("digits", validation=0.2, per_class=40)
    for name in names:
        run = kzoo.fit(name, data, epochs=2, batch_size=32, augment=["shift"], run_dir=folder / name, verbose=False)
        found = kzoo.evaluate(run, split="validation", top=3)
        metric, score = found.score or ("", 0.0)
        print(name, metric, score, run.history["loss"][-1], run.plan.optimizer)
        scores[name] = score
    name = max(scores, key=lambda key: scores[key])
    return name, scores[name]


def export(run: str, place: Path) -> list[str]:
    exported = kzoo.export(run, place, checkpoint="best")
    print(exported.path.name, f"{exported.difference:.1e}")
    return list(exported.signatures)


def tune(name: str) -> dict[str, object]:
    search = kzoo.tune(name, "digits", trials=4, learning_rate=0.01, set={"activation": "relu"})
    print(search.best_trial.score, len(search.trials))
    return dict(search.best)


if __name__ == "__main__":
    model = kzoo.lenet5(classes=10, style="subclass", activation="relu")
    print(kzoo.list_models("lenet*", weights=True), kzoo.summary(model).parameters)
    winner, accuracy = best(["mlp", "lenet5"], Path("runs"))
    tuned = kzoo.fine_tune("lenet5@mnist", "digits", depth=1, strategy="mirrored", devices=2)
    print(winner, accuracy, tuned.after["accuracy"], export(winner, Path("saved_models")))
    for made in kzoo.generate("runs/0004-dcgan-mnist", count=4):
        print(made)
    try:
        print(kzoo.find_learning_rate(model, "digits", steps=50).suggestion, tune(winner))
    except kzoo.KzooError as error:
        print(error)
'''
MISTAKES = {
    "epoch=2": ("epochs=2", "epoch=2", 'Unexpected keyword argument "epoch" for "fit"'),
    "kzoo.lenet6": ("kzoo.lenet5(", "kzoo.lenet6(", 'Module has no attribute "lenet6"'),
    "a wrong type": ("batch_size=32", 'batch_size="32"', 'Argument "batch_size" to "fit" has incompatible type "str"'),
    "an argument of another family": ('activation="relu")', "bias=True)", 'Unexpected keyword argument "bias"'),
    "a result's attribute": ("exported.path.name", "exported.folder", 'has no attribute "folder"'),
}


def mypy(python, program, folder):
    path = folder / "program.py"
    path.write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--python-executable", python, path]
    environment = {**os.environ, "MYPY_CACHE_DIR": str(folder.parent / "cache")}
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600, env=environment)
    return result.stdout + result.stderr


@pytest.fixture(scope="module", params=[pytest.param("editable", marks=pytest.mark.slow), "built"])
def python(request, tmp_path_factory):
    """An interpreter that has kzoo installed from this checkout, or from a wheel built of it."""
    if request.param == "editable":
        return sys.executable
    folder = tmp_path_factory.mktemp("built")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    made = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("kzoo-*.whl")
    subprocess.run([*pip, "--python", made, "install", "--no-deps", wheel], check=True)
    place = next((folder / "venv" / "lib").glob("python*/site-packages"))
    (place / "others.pth").write_text(sysconfig.get_path("purelib"))  # Keras and the rest
    where = subprocess.run(
        [made, "-c", "import kzoo; print(kzoo.__file__)"], capture_output=True, text=True, cwd=folder
    )
    assert str(place) in where.stdout
    return str(made)


def test_a_program_passes_and_its_mistakes_are_found(python, tmp_path):
    assert 40 <= PROGRAM.count("\n") <= 60
    assert mypy(python, PROGRAM, tmp_path) == ""
    for right, wrong, said in MISTAKES.values():
        assert right in PROGRAM
        assert said in mypy(python, PROGRAM.replace(right, wrong, 1), tmp_path)
