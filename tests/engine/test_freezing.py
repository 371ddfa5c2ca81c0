"""What is frozen stays bit by bit; a factor on the rate of a part is a factor on its updates, under every strategy."""

import functools

import cluster
import keras
import numpy as np
import pytest
import tensorflow as tf
import test_engine

import kzoo
from kzoo.engine.freezing import freeze, freezing_of, named_layers, set_trainable

STYLES = ("functional", "sequential", "subclass")
MAKERS = {
    "default": lambda: kzoo.strategy("default"),
    "one": lambda: kzoo.strategy("one", ["CPU:1"]),
    "mirrored": lambda: kzoo.strategy("mirrored", ["CPU:0", "CPU:1"]),
    "central": lambda: kzoo.strategy("central", ["CPU:0", "CPU:1"]),
}
ROWS, BATCH = 22, 11  # an odd batch: replicas have parts of different size
FROZEN = ["conv1", "conv2_block1"]  # convolutions and batch normalizations
RATES = {"c": 0.5, "c3": 0.1, "output": 3}  # c5 has that of c


@functools.cache
def strategy(name):
    return MAKERS[name]()


def images(side, channels, rows=ROWS):
    rng = np.random.default_rng(0)
    return rng.random((rows, side, side, channels), dtype="float32"), rng.integers(0, 10, rows)


def in_order(x, y, batch=BATCH):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)


def values(model):
    return {name: variable.numpy() for name, variable in kzoo.weights_by_name(model).items()}


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet_cifar_tiny", "googlenet_tiny", "transformer_tiny", "dcgan_tiny"])
def test_names_and_their_order_are_the_same_in_every_style(name):
    found = [list(named_layers(kzoo.create_model(name, style=style))) for style in STYLES]
    assert found[0] == found[1] == found[2]
    named = {key.split("/")[0] for key in kzoo.weights_by_name(kzoo.create_model(name))}
    assert named == set(found[0])


def test_the_order_is_that_of_the_definition():
    names = list(named_layers(kzoo.create_model("resnet_cifar_tiny")))
    assert names[:3] == ["conv1_conv", "conv1_bn", "conv2_block1_1_conv"] and names[-1] == "predictions"


@pytest.mark.parametrize("style", STYLES)
def test_nothing_is_left_half_frozen(style):
    model = kzoo.create_model("resnet_cifar_tiny", style=style)
    count = len(model.trainable_variables)
    freezing = freeze(model, FROZEN)
    assert freezing == freezing_of(model)
    assert freezing.frozen == tuple(n for n in named_layers(model) if n.startswith(tuple(FROZEN)))
    inside = [v for n in freezing.frozen for v in named_layers(model)[n].weights]
    assert freezing.kept == sum(v.numpy().size for v in inside) and not any(v.trainable for v in inside)
    assert freezing.trained == sum(v.numpy().size for v in model.trainable_variables)
    assert len(model.trainable_variables) + sum(len(named_layers(model)[n].trainable_variables) for n in
               freezing.frozen) < count  # fmt: skip
    set_trainable(model, "conv1")
    assert freezing_of(model).frozen == ("conv1_conv", "conv1_bn")
    assert str(set_trainable(model, ())) == "nothing is frozen: 15 layers learn, 2,590 parameters"
    assert len(model.trainable_variables) == count


def test_a_container_frozen_by_hand_thaws_whole():
    model = kzoo.create_model("resnet_cifar_tiny", style="subclass")
    model.trainable = False
    set_trainable(model, ["conv1"])
    assert freezing_of(model).frozen == ("conv1_conv", "conv1_bn") and model.trainable
    assert all(block.trainable for block in model.stages if block.name.startswith("conv2"))


def test_a_model_inside_a_model_is_named_as_well():
    inner = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="low")], name="base")
    model = keras.Sequential([keras.Input((5,)), inner, keras.layers.Dense(2, name="head")])
    assert list(named_layers(model)) == ["low", "head"]
    assert freeze(model, "base").frozen == ("low",)
    assert set_trainable(model, "low").frozen == ("low",)


def test_layers_of_layers_are_frozen_with_them():
    inputs = keras.Input((7,), dtype="int32")
    x = keras.layers.Embedding(9, 4, name="words")(inputs)
    x = keras.layers.Bidirectional(keras.layers.LSTM(3), name="both")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    assert list(named_layers(model)) == ["words", "both", "head"]
    freeze(model, "both")
    assert [v.path.split("/")[0] for v in model.trainable_variables] == ["words", "head", "head"]


# --- freezing -------------------------------------------------------------------------------------------------------


def fit_frozen(style, name, **arguments):
    keras.utils.set_random_seed(1)
    model = kzoo.create_model("resnet_cifar_tiny", style=style)
    before = values(model)
    run = kzoo.fit(
        model, in_order(*images(32, 3)), epochs=2, strategy=name if hasattr(name, "scope") else strategy(name),
        verbose=False, **{"freeze": FROZEN, "optimizer": keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=0.01),
                          **arguments},
    )  # fmt: skip
    return before, values(model), run


def assert_frozen(before, after):
    """All weights and statistics of the frozen part, bit by bit; all others moved."""
    for key, value in before.items():
        same = value.tobytes() == after[key].tobytes()
        assert same == key.startswith(tuple(FROZEN)), key


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["default", "mirrored"])
def test_what_is_frozen_does_not_move(name, style):
    before, after, run = fit_frozen(style, name)
    assert_frozen(before, after)
    assert run.plan.frozen.startswith("conv1_conv, conv1_bn, ") and "6 of 15 layers, 444 parameters" in run.plan.frozen
    assert ("frozen", run.plan.frozen) in run.plan.lines()
    assert freezing_of(run.model).frozen[0] == "conv1_conv"  # afterwards too


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("default", {"xla": True}),
        ("one", {}),
        ("mirrored", {"xla": True}),
        ("central", {"xla": True}),
        ("mirrored", {"sync_batch_norm": True}),
        ("default", {"kernels": False}),
        ("default", {"precision": "mixed_bfloat16"}),
        ("mirrored", {"optimizer": "adamw:weight_decay=0.01,use_ema=true,ema_overwrite_frequency=2"}),
    ],
)
def test_nor_does_it_under(name, arguments):
    before, after, _ = fit_frozen("subclass", name, **arguments)
    assert_frozen(before, after)


def test_two_processes_freeze_alike(tmp_path):
    (one, *_), (two, *_) = cluster.run("freezing", {"worker": 2}, tmp_path)
    assert one["moved"] == two["moved"]
    assert not [key for key in one["moved"] if key.startswith(tuple(FROZEN))] and len(one["moved"]) > 20
    plain, scaled = stepped("functional", "default"), stepped("functional", "default", rates=RATES)
    for found in (one, two):
        for key, change in scaled.items():
            np.testing.assert_allclose(found["changes"][key], change, atol=1e-6, err_msg=key)
    assert_scaled(scaled, plain)


def in_processes():
    """What test_two_processes_freeze_alike asks of each process."""
    workers = kzoo.strategy("multiworker")
    before, after, _ = fit_frozen("sequential", workers)
    moved = [key for key, value in before.items() if value.tobytes() != after[key].tobytes()]
    changes = stepped("functional", workers, xla=True, rates=RATES)
    return [{"moved": moved, "changes": {k: v.tolist() for k, v in changes.items()}}]


def test_a_frozen_part_is_that_of_keras():
    """Trained by Keras' own step with `trainable` set by hand."""
    data = in_order(*images(32, 3))
    ours, theirs = (kzoo.create_model("resnet_tiny", input_shape=(32, 32, 3), style=s) for s in STYLES[::2])
    kzoo.copy_weights(ours, theirs)
    for layer in theirs._flatten_layers():
        if layer.name.startswith(tuple(FROZEN)):
            layer.trainable = False
    theirs.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
    expected = theirs.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]
    run = kzoo.fit(ours, data, epochs=2, freeze=FROZEN, optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
                   verbose=False)  # fmt: skip
    assert any("fused batch norm" in kernel for kernel in run.plan.kernels)
    assert run.history["loss"] == pytest.approx(expected, rel=1e-5)
    for key, value in values(theirs).items():
        np.testing.assert_allclose(values(ours)[key], value, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["default", "mirrored"])
def test_an_average_of_weights_leaves_what_was_frozen_later(name):
    """The optimizer knew the layer before: its average of it is the layer's value but for rounding."""
    model = test_engine.dense(keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=2))
    data = tf.data.Dataset.from_tensor_slices(test_engine.rows()).batch(16)
    kzoo.fit(model, data, epochs=2, strategy=strategy(name), verbose=False)
    low = model.layers[0]
    before = [w.numpy() for w in low.weights]
    low.trainable = False
    kzoo.fit(model, data, epochs=3, strategy=strategy(name), verbose=False)
    for old, new in zip(before, low.weights, strict=True):
        assert old.tobytes() == new.numpy().tobytes()


def test_a_thawed_layer_is_unknown_to_the_old_optimizer():
    data = in_order(*images(28, 1))
    model = kzoo.lenet5()
    kzoo.fit(model, data, epochs=1, freeze="c1", verbose=False)
    set_trainable(model, ())
    with pytest.raises(kzoo.KzooError, match="the optimizer does not know .*c1/kernel.*give optimizer="):
        kzoo.fit(model, data, epochs=1, verbose=False)
    before = values(model)
    run = kzoo.fit(model, data, epochs=1, optimizer="adam", verbose=False)
    assert run.plan.frozen == ""
    assert all(value.tobytes() != before[key].tobytes() for key, value in values(model).items())


# --- rates ----------------------------------------------------------------------------------------------------------


def stepped(style, name, **arguments):
    """{weight: its change in one step of SGD}"""
    keras.utils.set_random_seed(1)
    with tf.device("CPU:1" if name == "one" else None):  # XLA holds the variables of one device
        model, optimizer = kzoo.create_model("lenet5", style=style), keras.optimizers.SGD(0.5)
    before = values(model)
    kzoo.fit(
        model, in_order(*images(28, 1, BATCH)), epochs=1, optimizer=optimizer, verbose=False,
        strategy=name if hasattr(name, "scope") else strategy(name), **arguments,
    )  # fmt: skip
    return {key: value - before[key] for key, value in values(model).items()}


def assert_scaled(scaled, plain):
    factors = {"c1": 0.5, "c3": 0.1, "c5": 0.5, "f6": 1.0, "output": 3.0}
    for key, change in plain.items():
        assert np.abs(change).max() > 1e-4
        np.testing.assert_allclose(scaled[key], factors[key.split("/")[0]] * change, rtol=1e-5, atol=1e-6, err_msg=key)


@functools.cache
def plain(style):
    return stepped(style, "default")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
@pytest.mark.parametrize("name", MAKERS)
def test_an_update_is_scaled_by_its_factor(name, xla, style):
    assert_scaled(stepped(style, name, xla=xla, rates=RATES), plain(style))


def test_an_update_on_a_parameter_server_is_scaled(tmp_path):
    (found,) = cluster.run("scaled_on_servers", {"chief": 1, "worker": 1, "ps": 1}, tmp_path)
    assert_scaled({key: np.array(change) for key, change in found.items()}, plain("functional"))


FACTOR = 0.3
SLOWED = [s for s in test_engine.SETTINGS if s not in ("Ftrl",)]
WHERE = [*(("mirrored", s) for s in SLOWED), *((n, s) for n in ("default", "xla") for s in test_engine.IN_PLACE)]


def slowed(optimizer):
    """The same at FACTOR times its learning rate."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        slowed(optimizer.inner_optimizer)
    elif isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        config = optimizer._learning_rate.get_config()
        config["initial_learning_rate"] *= FACTOR
        optimizer.learning_rate = type(optimizer._learning_rate).from_config(config)
    else:
        optimizer.learning_rate = float(optimizer.learning_rate.numpy()) * FACTOR
    return optimizer


@pytest.mark.parametrize(("name", "setting"), WHERE)
def test_a_factor_everywhere_is_keras_at_that_rate(name, setting, monkeypatch):
    """Six steps, of every optimizer: decay, clipping, accumulation, averages, constraints and loss scales included."""
    x, y = test_engine.rows()
    monkeypatch.setattr("kzoo.engine.kernels.MANY", 1 if name == "xla" else 10**6)
    stock = test_engine.dense(slowed(test_engine.SETTINGS[setting]()))
    stock.fit(x, y, batch_size=32, epochs=6, shuffle=False, verbose=0)
    ours = test_engine.dense(test_engine.SETTINGS[setting]())
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    where = strategy("mirrored") if name == "mirrored" else "default"
    run = kzoo.fit(ours, data, epochs=6, strategy=where, xla="off", rates={"dense": FACTOR}, verbose=False)
    assert ("update by xla" in run.plan.kernels) == (name == "xla")
    for a, b in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert type(ours.optimizer) is type(stock.optimizer)


@pytest.mark.parametrize("optimizer", [keras.optimizers.Ftrl, keras.optimizers.ScheduleFreeAdamW])
def test_what_cannot_be_scaled_is_refused(optimizer, tmp_path):
    for where in ("default", "mirrored"):
        with pytest.raises(kzoo.KzooError, match=f"rates cannot scale the updates of {optimizer.__name__}"):
            kzoo.fit(kzoo.lenet5(), in_order(*images(28, 1)), optimizer=optimizer(), rates={"c1": 0.1},
                     strategy=strategy(where), verbose=False)  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_factors_of_one_cost_nothing(monkeypatch):
    from kzoo.engine import optimizers

    monkeypatch.setattr(optimizers, "_partly", lambda *_: pytest.fail("a copy was made"))
    stepped("functional", "default", rates={"c1": 1, "output": 1.0})
    stepped("functional", "mirrored")


def test_an_embedding_scaled_keeps_the_rows_that_are_not_read():
    inputs = keras.Input((4,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 3, name="words")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    before = values(model)["words/embeddings"]
    kzoo.fit(model, (np.full((8, 4), 2), np.ones((8, 2), "float32")), rates={"words": 0.1}, epochs=1, verbose=False)
    moved = (values(model)["words/embeddings"] != before).any(axis=1)
    assert moved.tolist() == [k == 2 for k in range(9)]


# --- the run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_a_resumed_run_freezes_and_scales_as_before(style):
    data = in_order(*images(32, 3))
    arguments = {"freeze": FROZEN, "rates": {"conv3_block1": 0.1}, "verbose": False,
                 "optimizer": "adam:learning_rate=0.01", "schedule": "cosine"}  # fmt: skip

    def build():
        keras.utils.set_random_seed(1)
        return kzoo.create_model("resnet_cifar_tiny", style=style)

    whole = build()
    kzoo.fit(whole, data, epochs=3, **arguments)
    first = build()

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    run = kzoo.fit(first, data, epochs=3, run_dir="cut", callbacks=[Stop()], **arguments)
    assert run.plan.rates == "conv3_block1 x 0.1 (4 layers)"
    resumed = kzoo.fit(data=data, resume="cut", verbose=False)
    assert resumed.plan.frozen == run.plan.frozen and resumed.plan.rates == run.plan.rates
    for key, value in values(whole).items():
        np.testing.assert_allclose(values(resumed.model)[key], value, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", ["default", "mirrored"])
def test_two_players(name):
    """Each learns at its own rate, and one may be frozen in part."""
    data = kzoo.Data(images(28, 1, 8))

    def changes(**arguments):
        keras.utils.set_random_seed(1)
        model = kzoo.create_model("dcgan_tiny")
        before = values(model)
        kzoo.fit(model, data, epochs=1, batch_size=8, optimizer=keras.optimizers.SGD(0.1),
                 strategy=strategy(name), verbose=False, **arguments)  # fmt: skip
        return {key: value - before[key] for key, value in values(model).items()}

    first = list(named_layers(kzoo.create_model("dcgan_tiny")))[0]
    one, two = changes(), changes(rates={"discriminator": 0.5}, freeze=first)
    for key, change in one.items():
        if key.startswith("discriminator") and "moving" not in key:
            factor = 0 if key.split("/")[0] == first else 0.5
            np.testing.assert_allclose(two[key], factor * change, atol=1e-7, err_msg=key)
    with pytest.raises(kzoo.KzooError, match="leaves nothing of 'generator' to learn"):
        kzoo.fit(kzoo.create_model("dcgan_tiny"), data, freeze="generator", verbose=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"freeze": "c9"}, "unknown layer in freeze 'c9'; did you mean 'c[135]'"),
        ({"freeze": ["c1", "zzz"]}, "unknown layer in freeze 'zzz'; kzoo.summary lists the layers of 'lenet5'"),
        ({"freeze": [""]}, "freeze must be names of layers"),
        ({"freeze": 3}, "freeze must be names of layers"),
        ({"freeze": ["c", "f", "o"]}, "freeze leaves nothing of 'lenet5' to learn"),
        ({"rates": {"c9": 0.1}}, "unknown layer in rates 'c9'"),
        ({"rates": {"c1": 0}}, "the factor of 'c1' in rates must be above 0; received 0"),
        ({"rates": {"c1": float("nan")}}, "must be above 0; received nan"),
        ({"rates": {"c1": "slow"}}, "must be above 0; received 'slow'"),
        ({"rates": 0.1}, "rates must be {how names of layers begin: factor}; received 0.1"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    model = kzoo.lenet5()
    with pytest.raises(kzoo.KzooError, match=message) as error:
        kzoo.fit(model, in_order(*images(28, 1)), verbose=False, **arguments)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
    assert len(model.trainable_variables) == 10
