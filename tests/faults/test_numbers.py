"""A loss or weights that are no numbers stop a training, and what was good before is kept."""

import keras
import numpy as np
import pytest

import kzoo
from kzoo.runs import RunFolder


def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def rows(bad=None, value=np.nan):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 4)).astype("float32"), rng.normal(size=(64, 1)).astype("float32")
    if bad is not None:
        y[bad] = value
    return x, y


def fit(model, data, **options):
    return kzoo.fit(model, data, **{"batch_size": 8, "verbose": False, "run_dir": "run", "xla": "off", **options})


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("strategy", ["default", "mirrored"])
def test_the_metric_and_the_steps_are_named(value, strategy):
    says = rf"^loss is {value} in step.* of epoch 1: lower the learning rate, or look for such values in the data;"
    with pytest.raises(kzoo.KzooError, match=says + " on_nan='continue' trains on; the model is as after its last"):
        fit(
            network(),
            rows(40, value),
            epochs=3,
            strategy=kzoo.strategy(strategy, 2 if strategy == "mirrored" else None),
        )
    folder = RunFolder("run")
    assert folder.checkpoints.newest == "0000-000000" and not folder.read_config()["finished"]
    for array in folder.checkpoints.read("0000-000000")[1].values():
        assert np.isfinite(array).all()


def test_the_last_good_checkpoint_is_kept():
    class Spoiled(keras.callbacks.Callback):
        """The weights, after the third epoch's last step: no loss has shown it yet."""

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                kernel = self.model.layers[0].kernel
                kernel.assign(kernel * np.nan)

    with pytest.raises(kzoo.KzooError, match=r"dense\w*/kernel.* of the weights have values that are no numbers after"):
        fit(network(), rows(), epochs=5, callbacks=[Spoiled()])
    assert RunFolder("run").checkpoints.newest == "0002-000000"
    run = kzoo.fit(data=rows(), resume="run", verbose=False)
    assert len(run.history["loss"]) == 5 and np.isfinite(run.history["loss"]).all()


def test_to_continue_is_said_once_and_nothing_good_is_lost(capsys):
    fit(network(), rows(), epochs=1)
    good = RunFolder("run").checkpoints.read("0001-000000")[1]
    run = kzoo.fit(data=rows(40), resume="run", epochs=4, on_nan="continue", verbose=True)
    said = capsys.readouterr().err
    assert said.count("loss is nan in step") == 1
    assert len(run.history["loss"]) == 4
    assert RunFolder("run").checkpoints.newest == "0001-000000"
    for key, array in RunFolder("run").checkpoints.read("0001-000000")[1].items():
        np.testing.assert_array_equal(array, good[key])


def test_a_validation_loss_that_is_none():
    x, y = rows()
    with pytest.raises(kzoo.KzooError, match="^val_loss is nan after epoch 1: "):
        fit(network(), (x, y), validation=(x, y * np.nan), epochs=3)


def test_terminate_on_nan_is_keras_own_way():
    run = fit(network(), rows(40), epochs=3, callbacks=[keras.callbacks.TerminateOnNaN()])
    assert run.stopped == "stopped by a callback after epoch 1"


def test_steps_that_loss_scaling_leaves_out_are_none(monkeypatch):
    """A scale that is too large for float16 skips steps until it is not: their losses are numbers, and the weights."""
    monkeypatch.setattr("kzoo.verbs.ready.check_precision", lambda name: None)
    rng = np.random.default_rng(0)
    data = (rng.random((64, 6), dtype="float32") * 100, np.arange(64) % 3)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    run = fit(model, data, epochs=2, batch_size=16, precision="mixed_float16")
    assert len(run.history["loss"]) == 2
