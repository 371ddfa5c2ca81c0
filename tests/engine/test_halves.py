"""The batch in two halves side by side: the numbers of the whole batch, to rounding; and who is left whole."""

import keras
import kinds
import nets
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kzoo
from kzoo.engine import Supervised, engines
from kzoo.engine.halves import InHalves, pays
from kzoo.engine.kernels import philox_dropout
from kzoo.engine.losses import Share

ROWS, BATCH = 22, 7  # 22 = 3 * 7 + 1: halves of four and three rows, and a last batch that has one


def recurrent(kind=layers.LSTM, *, dropout=0.3, width=5, **arguments):
    """Masked texts; the masks of dropout have five numbers a step, which Philox' fours do not divide."""
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, width, mask_zero=True)(inputs)
    x = layers.Dropout(dropout)(x)
    x = layers.Dropout(dropout)(kind(4, **arguments)(x))
    return keras.Model(inputs, layers.Dense(3, "softmax", kernel_regularizer="l2")(x))


def tagger():
    """A label for each step: the loss divides by the real ones of the whole batch."""
    inputs = keras.Input((6,), dtype="int32")
    x = layers.GRU(4, return_sequences=True)(layers.Embedding(20, 5, mask_zero=True)(inputs))
    return keras.Model(inputs, layers.Dense(3, "softmax")(x))


def sequential():
    return keras.Sequential([keras.Input((6,), dtype="int32"), layers.Embedding(20, 4), layers.SimpleRNN(4),
                             layers.Dropout(0.5), layers.Dense(3, "softmax")])  # fmt: skip


def data(steps=False, weights=True):
    rng = np.random.default_rng(0)
    x = rng.integers(1, 20, (ROWS, 6)).astype("int32")
    for row, length in enumerate(rng.integers(1, 7, ROWS)):
        x[row, length:] = 0
    shape = (ROWS, 6) if steps else (ROWS,)
    parts = [x, rng.integers(0, 3, shape), rng.random(shape, dtype="float32")]
    return tf.data.Dataset.from_tensor_slices(tuple(parts if weights else parts[:2])).batch(BATCH)


def compiled(build, optimizer="adam"):
    keras.utils.set_random_seed(3)
    model = build()
    if isinstance(optimizer, dict):
        optimizer = keras.optimizers.Adam(**optimizer)
    model.compile(optimizer, nets.CROSS_ENTROPY, metrics=["accuracy"], weighted_metrics=["accuracy"])
    return model


CASES = {
    "lstm": (lambda: compiled(recurrent), data()),
    "lstm, widths of four": (lambda: compiled(lambda: recurrent(width=4)), data()),
    "gru": (lambda: compiled(lambda: recurrent(layers.GRU)), data(weights=False)),
    "backwards": (lambda: compiled(lambda: recurrent(go_backwards=True, dropout=0.0)), data()),
    "tagger": (lambda: compiled(tagger), data(steps=True)),
    "sequential": (lambda: compiled(sequential), data()),
    "accumulation": (lambda: compiled(recurrent, {"gradient_accumulation_steps": 3, "clipnorm": 0.5}), data()),
    "average": (lambda: compiled(recurrent, {"use_ema": True}), data()),
    **{
        f"lstm_classifier_tiny, {style}": (
            lambda style=style: kzoo.create_model("lstm_classifier_tiny", style, vocabulary=20, classes=3),
            data(weights=False),
        )
        for style in ("sequential", "functional", "subclass")
    },
}


def pairs(name):
    return lambda: kzoo.create_model(name, source_vocabulary=40, target_vocabulary=40)


def windows():
    ids = np.random.default_rng(0).integers(1, 20, (ROWS, 9)).astype("int32")
    return tf.data.Dataset.from_tensor_slices((ids[:, :-1], ids[:, 1:])).batch(BATCH)


CASES |= {
    "gpt_tiny": (lambda: kzoo.create_model("gpt_tiny", vocabulary=20, length=8), windows()),
    "transformer_tiny": (pairs("transformer_tiny"), kinds.texts("transformer")),
    "seq2seq_luong_tiny": (pairs("seq2seq_luong_tiny"), kinds.texts("seq2seq")),
}
SLOW = {"lstm", "lstm, widths of four", "gru", "backwards", "sequential", "accumulation", "average",
        "lstm_classifier_tiny, sequential", "lstm_classifier_tiny, subclass", "seq2seq_luong_tiny",
        "transformer_tiny", "gpt_tiny", "lstm_classifier_tiny, functional", "tagger"}  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(case, marks=[pytest.mark.slow] * (case in SLOW)) for case in CASES])
def test_the_numbers_of_the_whole_batch(case, monkeypatch):
    build, rows = CASES[case]
    found = []
    for halves in (True, False):
        monkeypatch.setattr(engines, "pays", lambda *given, halves=halves: pays(*given) and halves)
        keras.utils.set_random_seed(0)
        model = build()
        size = {"batch_size": BATCH} if isinstance(rows, kzoo.Data) else {}
        results, ready = nets.learned(model, rows, "default", epochs=2, xla="on", **size)
        assert isinstance(ready.engine, InHalves) == halves
        tested = ready.engine.evaluate(nets.feed_of(model, rows, nets.Fit.of(size), nets.strategy("default")).train)
        found.append((results, tested, [v.numpy() for v in model.variables]))
    for one, other in zip(*(results for results, _, _ in found), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)
    for one, other in zip(*(weights for _, _, weights in found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # seeds of dropout among them


@pytest.mark.parametrize("width", [pytest.param(4, marks=pytest.mark.slow), 5])
@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
def test_rows_of_a_mask_of_dropout(xla, width):
    whole, rows = layers.Dropout(0.4, seed=7), tf.ones((9, 3, width))
    whole.build(rows.shape)
    mask = philox_dropout(whole, rows, training=True).numpy()
    for first in range(9):
        part = layers.Dropout(0.4, seed=7)
        part.build(rows.shape)
        share = Share(tf.constant(1.0), tf.constant(9.0), tf.constant(first, tf.int64))
        draw = tf.function(lambda x, part=part, share=share: philox_dropout(part, x, True, share), jit_compile=xla)
        np.testing.assert_array_equal(draw(rows[first : first + 2]), mask[first : first + 2])


class Mine(layers.Layer):
    def call(self, x):
        return x[::-1]


def metric(y, y_pred):
    return keras.ops.max(y_pred)


LEFT_WHOLE = {
    "no loop": lambda: keras.Sequential([keras.Input((6, 5)), layers.Flatten(), layers.Dense(3, "softmax")]),
    "statistics": lambda: keras.Sequential([keras.Input((6, 5)), layers.BatchNormalization(), layers.LSTM(3)]),
    "noise": lambda: keras.Sequential([keras.Input((6, 5)), layers.GaussianNoise(0.1), layers.LSTM(3)]),
    "recurrent dropout": lambda: keras.Sequential([keras.Input((6, 5)), layers.LSTM(3, recurrent_dropout=0.1)]),
    "a mask for all rows": lambda: keras.Sequential(
        [keras.Input((6, 5)), layers.Dropout(0.1, noise_shape=(1, 6, 5)), layers.LSTM(3)]
    ),
    "a layer of one's own": lambda: keras.Sequential([keras.Input((6, 5)), Mine(), layers.LSTM(3)]),
    "losses of activations": lambda: keras.Sequential([keras.Input((6, 5)), layers.LSTM(3, activity_regularizer="l2")]),
}


@pytest.mark.parametrize("case", LEFT_WHOLE)
def test_left_whole(case):
    check_whole(LEFT_WHOLE[case](), loss=nets.CROSS_ENTROPY)


@pytest.mark.parametrize("compiled_with", [
    {"loss": lambda y, y_pred: keras.ops.mean(y_pred, -1)}, {"loss": keras.losses.Dice()},
    {"loss": keras.losses.Circle()}, {"loss": nets.CROSS_ENTROPY, "metrics": [metric]},
], ids=["loss of one's own", "one number a batch", "compares examples", "metric of one's own"])  # fmt: skip
def test_losses_and_metrics_that_may_not_add_up(compiled_with):
    check_whole(keras.Sequential([keras.Input((6, 5)), layers.LSTM(3, activation="softmax")]), **compiled_with)


def check_whole(model, **arguments):
    model.compile("sgd", **arguments)
    objective = Supervised(model)
    labels = np.zeros((4, 3), "float32") if isinstance(arguments["loss"], keras.losses.Dice) else np.zeros(4, "int32")
    objective.prepare((tf.ones((4, 6, 5)), tf.constant(labels)))
    assert not pays(objective, kernels=True)


def test_parts_without_a_row_for_each_example():
    """Keras adds the one row of a part to all of the others."""
    a, b = keras.Input((6, 5)), keras.Input((6, 5))
    model = keras.Model([a, b], layers.Dense(3, "softmax")(layers.LSTM(3)(a + b)))
    rows = tf.data.Dataset.from_tensors(((tf.ones((8, 6, 5)), tf.ones((1, 6, 5))), tf.zeros(8, tf.int32)))
    model.compile("adam", nets.CROSS_ENTROPY)
    assert not isinstance(nets.made(model, rows, "default", xla="on")[1].engine, InHalves)


def test_a_network_for_batches_of_one_size():
    model = keras.Sequential([keras.Input(batch_shape=(4, 6, 5)), layers.LSTM(3, activation="softmax")])
    check_whole(model, loss=nets.CROSS_ENTROPY)


def test_no_metrics_are_none_of_ones_own():
    model = recurrent()
    model.compile("adam", nets.CROSS_ENTROPY, metrics=[])
    assert isinstance(nets.made(model, data(), "default", xla="on")[1].engine, InHalves)


def test_without_kernels_a_network_with_dropout_is_left_whole():
    for kernels, halved in ((True, True), (False, False)):
        _, ready = nets.made(compiled(recurrent), data(), "default", xla="on", kernels=kernels)
        assert isinstance(ready.engine, InHalves) == halved
        assert ("batch in halves" in ready.plan.kernels) == halved
