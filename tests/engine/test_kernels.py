"""Kernels: equal to Keras' own code in outputs, gradients and statistics; masks of dropout are the same under XLA."""

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kzoo.engine.kernels import Kernels, philox_dropout


def sequence(kind, **arguments):
    return lambda: keras.Sequential([keras.Input((7, 5)), layers.Masking(), kind(6, **arguments)]), (4, 7, 5)


def with_states(kind, time=7, **arguments):
    """From states that are not zero, padded in front; the last states and all outputs count."""

    def build():
        x = keras.Input((time, 5))
        mask = keras.ops.any(x[..., ::-1] != 0, -1)[:, ::-1]
        begun = layers.Dense(6)(x[:, 0] + 1)
        states = [begun] * (2 if kind is layers.LSTM else 1)
        outputs, *last = kind(6, return_sequences=True, return_state=True, **arguments)(
            x, initial_state=states, mask=mask
        )
        return keras.Model(x, keras.ops.concatenate([outputs, *(s[:, None] for s in last)], 1))

    return build, (4, 7, 5)


def image(*of):
    return lambda: keras.Sequential([keras.Input((6, 6, 4)), *(make() for make in of)]), (8, 6, 6, 4)


def attention(causal):
    def build():
        x = keras.Input((7, 8))
        return keras.Model(x, layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=causal))

    return build, (4, 7, 8)


CASES = {
    "batch norm": image(lambda: layers.BatchNormalization(epsilon=1e-5)),
    "batch norm, no scale": image(lambda: layers.BatchNormalization(scale=False, center=False)),
    "average pooling": image(lambda: layers.AveragePooling2D(2)),
    "average pooling 3x2": image(lambda: layers.AveragePooling2D((3, 2))),
    "layer norm": image(layers.LayerNormalization),
    "einsum": image(lambda: layers.EinsumDense("abcd,de->abce", (6, 6, 3), bias_axes="e", activation="tanh")),
    "einsum, two axes": image(lambda: layers.EinsumDense("abcd,cdef->abef", (6, 2, 3))),
    "attention": attention(False),
    "attention, causal": attention(True),
    "lstm": sequence(layers.LSTM),
    "lstm, backwards": sequence(layers.LSTM, return_sequences=True, go_backwards=True),
    "lstm, no bias": sequence(layers.LSTM, use_bias=False, unroll=True),
    "gru": sequence(layers.GRU, return_sequences=True),
    "gru, reset before": sequence(layers.GRU, reset_after=False),
    "gru, no bias": sequence(layers.GRU, use_bias=False),
    "lstm, states given": with_states(layers.LSTM),
    "lstm, zero where masked": with_states(layers.LSTM, zero_output_for_mask=True, go_backwards=True),
    "lstm, any length": with_states(layers.LSTM, time=None),
    "gru, states given": with_states(layers.GRU, activation="relu", recurrent_activation="hard_sigmoid"),
    "gru, any length": with_states(layers.GRU, time=None, zero_output_for_mask=True),
}


RARE = {"lstm, no bias", "gru, no bias", "gru, reset before", "lstm, states given"}


def run(model, x, weight, enabled, xla):
    """Output, gradients of input and weights, and what the pass left in the statistics."""
    kernels = Kernels([model], xla=xla, enabled=enabled)

    @tf.function(jit_compile=xla)
    def step():
        with kernels.swapped(), tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=True)
            value = tf.reduce_sum(y * weight + tf.sin(y))
        return [y, *tape.gradient(value, [x, *(v.value for v in model.trainable_variables)])]

    found = [t.numpy() for t in step()] + [v.numpy() for v in model.non_trainable_variables]
    return found, kernels


@pytest.mark.parametrize(
    ("case", "xla"),
    [  # layers that loop over time are shown with XLA or without, in turn; the rarer ones are slow
        pytest.param(
            case, xla, id=f"{case}-xla-{'on' if xla else 'off'}",
            marks=[pytest.mark.slow] * (case.startswith(("lstm", "gru")) and (case in RARE or xla == (k % 2 == 0))),
        )
        for k, case in enumerate(CASES)
        for xla in (False, True)
    ],
)  # fmt: skip
def test_equal_to_keras(case, xla, rng):
    build, shape = CASES[case]
    x = rng.normal(1, 2, shape).astype("float32")
    if len(shape) == 3:
        x[0, 3:] = 0  # masked, where the model has a mask
    results = []
    for enabled in (False, True):
        keras.utils.set_random_seed(0)
        model = build()
        for variable in model.trainable_variables:  # no gradient hides behind a zero
            variable.assign(variable + rng.normal(0, 0.1, variable.shape) * 0 + 0.05)
        weight = tf.constant(np.linspace(-1, 1, int(np.prod(model(x).shape))).reshape(model(x).shape), tf.float32)
        found, kernels = run(model, tf.constant(x), weight, enabled, xla)
        assert bool(kernels.names) == (enabled and not (xla and case.split(",")[0].split(" 3")[0] in FUSED_BY_XLA))
        results.append(found)
    for stock, swapped in zip(*results, strict=True):
        np.testing.assert_allclose(swapped, stock, rtol=1e-5, atol=3e-5 * max(1e-1, np.abs(stock).max()))


FUSED_BY_XLA = ("batch norm", "average pooling", "layer norm")


def test_only_exact_types_are_swapped_and_only_while_tracing():
    class Mine(layers.BatchNormalization):
        pass

    model = keras.Sequential([keras.Input((6, 6, 4)), Mine(), layers.BatchNormalization(), layers.Dropout(0.0)])
    kernels = Kernels([model], xla=False)
    assert kernels.names == ("fused batch norm (1)",)
    with kernels.swapped():
        assert "call" in vars(model.layers[1]) and "call" not in vars(model.layers[0])
    assert "call" not in vars(model.layers[1])


def test_float64_keeps_kerass_digits():
    model = keras.Sequential([keras.Input((6, 6, 4)), layers.BatchNormalization(dtype="float64")])
    assert Kernels([model], xla=False).names == ()


def test_the_plan_names_them_and_false_turns_them_off():
    for enabled, names in ((True, ("average pooling (2)",)), (False, ())):
        _, ready = nets.made("lenet5", "digits", "default", kernels=enabled)
        assert ready.plan.kernels == ready.engine.kernels.names == names


def test_dropout_masks_are_the_same_under_xla_and_have_the_rate():
    masks = []
    for xla in (False, True):
        layer = layers.Dropout(0.3, seed=7)
        layer.build((100, 100))
        call = tf.function(lambda x, layer=layer: philox_dropout(layer, x, training=True), jit_compile=xla)
        masks.append((call(tf.ones((100, 100))).numpy(), call(tf.ones((100, 100))).numpy()))
    for off, on in zip(*masks, strict=True):
        np.testing.assert_array_equal(off > 0, on > 0)
        assert np.unique(np.round(off, 5)).tolist() == [0, pytest.approx(1 / 0.7, abs=1e-4)]
        assert abs((off == 0).mean() - 0.3) < 0.02
    assert (masks[0][0] != masks[0][1]).any()  # another call, another mask
    stock = layers.Dropout(0.3, seed=7)
    stock.build((100, 100))
    for mask in masks[0]:
        np.testing.assert_array_equal(stock(tf.ones((100, 100)), training=True), mask)


def test_dropout_differs_between_replicas_and_repeats_with_the_seed():
    class Noted(keras.Model):
        """Passes its dropout mask on as the output."""

        def __init__(self):
            super().__init__()
            self.drop, self.scale = layers.Dropout(0.5), layers.Dense(1, kernel_initializer="ones")

        def call(self, x, training=None):
            return self.scale(self.drop(x, training=training))

    def losses(xla, seed):
        keras.utils.set_random_seed(5)
        model = Noted()
        model(np.ones((1, 64), "float32"))
        model.compile(keras.optimizers.SGD(0.001), "mse")
        rows = np.ones((8, 64), "float32"), np.zeros((8, 1), "float32")
        data = tf.data.Dataset.from_tensor_slices(rows).batch(8)
        found, _ = nets.learned(model, data, "mirrored", epochs=3, seed=seed, xla=xla)
        return [results["loss"] for results in found]

    plain = losses(False, 0)
    assert plain == pytest.approx(losses(True, 0), rel=1e-6)  # the same masks with and without XLA
    assert plain == losses(False, 0)
    # Each replica has four equal rows: were their masks alike, the second half of the batch would repeat the first.
    values = []
    for replica in range(2):
        layer = layers.Dropout(0.5, seed=3)
        layer.build((4, 64))
        state = layer.seed_generator.state
        state.assign(tf.stack([state.value[0] + replica, state.value[1]]))
        values.append(philox_dropout(layer, tf.ones((4, 64)), training=True).numpy())
    assert (values[0] != values[1]).any()


@pytest.mark.slow
def test_kernels_do_not_change_a_trajectory():
    keras.utils.set_random_seed(1)
    assert nets.trajectory("functional", "default", True)[0] == pytest.approx(
        nets.stock_trajectory("functional")[0], rel=1e-5
    )
