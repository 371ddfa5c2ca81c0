"""The search for a learning rate: it changes nothing, and what it suggests can be trained with."""

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.verbs import RateSearch


def state(model):
    """Every variable, seeds too, of the model and of its optimizer, and what is frozen."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer is not None else [])]
    return [v.value.numpy().tobytes() for v in variables], [y.trainable for y in model._flatten_layers()], optimizer


SHOWN = [("functional", "default")]
CROSS = [
    pytest.param(style, where, marks=() if (style, where) in SHOWN else pytest.mark.slow)
    for style in ("functional", "subclass")
    for where in ("default", "mirrored")
]


@pytest.mark.parametrize(("style", "where"), CROSS)
def test_everything_is_afterwards_what_it_was(style, where):
    """A model with batch normalization and random depth, that has been trained and is frozen in part."""
    images = np.random.default_rng(0).random((16, 32, 32, 3), dtype="float32"), np.arange(16) % 10
    options = {"batch_size": 8, "strategy": nets.strategy(where)}
    model = kzoo.create_model("resnet_cifar_tiny", style=style, depths=(1,))
    before = state(model)
    kzoo.find_learning_rate(model, images, steps=20, freeze="conv1", rates={"conv2": 0.1}, optimizer="adam", **options)
    assert state(model) == before and not model.compiled and before[2] is None
    kzoo.fit(model, images, epochs=1, freeze="conv1", verbose=False, **options)
    before, metrics = state(model), model.metrics
    found = kzoo.find_learning_rate(model, images, steps=20, **options)
    kzoo.find_learning_rate(model, images, steps=20, optimizer="sgd:momentum=0.9", freeze="conv2", **options)
    assert state(model) == before and model.compiled
    assert [id(m) for m in model.metrics] == [id(m) for m in metrics]
    assert len(found.rates) > 10


def test_rates_rise_by_a_constant_factor_and_losses_are_those_of_training():
    rng = np.random.default_rng(0)
    data = tf.data.Dataset.from_tensor_slices((rng.random((60, 5)), rng.random((60, 2)))).batch(10)

    def build():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.7, momentum=0.9), "mse")
        return model

    found = kzoo.find_learning_rate(build(), data, low=1e-4, high=1e-1, steps=20)  # six batches: over three epochs
    assert found.stopped == "" and len(found.losses) == 20
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 1e-1, 20))
    model, expected = build(), []
    for k, batch in enumerate(data.repeat().take(20)):
        model.optimizer.learning_rate = found.rates[k]
        model.reset_metrics()
        expected.append(float(model.train_on_batch(*batch, return_dict=True)["loss"]))
    np.testing.assert_allclose(found.losses, expected, rtol=1e-4)


def test_a_search_ends_where_the_loss_explodes():
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    found = kzoo.find_learning_rate(model, (x, x[:, :1]), low=1e-3, high=1e3, steps=60, batch_size=16)
    assert found.stopped == "the loss was 4 times its lowest" and len(found.rates) < 60
    assert found.smoothed[-1] > 4 * min(found.smoothed)
    assert found.suggestion == pytest.approx(found.lowest / 10, rel=0.05)
    assert found.note() in str(found) and "where the loss was 4 times its lowest" in found.note()


def test_the_average_has_no_bias_to_its_first_values():
    assert RateSearch((1, 2, 3), (3.0, 3.0, 3.0)).smoothed == pytest.approx((3.0, 3.0, 3.0))
    assert RateSearch((1, 2), (1.0, 2.0)).smoothed[1] == pytest.approx((0.9 * 1 + 2) / 1.9)


def test_a_picture(tmp_path):
    found = RateSearch(tuple(np.geomspace(1e-6, 1, 30)), tuple(np.linspace(2, 1, 30)))
    assert found.plot("rates.png").is_file()
    with pytest.raises(kzoo.KzooError, match="no folder 'nowhere' to write rates.png into"):
        found.plot("nowhere/rates.png")


@pytest.mark.slow
def test_fit_looks_for_its_rate(capsys):
    """The run is that of the rate given as a number."""
    options = {"epochs": 1, "seed": 3, "xla": "off"}
    run = kzoo.fit("lenet5", "digits", learning_rate="find", run_dir="found", **options)
    rate = kzoo.find_learning_rate("lenet5", "digits", seed=3, xla="off").suggestion
    assert 3e-4 < rate < 3e-2  # the recipe has 0.001
    assert f"learning rate {rate:g}" in run.plan.optimizer
    assert run.plan.notes[-1].startswith(f"learning rate {rate:g}: a tenth of ")
    assert (run.path / "learning_rate.png").is_file()
    given = kzoo.fit("lenet5", "digits", learning_rate=rate, verbose=False, **options)
    assert run.history == given.history


def test_a_loss_that_is_not_finite_from_the_start():
    x = np.full((64, 5), np.nan, "float32")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = state(model)
    with pytest.raises(kzoo.KzooError, match="the loss is not finite after 0 steps at rates from 1e-06") as error:
        kzoo.find_learning_rate(model, (x, x[:, :1]))
    assert "\n" not in str(error.value)
    assert state(model) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 19}, "steps must be a whole number of at least 20; received 19"),
        ({"steps": 20.5}, "steps must be a whole number of at least 20; received 20.5"),
        ({"low": 0}, "low must be a number above 0"),
        ({"low": 1.0}, "low must be below high; received low=1, high=1"),
        ({"high": float("inf")}, "high must be a number above 0"),
        ({"optimizer": "sgd:learning_rate=1"}, "sets the learning rate that is to be found"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; did you mean 'sgd'"),
        ({"freeze": "zzz"}, "unknown layer in freeze 'zzz'"),
        ({"model": "dcgan_tiny", "data": kzoo.Data((np.zeros((8, 28, 28, 1), "uint8"), np.zeros(8, "int64")))},
         "has a rate of its own"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(arguments, message, tmp_path):
    with pytest.raises(kzoo.KzooError, match=message) as error:
        kzoo.find_learning_rate(**{"model": "mlp_16_16", "data": "digits", **arguments})
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": "high"}, "learning_rate must be a number above 0 or 'find'; received 'high'"),
        ({"learning_rate": "find", "callbacks": keras.callbacks.ReduceLROnPlateau()}, "both set the learning rate"),
    ],
)
def test_mistakes_of_fit(arguments, message, tmp_path):
    with pytest.raises(kzoo.KzooError, match=message):
        kzoo.fit("mlp_16_16", "digits", verbose=False, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_has_its_rate():
    kzoo.fit("mlp_16_16", "digits", epochs=1, limit_train_batches=2, run_dir="mine", verbose=False)
    with pytest.raises(kzoo.KzooError, match="learning_rate='find' goes with a new run"):
        kzoo.fit(resume="mine", learning_rate="find", epochs=2, verbose=False)
