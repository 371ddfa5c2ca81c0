"""Same numbers under every strategy, XLA on and off: 20 steps have the losses of Keras' own step on one device.

Several processes have test_processes.py.
"""

import functools
import itertools

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from nets import assert_same, stock, strategy

import kzoo

SHOWN = {  # each strategy with XLA on and off, each of these with two styles over all; the rest of the cross is slow
    ("default", False, "sequential"), ("default", True, "functional"),
    ("one", False, "functional"), ("one", True, "subclass"),
    ("mirrored", False, "functional"), ("mirrored", False, "sequential"), ("mirrored", True, "subclass"),
    ("central", False, "subclass"), ("central", True, "sequential"),
}  # fmt: skip
CROSS = [
    pytest.param(
        name, xla, style, marks=() if (name, xla, style) in SHOWN else pytest.mark.slow,
        id=f"{name}-{'xla' if xla else 'plain'}-{style}",
    )
    for name, xla, style in itertools.product(nets.MAKERS, (False, True), nets.STYLES)
]  # fmt: skip


@pytest.mark.parametrize(("name", "xla", "style"), CROSS)
def test_losses_and_weights_are_those_of_one_device(name, xla, style):
    assert_same(nets.trajectory(style, name, xla), stock(style))


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "xla"])
def test_with_adam(xla):
    found = nets.trajectory("functional", "mirrored", xla, keras.optimizers.Adam(0.01))
    assert_same(found, stock("functional", "adam"))


@functools.cache
def in_bfloat16_alone():
    return nets.trajectory("functional", "default", False, precision="mixed_bfloat16")


@pytest.mark.parametrize("name", [pytest.param("mirrored", marks=pytest.mark.slow), "central"])
def test_in_bfloat16(name):
    """16 bits have three digits: strategies agree with one device in the same precision, roughly with float32."""
    one = in_bfloat16_alone()
    two = nets.trajectory("functional", name, name == "mirrored", precision="mixed_bfloat16")
    assert two[0] == pytest.approx(one[0], rel=5e-3)
    assert one[0] == pytest.approx(stock("functional")[0], rel=2e-2)


@pytest.mark.parametrize(
    ("name", "xla"),
    [
        ("mirrored", False),
        pytest.param("default", True, marks=pytest.mark.slow),
        pytest.param("mirrored", True, marks=pytest.mark.slow),
        pytest.param("default", False, marks=pytest.mark.slow),
    ],
)
def test_a_users_model_made_in_the_scope_of_replicas(name, xla):
    with strategy("mirrored").scope():
        keras.utils.set_random_seed(1)
        model = nets.functional()
    found, _ = nets.learned(model, nets.data("functional"), name, epochs=nets.EPOCHS, each_step=True, xla=xla)
    assert [results["loss"] for results in found] == pytest.approx(stock("functional")[0], rel=1e-5)


def test_histories_are_those_of_one_device():
    """With validation."""
    histories = []
    for name in ("default", "mirrored", "central"):
        keras.utils.set_random_seed(1)
        model, whole = nets.functional(), nets.data("functional")
        data = kzoo.Data(whole.unbatch(), validation=whole.unbatch().take(30))
        trainer = nets.taught(model, data, name, batch_size=nets.BATCH, epochs=2, xla="off")
        histories.append(trainer.history)
    for other in histories[1:]:
        assert other.keys() == histories[0].keys()
        for key, values in histories[0].items():
            assert other[key] == pytest.approx(values, rel=1e-5), key


@pytest.mark.parametrize("name", ["default", "mirrored"])
def test_nothing_is_traced_after_the_first_epoch(name):
    feed, ready = nets.made(nets.functional(), nets.data("functional"), name, xla=name == "default")
    engine, counts = ready.engine, []
    for epoch in range(3):
        ready.objective.reset()
        engine.begin(feed.train, epoch)
        engine.train(feed.train.steps)
        engine.evaluate(feed.train)
        counts.append(sum(graph.experimental_get_tracing_count() for graph in engine.traces))
    assert counts[0] == counts[1] == counts[2] > 0


# --- batch normalization --------------------------------------------------------------------------------------------


def normed():
    """A convolution and a batch normalization, whose statistics NumPy can follow: nothing moves with rate 0."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Conv2D(5, 3),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    return model


def images(rows=nets.ROWS):
    rng = np.random.default_rng(1)
    return rng.random((rows, 4, 4, 3), dtype="float32"), rng.integers(0, 3, rows)


def train_normed(name, rate, **arguments):
    """(model, loss of each epoch, plan)"""
    model, (x, y) = normed(), images()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(nets.BATCH)
    found, ready = nets.learned(model, data, name, epochs=3, **arguments)
    return model, [results["loss"] for results in found], ready.plan


@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
def test_statistics_of_replicas_are_averaged_by_their_examples(xla):
    model, *_ = train_normed("mirrored", 0.0, xla=xla)
    conv, norm = model.layers[0], model.layers[1]
    mean, variance = np.zeros(5), np.ones(5)
    activations = np.asarray(conv(images()[0])).astype("float64")
    for _ in range(3):
        for start in range(0, nets.ROWS, nets.BATCH):
            batch = activations[start : start + nets.BATCH]
            half = -(-len(batch) // 2)  # the first replica has the odd example
            new_mean, new_variance = np.zeros(5), np.zeros(5)
            for part in (batch[:half], batch[half:]):
                if len(part):
                    share = len(part) / len(batch)
                    new_mean += share * (0.9 * mean + 0.1 * part.mean((0, 1, 2)))
                    new_variance += share * (0.9 * variance + 0.1 * part.var((0, 1, 2)))
            mean, variance = new_mean, new_variance
    np.testing.assert_allclose(norm.moving_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance.numpy(), variance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mirrored", "central"])
def test_synchronised_batch_norm_is_one_device(name):
    one, expected, _ = train_normed("default", 0.1)
    two, losses, plan = train_normed(name, 0.1, sync_batch_norm=True)
    assert any("synchronised" in kernel for kernel in plan.kernels)
    assert losses == pytest.approx(expected, rel=1e-5)
    for a, b in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_synchronised_under_a_mask_is_one_device():
    def losses(name, **arguments):
        keras.utils.set_random_seed(1)
        stack = [keras.Input((6, 3)), keras.layers.Masking(), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
        model = keras.Sequential(stack)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
        found, _ = nets.learned(model, nets.data("sequential"), name, epochs=3, **arguments)
        return [results["loss"] for results in found], model.get_weights()

    one, two = losses("default"), losses("mirrored", sync_batch_norm=True)
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    for a, b in zip(two[1], one[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_layer_that_asks_for_synchronisation_gets_it():
    model = keras.Sequential([keras.Input((5,)), keras.layers.BatchNormalization(synchronized=True)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).random((8, 5), dtype="float32")
    _, ready = nets.learned(model, (x, x), "mirrored", batch_size=8)
    assert ready.plan.xla is False and "synchronised" in ready.plan.xla_reason
    expected = 0.01 * x.mean(0)
    np.testing.assert_allclose(model.layers[0].moving_mean.numpy(), expected, rtol=1e-4)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 1}, "batch_size=1 is less than the 2 replicas"),
        ({"sync_batch_norm": True, "xla": "on"}, "use xla='off'"),
        ({"precision": "mixed_float16"}, "needs a GPU"),
        ({"precision": "float8"}, "unknown precision 'float8'"),
        ({"strategy": "mirored"}, "did you mean 'mirrored'"),
        ({"strategy": "mirrored", "devices": ["GPU:3"]}, "no device 'GPU:3'"),
        ({"strategy": "default", "devices": 2}, "goes with strategy"),
        ({"strategy": "mirrored", "devices": 0}, "devices must be"),
        ({"strategy": "tpu"}, "no TPU"),
        ({"strategy": "multiworker"}, "reads its workers from TF_CONFIG"),
        ({"xla": "fast"}, "unknown xla 'fast'; did you mean 'auto'"),
        ({"optimizer": keras.optimizers.Adam}, "optimizer must be a name or a Keras optimizer"),
        ({"strategy": "parameter_server"}, "TF_CONFIG"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    if "strategy" not in arguments:
        arguments = {"strategy": strategy("mirrored"), **arguments}
    with pytest.raises(kzoo.KzooError, match=message) as error:
        kzoo.fit("lenet5", "digits", epochs=1, verbose=False, **arguments)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_layers_with_states_cannot_be_shared():
    model = keras.Sequential([keras.Input((5, 2), batch_size=4), keras.layers.LSTM(3, stateful=True)])
    model.compile("sgd", "mse")
    rows = np.zeros((8, 5, 2), "float32"), np.zeros((8, 3), "float32")
    with pytest.raises(kzoo.KzooError, match="carries states from batch to batch"):
        kzoo.fit(model, rows, batch_size=4, epochs=1, strategy=strategy("mirrored"), verbose=False)


def test_a_broken_tf_config(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{cluster: worker}")
    for name in ("auto", "multiworker", "parameter_server"):
        with pytest.raises(kzoo.KzooError, match="TF_CONFIG must be JSON with a cluster and a task"):
            kzoo.strategy(name)


def test_a_layer_that_xla_cannot_compile():
    model = keras.Sequential([keras.Input((1,), dtype="string"), keras.layers.Hashing(5), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = np.array([["a"], ["b"]]), np.zeros((2, 1))
    plan = nets.learned(model, data, "default")[1].plan
    assert plan.xla is False and plan.xla_reason.startswith("auto: XLA cannot compile the layer 'hashing")
    with pytest.raises(kzoo.KzooError, match="XLA cannot compile the layer 'hashing"):
        kzoo.fit(model, data, epochs=1, xla="on", verbose=False)


@pytest.mark.slow
def test_a_run_that_changes_its_strategy_says_so():
    few = {"epochs": 1, "limit_train_batches": 2, "xla": "off", "run_dir": "mine", "verbose": False}
    kzoo.fit("mlp", "digits", strategy=strategy("mirrored"), **few)
    run = kzoo.fit(resume="mine", epochs=2, verbose=False)
    assert run.plan.notes[-1] == "begun under MirroredStrategy, goes on under default"
