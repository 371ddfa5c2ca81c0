"""Small compiled networks that hold what goes wrong with replicas, with data whose last batch is ragged; and the engine
on them, without what `kzoo.fit` does around it.
"""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import kzoo
from kzoo.engine import Trainer, TrainingProgress, precise
from kzoo.records import Fit
from kzoo.tensorflow_internals import workers_of
from kzoo.verbs import feed_of
from kzoo.verbs.ready import ready_of

ROWS, BATCH = 70, 23  # 70 = 3 * 23 + 1: the last batch leaves a second replica empty
CROSS_ENTROPY = "sparse_categorical_crossentropy"
MAKERS = {
    "default": lambda: kzoo.strategy("default"),
    "one": lambda: kzoo.strategy("one", ["CPU:1"]),
    "mirrored": lambda: kzoo.strategy("mirrored", ["CPU:0", "CPU:1"]),
    "central": lambda: kzoo.strategy("central", ["CPU:0", "CPU:1"]),
}


@functools.cache
def strategy(name):
    return MAKERS[name]()


def sequential(optimizer=None):
    """A masked output with sample weights and a regulariser."""
    model = keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.Masking(),
            layers.Dense(8, "tanh", kernel_regularizer="l2"),
            layers.Dense(3, "softmax"),
        ]
    )
    return _compiled(model, optimizer, loss=CROSS_ENTROPY, metrics=["accuracy"])


def functional(optimizer=None):
    """Two outputs, one of them masked, each with its weights and its loss."""
    inputs = keras.Input((6, 3))
    x = layers.Dense(8, "tanh")(layers.Masking()(inputs))
    steps = layers.Dense(3, "softmax", name="steps")(x)
    whole = layers.Dense(2, name="whole")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, {"steps": steps, "whole": whole})
    return _compiled(
        model, optimizer, loss={"steps": CROSS_ENTROPY, "whole": "mse"}, loss_weights={"steps": 1.0, "whole": 0.5},
        metrics={"whole": ["mae"]}, weighted_metrics={"steps": ["accuracy"]},
    )  # fmt: skip


class TwoByTwo(keras.Model):
    """Two inputs, two outputs, and a loss added in `call`."""

    def __init__(self):
        super().__init__(name="two_by_two")
        self.mask, self.wide = layers.Masking(), layers.Dense(8, "tanh")
        self.steps, self.whole = layers.Dense(3, "softmax"), layers.Dense(2)
        self.pool = layers.GlobalAveragePooling1D()

    def call(self, inputs, training=None):
        x = self.wide(self.mask(inputs["sequence"]))
        self.add_loss(0.01 * keras.ops.mean(keras.ops.square(x)))
        whole = keras.ops.concatenate([self.pool(x), inputs["extra"]], axis=-1)
        return {"steps": self.steps(x), "whole": self.whole(whole)}


def subclass(optimizer=None):
    model = TwoByTwo()
    model({"sequence": np.zeros((1, 6, 3), "float32"), "extra": np.zeros((1, 2), "float32")})
    return _compiled(
        model, optimizer, loss={"steps": CROSS_ENTROPY, "whole": "mse"}, loss_weights={"steps": 1.0, "whole": 0.5}
    )


def _compiled(model, optimizer, **arguments):
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), **arguments)
    return model


def data(style):
    """Batches of (inputs, targets, weights), the same in every process; three time steps in ten are masked."""
    rng = np.random.default_rng(0)
    x = rng.random((ROWS, 6, 3), dtype="float32")
    x[rng.random((ROWS, 6)) < 0.3] = 0
    extra = rng.random((ROWS, 2), dtype="float32")
    targets = {"steps": rng.integers(0, 3, (ROWS, 6)), "whole": rng.random((ROWS, 2), dtype="float32")}
    weights = {"steps": rng.random((ROWS, 6), dtype="float32"), "whole": rng.random(ROWS, dtype="float32")}
    inputs = {"sequential": x, "functional": x, "subclass": {"sequence": x, "extra": extra}}[style]
    if style == "sequential":
        targets, weights = targets["steps"], weights["steps"]
    return tf.data.Dataset.from_tensor_slices((inputs, targets, weights)).batch(BATCH)


STYLES = {"sequential": sequential, "functional": functional, "subclass": subclass}
EPOCHS = 5  # of 4 batches: 20 steps


# --- what `kzoo.fit` trains, without its run folder -----------------------------------------------------------------


def made(
    model, data, where, *, optimizer=None, loss=None, metrics=None, learning_rate=None, callbacks=(), **options
):  # fmt: skip
    """(feed, what is ready to train); `where`: a strategy, or one of MAKERS."""
    feed = feed_of(model, data, Fit.of(options), strategy(where) if isinstance(where, str) else where)
    chosen = {"optimizer": optimizer, "loss": loss, "metrics": metrics, "learning_rate": learning_rate}
    return feed, ready_of(feed, callbacks=callbacks, **chosen)


def learned(model, data, where, *, epochs=1, each_step=False, **options):
    """(the objective's results after each epoch, or after each step with those of the epoch so far; what was ready)."""
    feed, ready = made(model, data, where, **options)
    engine, batches, found = ready.engine, feed.train, []
    with precise(ready.objective.networks, feed.options.precision):
        for epoch in range(epochs):
            ready.objective.reset()
            engine.begin(batches, epoch)
            for _ in range(batches.steps if each_step else 1):
                engine.train(1 if each_step else batches.steps)
                found.append(engine.results())
    return found, ready


def taught(model, data, where, *, epochs, callbacks=(), actions=(), first=None, max_seconds=None, **options):
    """A Trainer that has run; from the place `first` on."""
    feed, ready = made(model, data, where, epochs=epochs, callbacks=callbacks, **options)
    trainer = Trainer(
        ready.engine, feed.train, feed.validation, epochs=epochs, callbacks=callbacks, actions=actions,
        max_seconds=max_seconds, progress=TrainingProgress(epochs, verbose=False),
    )  # fmt: skip
    with precise(ready.objective.networks, feed.options.precision):
        trainer.run(first)
    return trainer


def trajectory(style, where, xla, optimizer=None, **options):
    """(20 losses, each the mean over the epoch's examples so far; weights)."""
    keras.utils.set_random_seed(1)
    model = STYLES[style](optimizer)
    found, _ = learned(model, data(style), where, epochs=EPOCHS, each_step=True, xla=xla, **options)
    return [results["loss"] for results in found], [w.tolist() for w in model.get_weights()]


def stock_trajectory(style, optimizer=None):
    """The same of Keras' own step on one device."""
    keras.utils.set_random_seed(1)
    model, losses = STYLES[style](optimizer), []
    for _ in range(EPOCHS):
        total = examples = 0
        for batch in data(style):
            x, y, weight = batch
            model.reset_metrics()
            rows = len(tf.nest.flatten(x)[0])
            loss = float(model.train_on_batch(x, y, weight, return_dict=True)["loss"])
            total, examples = total + loss * rows, examples + rows
            losses.append(total / examples)
    return losses, [w.tolist() for w in model.get_weights()]


@functools.cache
def stock(style, optimizer="sgd"):
    return stock_trajectory(style, keras.optimizers.Adam(0.01) if optimizer == "adam" else None)


def assert_same(found, expected, rel=1e-5, weights=2e-5):
    assert len(found[0]) == 20
    np.testing.assert_allclose(found[0], expected[0], rtol=rel)
    for mine, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=weights)


def mobilenet(where, xla, whole=False):
    """Losses of keras.applications' MobileNetV2 in float64, or of its first blocks: two epochs of two steps, of unequal
    parts.
    """
    keras.utils.set_random_seed(1)
    keras.config.set_floatx("float64")  # of losses and initial values
    keras.config.set_dtype_policy("float64")
    try:
        model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), alpha=0.35, classes=4)
        rows, size = (23, 16) if whole else (22, 11)
        if not whole:
            x = layers.GlobalAveragePooling2D()(model.get_layer("block_1_project_BN").output)
            model = keras.Model(model.input, layers.Dense(4, "softmax")(x))
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), CROSS_ENTROPY)
        rng = np.random.default_rng(0)
        images = rng.random((rows, 64, 64, 3), dtype="float32"), rng.integers(0, 4, rows)
        batches = tf.data.Dataset.from_tensor_slices(images).batch(size)
        return [results["loss"] for results in learned(model, batches, where, epochs=2, xla=xla)[0]]
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


@functools.cache
def mobilenet_without_xla(whole=False):
    return mobilenet("mirrored", False, whole)


# --- asked of each process by test_processes.py ---------------------------------------------------------------------


def in_processes(style, xla):
    return trajectory(style, kzoo.strategy("multiworker"), xla)


def mobilenet_in_processes(whole):
    return mobilenet(kzoo.strategy("multiworker"), False, whole)


def other_orders():
    """What each worker is told that reads the data in an order of its own."""
    workers = kzoo.strategy("multiworker")
    mixed = data("sequential").unbatch().shuffle(70, seed=workers_of(workers)[1]).batch(BATCH)
    try:
        kzoo.fit(sequential(), mixed, epochs=1, strategy=workers, verbose=False)
    except kzoo.KzooError as error:
        return str(error)


def on_servers():
    """{XLA: (loss of each epoch, steps counted by the optimizer, steps of an epoch)}"""
    found = {}
    for xla in (False, True):
        run = kzoo.fit("lenet5", "digits", epochs=3, batch_size=32, strategy="parameter_server", xla=xla, verbose=False)
        found[str(xla)] = (run.history["loss"], int(run.model.optimizer.iterations), run.plan.steps_per_epoch)
    return found
