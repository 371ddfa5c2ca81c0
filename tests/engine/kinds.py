"""Small text models and their data: the same in every process."""

import functools

import keras
import nets
import numpy as np

import kzoo
from kzoo.data import DataInfo

WORDS = [f"w{k}" for k in range(12)]
MODELS = (
    "lstm_classifier_tiny", "gru_classifier_tiny", "rnn_classifier_tiny", "textcnn_tiny", "seq2seq_tiny",
    "seq2seq_bahdanau_tiny", "seq2seq_luong_tiny", "transformer_tiny", "lstm_forecaster_tiny", "mlp_regressor",
)  # fmt: skip
NUMBERS = ("lstm_forecaster_tiny", "mlp_regressor")


def translates(name):
    return name.startswith(("seq2seq", "transformer"))


def numbers(name):
    """70 rows with a number each, or as many windows of a series."""
    rng = np.random.default_rng(0)
    if name == "mlp_regressor":
        x = rng.normal(size=(nets.ROWS, 8)).astype("float32")
        return kzoo.Data((x, x[:, :1] * 2))
    x = np.sin(np.arange(nets.ROWS + 7) / 3).astype("float32")[:, None]
    info = DataInfo("sine", "series", shape=(1,), columns=("sine",), measured=("sine",))
    return kzoo.Data((x, np.zeros(len(x), "int64")), info=info)


def texts(name):
    """70 texts with labels, or with translations: the words backwards, numbers for letters."""
    rng = np.random.default_rng(0)
    rows = [list(rng.choice(len(WORDS), rng.integers(2, 9))) for _ in range(nets.ROWS)]
    x = np.array([" ".join(WORDS[k] for k in row) for row in rows])
    if not translates(name):
        return kzoo.Data((x, np.array([sum(row) % 2 for row in rows])))
    return kzoo.Data((x, np.array([" ".join(f"n{k}" for k in row[::-1]) for row in rows])))


def trajectory(name, strategy, xla):
    """(losses after every step, weights) of at least 20 steps."""
    keras.utils.set_random_seed(1)
    sizes = {"source_vocabulary": 40, "target_vocabulary": 40} if translates(name) else {}
    model = kzoo.create_model(name, dropout=0.0, **sizes)
    data = numbers(name) if name in NUMBERS else texts(name)
    found, _ = nets.learned(
        model, data, strategy, epochs=6, each_step=True, batch_size=23, xla=xla,
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
    )  # fmt: skip
    return [results["loss"] for results in found], [w.tolist() for w in model.get_weights()]


@functools.cache
def alone(name):
    return trajectory(name, kzoo.strategy("default"), False)


def assert_same(found, expected):
    assert len(found[0]) == len(expected[0]) >= 20
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    for mine, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def in_processes(name, xla):
    return trajectory(name, kzoo.strategy("multiworker"), xla)
