"""Small compiled networks that hold what goes wrong with replicas, with data whose last batch is ragged."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

ROWS, BATCH = 70, 23  # 70 = 3 * 23 + 1: the last batch leaves a second replica empty
CROSS_ENTROPY = "sparse_categorical_crossentropy"


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


class Losses(keras.callbacks.Callback):
    """The loss after every batch, as a callback is told it: the mean over the epoch's examples so far."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


def trajectory(style, strategy, xla, optimizer=None, precision=None):
    """(20 losses, weights) of kzoo.fit."""
    import kzoo

    keras.utils.set_random_seed(1)
    model, losses = STYLES[style](optimizer), Losses()
    kzoo.fit(
        model, data(style), epochs=EPOCHS, strategy=strategy, xla=xla, precision=precision, callbacks=[losses],
        verbose=False,
    )  # fmt: skip
    return losses.values, [w.tolist() for w in model.get_weights()]


def stock_trajectory(style, optimizer=None):
    """The same of Keras' own step on one device."""
    keras.utils.set_random_seed(1)
    model, losses = STYLES[style](optimizer), []
    keras.utils.set_random_seed(0)  # where kzoo.fit sets it
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


def mobilenet(strategy, xla):
    """Losses of keras.applications' MobileNetV2 in float64, two epochs of two steps, the second batch ragged."""
    import kzoo

    keras.utils.set_random_seed(1)
    keras.config.set_floatx("float64")  # of losses and initial values
    keras.config.set_dtype_policy("float64")
    try:
        model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), alpha=0.35, classes=4)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), CROSS_ENTROPY)
        rng = np.random.default_rng(0)
        images = rng.random((23, 64, 64, 3), dtype="float32"), rng.integers(0, 4, 23)
        batches = tf.data.Dataset.from_tensor_slices(images).batch(16)
        return kzoo.fit(model, batches, epochs=2, strategy=strategy, xla=xla, verbose=False).history["loss"]
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
