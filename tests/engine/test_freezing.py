"""What is frozen stays bit by bit; a factor on the rate of a part is a factor on its updates, under every strategy."""

import functools
import itertools

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from settings import IN_PLACE, SETTINGS, by_keras, by_the_pure_step, dense, gradients, rows

import kzoo
from kzoo.engine import Phase, freeze, freezing_of, named_layers, set_trainable
from kzoo.engine.optimizers import stepper

STYLES = ("functional", "sequential", "subclass")
ROWS, BATCH = 22, 11  # an odd batch: replicas have parts of different size
FROZEN = ["conv1", "conv2_block1"]  # convolutions and batch normalizations
RATES = {"c": 0.5, "c3": 0.1, "output": 3}  # c5 has that of c


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


def trained_frozen(style, name, **arguments):
    """(weights before, weights after, plan) of two epochs of two steps."""
    keras.utils.set_random_seed(1)
    model = kzoo.create_model("resnet_cifar_tiny", style=style)
    before = values(model)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=0.01)
    options = {"freeze": FROZEN, "optimizer": optimizer, **arguments}
    _, ready = nets.learned(model, in_order(*images(32, 3)), name, epochs=2, **options)
    assert freezing_of(model).frozen[0] == "conv1_conv"  # afterwards too
    return before, values(model), ready.plan


def assert_frozen(before, after):
    """All weights and statistics of the frozen part, bit by bit; all others moved."""
    for key, value in before.items():
        same = value.tobytes() == after[key].tobytes()
        assert same == key.startswith(tuple(FROZEN)), key


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("default", "functional"),
        ("mirrored", "sequential"),
        ("default", "subclass"),
        pytest.param("default", "sequential", marks=pytest.mark.slow),
        pytest.param("mirrored", "functional", marks=pytest.mark.slow),
        pytest.param("mirrored", "subclass", marks=pytest.mark.slow),
    ],
)
def test_what_is_frozen_does_not_move(name, style):
    before, after, plan = trained_frozen(style, name)
    assert_frozen(before, after)
    assert plan.frozen.startswith("conv1_conv, conv1_bn, ") and "6 of 15 layers, 444 parameters" in plan.frozen
    assert ("frozen", plan.frozen) in plan.lines()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param("default", {"xla": True}, marks=pytest.mark.slow),
        ("one", {}),
        pytest.param("mirrored", {"xla": True}, marks=pytest.mark.slow),
        pytest.param("central", {"xla": True}, marks=pytest.mark.slow),
        pytest.param("central", {}, marks=pytest.mark.slow),
        pytest.param("mirrored", {"sync_batch_norm": True}, marks=pytest.mark.slow),
        pytest.param("default", {"kernels": False}, marks=pytest.mark.slow),
        ("default", {"precision": "mixed_bfloat16"}),
        pytest.param(
            "mirrored",
            {"optimizer": "adamw:weight_decay=0.01,use_ema=true,ema_overwrite_frequency=2"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_nor_does_it_under(name, arguments):
    before, after, _ = trained_frozen("subclass", name, **arguments)
    assert_frozen(before, after)


def test_nor_does_it_under_xla():
    """A network without convolutions, which XLA compiles in a moment."""
    keras.utils.set_random_seed(1)
    stack = [keras.Input((5,)), keras.layers.Dense(6, name="low"), keras.layers.BatchNormalization(name="low_norm")]
    model = keras.Sequential([*stack, keras.layers.Dense(2, name="head")])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    for name in ("default", "mirrored"):
        before = values(model)
        nets.learned(model, in_order(*rows()), name, freeze="low", xla=True, epochs=2)
        moved = [key for key, value in values(model).items() if value.tobytes() != before[key].tobytes()]
        assert moved == ["head/kernel", "head/bias"]


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
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    found, ready = nets.learned(ours, data, "default", epochs=2, freeze=FROZEN, optimizer=optimizer)
    assert any("fused batch norm" in kernel for kernel in ready.plan.kernels)
    assert [results["loss"] for results in found] == pytest.approx(expected, rel=1e-5)
    for key, value in values(theirs).items():
        np.testing.assert_allclose(values(ours)[key], value, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["default", "mirrored"])
def test_an_average_of_weights_leaves_what_was_frozen_later(name):
    """The optimizer knew the layer before: its average of it is the layer's value but for rounding."""
    model = dense(keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=2))
    data = tf.data.Dataset.from_tensor_slices(rows()).batch(16)
    nets.taught(model, data, name, epochs=2)
    low = model.layers[0]
    before = [w.numpy() for w in low.weights]
    low.trainable = False
    nets.taught(model, data, name, epochs=3)
    for old, new in zip(before, low.weights, strict=True):
        assert old.tobytes() == new.numpy().tobytes()


def test_a_thawed_layer_is_unknown_to_the_old_optimizer():
    data = in_order(*images(28, 1))
    model = kzoo.lenet5()
    nets.learned(model, data, "default", freeze="c1")
    set_trainable(model, ())
    with pytest.raises(kzoo.KzooError, match="the optimizer does not know .*c1/kernel.*give optimizer="):
        kzoo.fit(model, data, epochs=1, verbose=False)
    before = values(model)
    _, ready = nets.learned(model, data, "default", optimizer="adam")
    assert ready.plan.frozen == ""
    assert all(value.tobytes() != before[key].tobytes() for key, value in values(model).items())


# --- rates ----------------------------------------------------------------------------------------------------------


def stepped(style, name, **arguments):
    """{weight: its change in one step of SGD}"""
    keras.utils.set_random_seed(1)
    with tf.device("CPU:1" if name == "one" else None):  # XLA holds the variables of one device
        model, optimizer = kzoo.create_model("lenet5", style=style), keras.optimizers.SGD(0.5)
    before = values(model)
    nets.learned(model, in_order(*images(28, 1, BATCH)), name, optimizer=optimizer, **arguments)
    return {key: value - before[key] for key, value in values(model).items()}


def assert_scaled(scaled, plain):
    factors = {"c1": 0.5, "c3": 0.1, "c5": 0.5, "f6": 1.0, "output": 3.0}
    for key, change in plain.items():
        assert np.abs(change).max() > 1e-4
        np.testing.assert_allclose(scaled[key], factors[key.split("/")[0]] * change, rtol=1e-5, atol=1e-6, err_msg=key)


@functools.cache
def plain(style):
    return stepped(style, "default")


SHOWN = {
    ("default", False, "subclass"), ("default", True, "functional"), ("mirrored", False, "functional"),
    ("mirrored", True, "sequential"),
}  # fmt: skip
CROSS = [
    pytest.param(
        name, xla, style, marks=() if (name, xla, style) in SHOWN else pytest.mark.slow,
        id=f"{name}-{'xla' if xla else 'plain'}-{style}",
    )
    for name, xla, style in itertools.product(nets.MAKERS, (False, True), STYLES)
]  # fmt: skip


@pytest.mark.parametrize(("name", "xla", "style"), CROSS)
def test_an_update_is_scaled_by_its_factor(name, xla, style):
    assert_scaled(stepped(style, name, xla=xla, rates=RATES), plain(style))


FACTOR = 0.3
SLOWED = [s for s in SETTINGS if s not in ("Ftrl",)]


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


def with_a_factor(optimizer):
    """(model, its phase): every variable has that factor."""
    model = dense(optimizer)
    optimizer.build(model.trainable_variables)
    factors = {id(v): FACTOR for v in model.trainable_variables}
    return model, Phase("train", model, optimizer, lambda *_: None, factors=factors)


@pytest.mark.parametrize(
    ("setting", "how"),
    [
        pytest.param(setting, how, marks=[pytest.mark.slow] * (k % 2 != pure))
        for k, setting in enumerate(SLOWED)
        for pure, how in enumerate(("in place", "pure"))
    ],
)
def test_a_factor_everywhere_is_keras_at_that_rate(setting, how):
    """Six steps, of every optimizer: decay, clipping, accumulation, averages, constraints and loss scales included."""
    optimizer = SETTINGS[setting]()
    expected, (model, phase) = by_keras(slowed(SETTINGS[setting]())), with_a_factor(optimizer)
    if how == "in place":
        for found in gradients(model):
            stepper(phase).apply([optimizer.scale_loss(g) for g in found], model.trainable_variables)
        found = model.get_weights()
    else:
        found, _ = by_the_pure_step(model, optimizer, stepper(phase))
    for mine, theirs in zip(found, expected[0], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert type(optimizer) is type(SETTINGS[setting]())  # nothing of it is changed


WHERE = {
    "mirrored": ("average, written",),
    "default": ("decay, no biases", "accumulation, clip"),
    "update by xla": ("loss scaling",),
}
TRAINED = [
    pytest.param(name, setting, marks=() if setting in WHERE[name] else pytest.mark.slow)
    for name, settings in (("mirrored", SLOWED), ("default", IN_PLACE), ("update by xla", IN_PLACE))
    for setting in settings
]


@pytest.mark.parametrize(("name", "setting"), TRAINED)
def test_training_with_a_factor_everywhere_is_keras_at_that_rate(name, setting, monkeypatch):
    x, y = rows()
    monkeypatch.setattr("kzoo.engine.kernels.MANY", 1 if name == "update by xla" else 10**6)
    monkeypatch.setattr("kzoo.engine.kernels.REPAYS", 1)
    stock = dense(slowed(SETTINGS[setting]()))
    stock.fit(x, y, batch_size=32, epochs=6, shuffle=False, verbose=0)
    ours = dense(SETTINGS[setting]())
    where = "mirrored" if name == "mirrored" else "default"
    trainer = nets.taught(ours, in_order(x, y, 32), where, epochs=6, xla="off", rates={"dense": FACTOR})
    assert ("update by xla" in trainer.engine.kernels.names) == (name == "update by xla")
    for a, b in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert type(ours.optimizer) is type(stock.optimizer)


@pytest.mark.parametrize("optimizer", [keras.optimizers.Ftrl, keras.optimizers.ScheduleFreeAdamW])
def test_what_cannot_be_scaled_is_refused(optimizer, tmp_path):
    for where in ("default", "mirrored"):
        with pytest.raises(kzoo.KzooError, match=f"rates cannot scale the updates of {optimizer.__name__}"):
            kzoo.fit(kzoo.lenet5(), in_order(*images(28, 1)), optimizer=optimizer(), rates={"c1": 0.1},
                     strategy=nets.strategy(where), verbose=False)  # fmt: skip
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
    nets.learned(model, (np.full((8, 4), 2), np.ones((8, 2), "float32")), "default", rates={"words": 0.1})
    moved = (values(model)["words/embeddings"] != before).any(axis=1)
    assert moved.tolist() == [k == 2 for k in range(9)]


# --- asked of each process by test_processes.py ---------------------------------------------------------------------


def in_processes():
    """What moved of a model with a frozen part, and changes of one step with factors on rates."""
    workers = kzoo.strategy("multiworker")
    before, after, _ = trained_frozen("sequential", workers)
    moved = [key for key, value in before.items() if value.tobytes() != after[key].tobytes()]
    changes = stepped("functional", workers, xla=True, rates=RATES)
    return {"moved": moved, "changes": {k: v.tolist() for k, v in changes.items()}}


def on_servers():
    """{weight: its change in one step} with factors on rates."""
    changes = stepped("functional", kzoo.strategy("parameter_server"), rates=RATES)
    return {key: change.tolist() for key, change in changes.items()}


# --- the run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.slow
def test_a_resumed_run_freezes_and_scales_as_before(style):
    data = in_order(*images(32, 3))
    arguments = {"freeze": FROZEN, "rates": {"conv3_block1": 0.1}, "verbose": False,
                 "optimizer": "adam:learning_rate=0.01", "schedule": "cosine"}  # fmt: skip

    def build():
        keras.utils.set_random_seed(1)
        return kzoo.create_model("resnet_cifar_tiny", style=style)

    whole = build()
    options = {key: value for key, value in arguments.items() if key != "verbose"}
    nets.taught(whole, data, "default", epochs=3, **options)
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


@pytest.mark.parametrize("name", [pytest.param("default", marks=pytest.mark.slow), "mirrored"])
def test_two_networks(name):
    """Each learns at its own rate, and one may be frozen in part."""
    data = kzoo.Data(images(28, 1, 8))

    def changes(**arguments):
        keras.utils.set_random_seed(1)
        model = kzoo.create_model("dcgan_tiny")
        before = values(model)
        nets.learned(model, data, name, batch_size=8, optimizer=keras.optimizers.SGD(0.1), **arguments)
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
        ({"rates": {"c1": 0}}, "the factor of 'c1' in rates must be a number above 0; received 0 .freeze stops it."),
        ({"rates": {"c1": float("nan")}}, "must be a number above 0; received nan"),
        ({"rates": {"c1": "slow"}}, "must be a number above 0; received 'slow'"),
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
