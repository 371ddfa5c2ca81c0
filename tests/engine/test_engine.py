"""The engine for any Keras model: optimizers, callbacks, several phases, accumulation, averages of weights."""

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from settings import IN_PLACE, SETTINGS, by_keras, by_the_pure_step, dense, rows

import kzoo
from kzoo.engine import Objective, Phase, Supervised, build_optimizer, make_engine
from kzoo.engine.optimizers import finalize
from kzoo.inputs import Batches, Reader

BOTH = pytest.mark.parametrize("name", ["default", "mirrored"])


# --- optimizers -----------------------------------------------------------------------------------------------------


def pure_of(optimizer):
    return by_the_pure_step(dense(optimizer), optimizer)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_pure_step_of_every_optimizer_is_keras_own(setting):
    expected, found = by_keras(SETTINGS[setting]()), pure_of(SETTINGS[setting]())
    for mine, theirs in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    for mine, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_schedule_free_adamw_is_the_exception():
    """On TensorFlow Keras' own step reads `momentum.value` after it was updated; the pure step reads the value before,
    as Keras does on JAX. The two differ by what one step changes.
    """
    expected, found = (by(keras.optimizers.ScheduleFreeAdamW()) for by in (by_keras, pure_of))
    difference = max(np.abs(a - b).max() for a, b in zip(found[0], expected[0], strict=True))
    assert 1e-6 < difference < 5e-3


SHOWN = {
    "mirrored": ("average, written", "accumulation, clip"),
    "default": ("decay, no biases", "loss scaling"),
    "update by xla": ("average, written",),
}
WHERE = [
    pytest.param(name, setting, marks=() if setting in SHOWN[name] else pytest.mark.slow)
    for name, settings in (("mirrored", SETTINGS), ("default", IN_PLACE), ("update by xla", IN_PLACE))
    for setting in settings
]


@pytest.mark.parametrize(("name", "setting"), WHERE)
def test_training_gives_the_weights_of_fit(name, setting, monkeypatch):
    x, y = rows()
    monkeypatch.setattr("kzoo.engine.kernels.MANY", 1 if name == "update by xla" else 10**6)
    monkeypatch.setattr("kzoo.engine.kernels.REPAYS", 1)
    stock = dense(SETTINGS[setting]())
    stock.fit(x, y, batch_size=32, epochs=6, shuffle=False, verbose=0)
    ours = dense(SETTINGS[setting]())
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    _, ready = nets.learned(ours, data, "mirrored" if name == "mirrored" else "default", epochs=6, xla="off")
    for phase in ready.objective.phases:
        finalize(phase)
    assert ("update by xla" in ready.plan.kernels) == (name == "update by xla")
    for a, b in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    for a, b in zip(ours.optimizer.variables, stock.optimizer.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-5, err_msg=a.path)


def test_micro_batches_are_one_large_batch():
    """From weights that keep their constraint: Keras applies it after each micro-batch, before the first update too."""
    x, y = rows()
    large = dense(keras.optimizers.SGD(0.1))
    start = [np.array(w) for w in large.get_weights()]
    start[0] /= np.linalg.norm(start[0], axis=0)
    large.set_weights(start)
    nets.learned(large, tf.data.Dataset.from_tensor_slices((x, y)).batch(32), "default", epochs=2)
    for name in ("default", "mirrored"):
        small = dense(keras.optimizers.SGD(0.1, gradient_accumulation_steps=4))
        small.set_weights(start)
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        nets.learned(small, data, name, epochs=2)
        for a, b in zip(small.get_weights(), large.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


# --- callbacks ------------------------------------------------------------------------------------------------------


class Watching(keras.callbacks.Callback):
    """Sees the loss fall with the weights it is shown, and writes into them."""

    def __init__(self):
        super().__init__()
        self.losses, self.sums, self.iterations = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        self.sums.append(float(np.sum(self.model.get_weights()[0])))
        self.iterations.append(int(self.model.optimizer.iterations))

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            self.model.set_weights([w * 0 for w in self.model.get_weights()])


@BOTH
def test_callbacks_see_and_set_true_weights(name):
    x, y = rows()
    seen = Watching()
    model = dense(keras.optimizers.SGD(0.1))
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    trainer = nets.taught(model, data, name, epochs=3, callbacks=[seen])
    assert seen.iterations == [1, 2, 3, 4, 5, 6]
    assert len(set(seen.sums[:4])) == 4  # other weights after each batch
    zeroed = dense(keras.optimizers.SGD(0.1))  # epoch 3 began from zeros
    zeroed.set_weights([w * 0 for w in zeroed.get_weights()])
    expected = zeroed.fit(data, epochs=1, verbose=0, shuffle=False).history["loss"][0]
    assert trainer.history["loss"][2] == pytest.approx(expected, rel=1e-5)


@BOTH
def test_keras_callbacks_keep_their_meaning(name, tmp_path):
    x, y = rows()
    model = dense(keras.optimizers.SGD(0.1))
    rates = []
    trainer = nets.taught(
        model, kzoo.Data((x, y), validation=(x, -y)), name, batch_size=16, epochs=6,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1)),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: rates.append(float(model.optimizer.learning_rate.numpy()))
            ),
            keras.callbacks.EarlyStopping("val_loss", mode="min", patience=2, restore_best_weights=True),
            keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.weights.h5"), save_weights_only=True),
            keras.callbacks.TensorBoard(str(tmp_path / "logs")),
        ],
    )  # fmt: skip
    assert rates == pytest.approx([0.1 / (k + 1) for k in range(len(rates))])
    assert len(trainer.history["loss"]) < 6  # training towards y is away from -y: it was stopped
    assert (tmp_path / "1.weights.h5").is_file() and (tmp_path / "logs").is_dir()
    best = dense(keras.optimizers.SGD(0.1))
    best.load_weights(tmp_path / f"{int(np.argmin(trainer.history['val_loss'])) + 1}.weights.h5")
    for a, b in zip(model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_reduce_on_plateau_reaches_the_replicas():
    x, y = rows()
    model = dense(keras.optimizers.SGD(1e-9))
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1.0)
    nets.taught(model, (x, y), "mirrored", batch_size=16, epochs=4, callbacks=[plateau])
    assert float(model.optimizer.learning_rate.numpy()) < 1e-9


# --- any model ------------------------------------------------------------------------------------------------------


def test_a_second_fit_continues():
    x, y = rows()
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    once = dense(keras.optimizers.SGD(0.1, momentum=0.9))
    expected, _ = nets.learned(once, data, "default", epochs=4)
    twice = dense(keras.optimizers.SGD(0.1, momentum=0.9))
    found = [results for _ in range(2) for results in nets.learned(twice, data, "mirrored", epochs=2, xla=True)[0]]
    assert [r["loss"] for r in found] == pytest.approx([r["loss"] for r in expected], rel=1e-5)
    assert int(twice.optimizer.iterations) == 8


def test_precision_is_taken_back():
    model = dense(keras.optimizers.SGD(0.1))
    run = kzoo.fit(model, rows(), epochs=1, precision="mixed_bfloat16", verbose=False)
    assert run.plan.precision == "mixed_bfloat16"
    assert {layer.dtype_policy.name for layer in model._flatten_layers()} == {"float32"}
    assert model.get_weights()[0].dtype == "float32"


def test_a_custom_train_step_is_refused_by_name():
    class Own(keras.Model):
        def train_step(self, data):
            return {}

    inputs = keras.Input((5,))
    model = Own(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(kzoo.KzooError, match="Own has a train_step of its own"):
        kzoo.fit(model, rows(), epochs=1, strategy=nets.strategy("mirrored"), verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_mobilenet_under_mirrored_with_xla(whole):
    """In float64. Through 52 batch normalizations of random weights a rounding grows by seven digits in a step: in
    float32 XLA on and off part in the second digit after two, on one device too, and in float64 in the tenth."""
    losses = nets.mobilenet("mirrored", True, whole)
    assert losses == pytest.approx(nets.mobilenet_without_xla(whole), rel=1e-6)
    assert losses[-1] < losses[0]


@BOTH
def test_a_compute_loss_of_ones_own_is_averaged(name):
    class Own(keras.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight=None):  # as Keras' own documentation has it
            return keras.ops.mean((y - y_pred) ** 2) + super().compute_loss(x, y, y_pred)

    def build(kind):
        keras.utils.set_random_seed(0)
        model = kind([keras.Input((5,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    data = tf.data.Dataset.from_tensor_slices(rows(33)).batch(16)
    found = [results["loss"] for results in nets.learned(build(Own), data, name, epochs=3)[0]]
    twice = build(keras.Sequential)
    twice.compile(keras.optimizers.SGD(0.1), "mse", loss_weights=[2.0])
    assert found == pytest.approx(twice.fit(data, epochs=3, shuffle=False, verbose=0).history["loss"], rel=1e-5)


@BOTH
def test_ignored_classes(name):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    x, y = rows()[0], np.arange(32) % 2
    y[::3] = -1
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    stock, ours = (dense(keras.optimizers.SGD(0.1)) for _ in range(2))
    for model in (stock, ours):
        model.compile(keras.optimizers.SGD(0.1), loss)
    expected = stock.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]
    found, _ = nets.learned(ours, data, name, epochs=2)
    assert [results["loss"] for results in found] == pytest.approx(expected)


def test_random_numbers_without_a_seed_differ_from_step_to_step():
    class Noisy(keras.layers.Layer):
        def call(self, x):
            return keras.random.dropout(x, 0.5)

    model = keras.Sequential([keras.Input((5,)), Noisy(), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    data = tf.data.Dataset.from_tensor_slices(rows()).batch(32)
    found, _ = nets.learned(model, data, "mirrored", epochs=4)
    assert len({results["loss"] for results in found}) == 4


@BOTH
def test_layers_frozen_after_a_fit_stay_as_they_are(name):
    data = tf.data.Dataset.from_tensor_slices(rows()).batch(16)
    model = dense(keras.optimizers.Adam(0.05))
    nets.learned(model, data, name)
    model.layers[0].trainable = False
    before = [np.array(w) for w in model.get_weights()]
    nets.learned(model, data, name)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert moved == [False, False, True, True]


def test_layers_that_the_optimizer_does_not_know():
    model = dense("sgd")
    model.layers[0].trainable = False
    model.compile(keras.optimizers.SGD(0.1), "mse")
    nets.learned(model, rows(), "default")
    model.layers[0].trainable = True
    for strategy in ("default", nets.strategy("mirrored")):
        with pytest.raises(kzoo.KzooError, match="the optimizer does not know 'sequential.*kernel' and others"):
            kzoo.fit(model, rows(), epochs=1, strategy=strategy, verbose=False)


def test_a_loss_scale_goes_on():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=8, dynamic_growth_steps=2)
    model = dense(optimizer)
    run = kzoo.fit(model, rows(), epochs=2, batch_size=16, run_dir="mine", verbose=False)
    assert "learning rate 0.1" in run.plan.optimizer
    grown, count = float(optimizer.dynamic_scale.numpy()), len(optimizer.variables)
    kzoo.fit(model, rows(), resume="mine", epochs=3, verbose=False)
    assert float(optimizer.dynamic_scale.numpy()) > grown > 8 and len(optimizer.variables) == count


def test_backup_and_restore_goes_on_where_it_was(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("pulled the plug")

    data = tf.data.Dataset.from_tensor_slices(rows()).batch(16)
    backup = lambda: keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    with pytest.raises(RuntimeError, match="the plug"):
        nets.taught(dense(keras.optimizers.SGD(0.1)), data, "default", epochs=4, callbacks=[backup(), Stop()])
    again = nets.taught(dense(keras.optimizers.SGD(0.1)), data, "default", epochs=4, callbacks=[backup()])
    once = nets.taught(dense(keras.optimizers.SGD(0.1)), data, "default", epochs=4)
    assert again.history["loss"] == pytest.approx(once.history["loss"][2:], rel=1e-5)


def test_callbacks_hear_of_every_validation_batch():
    seen = []
    call = keras.callbacks.LambdaCallback()
    call.on_test_batch_end = lambda batch, logs=None: seen.append((batch, logs["loss"]))
    x, y = rows()
    trainer = nets.taught(dense("sgd"), kzoo.Data((x, y), (x, y)), "default", epochs=1, batch_size=8, callbacks=[call])
    assert [batch for batch, _ in seen] == [0, 1, 2, 3]
    assert seen[-1][1] == pytest.approx(trainer.history["val_loss"][0])


def test_what_compile_allows_is_allowed():
    class Penalty(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.mean(x**2))
            return x

    x, y = rows()
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2), Penalty()])
    model.compile("sgd")  # the layer has the only loss
    found, _ = nets.learned(model, (x, y), "default", epochs=3)
    assert found[-1]["loss"] < found[0]["loss"]
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])  # a value a class
    found, _ = nets.learned(model, (x, np.eye(2)[np.arange(32) % 2]), "default")
    assert {"f1_score_0", "f1_score_1"} <= found[0].keys()


# --- several phases -------------------------------------------------------------------------------------------------


class TwoPlayers(Objective):
    """One player moves a point towards the other's, which runs from it: two networks, two losses, two optimizers."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        self.chaser, self.runner = (
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(2)])
            for _ in range(2)
        )
        self.model = self.chaser
        self.metrics = [keras.metrics.Mean(name="chase"), keras.metrics.Mean(name="run")]
        self.phases = [
            Phase("chase", self.chaser, keras.optimizers.Adam(0.01), self._chase),
            Phase("run", self.runner, keras.optimizers.SGD(0.01, momentum=0.5), self._run),
        ]
        for phase in self.phases:
            build_optimizer(phase.optimizer, phase.model.trainable_variables)

    def _distance(self, batch, share, metric):
        x = batch[0]
        gap = tf.reduce_sum(tf.square(self.chaser(x, training=True) - self.runner(x, training=True)), axis=-1)
        loss = share.mean(gap)
        metric.total.assign_add(loss * share.total)
        metric.count.assign_add(share.examples)
        return loss

    def _chase(self, batch, share, denominators):
        return self._distance(batch, share, self.metrics[0])

    def _run(self, batch, share, denominators):
        return -self._distance(batch, share, self.metrics[1])


def play(strategy, xla):
    objective = TwoPlayers()
    x = np.random.default_rng(0).normal(size=(35, 3)).astype("float32")
    batches = Batches(tf.data.Dataset.from_tensor_slices((x,)), 17, Reader())  # 17, 17 and 1
    objective.prepare(next(iter(batches.epoch(0))))
    engine, found = make_engine(objective, strategy, xla=xla), []
    for epoch in range(4):
        objective.reset()
        engine.begin(batches, epoch)
        engine.train(batches.steps)
        found.append(engine.results())
    return found, [w for model in (objective.chaser, objective.runner) for w in model.get_weights()]


@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
def test_two_players_need_no_second_loop(xla):
    expected, weights = play(nets.strategy("default"), False)
    found, others = play(nets.strategy("mirrored"), xla)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)
    for a, b in zip(others, weights, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    assert found[0]["chase"] != pytest.approx(found[0]["run"])  # the second player met the first one's new weights


def test_supervised_says_what_is_averaged():
    assert Supervised(nets.subclass()).notes(1) == []
