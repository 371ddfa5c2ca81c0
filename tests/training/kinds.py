"""Small text models and their data, trained by kzoo.fit: the same in every process."""

import keras
import nets
import numpy as np

import kzoo

WORDS = [f"w{k}" for k in range(12)]
MODELS = ("lstm_classifier_tiny", "seq2seq_luong_tiny", "transformer_tiny")


def texts(name):
    """70 texts with labels, or with translations: the words backwards, numbers for letters."""
    rng = np.random.default_rng(0)
    rows = [list(rng.choice(len(WORDS), rng.integers(2, 9))) for _ in range(nets.ROWS)]
    x = np.array([" ".join(WORDS[k] for k in row) for row in rows])
    if name.startswith("lstm"):
        return kzoo.Data((x, np.array([sum(row) % 2 for row in rows])))
    return kzoo.Data((x, np.array([" ".join(f"n{k}" for k in row[::-1]) for row in rows])))


def trajectory(name, strategy, xla):
    """(losses after every step, weights) of at least 20 steps."""
    data, losses = texts(name), nets.Losses()
    keras.utils.set_random_seed(1)
    sizes = {} if name.startswith("lstm") else {"source_vocabulary": 40, "target_vocabulary": 40}
    model = kzoo.create_model(name, dropout=0.0, **sizes)
    kzoo.fit(
        model, data, epochs=6, batch_size=23, strategy=strategy, xla=xla, callbacks=[losses],
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9), verbose=False,
    )  # fmt: skip
    return losses.values, [w.tolist() for w in model.get_weights()]


def trajectories():
    """Of a worker."""
    strategy = kzoo.strategy("multiworker")
    return {f"{name} {xla}": trajectory(name, strategy, xla) for name in MODELS for xla in (False, True)}
