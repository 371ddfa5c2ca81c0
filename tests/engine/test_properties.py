"""Small networks drawn at random, of Keras' stock parts: the numbers are those of Keras' `fit` on one device.

Hypothesis draws inputs, layers, outputs, losses, metrics, an optimizer, the sizes of the data and of its batches, and
one of three ways to train; under --slow a failure is shrunk to the smallest network that shows it. With optimizers
whose steps do not shrink with the gradient, rounding is amplified: these train in float64. What replicas do not hold on
purpose (random layers, batch statistics that are not synchronised) is not drawn.
"""

import subprocess
import sys
from pathlib import Path

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from keras import layers

ROWS = st.integers(5, 23)
WAYS = ("one", "xla", "mirrored")

# {kind of input: (shape, what can read it)}; the last layer of each gives a vector.
READERS = {
    "row": ((4,), [
        lambda: [layers.Dense(5, "tanh")],
        lambda: [layers.Dense(6, kernel_regularizer="l2"), layers.LayerNormalization()],
        lambda: [layers.Dense(4), layers.UnitNormalization(), layers.ELU()],
        lambda: [layers.Reshape((2, 2)), layers.Permute((2, 1)), layers.Flatten(), layers.Dense(3, "softplus")],
        lambda: [layers.RepeatVector(3), layers.SimpleRNN(4)],
        lambda: [layers.Dense(4, kernel_constraint="non_neg", bias_regularizer="l1"), layers.PReLU()],
        lambda: [layers.Dense(6, "gelu", activity_regularizer=keras.regularizers.L2(0.01))],
        lambda: [layers.Rescaling(0.5, 0.1), layers.Dense(3, "silu")],
    ]),
    "steps": ((5, 3), [
        lambda: [layers.LSTM(4)],
        lambda: [layers.GRU(3, return_sequences=True), layers.GlobalAveragePooling1D()],
        lambda: [layers.Bidirectional(layers.SimpleRNN(3))],
        lambda: [layers.Masking(), layers.LSTM(3)],
        lambda: [layers.Conv1D(4, 3, activation="relu"), layers.GlobalMaxPooling1D()],
        lambda: [layers.SeparableConv1D(4, 2, padding="same"), layers.AveragePooling1D(2), layers.Flatten()],
        lambda: [layers.TimeDistributed(layers.Dense(3, "tanh")), layers.Flatten()],
        lambda: [layers.Conv1DTranspose(2, 2), layers.ZeroPadding1D(1), layers.Cropping1D(1), layers.Flatten()],
        lambda: [layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), layers.GlobalAveragePooling1D()],
    ]),
    "image": ((6, 6, 2), [
        lambda: [layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()],
        lambda: [layers.DepthwiseConv2D(3, padding="same"), layers.AveragePooling2D(3), layers.Flatten()],
        lambda: [layers.SeparableConv2D(4, 3, strides=2), layers.GlobalAveragePooling2D()],
        lambda: [layers.Conv2D(4, 1), layers.GroupNormalization(2), layers.LeakyReLU(), layers.GlobalMaxPooling2D()],
        lambda: [layers.Conv2DTranspose(2, 2, strides=2), layers.GlobalAveragePooling2D()],
        lambda: [layers.UpSampling2D(2), layers.Conv2D(2, 5, dilation_rate=2), layers.Flatten()],
        lambda: [layers.ZeroPadding2D(1), layers.MaxPooling2D(2), layers.Flatten()],
    ]),
    "ids": ((5,), [
        lambda: [layers.Embedding(12, 3), layers.GlobalAveragePooling1D()],
        lambda: [layers.Embedding(12, 3, mask_zero=True), layers.GlobalAveragePooling1D()],
        lambda: [layers.Embedding(12, 4, mask_zero=True), layers.LSTM(3)],
        lambda: [layers.Embedding(12, 2), layers.Flatten()],
    ]),
}  # fmt: skip

# {kind of output: (units, activation, labels, losses, metrics)}.
OUTPUTS = {
    "numbers": (2, None, "numbers", ["mse", "mae", "huber", "log_cosh", "mean_squared_logarithmic_error"],
                ["mae", "mse", "cosine_similarity"]),
    "positive": (1, "softplus", "numbers", ["poisson", "mse", "mean_absolute_percentage_error"], ["mse"]),
    "class": (3, "softmax", "class", ["sparse_categorical_crossentropy"],
              ["accuracy", "sparse_categorical_accuracy"]),
    "one-hot": (3, "softmax", "one-hot",
                ["categorical_crossentropy", "kl_divergence", "categorical_focal_crossentropy"],
                ["accuracy", "categorical_accuracy"]),
    "tags": (2, "sigmoid", "yes or no", ["binary_crossentropy", "binary_focal_crossentropy"], ["binary_accuracy"]),
    "sign": (1, "tanh", "sign", ["hinge", "squared_hinge"], ["mse"]),
}  # fmt: skip

STEADY = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "clipped": lambda: keras.optimizers.SGD(0.1, clipnorm=0.5, weight_decay=0.01),
    "clipped as a whole": lambda: keras.optimizers.SGD(0.1, global_clipnorm=0.5),
    "accumulated": lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
    "averaged": lambda: keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9),
}
AMPLIFYING = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "amsgrad": lambda: keras.optimizers.Adam(0.01, amsgrad=True, clipvalue=0.5),
    "adamw": lambda: keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.01, 8), weight_decay=0.05),
    "nadam": lambda: keras.optimizers.Nadam(0.01),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda: keras.optimizers.Adagrad(0.05),
    "adadelta": lambda: keras.optimizers.Adadelta(0.5),
    "adamax": lambda: keras.optimizers.Adamax(0.01),
    "ftrl": lambda: keras.optimizers.Ftrl(0.05, l1_regularization_strength=0.001),
    "lamb": lambda: keras.optimizers.Lamb(0.01),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
}
OPTIMIZERS = {**STEADY, **AMPLIFYING}


@st.composite
def networks(draw):
    """(plan of a network and its data): plain values, which hypothesis can shrink and print."""
    read = draw(st.lists(st.sampled_from(sorted(READERS)), min_size=1, max_size=3))
    return {
        "inputs": [(kind, draw(st.integers(0, len(READERS[kind][1]) - 1))) for kind in read],
        "joined": draw(st.sampled_from(["concatenate", "add", "multiply", "maximum", "average"])),
        "outputs": [
            (kind, draw(st.sampled_from(OUTPUTS[kind][3])), draw(st.sampled_from(["", *OUTPUTS[kind][4]])))
            for kind in draw(st.lists(st.sampled_from(sorted(OUTPUTS)), min_size=1, max_size=3))
        ],
        "weighted": draw(st.booleans()),
        "optimizer": draw(st.sampled_from(sorted(OPTIMIZERS))),
        "rows": draw(ROWS),
        "batch": draw(st.integers(2, 9)),
        "way": draw(st.sampled_from(WAYS)),
        "seed": draw(st.integers(0, 1000)),
    }


def build(plan, eagerly=False):
    keras.utils.set_random_seed(plan["seed"])
    inputs, read = [], []
    for k, (kind, choice) in enumerate(plan["inputs"]):
        shape, readers = READERS[kind]
        inputs.append(keras.Input(shape, dtype="int32" if kind == "ids" else keras.config.floatx(), name=f"x{k}"))
        x = inputs[-1]
        for layer in readers[choice]():
            x = layer(x)
        read.append(x if plan["joined"] == "concatenate" else layers.Dense(4, "tanh")(x))
    joined = read[0] if len(read) == 1 else getattr(layers, plan["joined"])(read)
    outputs = {}
    for k, (kind, _, _) in enumerate(plan["outputs"]):
        units, activation, *_ = OUTPUTS[kind]
        outputs[f"y{k}"] = layers.Dense(units, activation, name=f"y{k}")(joined)
    model = keras.Model(inputs, outputs)
    losses = {f"y{k}": loss for k, (_, loss, _) in enumerate(plan["outputs"])}
    metrics = {f"y{k}": [metric] for k, (_, _, metric) in enumerate(plan["outputs"]) if metric}
    weights = {name: 0.5 + k for k, name in enumerate(losses)} if plan["weighted"] and len(losses) > 1 else None
    model.compile(
        OPTIMIZERS[plan["optimizer"]](), losses, metrics=metrics or None, loss_weights=weights, run_eagerly=eagerly
    )
    return model


def data(plan):
    rng = np.random.default_rng(plan["seed"])
    rows, real = plan["rows"], keras.config.floatx()
    x = tuple(
        rng.integers(0, 12, (rows, *READERS[kind][0])).astype("int32") if kind == "ids"
        else rng.random((rows, *READERS[kind][0])).astype(real)
        for kind, _ in plan["inputs"]
    )  # fmt: skip
    make = {
        "numbers": lambda units: rng.random((rows, units)).astype(real) + 0.1,
        "class": lambda units: rng.integers(0, units, rows),
        "one-hot": lambda units: np.eye(units)[rng.integers(0, units, rows)].astype(real),
        "yes or no": lambda units: rng.integers(0, 2, (rows, units)).astype(real),
        "sign": lambda units: rng.choice([-1.0, 1.0], (rows, units)).astype(real),
    }
    y = {f"y{k}": make[OUTPUTS[kind][2]](OUTPUTS[kind][0]) for k, (kind, _, _) in enumerate(plan["outputs"])}
    parts = (x if len(x) > 1 else x[0], y)
    if plan["weighted"] and len(y) == 1:
        parts = (*parts, rng.random(rows).astype(real))
    return tf.data.Dataset.from_tensor_slices(parts).batch(plan["batch"])


class Diverges(Exception):
    """Keras' own numbers grow until rounding is all that is left of them."""


def check(plan, eagerly=False):
    """History and weights, in float64 where rounding is amplified: by optimizers whose steps do not shrink with the
    gradient, or by the network, which then shows it by differing in float32 a little only. Keras' `fit` compiled, or
    eagerly, which is faster for networks that are trained for a few batches only.
    """
    try:
        if plan["optimizer"] in AMPLIFYING:
            compare(plan, eagerly, "float64", 1e-9)
            return
        try:
            compare(plan, eagerly, "float32", 1e-5)
        except AssertionError:
            compare(plan, eagerly, "float32", 1e-3)
            compare(plan, eagerly, "float64", 1e-9)
    except Diverges:
        pass


def compare(plan, eagerly, precision, tolerance):
    before = keras.config.floatx()
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    try:
        model, batches = build(plan, eagerly), data(plan)
        expected = model.fit(batches, epochs=2, shuffle=False, verbose=0).history
        weights = model.get_weights()
        if not max(np.abs(w).max() for w in weights) < 1e4:
            raise Diverges
        other, where = build(plan), nets.strategy("mirrored") if plan["way"] == "mirrored" else "one"
        rows = "keras" if plan["way"] != "mirrored" else "sum"
        found = nets.taught(
            other, batches, where, epochs=2, xla="on" if plan["way"] == "xla" else "off", repeated_rows=rows
        ).history
        held = [k for k in expected if k == "loss" or not k.endswith("_loss")]  # Keras averages others over batches
        for name in held:
            np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
        for mine, theirs, variable in zip(other.get_weights(), weights, model.weights, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance, err_msg=variable.path)
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)
        keras.backend.clear_session()


def held_on_replicas(plan):
    """An embedding's repeated rows are summed there; Keras' optimizers square each alone, see test_as_keras.py."""
    squares = plan["optimizer"] not in ("sgd", "momentum", "accumulated", "averaged")
    return plan["way"] != "mirrored" or not squares or not any(kind == "ids" for kind, _ in plan["inputs"])


QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_network_of_stock_parts_has_keras_numbers(part):
    held = settings(max_examples=3, phases=[Phase.generate], **QUIET)(
        given(networks().filter(held_on_replicas))(lambda plan: check(plan, eagerly=True))
    )
    seed(part)(held)()


def search(part, count):
    """So many networks; which, the part decides."""
    held = settings(max_examples=count, print_blob=True, **QUIET)(
        given(networks().filter(held_on_replicas))(lambda plan: check(plan))
    )
    seed(part)(held)()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_a_thousand_of_them(part):
    """A hundred in a process of their own: TensorFlow keeps what it has compiled, some 20 MB a network."""
    code = f"import nets, test_properties; nets.strategy('mirrored'); test_properties.search({part}, 100)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-4000:]
