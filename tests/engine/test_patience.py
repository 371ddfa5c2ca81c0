"""Training ends when it no longer helps, the model has the weights of the best epoch, and the run says which it was."""

import json
from types import SimpleNamespace

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.engine import Supervised
from kzoo.runs import Recorder, RunFolder
from kzoo.tasks import find_task


def data(rows=48):
    """Labels without a rule: the network learns them by heart, and on validation it only gets worse."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2 * rows, 5)).astype("float32"), rng.integers(0, 3, 2 * rows)
    return kzoo.Data((x[:rows], y[:rows]), validation=(x[rows:], y[rows:]))


def network(metrics=("accuracy",), **arguments):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((5,)), keras.layers.Dense(32, "tanh"), keras.layers.BatchNormalization()]
    model = keras.Sequential([*layers, keras.layers.Dense(3, "softmax")])
    optimizer = keras.optimizers.Adam(0.03, **arguments)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=list(metrics))
    return model


class Weights(keras.callbacks.Callback):
    """Of every epoch."""

    def __init__(self):
        super().__init__()
        self.after = []

    def on_epoch_end(self, epoch, logs=None):
        self.after.append([w.numpy() for w in self.model.weights])


def fit(model, name="default", **arguments):
    return kzoo.fit(
        model, data(), batch_size=16, strategy=nets.strategy(name), verbose=False, **{"epochs": 30, **arguments}
    )  # fmt: skip


def same(model, weights):
    return all(a.numpy().tobytes() == b.tobytes() for a, b in zip(model.weights, weights, strict=True))


def best_of(history):
    """The number of the best epoch, from 1: the highest accuracy, of these the lowest loss."""
    scores = list(zip(history["val_accuracy"], [-v for v in history["val_loss"]], strict=True))
    return scores.index(max(scores)) + 1


@pytest.mark.parametrize("name", [pytest.param("default", marks=pytest.mark.slow), "mirrored"])
def test_the_model_has_the_weights_of_its_best_epoch(name, capsys):
    weights = Weights()
    run = fit(network(), name, patience=4, callbacks=[weights], run_dir="mine")
    best, count = best_of(run.history), len(run.history["loss"])
    assert count == best + 4 < 30 and run.weights_of == best
    assert run.stopped == f"stopped after epoch {count}: val_accuracy has not improved for 4 epochs"
    assert same(run.model, weights.after[best - 1]) and not same(run.model, weights.after[-1])
    found = kzoo.evaluate(run, data(), split="validation")
    assert found.accuracy == pytest.approx(run.history["val_accuracy"][best - 1], abs=1e-6)
    for checkpoint in ("last", "best"):
        assert same(kzoo.load_model("mine", checkpoint=checkpoint), weights.after[best - 1])
    card = (run.path / "card.md").read_text()
    assert f"- {run.stopped}\n- weights of epoch {best} of {count}" in card


def test_a_run_that_gets_to_its_end_has_the_best_weights_too():
    weights = Weights()
    run = fit(network(), patience=29, epochs=8, callbacks=[weights])
    best = best_of(run.history)
    assert run.stopped == "" and best < 8 and run.weights_of == best
    assert same(run.model, weights.after[best - 1])


def test_an_average_of_weights_gives_way_to_the_best_epoch():
    weights = Weights()
    run = fit(network(use_ema=True), patience=3, callbacks=[weights])
    assert same(run.model, weights.after[best_of(run.history) - 1])


@pytest.mark.parametrize("name", ["default", pytest.param("mirrored", marks=pytest.mark.slow)])
def test_early_stopping_of_keras(name):
    weights = Weights()
    stopping = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=3, restore_best_weights=True)
    run = fit(network(), name, callbacks=[weights, stopping], run_dir="mine")
    best = int(np.argmax(run.history["val_accuracy"])) + 1
    assert len(run.history["loss"]) == best + 3 and run.weights_of == best
    assert run.stopped == f"stopped by a callback after epoch {best + 3}"
    assert same(run.model, weights.after[best - 1])
    assert same(kzoo.load_model("mine"), weights.after[best - 1])
    assert f"- weights of epoch {best} of {best + 3}" in (run.path / "card.md").read_text()


def test_early_stopping_without_restoring_keeps_the_last_epoch():
    weights = Weights()
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=2)
    run = fit(network(), callbacks=[weights, stopping])
    assert run.weights_of is None and same(run.model, weights.after[-1])


@pytest.mark.slow
def test_a_stopped_run_says_so_and_goes_on_where_it_was(capsys):
    """With more patience it is the run that was never stopped."""
    whole = fit(network(), patience=8, run_dir="whole")
    first = fit(network(), patience=3, run_dir="cut")
    count = len(first.history["loss"])
    assert count < len(whole.history["loss"])
    again = kzoo.fit(data=data(), resume="cut")
    assert f"nothing to do: cut had {first.stopped}; go on with a larger --patience" in capsys.readouterr().err
    assert again.history == first.history and same(again.model, [w.numpy() for w in first.model.weights])
    assert json.loads(RunFolder("cut").path.joinpath("config.json").read_text())["stopped"] == first.stopped
    more = kzoo.fit(data=data(), resume="cut", patience=8)
    assert f"the run had {first.stopped}; it goes on after epoch {count}" in capsys.readouterr().err
    assert more.history["loss"] == pytest.approx(whole.history["loss"], rel=1e-5)
    assert more.weights_of == whole.weights_of


def test_an_average_survives_a_resume_with_nothing_to_do():
    run = fit(network(use_ema=True), epochs=2, run_dir="mine")
    average = [w.numpy() for w in run.model.weights]
    files = {name: run.path / "checkpoints" / name / "state.safetensors" for name in ("0002-000000", "left")}
    raw, left = (path.read_bytes() for path in files.values())
    assert raw != left
    assert same(kzoo.fit(data=data(), resume="mine", verbose=False).model, average)
    assert [path.read_bytes() for path in files.values()] == [raw, left]


def test_of_equal_accuracies_the_lower_loss_is_better(tmp_path):
    task = find_task("image-classification")
    recorder = Recorder(RunFolder(tmp_path), task, SimpleNamespace(objective=Supervised(network())), [], None, [])
    recorder.rows = [
        {"epoch": 1, "val_accuracy": 0.5, "val_loss": 0.2},
        {"epoch": 2, "val_accuracy": 0.9, "val_loss": 0.4},
        {"epoch": 3, "val_accuracy": 0.9, "val_loss": 0.3},
        {"epoch": 4, "val_accuracy": 0.9, "val_loss": 0.3},
        {"epoch": 5, "val_accuracy": float("nan"), "val_loss": float("nan")},
    ]
    assert recorder.best()["epoch"] == 3 and recorder.stale() == 2
    recorder.rows = [{"epoch": 1, "val_loss": float("nan")}, {"epoch": 2, "val_loss": 3.0}]
    assert recorder.best()["epoch"] == 2 and recorder.stale() == 0


def test_on_the_command_line(here):
    arguments = ["mlp_16_16", "--data", "digits", "--epochs", "9", "--patience", "1", "--learning-rate", "0.3"]
    status, out, _ = here("fit", *arguments, "--run-dir", "mine", "--limit-train-batches", "5")
    assert status == 0
    assert "stopped       after epoch " in out and "whose numbers follow" in out


@pytest.mark.parametrize("patience", [0, 1.5, "two"])
def test_patience_is_a_whole_number(patience):
    with pytest.raises(kzoo.KzooError, match="patience must be a whole number of at least 1"):
        fit(network(), patience=patience)


def test_what_patience_needs(tmp_path):
    rows = tf.data.Dataset.from_tensor_slices((np.zeros((8, 5), "float32"), np.zeros(8, "int64"))).batch(4)
    with pytest.raises(kzoo.KzooError, match="patience needs a validation split"):
        kzoo.fit(network(), rows, patience=1, verbose=False)
    images = kzoo.Data((np.zeros((8, 28, 28, 1), "uint8"), np.zeros(8, "int64")))
    with pytest.raises(kzoo.KzooError, match="a score of epochs, which the networks of 'dcgan_tiny' do not"):
        kzoo.fit("dcgan_tiny", images, patience=1, verbose=False)
    assert not list(tmp_path.iterdir())
