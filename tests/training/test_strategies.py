"""Same numbers under every strategy, XLA on and off: 20 steps have the losses of Keras' own step on one device."""

import functools

import cluster
import keras
import nets
import numpy as np
import pytest
import tensorflow as tf

import kzoo

MAKERS = {
    "default": lambda: kzoo.strategy("default"),
    "one": lambda: kzoo.strategy("one", ["CPU:1"]),
    "mirrored": lambda: kzoo.strategy("mirrored", ["CPU:0", "CPU:1"]),
    "central": lambda: kzoo.strategy("central", ["CPU:0", "CPU:1"]),
}


@functools.cache
def strategy(name):
    return MAKERS[name]()


@functools.cache
def stock(style, optimizer="sgd"):
    made = keras.optimizers.Adam(0.01) if optimizer == "adam" else None
    return nets.stock_trajectory(style, made)


def assert_same(found, expected, rel=1e-5, weights=2e-5):
    assert len(found[0]) == 20
    assert found[0] == pytest.approx(expected[0], rel=rel)
    for mine, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=weights)


@pytest.mark.parametrize("style", nets.STYLES)
@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
@pytest.mark.parametrize("name", MAKERS)
def test_losses_and_weights_are_those_of_one_device(name, xla, style):
    assert_same(nets.trajectory(style, strategy(name), xla), stock(style))


@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
def test_with_adam(xla):
    found = nets.trajectory("functional", strategy("mirrored"), xla, keras.optimizers.Adam(0.01))
    assert_same(found, stock("functional", "adam"))


@pytest.mark.parametrize("name", ["mirrored", "central"])
def test_in_bfloat16(name):
    """16 bits have three digits: strategies agree with one device in the same precision, roughly with float32."""
    one = nets.trajectory("functional", strategy("default"), False, precision="mixed_bfloat16")
    two = nets.trajectory("functional", strategy(name), True, precision="mixed_bfloat16")
    assert two[0] == pytest.approx(one[0], rel=5e-3)
    assert one[0] == pytest.approx(stock("functional")[0], rel=2e-2)


def test_two_processes(tmp_path):
    workers = cluster.run("trajectories", {"worker": 2}, tmp_path)
    for found in workers:
        for style in nets.STYLES:
            for xla in (False, True):
                assert_same(found[f"{style} {xla}"], stock(style))


def test_parameter_servers_lose_no_update(tmp_path):
    (found,) = cluster.run("servers", {"chief": 1, "worker": 2, "ps": 1}, tmp_path)
    one = kzoo.fit("lenet5", "digits", epochs=3, batch_size=32, verbose=False).history["loss"]
    for losses, counted, steps in found.values():
        assert counted == 3 * steps  # every worker's every update is there
        assert losses[0] > losses[-1] and losses[-1] < one[0]  # it learns, in the band of one device
        assert losses[-1] < 2 * one[-1] + 0.1


def test_mirrored_model_of_a_user_made_in_scope():
    with strategy("mirrored").scope():
        keras.utils.set_random_seed(1)
        model = nets.functional()
    losses = nets.Losses()
    kzoo.fit(model, nets.data("functional"), epochs=5, strategy=strategy("mirrored"), callbacks=[losses], verbose=False)
    assert losses.values == pytest.approx(stock("functional")[0], rel=1e-5)


def test_mirrored_model_on_one_device():
    with strategy("mirrored").scope():
        keras.utils.set_random_seed(1)
        model = nets.functional()
    losses = nets.Losses()
    kzoo.fit(model, nets.data("functional"), epochs=5, strategy="default", callbacks=[losses], verbose=False)
    assert losses.values == pytest.approx(stock("functional")[0], rel=1e-5)


def test_metrics_are_those_of_one_device():
    histories = []
    for name in ("default", "mirrored", "central"):
        keras.utils.set_random_seed(1)
        model, whole = nets.functional(), nets.data("functional")
        run = kzoo.fit(
            model, kzoo.Data(whole.unbatch(), validation=whole.unbatch().take(30)), batch_size=nets.BATCH, epochs=2,
            strategy=strategy(name), verbose=False,
        )  # fmt: skip
        histories.append(run.history)
    for other in histories[1:]:
        assert other.keys() == histories[0].keys()
        for key, values in histories[0].items():
            assert other[key] == pytest.approx(values, rel=1e-5), key


def test_nothing_is_traced_after_the_first_epoch(monkeypatch):
    from kzoo.engine import loop

    counts, original = [], loop.Trainer._train_epoch

    def counted(self, epoch):
        logs = original(self, epoch)
        counts.append(sum(graph.experimental_get_tracing_count() for graph in self.engine.traces))
        return logs

    monkeypatch.setattr(loop.Trainer, "_train_epoch", counted)
    for name in ("default", "mirrored"):
        counts.clear()
        kzoo.fit(nets.functional(), nets.data("functional"), epochs=3, strategy=strategy(name), xla=True, verbose=False)
        assert counts[0] == counts[1] == counts[2], name


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


def fit_normed(name, rate, **arguments):
    model, (x, y) = normed(), images()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(nets.BATCH)
    run = kzoo.fit(model, data, epochs=3, strategy=strategy(name), verbose=False, **arguments)
    return model, run


@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
def test_statistics_of_replicas_are_averaged_by_their_examples(xla):
    model, _ = fit_normed("mirrored", 0.0, xla=xla)
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
    one, expected = fit_normed("default", 0.1)
    two, run = fit_normed(name, 0.1, sync_batch_norm=True)
    assert any("synchronised" in kernel for kernel in run.plan.kernels)
    assert run.history["loss"] == pytest.approx(expected.history["loss"], rel=1e-5)
    for a, b in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_synchronised_under_a_mask_is_one_device():
    def losses(name, **arguments):
        keras.utils.set_random_seed(1)
        stack = [keras.Input((6, 3)), keras.layers.Masking(), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
        model = keras.Sequential(stack)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
        run = kzoo.fit(model, nets.data("sequential"), epochs=3, strategy=strategy(name), verbose=False, **arguments)
        return run.history["loss"], model.get_weights()

    one, two = losses("default"), losses("mirrored", sync_batch_norm=True)
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    for a, b in zip(two[1], one[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_layer_that_asks_for_synchronisation_gets_it():
    model = keras.Sequential([keras.Input((5,)), keras.layers.BatchNormalization(synchronized=True)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).random((8, 5), dtype="float32")
    run = kzoo.fit(model, (x, x), batch_size=8, epochs=1, strategy=strategy("mirrored"), verbose=False)
    assert run.plan.xla is False and "synchronised" in run.plan.xla_reason
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
        ({"xla": "fast"}, "xla must be 'auto', 'on' or 'off'"),
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
    plan = kzoo.fit(model, data, epochs=1, verbose=False).plan
    assert plan.xla is False and plan.xla_reason.startswith("auto: XLA cannot compile the layer 'hashing")
    with pytest.raises(kzoo.KzooError, match="XLA cannot compile the layer 'hashing"):
        kzoo.fit(model, data, epochs=1, xla="on", verbose=False)


def test_a_run_that_changes_its_strategy_says_so():
    kzoo.fit(
        "lenet5",
        "digits",
        epochs=1,
        limit_train_batches=2,
        strategy=strategy("mirrored"),
        run_dir="mine",
        verbose=False,
    )
    run = kzoo.fit(resume="mine", epochs=2, verbose=False)
    assert run.plan.notes[-1] == "begun under MirroredStrategy, goes on under default"
