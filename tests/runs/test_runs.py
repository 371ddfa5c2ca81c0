"""The run folder: what is in it, resuming, being interrupted, evaluating, predicting."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import kzoo
from kzoo.files import atomic
from kzoo.runs import RunFolder


def fit(*args, **arguments):
    return kzoo.fit(*args, **{"verbose": False, "xla": "off", **arguments})


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_run_leaves(trained):
    names = {p.name for p in trained.path.iterdir()}
    files = {"plan.json", "config.json", "metrics.csv", "model.keras", "card.md"}
    assert names >= files | {"tensorboard", "checkpoints", "curves.png", "batch.png", "predictions.png"}
    assert not [n for n in names if n.startswith(".")], "nothing half-written"
    rows = read_csv(trained.path / "metrics.csv")
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert [float(r["val_accuracy"]) for r in rows] == pytest.approx(trained.history["val_accuracy"])
    assert json.loads((trained.path / "plan.json").read_text())["model"] == "lenet5"
    marks = json.loads((trained.path / "checkpoints" / "marks.json").read_text())
    kept = {p.name for p in (trained.path / "checkpoints").iterdir()}
    assert kept == {"marks.json", "0001-000000", "0002-000000", marks["best"]} and marks["newest"] == "0002-000000"
    for checkpoint in kept - {"marks.json"}:
        parts = {p.name for p in (trained.path / "checkpoints" / checkpoint).iterdir()}
        assert parts == {"state.safetensors", "state.json", "manifest.json"}
    assert any((trained.path / "tensorboard" / "validation").iterdir())
    for picture in trained.path.glob("*.png"):
        image = np.asarray(Image.open(picture).convert("L"))
        assert image.std() > 5 and min(image.shape) > 200, f"{picture.name} shows something"


def test_runs_number_themselves():
    first, second = fit("perceptron", "or", epochs=1), fit("perceptron", "or", epochs=1)
    assert [str(r.path) for r in (first, second)] == ["runs/0001-perceptron-or", "runs/0002-perceptron-or"]
    for name in ("last", "2", "0002", "runs/0002-perceptron-or"):
        assert RunFolder.find(name).path == second.path
    with pytest.raises(kzoo.KzooError, match="'7' is no run; .*runs/ has 0001-perceptron-or, 0002-perceptron-or"):
        RunFolder.find("7")


@pytest.mark.parametrize("name", ["mlp_16_16", pytest.param("lenet5", marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_uninterrupted_one(name):
    """Four epochs at once, and two and two: the same losses, weights and optimizer state."""
    arguments = {"epochs": 4, "batch_size": 64, "schedule": "cosine"}
    whole = fit(name, "digits", run_dir="whole", **arguments)
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", epoch == 1)
    )
    fit(name, "digits", run_dir="parts", callbacks=[stop], **arguments)
    resumed = kzoo.fit(resume="parts", verbose=False)
    assert resumed.path == Path("parts")
    assert resumed.history["loss"] == pytest.approx(whole.history["loss"], rel=1e-5)
    assert resumed.history["val_accuracy"] == pytest.approx(whole.history["val_accuracy"])
    for a, b in zip(resumed.model.weights, whole.model.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)
    assert int(resumed.model.optimizer.iterations) == int(whole.model.optimizer.iterations)
    rows = read_csv("parts/metrics.csv")
    assert [r["epoch"] for r in rows] == ["1", "2", "3", "4"]


def test_resume_with_more_epochs_and_with_nothing_to_do():
    fit("perceptron", "or", epochs=2, run_dir="mine")
    before = {path: path.read_bytes() for path in Path("mine").rglob("*.json")}
    assert len(kzoo.fit(resume="mine", verbose=False).history["loss"]) == 2
    assert len(kzoo.fit(resume="mine", epochs=1, verbose=False).history["loss"]) == 2
    assert {path: path.read_bytes() for path in Path("mine").rglob("*.json")} == before, "nothing was done"
    assert len(kzoo.fit(resume="mine", epochs=5, verbose=False).history["loss"]) == 5
    with pytest.raises(kzoo.KzooError, match="give run_dir or resume, not both"):
        kzoo.fit(resume="mine", run_dir="other")


@pytest.mark.parametrize("style", ["sequential", "subclass"])
def test_every_style_resumes(style):
    fit("mlp_xor", "xor", style=style, epochs=2, run_dir="mine")
    run = kzoo.fit(resume="mine", epochs=3, verbose=False)
    assert len(run.history["loss"]) == 3 and run.plan.style == style


def test_a_model_of_your_own_resumes_with_the_model(rng):
    data = (rng.random((20, 4), dtype="float32"), rng.integers(0, 2, 20))

    def build():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    fit(build(), data, epochs=2, run_dir="mine")
    with pytest.raises(kzoo.KzooError, match="was trained on data that you gave as an object; give data=…"):
        kzoo.fit(resume="mine", verbose=False)
    assert len(kzoo.fit(build(), data, resume="mine", epochs=4, verbose=False).history["loss"]) == 4


@pytest.mark.slow
def test_ctrl_c_saves_and_prints_the_command_that_resumes(tmp_path, here):
    """A real process, interrupted in its third epoch or later, then resumed by the command it printed."""
    command = [sys.executable, "-m", "kzoo", "fit", "lenet5", "--data", "digits", "--epochs", "200"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    metrics, deadline = tmp_path / "runs/0001-lenet5-digits/metrics.csv", time.time() + 300
    while time.time() < deadline and not (metrics.is_file() and len(metrics.read_text().splitlines()) > 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors[-1000:]
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last == "resume: kzoo fit --resume runs/0001-lenet5-digits"
    whole = int(errors.split("the checkpoint after ")[1].split()[0])
    assert whole >= 2 and len(metrics.read_text().splitlines()) == whole + 1
    status, _, said = here(*last.removeprefix("resume: kzoo ").split(), "--epochs", whole + 1)
    assert status == 0, said[-1000:]
    assert f"epoch {whole + 1}/{whole + 1}" in said and f"epoch {whole}/" not in said
    assert (tmp_path / "runs/0001-lenet5-digits/curves.png").is_file()


@pytest.mark.slow
def test_killed_outright_it_still_evaluates_and_resumes(tmp_path):
    command = [sys.executable, "-m", "kzoo", "fit", "lenet5", "--data", "digits", "--epochs", "200", "--xla", "off"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=tmp_path)
    run = tmp_path / "runs/0001-lenet5-digits"
    deadline = time.time() + 300
    while time.time() < deadline and not (run / "checkpoints/0001-000000").is_dir():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=300)
    found = kzoo.evaluate(run)
    assert found.accuracy > found.baseline, "the last checkpoint, not the untrained model"
    done = len((run / "metrics.csv").read_text().splitlines()) - 1
    assert len(kzoo.fit(resume=run, epochs=done + 2, verbose=False).history["loss"]) >= done + 1


def test_two_runs_at_once_take_two_numbers():
    folders = [RunFolder.create(name) for name in "xyzx"]
    assert not Path("runs/0001-x").exists()
    for folder in folders:
        with folder.written():
            folder.write("config.json", "{}")
            folder.settle()
    assert [folder.path.name for folder in folders] == ["0001-x", "0002-y", "0003-z", "0004-x"]


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


class TestEvaluate:
    def test_against_scikit_learn(self, trained):
        from sklearn import metrics

        found = kzoo.evaluate(trained)
        data = kzoo.load_data("digits")
        x, y = (np.stack(list(c)) for c in zip(*data.test.as_numpy_iterator(), strict=True))
        guess = np.array([p.class_ids[0] for p in kzoo.predict(trained, x, top=1)])
        assert found.examples == 359 and found.accuracy == pytest.approx(metrics.accuracy_score(y, guess))
        np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(y, guess))
        assert found.per_class["3"]["recall"] == pytest.approx(metrics.recall_score(y == 3, guess == 3))
        assert found.baseline == pytest.approx(np.bincount(y).max() / 359)
        assert found.accuracy <= found.top5 <= 1
        assert Path(found.files["confusion"]).is_file()
        assert json.loads(Path(found.files["figures"]).read_text())["accuracy"] == found.accuracy
        text = str(found)
        assert "baseline" in text and "confusion matrix" in text and "precision" in text

    def test_it_is_what_keras_says(self, trained):
        best = kzoo.evaluate(trained.path, split="validation", checkpoint="best")
        assert best.accuracy == pytest.approx(max(trained.history["val_accuracy"]))

    def test_few_classes_have_no_top5(self, tmp_path):
        run = fit("mlp_16_16", kzoo.load_data("digits", only=(0, 1, 2)), epochs=1, run_dir=tmp_path / "run")
        found = kzoo.evaluate(run)
        assert found.top5 is None and "top-5" not in str(found)
        assert found.labels == ("0", "1", "2")

    def test_a_run_and_its_export_and_its_keras_file_agree(self, trained, tmp_path):
        kzoo.export(trained, tmp_path / "export")
        found = [
            kzoo.evaluate(source, "digits", output_dir=tmp_path / "out").confusion
            for source in (trained, trained.path, str(trained.path), tmp_path / "export", tmp_path / "export" / "1")
        ]
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"model": "nothing"}, "'nothing' is no run"),
            ({"model": "lenet5"}, "'lenet5' is an untrained model; give lenet5@mnist"),
            ({"model": "lenet5@cifar"}, "unknown weights of lenet5 'cifar'"),
            ({"model": "model.keras"}, "no file 'model.keras'"),
            ({"split": "tests"}, "unknown split 'tests'; did you mean 'test'?"),
            ({"checkpoint": "newest"}, "unknown checkpoint 'newest'"),
            ({"data": "xor"}, "run reads images, but xor gives (2,)"),
        ],
    )
    def test_what_does_not_fit(self, trained, arguments, message):
        with pytest.raises(kzoo.KzooError) as error:
            kzoo.evaluate(arguments.pop("model", trained), **arguments)
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_data_without_a_test_split(self, trained, tmp_path):
        for name in "0123456789":
            (tmp_path / "set" / name).mkdir(parents=True)
            for k in range(2):
                Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "set" / name / f"{k}.png")
        found = kzoo.evaluate(trained, tmp_path / "set")
        assert found.examples == 20 and "no splits: all of it is the test" in found.notes
        whole = kzoo.load_data(tmp_path / "set")
        with pytest.raises(kzoo.KzooError, match="has no test split; evaluate split='train' or 'validation'"):
            kzoo.evaluate(trained, whole)
        assert kzoo.evaluate(trained, whole, split="train").examples == 10


class TestPredict:
    @pytest.fixture
    def image(self, tmp_path):
        x, _ = next(kzoo.load_data("digits").test.as_numpy_iterator())
        Image.fromarray(x[..., 0]).save(tmp_path / "digit.png")
        return tmp_path / "digit.png"

    def test_a_file_and_its_array_agree(self, trained, image):
        by_file = kzoo.predict(trained, image)[0]
        by_array = kzoo.predict(trained, np.asarray(Image.open(image))[None])[0]
        assert by_file.labels == by_array.labels and by_file.scores == pytest.approx(by_array.scores)
        assert len(by_file.labels) == 5 and sum(by_file.scores) <= 1 + 1e-6
        assert list(by_file.scores) == sorted(by_file.scores, reverse=True)

    def test_folders_and_lists_in_order(self, trained, image, tmp_path):
        (tmp_path / "more").mkdir()
        for name in "ba":
            Image.open(image).convert("RGB").resize((50, 60)).save(tmp_path / "more" / f"{name}.jpg")
        found = kzoo.predict(trained, [image, tmp_path / "more"], top=1)
        assert [Path(p.input).name for p in found] == ["digit.png", "a.jpg", "b.jpg"]

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ("absent.png", "no file 'absent.png'"),
            ("empty", "no images in the folder 'empty'"),
            ("text.png", "'text.png' is no readable image"),
        ],
    )
    def test_what_is_no_image(self, trained, inputs, message):
        Path("empty").mkdir()
        Path("text.png").write_text("hello")
        with pytest.raises(kzoo.KzooError, match=message):
            kzoo.predict(trained, [inputs])

    def test_top_and_tables(self, trained, image):
        with pytest.raises(kzoo.KzooError, match="top must be a whole number of at least 1"):
            kzoo.predict(trained, image, top=0)
        with pytest.raises(kzoo.KzooError, match="perceptron reads no images"):
            kzoo.predict(kzoo.perceptron(), image)
        found = kzoo.predict(kzoo.perceptron(), np.zeros((2, 2)))
        assert found[0].scores == (0.5, 0.5)


def test_load_model_takes_all_that_is_a_model(trained, tmp_path):
    kzoo.export(trained, tmp_path / "export")
    x = np.random.default_rng(0).random((3, 28, 28, 1), dtype="float32")
    expected = trained.model.predict_on_batch(x)
    for source in (trained.path, trained.path / "model.keras", tmp_path / "export"):
        np.testing.assert_allclose(kzoo.load_model(source).predict_on_batch(x), expected, atol=1e-6)


def test_a_keras_file_that_is_none():
    Path("broken.keras").write_text("hello")
    with pytest.raises(kzoo.KzooError, match="cannot load 'broken.keras'"):
        kzoo.load_model("broken.keras")


class TestWhatIsTaken:
    @pytest.mark.parametrize(
        "inputs", [[], np.zeros((0, 8, 8)), np.zeros((8, 8)), np.zeros((2, 8, 8, 7)), {"a": 1}, np.array(["a"])]
    )
    def test_arrays_that_are_no_images(self, trained, inputs):
        with pytest.raises(kzoo.KzooError, match="takes an array of examples|must have one input|no images given to"):
            kzoo.predict(trained, inputs)

    def test_a_row_of_another_width(self):
        with pytest.raises(
            kzoo.KzooError, match=r"perceptron takes an array of examples \[n, 2\]; received float64 \[3, 5\]"
        ):
            kzoo.predict(kzoo.perceptron(), np.zeros((3, 5)))

    @pytest.mark.parametrize("arguments", [{"top": 0}, {"top": 1.5}, {"batch_size": 0}])
    def test_numbers(self, trained, arguments):
        with pytest.raises(kzoo.KzooError, match="must be a whole number of at least 1"):
            kzoo.predict(trained, np.zeros((1, 8, 8)), **arguments)

    def test_evaluate_on_arrays_and_one_hot(self, trained):
        data = kzoo.load_data("digits")
        x, y = (np.stack(list(c)) for c in zip(*data.test.as_numpy_iterator(), strict=True))
        expected = kzoo.evaluate(trained).accuracy
        assert kzoo.evaluate(trained, (x, y)).accuracy == expected
        assert kzoo.evaluate(trained, (x, np.eye(10)[y])).accuracy == expected
        with pytest.raises(kzoo.KzooError, match="data must be a name"):
            kzoo.evaluate(trained, 5)

    def test_what_was_done_to_the_data_is_said(self, trained):
        found = kzoo.evaluate(trained, kzoo.load_data("digits", only=[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]))
        assert "images are resized from 8x8 to 28x28" in found.notes
        assert "note       images are resized" in str(found)

    def test_a_registered_model_goes_the_whole_way(self, monkeypatch, tmp_path):
        from kzoo import zoo
        from kzoo.models.mlp import MLP
        from kzoo.records import ImageInputs, ModelSpec, Recipe

        monkeypatch.setattr(zoo, "_specs", dict(zoo._specs))
        recipe = Recipe("sparse_categorical_crossentropy", ("accuracy",))
        kzoo.register_model(
            ModelSpec(
                name="mine", family="mine", task="image-classification", definition=MLP, input_shape=(8, 8, 1),
                recipe=recipe, paper="none", summary="mine", classes=10, inputs=ImageInputs((8, 8), 1),
            )
        )  # fmt: skip
        run = fit("mine", "digits", epochs=1)
        assert kzoo.export(run, tmp_path / "out").path.is_dir()
        assert kzoo.model_card("mine").startswith("# mine") and kzoo.mine().name == "mine"


class TestOtherPeoplesFolders:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("config.json", "[1]"),
            ("config.json", "null"),
            ("config.json", '{"verb": "fit", "options": 3, "data": 4, "model": 5}'),
            ("metrics.csv", "epoch,foo\nx,y\n"),
            ("metrics.csv", "epoch,foo\n\udcff,1\n"),
        ],
    )
    def test_one_that_cannot_be_read_is_a_row_and_a_line(self, name, text):
        mine, other = fit("perceptron", "or", epochs=1), fit("perceptron", "and", epochs=1)
        (mine.path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        broken, whole = kzoo.list_runs()
        assert whole.state == "finished" and name in broken.state
        assert kzoo.list_runs(other.path)[0].data == "and"
        for call in (lambda: kzoo.fit(resume=mine.path, verbose=False),):
            with pytest.raises(kzoo.KzooError, match=f"is damaged: {name} is not what was written"):
                call()
        RunFolder(mine.path).write(name, text.replace("\udcff", "x"))  # not rotten, but of somebody else
        broken, _ = kzoo.list_runs()
        assert name in broken.state and "damaged" not in broken.state

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"options": {"epohcs": 3}}, r"unknown argument of fit in mine/config.json: 'epohcs'.*epochs"),
            ({"options": {"epochs": 0}}, r"epochs must be a whole number of at least 1; received 0"),
            ({"options": {"callbacks": ["x"]}}, r"mine/config.json: callbacks are objects, .* give them to kzoo.fit"),
            ({"data": {"name": "or", "shuffle": 1}}, r"unknown argument of load_data in mine/config.json: 'shuffle'"),
            ({"data": {"name": 3}}, r"data is named by a name such as 'digits' or a path; received 3"),
            ({"data": {}}, r"trained on data that you gave as an object"),
        ],
        ids=["option", "value", "callbacks", "data", "name", "none"],
    )
    @pytest.mark.parametrize("how", ["resume", "config"])
    def test_a_config_that_somebody_has_written_is_checked(self, how, change, says):
        path = fit("perceptron", "or", epochs=1, run_dir="mine").path / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["decided"] = {k: v for k, v in config["decided"].items() if k not in change.get("options", {})}
        RunFolder(path.parent).write("config.json", json.dumps({**config, **change}))
        with pytest.raises(kzoo.KzooError, match=says):
            kzoo.fit(**{how: path if how == "config" else "mine"}, verbose=False)

    @pytest.mark.parametrize("data", [{"": None}, {"data": "or"}])
    def test_data_that_somebody_has_written_are_checked_by_evaluate_too(self, data):
        path = fit("perceptron", "or", epochs=1, run_dir="mine").path / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        RunFolder(path.parent).write("config.json", json.dumps({**config, "data": data}))
        with pytest.raises(kzoo.KzooError, match="unknown argument of load_data in what it was trained on"):
            kzoo.evaluate("mine")

    def test_an_epoch_that_metrics_csv_lacks_is_missed(self):
        path = fit("perceptron", "or", epochs=2, run_dir="mine").path / "metrics.csv"
        lines = path.read_text(encoding="utf-8").splitlines()
        for kept in (lines[:2], [lines[0], lines[2]], []):
            RunFolder("mine").write("metrics.csv", "\n".join(kept))
            with pytest.raises(kzoo.KzooError, match=r"metrics.csv' does not have the 2 epochs of the checkpoint"):
                kzoo.fit(resume="mine", epochs=3, verbose=False)

    def test_classes_are_not_renumbered_when_a_run_goes_on(self):
        fit("mlp_16_16", kzoo.load_data("digits", only=[3, 4]), epochs=1, run_dir="mine")
        with pytest.raises(
            kzoo.KzooError, match="mine learned the classes 3, 4; digits has 4, 3; start with a new model"
        ):
            kzoo.fit(resume="mine", only=[4, 3], epochs=2, verbose=False)

    def test_a_run_that_goes_on_has_its_model(self):
        """The name of it may be said again: it is the model as it was built, not another of that name."""
        fit("mlp_xor", "xor", epochs=1, set={"hidden": (4,)}, run_dir="mine")
        assert fit("mlp_xor", "xor", epochs=2, resume="mine").model.count_params() == 17
        with pytest.raises(kzoo.KzooError, match="mine was begun with 'mlp_xor', not 'perceptron'"):
            fit("perceptron", "xor", epochs=3, resume="mine")

    def test_killed_before_it_was_recorded_it_is_recorded(self):
        """Its last checkpoint is there; the model, its pictures and its card are not."""
        whole = fit("mlp_xor", "xor", epochs=2, run_dir="whole")
        left = fit("mlp_xor", "xor", epochs=2, run_dir="left").path
        config = json.loads((left / "config.json").read_text(encoding="utf-8"))
        RunFolder(left).write("config.json", json.dumps({**config, "finished": False}))
        (left / "card.md").unlink()
        again = kzoo.fit(resume=left, verbose=False)
        assert again.history == whole.history and (left / "card.md").is_file()
        assert json.loads((left / "config.json").read_text(encoding="utf-8"))["finished"]

    def test_a_headless_model_has_no_classes_to_learn(self):
        with pytest.raises(kzoo.KzooError, match="lenet5 has include_top=False, and so no output for a class"):
            fit("lenet5", "digits", epochs=1, set={"include_top": False}, run_dir="mine")
        assert not Path("mine").exists()

    def test_callbacks_that_a_file_cannot_hold_are_noted(self):
        fit("perceptron", "or", epochs=1, run_dir="mine", callbacks=[keras.callbacks.TerminateOnNaN()])
        for how in ("config", "resume"):
            run = kzoo.fit(**{how: "mine"}, epochs=2, verbose=False)
            assert any("had callbacks, which a file cannot hold" in note for note in run.plan.notes)

    def test_a_builders_arguments_are_kept_when_a_run_goes_on(self):
        fit("mlp_xor", "xor", epochs=1, set={"hidden": (4,)}, run_dir="mine")
        with pytest.raises(kzoo.KzooError, match="set=.* cannot be changed when a run is resumed"):
            kzoo.fit(resume="mine", epochs=2, set={"hidden": (3,)}, verbose=False)
        assert len(kzoo.fit(resume="mine", epochs=2, set={"hidden": (4,)}, verbose=False).history["loss"]) == 2
        with pytest.raises(kzoo.KzooError, match="style is an option of its own"):
            fit("mlp_xor", "xor", epochs=1, set={"style": "subclass"})
