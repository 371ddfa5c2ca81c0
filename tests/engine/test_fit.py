"""fit: the numbers are Keras', callbacks see the truth, what is refused is refused before anything is written."""

import functools
import re
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kzoo
from kzoo.engine import choose_xla
from kzoo.inputs import Batches, Reader


def fit(model, data, **arguments):
    return kzoo.fit(model, data, **{"verbose": False, **arguments})


def history(model, data, epochs=1, **options):
    """Of what `fit` trains, without its run folder."""
    return nets.taught(model, data, "default", epochs=epochs, **options).history


def plan_of(model, data, epochs=1, **options):
    """What `fit` decides, without the training."""
    return nets.made(model, data, "default", epochs=epochs, **options)[1].plan


def dense(seed=0, **compile_with):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="tanh"), layers.Dense(3)])
    if compile_with:
        model.compile(**compile_with)
    return model


def batches(rng, count=70, size=16):
    """Ready-made batches, so that kzoo and Keras see the same in the same order; the last one is ragged."""
    x, y = rng.random((count, 6), dtype="float32"), rng.integers(0, 3, count)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size)


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "clipped": lambda: keras.optimizers.SGD(0.5, clipnorm=0.1),
    "decayed": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "cosine": lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 15)),
}


BY_XLA = ("momentum", "decayed")  # by default; the others too under --slow


@functools.cache
def by_kzoo(optimizer, xla):
    """(history, weights, steps that the optimizer has counted) of three epochs of five batches, the last one ragged."""
    ours = dense(optimizer=OPTIMIZERS[optimizer](), loss=LOSS, metrics=["accuracy"])
    found = history(ours, batches(np.random.default_rng(0)), epochs=3, xla=xla)
    return found, ours.get_weights(), int(ours.optimizer.iterations)


@functools.cache
def by_keras(optimizer):
    """(history, weights) of Model.fit on the same."""
    theirs = dense(optimizer=OPTIMIZERS[optimizer](), loss=LOSS, metrics=["accuracy"])
    found = theirs.fit(batches(np.random.default_rng(0)), epochs=3, verbose=0, shuffle=False).history
    return found, theirs.get_weights()


@pytest.mark.parametrize(
    ("optimizer", "xla"),
    [
        pytest.param(optimizer, xla, marks=pytest.mark.slow if xla and optimizer not in BY_XLA else ())
        for optimizer in OPTIMIZERS
        for xla in (False, True)
    ],
)
def test_losses_metrics_and_weights_are_keras(optimizer, xla):
    (found, mine, steps), (expected, theirs) = by_kzoo(optimizer, xla), by_keras(optimizer)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert steps == 15


def test_batch_norm_dropout_regularisers_and_added_losses_are_keras(rng):
    class Penalty(layers.Layer):
        def call(self, x):
            self.add_loss(1e-2 * keras.ops.mean(keras.ops.square(x)))
            return x

    def build():
        keras.utils.set_random_seed(3)
        x = keras.Input((6,))
        y = layers.Dense(8, kernel_regularizer="l2")(x)
        y = layers.BatchNormalization()(y)
        y = layers.Dropout(0.5)(Penalty()(y))
        model = keras.Model(x, layers.Dense(3)(y))
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), LOSS)
        return model

    data = batches(rng)
    theirs, ours = build(), build()
    expected = theirs.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"]
    np.testing.assert_allclose(history(ours, data, epochs=2, xla=False)["loss"], expected, rtol=1e-5)
    for a, b in zip(ours.variables, theirs.variables, strict=False):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)


def test_several_inputs_and_outputs_and_sample_weights(rng):
    def build():
        keras.utils.set_random_seed(0)
        a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
        h = layers.Concatenate()([a, b])
        outputs = {"number": layers.Dense(1, name="number")(h), "kind": layers.Dense(3, name="kind")(h)}
        model = keras.Model({"a": a, "b": b}, outputs)
        model.compile(
            keras.optimizers.SGD(0.1), loss={"number": "mse", "kind": LOSS}, loss_weights={"number": 0.3, "kind": 1.0},
            metrics={"kind": ["accuracy"]},
        )  # fmt: skip
        return model

    n = 32  # whole batches: over ragged ones Keras averages each output's loss by batches, kzoo by examples
    x = {"a": rng.random((n, 4), dtype="float32"), "b": rng.random((n, 2), dtype="float32")}
    y = {"number": rng.random((n, 1), dtype="float32"), "kind": rng.integers(0, 3, n)}
    w = {"number": rng.random(n, dtype="float32"), "kind": np.ones(n, "float32")}
    data = tf.data.Dataset.from_tensor_slices((x, y, w)).batch(8)
    theirs, ours = build(), build()
    expected = theirs.fit(data, epochs=2, verbose=0, shuffle=False).history
    found = history(ours, data, epochs=2)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    ragged = history(build(), data.unbatch().take(30).batch(8))
    parts = 0.3 * ragged["number_loss"][0] + ragged["kind_loss"][0]
    assert parts == pytest.approx(ragged["loss"][0], rel=1e-5)  # the outputs' losses add up to the loss


def test_arrays_are_shuffled_and_batched_as_given(rng):
    x, y = rng.random((50, 6), dtype="float32"), rng.integers(0, 3, 50)
    model, epochs = dense(optimizer="adam", loss=LOSS), 2
    feed, ready = nets.made(model, (x, y), "default", batch_size=8, epochs=epochs)
    assert ready.plan.input == "as given, neither resized nor scaled"
    assert ready.plan.steps_per_epoch == 7
    seen = [np.concatenate([np.asarray(batch[0]) for batch in feed.train.epoch(n)]) for n in range(epochs)]
    for found in (*seen, x):
        np.testing.assert_array_equal(found[np.lexsort(found.T)], x[np.lexsort(x.T)])  # each example once, as it is
    assert not np.array_equal(seen[0], x) and not np.array_equal(seen[0], seen[1])
    assert len(history(model, (x, y), batch_size=8, epochs=epochs)["loss"]) == epochs


def test_a_second_fit_continues(rng):
    """Two times two epochs have the history and the weights of Keras' four, with held-out batches of their own."""
    x, y = rng.random((64, 6), dtype="float32"), rng.integers(0, 3, 64)
    held = rng.random((20, 6), dtype="float32"), rng.integers(0, 3, 20)
    theirs, ours = (dense(optimizer=OPTIMIZERS["adam"](), loss=LOSS, metrics=["accuracy"]) for _ in range(2))
    whole = {"batch_size": 64, "epochs": 4, "verbose": 0}  # one batch an epoch: its order changes no sum
    expected = theirs.fit(x, y, validation_data=held, **whole).history
    data = kzoo.Data((x, y), held)
    first, second = (fit(ours, data, batch_size=64, epochs=2) for _ in range(2))
    assert first.model is ours and first.history.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose([*first.history[name], *second.history[name]], expected[name], rtol=1e-5)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert int(ours.optimizer.iterations) == 4
    assert data.info.counts == {"train": 64, "validation": 20}
    assert kzoo.Data(batches(rng), batches(rng, 20)).info.counts["train"] == 5


def test_the_trained_model_goes_on_under_keras(rng):
    data = batches(rng)
    model = dense(optimizer=OPTIMIZERS["adam"](), loss=LOSS, metrics=["accuracy"])
    found = [loss for epochs in (1, 2) for loss in history(model, data, epochs=epochs, xla=False)["loss"]]
    expected, weights, steps = by_kzoo("adam", False)
    np.testing.assert_allclose(found, expected["loss"], rtol=1e-6)  # of three epochs in one go
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert int(model.optimizer.iterations) == steps
    assert np.isfinite(model.fit(data, epochs=1, verbose=0, shuffle=False).history["loss"][0])
    assert np.isfinite(model.evaluate(data, verbose=0)).all()


class TestCallbacks:
    def test_hooks_come_as_in_keras(self, rng):
        class Log(keras.callbacks.Callback):
            def __init__(self):
                super().__init__()
                self.seen = []

        hooks = (
            "on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_test_begin",
            "on_test_end", "on_epoch_end", "on_train_end",
        )  # fmt: skip
        for hook in hooks:
            setattr(Log, hook, lambda self, *args, hook=hook, **kw: self.seen.append(hook))
        theirs, ours = Log(), Log()
        data = kzoo.Data((rng.random((20, 6), dtype="float32"), rng.integers(0, 3, 20)),
                         (rng.random((8, 6), dtype="float32"), rng.integers(0, 3, 8)))  # fmt: skip
        dense(optimizer="sgd", loss=LOSS).fit(
            data.train.batch(8),
            validation_data=data.validation.batch(8),
            epochs=2,
            verbose=0,
            shuffle=False,
            callbacks=[theirs],
        )
        history(dense(optimizer="sgd", loss=LOSS), data, batch_size=8, epochs=2, callbacks=[ours])
        assert ours.seen == theirs.seen

    def test_they_see_the_true_weights_and_losses(self, rng):
        class Look(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.losses = [*getattr(self, "losses", []), logs["loss"]]
                self.kernel = self.model.layers[0].kernel.numpy().copy()

        look, model = Look(), dense(optimizer="adam", loss=LOSS)
        found = history(model, batches(rng), epochs=3, callbacks=[look], xla="off")
        assert look.losses == found["loss"]
        np.testing.assert_array_equal(look.kernel, model.layers[0].kernel.numpy())

    def test_what_they_set_takes_effect(self, rng):
        rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0)
        model = dense(optimizer="sgd", loss=LOSS)
        before = model.layers[0].kernel.numpy().copy()
        history(model, batches(rng), epochs=2, callbacks=[rates], xla="off")
        np.testing.assert_array_equal(model.layers[0].kernel.numpy(), before)

    def test_early_stopping_stops_and_restores(self, rng):
        data = kzoo.Data((rng.random((20, 6), dtype="float32"), rng.integers(0, 3, 20)),
                         (rng.random((8, 6), dtype="float32"), rng.integers(0, 3, 8)))  # fmt: skip
        stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
        model = dense(optimizer=keras.optimizers.SGD(5.0), loss=LOSS)
        found = history(model, data, epochs=50, batch_size=8, callbacks=[stop], xla="off")
        assert len(found["loss"]) < 50
        x, y = next(iter(data.validation.batch(8)))
        assert float(LOSS(y, model(x))) == pytest.approx(min(found["val_loss"]), rel=1e-5)

    def test_keras_own_ones_run(self, rng, tmp_path):
        ones = [
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras"),
            keras.callbacks.ReduceLROnPlateau("loss", patience=0, factor=0.5, min_delta=100),
            keras.callbacks.TensorBoard(tmp_path / "tb"),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.TerminateOnNaN(),
        ]
        model = dense(optimizer=keras.optimizers.SGD(1.0), loss=LOSS)
        history(model, batches(rng), epochs=3, callbacks=ones, xla="off")
        assert (tmp_path / "best.keras").is_file() and len((tmp_path / "log.csv").read_text().splitlines()) == 4
        assert float(model.optimizer.learning_rate) < 1.0


def test_nothing_is_traced_after_the_first_epoch(rng):
    traces = []

    class Counting(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), Counting(), layers.Dense(3)])
    model.compile("sgd", LOSS)
    counts = []
    count = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: counts.append(len(traces)))
    history(model, kzoo.Data((rng.random((30, 6)), rng.integers(0, 3, 30))), batch_size=8, epochs=4, callbacks=[count])
    assert counts[0] == counts[-1]


class TestWhereThingsComeFrom:
    def test_recipe(self):
        plan = plan_of("mlp", "digits", epochs=1)
        assert plan.sources["loss"] == plan.sources["batch_size"] == "the model's recipe"
        assert plan.sources.get("epochs") is None, "given"
        assert plan.loss == "sparse_categorical_crossentropy"

    def test_the_models_own_compile(self, rng):
        plan = plan_of(dense(optimizer="rmsprop", loss=LOSS), batches(rng))
        assert plan.sources["optimizer"] == "the model's compile" and plan.optimizer.startswith("RMSprop")

    def test_arguments_go_first(self):
        plan = plan_of("lenet5", "digits", optimizer="sgd", learning_rate=0.5, batch_size=100)
        assert plan.optimizer == "SGD, learning rate 0.5" and plan.sources["optimizer"] == "given"
        assert plan.batch_size == 100

    def test_a_run_has_that_plan(self, trained):
        assert trained.plan.epochs == 2 and trained.plan.sources == plan_of("lenet5", "digits", epochs=2).sources

    def test_a_model_on_logits_gets_a_loss_on_logits(self):
        plan = plan_of(kzoo.lenet5(classifier_activation=None), "digits", limit_train_batches=2)
        assert plan.loss == "SparseCategoricalCrossentropy on logits"

    def test_resizing_and_conversion_are_said(self):
        notes = plan_of(kzoo.lenet5(input_shape=(32, 32, 3)), "digits", limit_train_batches=2).notes
        assert "images are resized from 8x8 to 32x32" in notes
        assert "images are converted from grey to RGB" in notes

    def test_xla_by_the_kind_of_network(self):
        assert plan_of("lenet5", "digits", limit_train_batches=1).xla is False
        assert choose_xla(kzoo.mlp(), "auto") == (True, "auto: faster on CPU for networks without convolutions and"
                                                  " Keras' attention")  # fmt: skip
        said = "auto: 2 steps are too few to repay the compilation"
        assert plan_of("mlp", "digits", limit_train_batches=2).xla_reason == said
        assert plan_of("lenet5", "digits", limit_train_batches=1, xla="on").xla_reason == "asked for"

    def test_xla_of_the_models_compile_and_eager_mode(self, rng):
        model = keras.Sequential([keras.Input((6,)), layers.Reshape((6, 1)), layers.Conv1D(4, 3), layers.Flatten(),
                                  layers.Dense(3)])  # fmt: skip
        model.compile("sgd", LOSS, jit_compile=True)
        plan = plan_of(model, batches(rng))
        assert plan.xla is True and plan.xla_reason == "the model's compile(jit_compile=True)"
        plan = plan_of(dense(optimizer="sgd", loss=LOSS, run_eagerly=True), batches(rng))
        assert "compile(run_eagerly=True) is not kept: kzoo's loop is compiled" in plan.notes


def test_a_model_that_cannot_be_saved_trains_and_says_so(rng):
    class Unsaved(keras.Model):
        def __init__(self, function):
            super().__init__()
            self.function, self.dense = function, layers.Dense(3)

        def call(self, x):
            return self.function(self.dense(x))

    model = Unsaved(lambda x: 2 * x)
    model(np.zeros((1, 6), "float32"))
    model.compile("sgd", LOSS)
    run = fit(model, batches(rng), epochs=2)
    assert "cannot be saved whole" in run.plan.notes[-1]
    assert not (run.path / "model.keras").exists()
    assert len(fit(model, batches(rng), epochs=3, resume=run.path).history["loss"]) == 3


def test_the_same_seed_gives_the_same_run():
    few = {"limit_train_batches": 6}
    losses = [history("mlp", "digits", epochs=2, seed=seed, xla="off", **few)["loss"] for seed in (5, 5, 6)]
    assert losses[0] == losses[1] != losses[2]


def test_a_users_convnet_gets_images_it_can_read():
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(10),
        ]
    )
    model.compile("adam", LOSS, metrics=["accuracy"])
    run = fit(model, "digits", epochs=1, limit_train_batches=2)
    assert run.plan.input == "16x16x3, / 255 (kzoo's default for images)"
    assert 0 < kzoo.evaluate(run.path).accuracy <= 1


class TestRefused:
    """One line each, and no run folder."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"model": "lenet"}, "unknown model 'lenet'"),
            ({"data": "digitz"}, "unknown data set 'digitz'; did you mean 'digits'"),
            ({"style": "eager"}, "unknown style 'eager'"),
            ({"epochs": 0}, "epochs must be a whole number of at least 1; received 0"),
            ({"batch_size": 1.5}, "batch_size must be a whole number"),
            ({"strategy": "mirror"}, "unknown strategy 'mirror'"),
            ({"xla": "maybe"}, "unknown xla 'maybe'; allowed: auto, on, off"),
            ({"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean 'adam'"),
            ({"seed": -1}, "seed must be a whole number from 0 to"),
            ({"seed": "a"}, "seed must be a whole number from 0 to"),
            ({"learning_rate": -1}, "learning_rate must be a number above 0; received -1"),
            ({"learning_rate": "x"}, "learning_rate must be a number above 0"),
            ({"max_time": float("nan")}, "max_time must be a number above 0"),
            ({"optimizer": "sgd:clipnom=1"}, "unknown setting of SGD 'clipnom'; did you mean 'clipnorm'"),
            ({"optimizer": "sgd:momentum=2"}, "optimizer='sgd:momentum=2': `momentum` must be a float between"),
            ({"optimizer": "sgd:momentum=high"}, "momentum=high in optimizer='sgd:momentum=high': give a number"),
            ({"warmup": 0}, "warmup must be a whole number of at least 1; received 0"),
            ({"class_weight": {0: 1.0, 20: 5.0}}, "class_weight must name classes from 0 to 9; received [0, 20]"),
            ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
            ({"augment": "spin"}, "unknown augment 'spin'; allowed: shift, flip,"),
            ({"loss": "crosentropy"}, "unknown loss 'crosentropy'; did you mean 'binary_crossentropy'"),
            ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
            ({"model": "mlp_16_16_16"}, "has one output, for two classes; digits has 10"),
            ({"model": "perceptron"}, "has one output"),
            ({"model": "perceptron", "data": "xor", "augment": "shift"}, "needs raw images"),
            ({"model": "lenet5", "data": "xor"}, "reads images, but xor gives (2,)"),
            ({"resume": "last"}, "'last' is no run; give a path, a number or 'last'; runs/ has none yet"),
            ({"data": 5}, "data must be a name such as 'digits', a path, kzoo.Data"),
        ],
    )
    def test_in_one_line(self, arguments, message):
        with pytest.raises(kzoo.KzooError) as error:
            fit(arguments.pop("model", "lenet5"), arguments.pop("data", "digits"), **arguments)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
        assert not Path("runs").exists()

    def test_labels_beyond_the_classes(self):
        with pytest.raises(kzoo.KzooError, match="labels of digits reach 9, but lenet5 has classes=5"):
            fit(kzoo.lenet5(classes=5), "digits")

    @pytest.mark.parametrize("label", [99, -1])
    def test_labels_of_arrays_beyond_the_classes(self, label, rng):
        y = np.zeros(200, "int64")
        y[-1] = label
        model = kzoo.mlp()
        before = model.get_weights()
        # Told from the array; or, where the first batch has it, by the loss.
        with pytest.raises(
            kzoo.KzooError, match=r"the train labels reach from|label value of .* outside the valid range"
        ):
            fit(model, (rng.random((200, 28, 28, 1), dtype="float32"), y))
        assert not Path("runs").exists()
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("xla", ["off", "on"])
    def test_labels_of_a_dataset_beyond_the_classes(self, xla, rng):
        y = np.zeros(200, "int64")
        y[150] = 17
        data = tf.data.Dataset.from_tensor_slices((rng.random((200, 6), dtype="float32"), y)).batch(20)
        model = dense(optimizer="sgd", loss=LOSS)
        before = model.get_weights()
        with pytest.raises(
            kzoo.KzooError, match="a batch has labels from 0 to 17, beyond the model's classes; the model"
        ):
            fit(model, data, epochs=2, xla=xla)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_labels_of_the_first_batch_beyond_the_classes(self, rng):
        data = tf.data.Dataset.from_tensor_slices((rng.random((20, 6), dtype="float32"), np.arange(20))).batch(20)
        with pytest.raises(kzoo.KzooError, match="cannot train 'sequential.*': Received a label value of 19") as error:
            fit(dense(optimizer="sgd", loss=LOSS), data)
        assert "Op:" not in str(error.value) and "{{" not in str(error.value)

    def test_a_train_step_of_ones_own(self, rng):
        class Mine(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(3)

            def call(self, x):
                return self.dense(x)

            def train_step(self, data):
                return {}

        model = Mine()
        model(np.zeros((1, 6)))
        with pytest.raises(kzoo.KzooError, match="Mine has a train_step of its own"):
            fit(model, batches(rng))

    def test_a_model_that_has_no_loss(self, rng):
        with pytest.raises(kzoo.KzooError, match="no loss and no optimizer: .* is not compiled and is none of"):
            fit(dense(), batches(rng))

    def test_datasets_that_never_or_never_begin(self, rng):
        with pytest.raises(kzoo.KzooError, match="never ends; say how long an epoch is with limit_train_batches"):
            fit(dense(optimizer="sgd", loss=LOSS), batches(rng).repeat())
        found = history(dense(optimizer="sgd", loss=LOSS), batches(rng).repeat(), limit_train_batches=3, epochs=2)
        assert len(found["loss"]) == 2
        with pytest.raises(kzoo.KzooError, match="train split"):
            fit(dense(optimizer="sgd", loss=LOSS), batches(rng).take(0))

    def test_channels_that_cannot_be_prepared(self):
        with pytest.raises(kzoo.KzooError, match="reads 2 channels; kzoo prepares images with 1 or 3"):
            fit(kzoo.lenet5(input_shape=(28, 28, 2)), "digits")

    def test_inputs_as_a_list(self, rng):
        a, b = keras.Input((2,)), keras.Input((3,))
        model = keras.Model([a, b], layers.Dense(3)(layers.Concatenate()([a, b])))
        model.compile("sgd", LOSS)
        data = ([rng.random((9, 2)), rng.random((9, 3))], np.arange(9) % 3)
        assert np.isfinite(history(model, data)["loss"][0])

    def test_a_run_folder_that_exists(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "precious.txt").write_text("keep me")
        with pytest.raises(kzoo.KzooError, match="exists and is not empty; give another, or resume it"):
            fit("lenet5", "digits", run_dir=tmp_path / "mine")
        assert [p.name for p in (tmp_path / "mine").iterdir()] == ["precious.txt"]


class TestRates:
    """A recipe's schedule, a second fit, and callbacks that set the rate."""

    @pytest.mark.slow
    def test_a_second_fit_begins_a_new_schedule(self):
        model = kzoo.lenet5()
        history(model, "digits", limit_train_batches=8)
        before = model.get_layer("c1").get_weights()[0]
        losses = history(model, "digits", epochs=2, limit_train_batches=8)["loss"]
        assert np.abs(model.get_layer("c1").get_weights()[0] - before).max() > 1e-4
        assert losses[0] > losses[1]
        assert float(model.optimizer.learning_rate) < 1e-6, "at its end the new one is at zero"

    @pytest.mark.slow
    def test_another_rate_or_schedule_afterwards(self):
        model = kzoo.lenet5()
        history(model, "digits", limit_train_batches=2)
        options = {"limit_train_batches": 2, "learning_rate": 1e-4, "schedule": "constant"}
        _, ready = nets.learned(model, "digits", "default", **options)
        assert ready.plan.optimizer == "Adam, learning rate 0.0001, constant"
        assert float(model.optimizer.learning_rate) == pytest.approx(1e-4)

    @pytest.mark.slow
    def test_a_resumed_run_may_become_constant(self):
        fit("lenet5", "digits", epochs=1, limit_train_batches=2, run_dir="mine")
        run = kzoo.fit(resume="mine", epochs=2, schedule="constant", verbose=False)
        assert run.plan.optimizer.endswith("constant")

    def test_a_rate_given_when_resuming_holds(self):
        fit("mlp", "digits", epochs=1, limit_train_batches=2, xla="off", run_dir="mine")
        run = kzoo.fit(resume="mine", epochs=2, learning_rate=1e-5, verbose=False)
        assert float(run.model.optimizer.learning_rate) == pytest.approx(1e-5)
        run = kzoo.fit(resume="mine", epochs=3, schedule="cosine", learning_rate=1e-3, verbose=False)
        assert run.plan.optimizer == "Adam, learning rate 0.001, cosine"

    def test_a_second_schedule_under_accumulation_begins_at_its_beginning(self, rng):
        model = dense(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=4), loss=LOSS)
        history(model, batches(rng), epochs=2, learning_rate=0.1, warmup=3)
        plan_of(model, batches(rng), epochs=2, learning_rate=0.1, warmup=3)
        assert model.optimizer._learning_rate.start == 10  # batches of the first fit

    def test_the_recipes_schedule_gives_way_to_a_callback(self):
        rate, model = keras.callbacks.LearningRateScheduler(lambda epoch: 5e-4), kzoo.lenet5()
        history(model, "digits", limit_train_batches=2, callbacks=[rate])
        assert float(model.optimizer.learning_rate) == pytest.approx(5e-4)
        with pytest.raises(kzoo.KzooError, match="LearningRateScheduler sets the learning rate, and so does"):
            fit("lenet5", "digits", epochs=1, schedule="cosine", callbacks=[rate])


class TestRunsOfEveryKind:
    def test_a_users_images_of_the_models_own_size(self, rng, tmp_path):
        x, y = rng.integers(0, 256, (60, 8, 8), dtype="uint8"), np.arange(60) % 3
        np.savez("set.npz", x=x, y=y, x_test=x, y_test=y)
        model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        run = fit(model, "set.npz", epochs=1)
        for source in (run, run.path):
            assert kzoo.evaluate(source).examples == 60
            assert len(kzoo.predict(source, x[:2])) == 2
        assert kzoo.export(run, tmp_path / "out").difference < 1e-5

    def test_best_is_best_for_a_run_and_for_its_path(self, trained):
        run = replace(trained, model=kzoo.load_model(trained.path), path=Path("mine"))
        shutil.copytree(trained.path, run.path)
        run.model.set_weights([0 * w for w in run.model.get_weights()])
        best = kzoo.evaluate(run.path, checkpoint="best").accuracy
        assert kzoo.evaluate(run, checkpoint="best").accuracy == best > kzoo.evaluate(run).accuracy

    def test_early_stopping_that_restores_at_the_end_agrees_with_the_folder(self, rng):
        rates = iter([1e-2, 1e-2, 5.0])
        callbacks = [
            keras.callbacks.LearningRateScheduler(lambda epoch: next(rates)),
            keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True),
        ]
        run = fit("mlp", "digits", epochs=3, xla="off", callbacks=callbacks)
        assert kzoo.evaluate(run).accuracy == kzoo.evaluate(str(run.path)).accuracy > 0.5

    def test_arrays_prepared_by_you_are_predicted_as_given(self, rng):
        x, y = rng.random((50, 28, 28, 1), dtype="float32"), np.arange(50) % 10
        model = kzoo.lenet5()
        run = fit(model, (x, y), epochs=1)
        expected = model.predict_on_batch(x[:3])
        for source in (model, run, run.path):
            found = kzoo.predict(source, x[:3], top=10)
            np.testing.assert_allclose([p.scores for p in found], -np.sort(-expected, axis=1), atol=1e-6)

    def test_resuming_with_other_data_is_kept(self):
        fit("perceptron", "or", epochs=1, run_dir="mine")
        kzoo.fit(resume="mine", data="and", epochs=2, verbose=False)
        assert kzoo.evaluate("mine").data == "and"

    def test_one_logit_is_judged_at_zero(self, rng):
        x = rng.normal(size=(400, 2)).astype("float32")
        y = (x.sum(1) > 0).astype("int64")
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)])
        run = fit(model, kzoo.Data((x, y), test=(x, y)), epochs=3)
        expected = float(((model.predict_on_batch(x)[:, 0] > 0) == y).mean())
        assert kzoo.evaluate(run, kzoo.Data((x, y), test=(x, y))).accuracy == pytest.approx(expected)
        found = kzoo.predict(run, x[:5])
        yes = 1 / (1 + np.exp(-model.predict_on_batch(x[:5])[:, 0]))
        assert [dict(zip(p.labels, p.scores, strict=True))["1"] for p in found] == pytest.approx(yes.tolist(), abs=1e-5)

    def test_a_keras_file_of_kzoos_model_knows_its_preprocessing(self):
        model = kzoo.lenet5(weights="mnist")
        model.save("mine.keras")
        image = kzoo.load_data("digits").test.take(3)
        x = np.stack([x for x, _ in image.as_numpy_iterator()])
        found, expected = kzoo.predict("mine.keras", x), kzoo.predict(model, x)
        assert [p.scores for p in found] == [p.scores for p in expected]
        kzoo.lenet5_1998(style="subclass").save("paper.keras")
        assert kzoo.evaluate("paper.keras", "digits").examples == 359


@keras.saving.register_keras_serializable("tests")
def nothing(y, p):
    return 0 * p[:, 0]


class TestOptimizersByName:
    def test_settings_reach_the_optimizer_and_the_plan(self):
        text = "sgd:momentum=0.9,nesterov=true,clipnorm=1,gradient_accumulation_steps=2,use_ema=true,weight_decay=0.01"
        model = kzoo.lenet5()
        options = {"limit_train_batches": 4, "optimizer": text, "learning_rate": 0.01}
        _, ready = nets.learned(model, "digits", "default", **options)
        optimizer = model.optimizer
        assert (optimizer.momentum, optimizer.nesterov, optimizer.clipnorm) == (0.9, True, 1)
        assert ready.plan.optimizer == (
            "SGD, learning rate 0.01, weight decay 0.01 (not of 5 biases and norms), clipnorm 1, 2 batches an update,"
            " moving average of weights, 0.99"
        )

    def test_weight_decay_leaves_biases_and_norms_alone(self):
        """With a gradient of nothing only the decay moves a weight; a resumed run decays the same ones."""

        def biased():
            model = kzoo.lenet5()
            model.set_weights([w + 1 for w in model.get_weights()])
            return model

        zero = {
            "loss": nothing,
            "limit_train_batches": 2,
            "learning_rate": 0.1,
            "schedule": "constant",
        }
        model = biased()
        fit(model, "digits", epochs=1, optimizer="sgd:weight_decay=0.5", run_dir="mine", metrics=[], **zero)
        for before, after in zip(biased().get_weights(), model.get_weights(), strict=True):
            if before.ndim == 1:
                np.testing.assert_array_equal(after, before)
        kernel, start = model.get_weights()[0], biased().get_weights()[0]
        assert kernel.mean() == pytest.approx(start.mean() * 0.95**2, rel=0.05)
        again = kzoo.fit(model, resume="mine", epochs=2, verbose=False)
        for before, after in zip(biased().get_weights(), again.model.get_weights(), strict=True):
            if before.ndim == 1:
                np.testing.assert_array_equal(after, before)

    def test_the_rate_warms_up(self, rng):
        rates = []
        look = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: rates.append(float(model.optimizer.learning_rate))
        )
        model = dense(optimizer="sgd", loss=LOSS)
        options = {"learning_rate": 0.4, "warmup": 4, "schedule": "cosine", "xla": "off"}
        history(model, batches(rng), epochs=2, callbacks=[look], **options)
        rising = [0.2, 0.3, 0.4]  # the rate of the step that comes next; the first has 0.1
        falling = [0.2 * (1 + np.cos(np.pi * k / 6)) for k in range(7)]
        assert rates == pytest.approx([*rising, *falling], abs=1e-6)


def test_limited_epochs_draw_from_all_examples():
    rows = tf.data.Dataset.from_tensor_slices((np.arange(1000), np.arange(1000)))
    batches = Batches(rows, 8, Reader(), shuffle=True, limit=2)
    seen = [int(y) for epoch in range(20) for _, ys in batches.epoch(epoch) for y in ys]
    assert len(seen) == 20 * 16 and max(seen) > 900


def test_class_weights_are_keras(rng):
    data, weight = batches(rng), {0: 1.0, 1: 5.0, 2: 0.5}
    theirs, ours = (dense(optimizer=keras.optimizers.SGD(0.1), loss=LOSS) for _ in range(2))
    expected = theirs.fit(data, epochs=2, verbose=0, shuffle=False, class_weight=weight).history["loss"]
    numpys = {np.int64(k): np.float64(w) for k, w in weight.items()}
    run = fit(ours, data, epochs=2, class_weight=numpys, run_dir="w")
    np.testing.assert_allclose(run.history["loss"], expected, rtol=1e-5)
    assert kzoo.fit(ours, data, resume="w", epochs=3, verbose=False).history["loss"][:2] == run.history["loss"]
    hot = data.map(lambda x, y: (x, tf.one_hot(y, 3)))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    one_hot = dense(optimizer=keras.optimizers.SGD(0.1), loss=loss)
    np.testing.assert_allclose(history(one_hot, hot, epochs=2, class_weight=weight)["loss"], expected, rtol=1e-5)
    with pytest.raises(kzoo.KzooError, match=r"class_weight must be \{class number: weight of 0 or more\}"):
        fit(ours, data, class_weight={"cat": 2})
    with pytest.raises(kzoo.KzooError, match="exclude each other"):
        fit(ours, data.map(lambda x, y: (x, y, tf.ones(len(y)))), class_weight=weight)


class TestAsANewcomerFound:
    """Each was met by somebody who tried."""

    def test_trial_passes_leave_no_trace(self, rng):
        class Counting(layers.Layer):
            def build(self, shape):
                self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

            def call(self, x):
                self.count.assign_add(1.0)
                return x

        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((6,)), Counting(), layers.Dense(3)])
        model.compile("sgd", LOSS)
        history(model, batches(rng), epochs=2)  # five steps each
        assert float(model.layers[0].count.numpy()) == 10

    def test_a_stateful_network_is_keras(self, rng):
        def build():
            keras.utils.set_random_seed(1)
            stack = [keras.Input((6, 3), batch_size=10), layers.LSTM(4, stateful=True), layers.Dense(3)]
            model = keras.Sequential(stack)
            model.compile(keras.optimizers.SGD(0.05, momentum=0.9), LOSS)
            return model

        x, y = rng.random((30, 6, 3), dtype="float32"), rng.integers(0, 3, 30)
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(10, drop_remainder=True)
        expected = build().fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]
        assert history(build(), data, epochs=2)["loss"] == pytest.approx(expected, rel=1e-5)

    def test_a_finished_run_with_averages_goes_on_from_its_weights(self, rng):
        data = batches(rng)
        net = lambda: dense(loss=LOSS, optimizer=keras.optimizers.SGD(0.05, momentum=0.9, use_ema=True))
        once = history(net(), data, epochs=4)
        parts = fit(net(), data, epochs=2)
        averaged = kzoo.load_model(parts.path).get_weights()
        for a, b in zip(averaged, parts.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        again = kzoo.fit(resume=parts.path, data=data, epochs=4, verbose=False)
        assert again.history["loss"] == pytest.approx(once["loss"], rel=1e-5)

    @pytest.mark.parametrize("weight", [{-1: 1}, {}, {0: 1, 1: 1, 2: float("nan")}, {0: -1, 1: 1, 2: 1},
                                        {0: 1, 1: 1, 2: 1, 3: 1}])  # fmt: skip
    def test_class_weights_that_do_not_fit(self, weight, rng, tmp_path):
        x, y = rng.random((20, 6), dtype="float32"), np.arange(20) % 3
        for data in ((x, y), tf.data.Dataset.from_tensor_slices((x, y)).batch(5)):
            with pytest.raises(kzoo.KzooError, match="class_weight must"):
                fit(dense(optimizer="sgd", loss=LOSS), data, class_weight=weight)
        assert not list(tmp_path.iterdir())

    def test_history_has_what_callbacks_add(self, rng):
        callbacks = [
            keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(extra=epoch)),
        ]
        found = history(dense(optimizer="sgd", loss=LOSS), batches(rng), epochs=2, callbacks=callbacks, xla="off")
        assert found["learning_rate"] == pytest.approx([0.1, 0.05]) and found["extra"] == [0, 1]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"callbacks": [3]}, "callbacks must be Keras callbacks"),
            ({"callbacks": [keras.callbacks.EarlyStopping]}, "callbacks must be Keras callbacks"),
            ({"data": (np.zeros((4, 6)), None)}, "split must hold arrays of numbers or text; it holds 'None'"),
            ({"data": (3, 4)}, "the train split must hold arrays"),
            ({"data": (np.array([object()] * 4), np.zeros(4))}, "the train split must hold arrays"),
            ({"augment": 3}, "augment must be names such as 'shift', Keras layers or functions of images; received 3"),
            ({"run_dir": 3}, "run_dir must be a path; received 3"),
            ({"run_dir": "/proc/x"}, "the run folder '/proc/x' cannot be made"),
            ({"strategy": ""}, "unknown strategy ''"),
            ({"strategy": "mirrored", "devices": []}, "devices is empty"),
            ({"kernels": "x"}, "kernels must be True or False; received 'x'"),
            ({"deterministic": "no"}, "deterministic must be True or False; received 'no'"),
            ({"learning_rate": True}, "learning_rate must be a number above 0; received True"),
            ({"optimizer": "adamw:weight_decay=-1"}, "'adamw:weight_decay=-1' must be above 0"),
            ({"optimizer": "sgd:momentum=0.9,momentum=0.8"}, "gives momentum twice"),
            ({"optimizer": "adam:learning_rate=0.1", "learning_rate": 0.2}, "both set the rate; give one"),
            ({"warmup": 1000}, "warmup=1000 steps, but the run has 5"),
        ],
    )  # fmt: skip
    def test_one_line_each(self, arguments, message, rng, tmp_path):
        with pytest.raises(kzoo.KzooError) as caught:
            fit(dense(optimizer="sgd", loss=LOSS), **{"data": batches(rng), "epochs": 1, **arguments})
        assert message in str(caught.value) and "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_lists_are_arrays_and_rates_may_be_numpys(self, rng):
        x, y = rng.random((20, 6)).tolist(), (np.arange(20) % 3).tolist()
        run = fit(dense(optimizer="sgd", loss=LOSS), (x, y), epochs=1, learning_rate=np.float32(0.25))
        assert run.plan.optimizer == "SGD, learning rate 0.25"

    def test_names_that_are_none(self, trained):
        for call in (kzoo.evaluate, kzoo.load_model, lambda x: kzoo.predict(x, np.zeros((1, 8, 8)))):
            with pytest.raises(kzoo.KzooError, match="a model is named by a run"):
                call(None)
        with pytest.raises(kzoo.KzooError, match="path must be a folder"):
            kzoo.export(trained, 3)
        with pytest.raises(kzoo.KzooError, match="output_dir '/proc/q' cannot be made"):
            kzoo.evaluate(trained, output_dir="/proc/q")

    def test_several_outputs_are_exported_by_their_names(self, rng, tmp_path):
        inputs = keras.Input((6,))
        model = keras.Model(inputs, {"a": layers.Dense(3, name="a")(inputs), "b": layers.Dense(1, name="b")(inputs)})
        model.compile("sgd", {"a": LOSS, "b": "mse"})
        x = rng.random((20, 6), dtype="float32")
        run = fit(model, (x, {"a": np.arange(20) % 3, "b": x[:, 0]}), epochs=1)
        assert list(kzoo.predict(run, x[:2])[1].outputs) == ["a", "b"]
        found = kzoo.export(run, tmp_path / "out")
        assert found.signatures["serving_default"].endswith("-> a float32[N, 3], b float32[N, 1]")
        again = kzoo.load_model(tmp_path / "out").predict(x, verbose=0)
        for name, value in model.predict(x, verbose=0).items():
            np.testing.assert_allclose(again[name], value, atol=1e-6)

    def test_numbers_are_no_classes(self, rng, tmp_path):
        x = rng.random((20, 6), dtype="float32")
        model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        run = fit(model, (x, x[:, 0]), epochs=1)
        answer = kzoo.predict(run, x[:1])[0]
        np.testing.assert_allclose(answer.outputs["output"], model.predict(x[:1], verbose=0)[0], rtol=1e-5)
        assert kzoo.export(run, tmp_path / "out").difference < 1e-5
        labels = keras.Sequential([keras.Input((6,)), layers.Dense(3, "sigmoid")])
        labels.compile("sgd", "binary_crossentropy")
        assert kzoo.predict(labels, x[:1])[0].outputs["output"].shape == (3,)
        classes = keras.Sequential([keras.Input((6,)), layers.Dense(3, "softmax")])
        with pytest.raises(kzoo.KzooError, match="gives no numbers for example 1"):
            kzoo.predict(classes, np.where(np.arange(3)[:, None] == 1, np.nan, x[:3]))

    def test_a_loss_that_is_no_number_is_said(self, rng, capsys):
        x = rng.random((20, 6), dtype="float32")
        data = (x * np.nan, np.arange(20) % 3)
        says = "loss is nan in step 1 of epoch 1: lower the learning rate, or look for such values in the data"
        with pytest.raises(kzoo.KzooError, match=f"^{says}; on_nan='continue' trains on; the model is as after"):
            kzoo.fit(dense(optimizer="sgd", loss=LOSS), data, epochs=2)
        run = kzoo.fit(dense(optimizer="sgd", loss=LOSS), data, epochs=2, on_nan="continue")
        assert capsys.readouterr().err.count(says) == 1 and len(run.history["loss"]) == 2

    def test_outputs_without_a_class_are_said(self, rng):
        x = rng.integers(0, 255, (30, 28, 28), dtype="uint8")
        np.savez("two.npz", x=x, y=np.arange(30) % 2)
        plan = plan_of("lenet5_1998", "two.npz")
        assert plan.notes[-1] == "8 of the model's 10 outputs have no class in the data"


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("mlp_xor", {}, "0.75 of xor is right: so small a network can stand still .* another start does"),
        ("mlp_xor", {"seed": 1}, ""),
        ("mlp_xor", {"set": {"hidden": (8,)}}, ""),
        ("perceptron", {"epochs": 2}, "of xor is right: a network without hidden units .*; mlp_xor has a hidden layer"),
    ],
)
def test_a_truth_table_that_is_not_learned(model, options, says, tmp_path, capsys):
    """What it says that helps, does."""
    run = kzoo.fit(model, "xor", run_dir=tmp_path / "run", **options)
    said = capsys.readouterr().err
    assert re.search(says, said) if says else "of xor is right" not in said, said
    assert bool(says) == (run.last["binary_accuracy"] < 1)
