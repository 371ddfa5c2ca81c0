"""Checkpoints: a damaged one is named and never read, and what goes on from one goes on as if it had never stopped."""

import re
import shutil
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import kzoo
from kzoo.engine import Place
from kzoo.runs import Checkpoints, RunFolder

FILES = ("state.safetensors", "state.json", "manifest.json")
ARRAYS = {"dense/kernel": np.arange(6, dtype="float32").reshape(2, 3), "optimizer/iteration": np.int64(7)}
NOTED = {"EarlyStopping": {"wait": 2, "best": 0.25}}


def saved(folder, *places):
    """Checkpoints of these (epoch, step), of which the first stays as the best one."""
    checkpoints = Checkpoints(folder / "checkpoints")
    for k, (epoch, step) in enumerate(places):
        name = checkpoints.save(Place(epoch, step, 5 * epoch + step, {}), ARRAYS, NOTED)
        if k == 0:
            checkpoints.mark_best(name)
    return checkpoints


# --- damage ---------------------------------------------------------------------------------------------------------


def flipped(path, at=None):
    found = bytearray(path.read_bytes())
    found[len(found) // 2 if at is None else at] ^= 1
    path.write_bytes(found)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


OTHER, UNREAD = "is not what was written: its sha256 differs", "its manifest.json cannot be read"
CUT = r"is not what was written: it has \d+ bytes, not \d+"
DAMAGES = {
    "a byte of the arrays": (lambda f: flipped(f / "state.safetensors"), f"state.safetensors {OTHER}"),
    "a byte of the place": (lambda f: flipped(f / "state.json"), f"state.json {OTHER}"),
    "the last byte": (lambda f: flipped(f / "state.safetensors", -1), f"state.safetensors {OTHER}"),
    "arrays cut": (lambda f: truncated(f / "state.safetensors"), f"state.safetensors {CUT}"),
    "arrays missing": (lambda f: (f / "state.safetensors").unlink(), "state.safetensors is missing"),
    "place missing": (lambda f: (f / "state.json").unlink(), "state.json is missing"),
    "manifest missing": (lambda f: (f / "manifest.json").unlink(), UNREAD),
    "manifest cut": (lambda f: truncated(f / "manifest.json"), UNREAD),
    "manifest empty": (lambda f: (f / "manifest.json").write_text(""), UNREAD),
    "manifest of nothing": (lambda f: (f / "manifest.json").write_text("{}"), UNREAD),
    "manifest a list": (lambda f: (f / "manifest.json").write_text("[]"), UNREAD),
    "no folder's files": (lambda f: [path.unlink() for path in f.iterdir()], UNREAD),
}
damages = pytest.mark.parametrize(("damage", "why"), DAMAGES.values(), ids=DAMAGES)


def test_what_is_read_is_what_was_saved(tmp_path):
    checkpoints = saved(tmp_path, (2, 3))
    place, arrays, noted = checkpoints.read("0002-000003")
    assert place == Place(2, 3, 13, {}) and noted == NOTED and arrays.keys() == ARRAYS.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[key])
        assert array.dtype == ARRAYS[key].dtype and array.shape == ARRAYS[key].shape
    assert {path.name for path in (checkpoints.path / "0002-000003").iterdir()} == set(FILES)


@damages
def test_a_damaged_one_is_named_and_not_read(damage, why, tmp_path):
    checkpoints = saved(tmp_path, (1, 0))
    damage(checkpoints.path / "0001-000000")
    with pytest.raises(kzoo.KzooError) as error:
        checkpoints.read("0001-000000")
    path = re.escape(str(checkpoints.path / "0001-000000"))
    assert re.fullmatch(f"the checkpoint '{path}' is damaged: {why}; it cannot be used", str(error.value))


@pytest.mark.parametrize("file", ["state.json", "manifest.json"])
def test_no_byte_may_be_another(file, tmp_path):
    checkpoints = saved(tmp_path, (1, 0))
    path = checkpoints.path / "0001-000000" / file
    whole = path.read_bytes()
    for bit in (0, 5):
        for at in range(len(whole)):
            found = bytearray(whole)
            found[at] ^= 1 << bit
            path.write_bytes(found)
            with pytest.raises(kzoo.KzooError, match=r"is damaged: [^\n]*; it cannot be used$"):
                checkpoints.read("0001-000000")


@damages
def test_the_one_before_a_damaged_one_is_taken(damage, why, tmp_path, capsys):
    checkpoints = saved(tmp_path, (1, 0), (3, 0))
    assert checkpoints.newest == checkpoints.find("last") == "0003-000000" and capsys.readouterr().err == ""
    damage(checkpoints.path / "0003-000000")
    assert checkpoints.newest == checkpoints.find("last") == "0001-000000"
    path = re.escape(str(checkpoints.path / "0003-000000"))
    assert re.fullmatch(f"({path} is damaged \\({why}\\); it is left aside\n){{2}}", capsys.readouterr().err)
    assert (checkpoints.path / "0003-000000").is_dir()  # it is left aside, not thrown away


def test_where_all_are_damaged_there_is_none(tmp_path, capsys):
    checkpoints = saved(tmp_path, (1, 0), (3, 0))
    for name in ("0001-000000", "0003-000000"):
        flipped(checkpoints.path / name / "state.json")
    assert checkpoints.newest is None
    with pytest.raises(kzoo.KzooError, match="has no last checkpoint; it has 0001-000000, 0003-000000$"):
        checkpoints.find("last")
    assert capsys.readouterr().err.count("is damaged (state.json is not what was written: its sha256 differs)") == 4


def test_the_best_one_has_no_other_in_its_stead(tmp_path, capsys):
    checkpoints = saved(tmp_path, (1, 0), (3, 0))
    flipped(checkpoints.path / "0001-000000" / "state.safetensors")
    with pytest.raises(kzoo.KzooError, match="0001-000000' is damaged: state.safetensors is not what was written"):
        checkpoints.read(checkpoints.find("best"))
    shutil.rmtree(checkpoints.path / "0001-000000")
    with pytest.raises(kzoo.KzooError, match="has no best checkpoint; it has 0003-000000$"):
        checkpoints.find("best")
    lost = "marks.json' is damaged or missing: which checkpoint is the best is lost$"
    for text in ("{", "[]", "{}", '{"best": null}'):
        (checkpoints.path / "marks.json").write_text(text)
        with pytest.raises(kzoo.KzooError, match=lost):
            checkpoints.find("best")
        capsys.readouterr()
        assert checkpoints.find("last") == "0003-000000"
        assert "marks.json is damaged or missing; the newest checkpoint is taken" in capsys.readouterr().err


def test_what_the_model_was_left_with_goes_before_the_newest(tmp_path):
    checkpoints = saved(tmp_path, (1, 0), (3, 0))
    left = {**ARRAYS, "dense/kernel": -ARRAYS["dense/kernel"]}
    checkpoints.leave(Place(3, 0, 0, {}), left)
    assert checkpoints.find("last") == "left" and checkpoints.newest == "0003-000000"
    np.testing.assert_array_equal(checkpoints.read("left")[1]["dense/kernel"], left["dense/kernel"])
    flipped(checkpoints.path / "left" / "state.safetensors")  # the newest has other weights: not a silent other choice
    with pytest.raises(kzoo.KzooError, match="left' is damaged: state.safetensors is not what was written"):
        checkpoints.read(checkpoints.find("last"))
    checkpoints.go_on()
    assert checkpoints.find("last") == "0003-000000"


def test_the_newest_two_and_the_best_are_kept_in_the_order_of_their_places(tmp_path):
    checkpoints = saved(tmp_path, (2, 0), (2, 2), (2, 10), (9999, 0), (10000, 0))
    names = {path.name for path in checkpoints.path.iterdir()}
    assert names == {"0002-000000", "9999-000000", "10000-000000", "marks.json"}
    assert checkpoints.newest == "10000-000000"
    checkpoints.mark_best("10000-000000")
    assert {path.name for path in checkpoints.path.iterdir()} == {"9999-000000", "10000-000000", "marks.json"}


def test_those_of_a_training_that_was_taken_up_before_them_go(tmp_path):
    checkpoints = saved(tmp_path, (1, 0), (2, 0), (3, 0))
    checkpoints.save(Place(2, 0, 0, {}), ARRAYS, NOTED)
    assert {path.name for path in checkpoints.path.iterdir()} == {"0001-000000", "0002-000000", "marks.json"}


def test_one_of_another_run_or_place_is_none(tmp_path, capsys):
    mine = saved(tmp_path / "mine", (1, 0), (3, 0))
    other = Checkpoints(tmp_path / "other", "other")
    other.save(Place(4, 0, 20, {}), ARRAYS, NOTED)
    shutil.copytree(other.path / "0004-000000", mine.path / "0004-000000")
    shutil.copytree(mine.path / "0001-000000", mine.path / "0005-000000")
    assert mine.newest == "0003-000000"
    assert [line.split(" is damaged ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "(it is 0001-000000); it is left aside",
        "(it is 0004-000000 of another run); it is left aside",
    ]


def test_one_that_is_gone_is_missed(tmp_path, capsys):
    checkpoints = saved(tmp_path, (1, 0), (3, 0))
    shutil.rmtree(checkpoints.path / "0003-000000")
    assert checkpoints.newest == "0001-000000"
    assert capsys.readouterr().err == f"{checkpoints.path / '0003-000000'} is missing; the one before it is taken\n"
    checkpoints.leave(Place(3, 0, 0, {}), ARRAYS)
    shutil.rmtree(checkpoints.path / "left")
    with pytest.raises(kzoo.KzooError, match="has no last checkpoint; it has 0001-000000$"):
        checkpoints.find("last")


def test_what_a_kill_left_half_written_is_not_seen(tmp_path, capsys):
    checkpoints = saved(tmp_path, (1, 0))
    shutil.copytree(checkpoints.path / "0001-000000", checkpoints.path / ".123-0002-000000")
    assert checkpoints.newest == "0001-000000" and capsys.readouterr().err == ""


# --- a run goes on --------------------------------------------------------------------------------------------------

ROWS, BATCH, STEPS = 80, 16, 5


def data():
    """Labels of half a rule: validation soon gets worse, and the best epoch is an early one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * ROWS, 5)).astype("float32")
    y = (x[:, :3] + rng.normal(size=(2 * ROWS, 3))).argmax(axis=1)
    return kzoo.Data((x[:ROWS], y[:ROWS]), validation=(x[ROWS:], y[ROWS:]))


def network():
    """Of all that a checkpoint must keep: slots, statistics, seeds."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((5,)), *layers, keras.layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(model=None, **options):
    return kzoo.fit(model, data(), **{"batch_size": BATCH, "verbose": False, "xla": "off", **options})


def go_on(folder, **options):
    return kzoo.fit(data=data(), resume=folder, verbose=False, **options)


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C after so many batches of the run."""

    def __init__(self, after):
        super().__init__()
        self.after, self.seen = after, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.after:
            raise KeyboardInterrupt


def values(model):
    return [w.numpy() for w in (*model.weights, *model.optimizer.variables)]


def assert_the_same(run, whole, exact=True):
    """In all numbers of all epochs, learning rates too, and in weights and slots."""
    rows, wanted = (RunFolder(r.path).read_metrics() for r in (run, whole))
    assert len(rows) == len(wanted) == len(run.history["loss"])
    for mine, theirs in zip(rows, wanted, strict=True):
        theirs["seconds"] = mine["seconds"]
        assert mine == (theirs if exact else pytest.approx(theirs, rel=1e-5))
    for mine, theirs in zip(values(run.model), values(whole.model), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=0 if exact else 1e-5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of six epochs."""
    return fit(network(), epochs=6, run_dir=tmp_path_factory.mktemp("whole") / "run")


class Patient(keras.callbacks.Callback):
    """Begins an epoch when the checkpoint of the one before it is written, which otherwise may give way to the next."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch, logs=None):
        end = time.monotonic() + 60
        while epoch and not (self.folder / "checkpoints" / f"{epoch:04d}-000000").is_dir() and time.monotonic() < end:
            time.sleep(0.01)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """The folder of a run of four epochs, of which an early one was the best; not to be written into."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    run = fit(network(), epochs=4, run_dir=folder, callbacks=[Patient(folder)])
    names = {path.name for path in (run.path / "checkpoints").iterdir()}
    assert len(names) == 4 and {"0003-000000", "0004-000000", "marks.json"} < names  # and an earlier one, the best
    return run.path


@pytest.fixture
def mine(cut, tmp_path):
    return RunFolder(shutil.copytree(cut, tmp_path / "mine"))


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(mine, whole, capsys):
    flipped(mine.path / "checkpoints" / "0004-000000" / "state.safetensors")
    assert_the_same(go_on(mine.path, epochs=6), whole)
    why = "0004-000000 is damaged (state.safetensors is not what was written: its sha256 differs); it is left aside"
    assert why in capsys.readouterr().err
    rows = (mine.path / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3", "4", "5", "6"]
    assert mine.checkpoints.newest == "0006-000000"  # and none is damaged any more
    assert capsys.readouterr().err == ""


def test_a_model_is_read_from_the_checkpoint_before_a_damaged_one(mine, capsys):
    before = values_of(fit(network(), epochs=3).model)
    assert any((a != b).any() for a, b in zip(values_of(kzoo.load_model(mine.path)), before, strict=True))
    mine.update_config(finished=False)  # a kill has left it so
    (mine.path / "checkpoints" / "0004-000000" / "state.json").unlink()
    assert capsys.readouterr().err == ""
    found = values_of(kzoo.load_model(mine.path))
    assert "0004-000000 is damaged (state.json is missing); it is left aside" in capsys.readouterr().err
    for a, b in zip(found, before, strict=True):
        np.testing.assert_array_equal(a, b)


def values_of(model):
    return [w.numpy() for w in model.weights]


def test_without_a_whole_checkpoint_nothing_goes_on(mine):
    mine.update_config(finished=False)
    for path in (mine.path / "checkpoints").glob("*/manifest.json"):
        truncated(path)
    before = {path: path.read_bytes() for path in mine.path.rglob("*") if path.is_file()}
    for call, said in (
        (lambda: go_on(mine.path, epochs=6), "has no whole checkpoint to go on from; start a new run$"),
        (lambda: kzoo.load_model(mine.path), "has no last checkpoint; it has 000"),
        (
            lambda: kzoo.load_model(mine.path, checkpoint="best"),
            "is damaged: its manifest.json cannot be read; it cannot be",
        ),
        (lambda: kzoo.evaluate(mine.path, data(), split="validation"), "has no last checkpoint; it has 000"),
    ):
        with pytest.raises(kzoo.KzooError, match=said) as error:
            call()
        assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in mine.path.rglob("*") if path.is_file()} == before


def test_from_the_middle_of_an_epoch_it_is_the_uninterrupted_run(whole):
    """To the digit; checkpoints come each second batch, of five an epoch."""
    assert_the_same(interrupted(9, (1, 3)), whole)


def test_from_the_middle_of_the_first_epoch_too(whole):
    assert_the_same(interrupted(3, (0, 2)), whole)


@pytest.mark.slow
def test_from_the_middle_of_an_epoch_on_two_replicas():
    """Their metrics are added up in the checkpoint, which rounds otherwise than adding at the end of the epoch."""
    options = {"strategy": kzoo.strategy("mirrored", 2), "epochs": 3}
    assert_the_same(interrupted(9, (1, 3), **options), fit(network(), **options), exact=False)


def test_no_checkpoint_is_before_the_rows_of_its_epochs(monkeypatch, tmp_path):
    """Writing takes longer than an epoch: what waits gives way to the next place, which needs the rows too."""
    save, had = Checkpoints.save, []

    def slow(self, place, *given):
        rows = RunFolder(tmp_path / "run").read_metrics() if place.total else []
        had.append((place.epoch, place.step, len(rows)))
        time.sleep(0.2)
        return save(self, place, *given)

    monkeypatch.setattr(Checkpoints, "save", slow)
    fit(network(), epochs=6, checkpoint="steps=2", run_dir=tmp_path / "run")
    assert any(step for _, step, _ in had) and len(had) < 6 * 3  # some gave way
    assert all(rows == epoch for epoch, _, rows in had), had


def interrupted(after, place, epochs=6, **options):
    """A run of some epochs, interrupted after so many batches, that went on from that (epoch, step)."""
    with pytest.raises(KeyboardInterrupt):
        fit(network(), epochs=epochs, checkpoint="steps=2", run_dir="cut", callbacks=[Interrupt(after)], **options)
    assert not (Path("cut") / ".lock").exists()
    checkpoints = RunFolder("cut").checkpoints
    assert checkpoints.newest == f"{place[0]:04d}-{place[1]:06d}"
    assert float(checkpoints.read(checkpoints.newest)[1]["metrics/loss/count"]) == place[1] * BATCH
    run = go_on("cut", **options)
    assert checkpoints.newest == f"{epochs:04d}-000000"
    assert not [key for key in checkpoints.read(checkpoints.newest)[1] if key.startswith("metrics/")]
    return run


@pytest.mark.slow
def test_from_the_middle_of_an_epoch_in_halves(tmp_path):
    """A recurrent network under XLA, whose state lies beside the model's own variables."""
    ids, y = np.random.default_rng(0).integers(1, 20, (30, 6)).astype("int32"), np.arange(30) % 2
    data, given = kzoo.Data((ids, y)), {"verbose": False, "xla": "on", "batch_size": 8}

    def recurrent():
        keras.utils.set_random_seed(0)
        embedded = keras.layers.Dropout(0.3)(keras.layers.Embedding(20, 4)(tokens := keras.Input((6,), dtype="int32")))
        outputs = keras.layers.Dense(2, "softmax")(keras.layers.LSTM(3)(embedded))
        model = keras.Model(tokens, outputs)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    whole = kzoo.fit(recurrent(), data, epochs=3, run_dir=tmp_path / "whole", **given)
    assert "batch in halves" in whole.plan.kernels
    with pytest.raises(KeyboardInterrupt):
        kzoo.fit(recurrent(), data, epochs=3, checkpoint="steps=2", run_dir=tmp_path / "cut",
                 callbacks=[Interrupt(7)], **given)  # fmt: skip
    assert RunFolder(tmp_path / "cut").checkpoints.newest == "0001-000002"
    assert_the_same(kzoo.fit(data=data, resume=tmp_path / "cut", verbose=False), whole)


# --- callbacks ------------------------------------------------------------------------------------------------------


def plateau(**options):
    settings = {"factor": 0.5, "patience": 1, "min_delta": 0.02, "cooldown": 1, **options}
    return keras.callbacks.ReduceLROnPlateau("val_loss", **settings)


def stopping(patience=4):
    return keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """A run with both, until one of them stops it."""
    folder = tmp_path_factory.mktemp("called") / "run"
    run = fit(network(), epochs=20, run_dir=folder, callbacks=[plateau(), stopping()])
    assert run.stopped.startswith("stopped by a callback after epoch ") and run.weights_of is not None
    assert len(run.history["loss"]) > 5 and len(set(run.history["learning_rate"])) > 3
    return run


def remember(run):
    folder = RunFolder(run.path)
    return folder.checkpoints.read(folder.checkpoints.newest)


@pytest.mark.parametrize(
    "epochs", [pytest.param((1,), id="once", marks=pytest.mark.slow), pytest.param((2, 5), id="twice")]
)
def test_callbacks_go_on_where_they_were(epochs, called):
    """Each time with new callbacks of the same settings."""
    run = fit(network(), epochs=epochs[0], run_dir="parts", callbacks=[plateau(), stopping()])
    for count in (*epochs[1:], 20):
        run = go_on("parts", epochs=count, callbacks=[plateau(), stopping()])
    assert_the_same(run, called)
    assert (run.stopped, run.weights_of) == (called.stopped, called.weights_of)
    assert remember(run)[2] == remember(called)[2]


@pytest.mark.slow
def test_callbacks_go_on_within_the_first_epoch(called):
    """When they have seen no number yet."""
    with pytest.raises(KeyboardInterrupt):
        options = {"epochs": 20, "checkpoint": "steps=2", "run_dir": "cut"}
        fit(network(), callbacks=[plateau(), stopping(), Interrupt(3)], **options)
    run = go_on("cut", callbacks=[plateau(), stopping()])
    assert_the_same(run, called)
    assert (run.stopped, run.weights_of) == (called.stopped, called.weights_of)


def test_what_callbacks_remember_is_plain_and_by_name(called):
    place, arrays, noted = remember(called)
    assert noted.keys() == {"ReduceLROnPlateau", "EarlyStopping"}
    assert noted["EarlyStopping"]["wait"] == 4 and noted["EarlyStopping"]["best_epoch"] + 1 == called.weights_of
    best = min(called.history["val_loss"])
    assert noted["EarlyStopping"]["best"] == best
    kept = {key for key in arrays if key.startswith("callbacks/")}
    weights = {key for key in arrays if not key.startswith(("callbacks/", "optimizer/")) and "seed" not in key}
    assert kept == {f"callbacks/EarlyStopping/best_weights/{key}" for key in weights}
    for key, value in zip(sorted(weights), sorted(weights), strict=True):
        assert arrays[f"callbacks/EarlyStopping/best_weights/{key}"].shape == arrays[value].shape


class Notes(keras.callbacks.Callback):
    def __init__(self):
        self.count, self.log, self.seen, self.table = 0, [], {}, np.zeros((2, 2), "float32")
        self.names, self.friend, self.lost = {"a"}, [object()], 3

    def on_epoch_end(self, epoch, logs=None):
        self.count += 1
        self.log.append((epoch, np.float32(logs["loss"])))
        self.seen[epoch] = {"losses": [logs["loss"], float("nan")]}
        self.table += 1


def test_what_a_callback_of_yours_has_noted_is_there_again(capsys):
    notes, whole, again = Notes(), Notes(), Notes()
    fit(network(), epochs=2, run_dir="cut", callbacks=[notes])
    go_on("cut", epochs=4, callbacks=[again])
    assert "Notes.friend holds what a file cannot hold; it begins anew" in capsys.readouterr().err
    fit(network(), epochs=4, run_dir="whole", callbacks=[whole])
    assert (again.count, again.log, again.names) == (4, whole.log, {"a"}) and type(again.log[0]) is tuple
    np.testing.assert_equal(again.seen, whole.seen)
    np.testing.assert_array_equal(again.table, np.full((2, 2), 4, "float32"), strict=True)


def test_rows_of_a_csv_logger_stay(tmp_path):
    logger = lambda: keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    fit(network(), epochs=2, run_dir="cut", callbacks=[logger()])
    go_on("cut", epochs=3, callbacks=[logger()])
    assert [row.split(",")[0] for row in (tmp_path / "log.csv").read_text().split()] == ["epoch", "0", "1", "2"]


def test_settings_are_those_of_the_new_callbacks(called):
    """A run that its EarlyStopping ended goes on with more patience as if it had had it from the beginning."""
    first = fit(network(), epochs=20, run_dir="mine", callbacks=[plateau(), stopping(patience=2)])
    assert first.stopped and len(first.history["loss"]) == len(called.history["loss"]) - 2
    run = go_on("mine", callbacks=[plateau(), stopping()])
    assert_the_same(run, called)
    assert run.stopped == called.stopped


class Lowest(keras.callbacks.Callback):
    """Of one's own: the lowest loss so far, and epochs since it."""

    def __init__(self):
        super().__init__()
        self.best, self.since, self.said = float("inf"), np.int64(0), "nothing"

    def on_epoch_end(self, epoch, logs=None):
        lower = logs["val_loss"] < self.best
        self.best, self.since = (logs["val_loss"], np.int64(0)) if lower else (self.best, self.since + 1)
        self.said = f"{self.best:.6f} for {self.since}"
        logs["since"] = float(self.since)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "run"
    return fit(network(), epochs=4, run_dir=folder, callbacks=[Lowest(), Lowest()])


@pytest.mark.parametrize("after", [pytest.param(3, marks=pytest.mark.slow), 14])
def test_callbacks_of_ones_own_go_on_too(after, watched):
    """Before the first number as well, when the lowest is infinite, which JSON does not have."""
    with pytest.raises(KeyboardInterrupt):
        calls = [Lowest(), Lowest(), Interrupt(after)]
        fit(network(), epochs=4, checkpoint="steps=2", run_dir="cut", callbacks=calls)
    checkpoints, calls = RunFolder("cut").checkpoints, [Lowest(), Lowest()]
    noted = checkpoints.read(checkpoints.newest)[2]
    assert noted.keys() == {"Lowest", "Lowest#2", "Interrupt"}
    run = go_on("cut", callbacks=calls)
    assert_the_same(run, watched)
    assert watched.history["since"][-1] == run.history["since"][-1] == calls[0].since == calls[1].since


def test_callbacks_that_are_not_there_any_more_are_left_out():
    fit(network(), epochs=2, run_dir="mine", callbacks=[plateau(), stopping()])
    run = go_on("mine", epochs=3)
    assert len(run.history["loss"]) == 3 and remember(run)[2] == {}


def test_the_scale_of_losses_goes_on_too(monkeypatch):
    """Of mixed_float16, which a processor has for products alone: a scale that was halved is not tried anew."""
    monkeypatch.setattr("kzoo.verbs.ready.check_precision", lambda name: None)
    data = (np.random.default_rng(0).random((64, 6), dtype="float32") * 100, np.arange(64) % 3)

    def fit(epochs, **options):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
        model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return kzoo.fit(model, data, epochs=epochs, batch_size=16, precision="mixed_float16", xla="off",
                        verbose=False, **options)  # fmt: skip

    whole = fit(2)
    half = fit(1)
    kept = RunFolder(half.path).checkpoints.read("0001-000000")[1]
    assert kept["optimizer/loss_scale/dynamic_scale"] < 2.0**15
    assert fit(2, resume=half.path).history["loss"] == whole.history["loss"]
