"""One file outside the package adds a family and a kind of work: both go through everything that kzoo does."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import served

import kzoo
from kzoo import zoo
from kzoo.records import STYLES
from kzoo.tasks import registry

FILE = Path(__file__).with_name("extension.py")
MODELS = {"ladder_tiny": "predict", "restorer_tiny": "generate"}
SMALL = {"epochs": 2, "limit_train_batches": 4, "limit_validation_batches": 2, "verbose": False}


def anew():
    """The command line is read with the tasks that are there when it is first imported."""
    for name in [name for name in sys.modules if name == "kzoo.cli" or name.startswith("kzoo.cli.")]:
        del sys.modules[name]
    vars(kzoo).pop("cli", None)


@pytest.fixture(scope="module", autouse=True)
def extension():
    """Registered while these tests run: other tests see kzoo alone."""
    spec = importlib.util.spec_from_file_location("extension", FILE)
    sys.modules["extension"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    anew()
    yield module
    anew()
    for name in MODELS:
        zoo._specs.pop(name)
    registry._tasks.pop("image-restoration")


@pytest.fixture(scope="module")
def raw():
    return np.stack([x for x, _ in kzoo.load_data("digits").test.take(5).as_numpy_iterator()])


def test_a_task_with_its_inputs_and_a_family_is_at_most_150_lines():
    whole = FILE.read_text(encoding="utf-8")
    assert len(whole[whole.index("# 2. A task") :].splitlines()) <= 150


def test_it_is_written_with_public_names():
    """Of kzoo, and of what its packages offer; nothing private, no room of a package."""
    for node in ast.walk(ast.parse(FILE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.module.startswith("kzoo.") or node.module.count(".") == 1, node.module
        if isinstance(node, ast.Attribute):
            assert node.attr in ("__init__", "__name__") or not node.attr.startswith("_"), node.attr


CROSS = [(name, style) for name in MODELS for style in STYLES]
DEFAULT = [("restorer_tiny", "subclass")]  # beside these, functional below


@pytest.mark.parametrize(
    "name, style", [p if p in DEFAULT else pytest.param(*p, marks=pytest.mark.slow) for p in CROSS]
)
def test_fit_resume_evaluate_answer_export(name, style, raw, tmp_path):
    run = kzoo.fit(name, "digits", style=style, **SMALL)
    whole = kzoo.fit(name, "digits", style=style, **{**SMALL, "epochs": 3})
    run = kzoo.fit(resume=run.path, epochs=3, verbose=False)
    assert run.history == whole.history
    found = kzoo.evaluate(run.path)
    assert found.examples == 359 and np.isfinite(found.score[1]) and Path(found.files["figures"]).is_file()
    assert (run.path / "predictions.png").is_file()
    answer = getattr(kzoo, MODELS[name])
    said = answer(run.path, raw)
    assert len(said) == 5 and [str(a) for a in said] == [str(a) for a in answer(run, raw)]
    export = kzoo.export(run.path, tmp_path / "export")
    assert export.difference < 1e-6
    assert [a.to_config() for a in answer(export.path, raw[:2])][0].keys() == said[0].to_config().keys()

    model = kzoo.load_model(run.path)
    assert kzoo.list_runs(run.path)[0].model == name
    x = (raw / 255).astype("float32")
    (tensors,) = served(export.path, "serving_default", image=x.tolist()).values()
    np.testing.assert_allclose(tensors, model(x, training=False), atol=1e-5)
    if name == "restorer_tiny":
        restored = served(export.path, "restore", pixels=raw.tolist())["images"]
        np.testing.assert_array_equal(restored, np.clip(np.round(255 * np.clip(model(x).numpy(), 0, 1)), 0, 255))


@pytest.mark.parametrize("name", [pytest.param("ladder_tiny", marks=pytest.mark.slow), "restorer_tiny"])
def test_two_replicas_give_the_numbers_of_one(name):
    options = {**SMALL, "optimizer": "sgd:momentum=0.9", "learning_rate": 0.05}
    one = kzoo.fit(name, "digits", **options)
    two = kzoo.fit(name, "digits", strategy="mirrored", devices=["CPU:0", "CPU:1"], **options)
    for metric, values in one.history.items():
        np.testing.assert_allclose(two.history[metric], values, rtol=2e-5, err_msg=metric)


@pytest.mark.parametrize("name", ["ladder_tiny", pytest.param("restorer_tiny", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_tune(name):
    search = kzoo.tune(
        name, "digits", trials=2, limit_train_batches=2, limit_validation_batches=2, epochs=1, verbose=False
    )
    assert len(search.trials) == 2 and search.best_trial.status == "completed"
    assert kzoo.evaluate(search.path).examples == 359


def test_a_layer_of_the_users_own_is_found_in_its_file(tmp_path):
    model = kzoo.ladder_tiny(style="subclass", rungs=1)
    model.save(tmp_path / "m.keras")
    again = kzoo.load_model(tmp_path / "m.keras")
    assert again.kzoo_info.model == "ladder_tiny" and again.kzoo_info.arguments["rungs"] == 1
    with pytest.raises(kzoo.KzooError, match="dropout must be a number from 0 to below 1; received 2"):
        kzoo.ladder_tiny(dropout=2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_the_command_line(name, here, raw, tmp_path):
    """In this process; `--import` runs the file once more, as a model of the user's is edited and run again."""
    for k, image in enumerate(raw[:2]):
        Image.fromarray(image[..., 0]).save(f"{k}.png")
    small = ["--epochs", 1, "--limit-train-batches", 2, "--limit-validation-batches", 2]
    steps = [
        ["fit", name, "--data", "digits", *small],
        ["fit", "--resume", "last", "--epochs", 2],
        ["evaluate", "last", "--json"],
        [MODELS[name], "last", "0.png", "1.png"],
        ["export", "last", "exported"],
        [MODELS[name], "exported", "0.png"],
        ["tune", name, "--data", "digits", "--trials", 1, *small],
        ["runs"],
    ]
    if name == "restorer_tiny":
        steps[3] += ["--strength", "0.1"]
    for step in steps:
        status, out, err = here("--import", FILE, *step)
        assert status == 0, (step, err)
    assert name in out and "finished" in out
    assert here("--import", FILE, MODELS[name], "last", "0.png", "--strenth", "1")[0] == 2


@pytest.mark.slow
def test_without_the_file_its_models_are_named(tmp_path):
    run = kzoo.fit("restorer_tiny", "digits", **SMALL)
    command = [sys.executable, "-m", "kzoo", "evaluate", run.path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2 and "import" in result.stderr and result.stderr.count("\n") == 1, result.stderr
    result = subprocess.run([*command, "--import", FILE], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and "psnr" in result.stdout, result.stderr


def test_the_docs_quote_the_file():
    whole, docs = FILE.read_text(encoding="utf-8"), FILE.parents[2] / "docs"
    for page in ("add-a-model.md", "add-a-task.md"):
        blocks = (docs / page).read_text(encoding="utf-8").split("```python\n")[1:]
        assert len(blocks) >= 3
        for block in blocks:
            assert block.split("```")[0] in whole, f"{page}: {block[:80]!r}"
