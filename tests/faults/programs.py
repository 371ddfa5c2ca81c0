"""Trainings of every kind, small: begun in a folder, or gone on with there. Deterministic to the bit."""

import itertools
import os
from pathlib import Path

import keras
import numpy as np

import kzoo
from kzoo.data import DataInfo

COMMON = {"verbose": False, "deterministic": True, "xla": "off"}


def pictures(count, seed, side=8, channels=1):
    """Three classes that differ in brightness and in texture, and overlap."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = rng.integers(0, 150, (count, side, side, channels)) + np.array([0, 90, 40])[y][:, None, None, None]
    x[y == 2, ::2] //= 3
    return x.astype("uint8"), y.astype("int64")


def set_of_pictures(name="pictures", side=8, channels=1):
    info = DataInfo(name=name, holds="images", classes=("dark", "light", "striped"), shape=(side, side, channels))
    return kzoo.Data(pictures(80, 0, side, channels), pictures(30, 1, side, channels), info=info)


def sentences():
    """Words backwards, numbers for letters."""
    rng = np.random.default_rng(0)
    rows = [list(rng.choice(9, rng.integers(2, 7))) for _ in range(60)]
    x = np.array([" ".join(f"w{k}" for k in row) for row in rows])
    y = np.array([" ".join(f"n{k}" for k in row[::-1]) for row in rows])
    return kzoo.Data((x[:45], y[:45]), (x[45:], y[45:]))


def network():
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.ReLU(),
        keras.layers.Dropout(0.2), keras.layers.Flatten(), keras.layers.Dense(3, "softmax"),
    ]  # fmt: skip
    return keras.Sequential([keras.Input((8, 8, 1)), *layers], name="features")


def classifier(folder, resume, **options):
    """Of all that a checkpoint must keep: slots, an average, statistics, seeds, order, augmentation, a schedule with
    its warm-up, accumulated gradients, the best epoch and patience.
    """
    if resume:
        return kzoo.fit(data=set_of_pictures(), resume=folder, verbose=False, **options)
    return kzoo.fit(
        network(), set_of_pictures(), run_dir=folder, epochs=5, batch_size=16, patience=3, augment=["shift", "flip"],
        optimizer="adam:use_ema=true,ema_overwrite_frequency=4,gradient_accumulation_steps=2", learning_rate=0.02,
        schedule="cosine", warmup=3, loss="sparse_categorical_crossentropy", metrics=["accuracy"],
        checkpoint="steps=2", **COMMON, **options,
    )  # fmt: skip


def mirrored(folder, resume):
    return classifier(folder, resume, strategy="mirrored", devices=2)


def translator(folder, resume):
    if resume:
        return kzoo.fit(data=sentences(), resume=folder, verbose=False)
    return kzoo.fit("transformer_tiny", sentences(), run_dir=folder, epochs=2, batch_size=16, checkpoint="steps=1",
                    **COMMON)  # fmt: skip


def gan(folder, resume):
    data = lambda: kzoo.Data((pictures(48, 0, 16)[0],))
    if resume:
        return kzoo.fit(data=data(), resume=folder, verbose=False)
    return kzoo.fit("dcgan_tiny", data(), run_dir=folder, epochs=2, batch_size=16, checkpoint="steps=1", **COMMON)


def fine_tuning(folder, resume):
    data = set_of_pictures("tuned", 28, 1)
    if resume:
        return kzoo.fine_tune(data=data, resume=folder, verbose=False)
    weights = Path(folder).with_name("five.safetensors")
    if not weights.is_file():
        keras.utils.set_random_seed(3)
        kzoo.save_weights(kzoo.mlp(classes=5), weights)
    return kzoo.fine_tune("mlp", data, weights=str(weights), run_dir=folder, epochs=2, head_epochs=2, batch_size=16,
                          learning_rate=0.003, checkpoint="steps=2", **COMMON)  # fmt: skip


def search(folder, resume):
    if resume:
        return kzoo.tune(data=set_of_pictures(), resume=folder, verbose=False)
    return kzoo.tune("mlp_16_16", set_of_pictures(), run_dir=folder, trials=2, epochs=2, batch_size=16,
                     checkpoint="steps=2", **COMMON)  # fmt: skip


def left_after(batches):
    """Ctrl-C after so many, which is not remembered."""
    taken = itertools.count(1)

    def look(batch, logs):
        if next(taken) == batches:
            raise KeyboardInterrupt

    return keras.callbacks.LambdaCallback(on_train_batch_end=look)


def stepwise(folder, resume, strategy, after="0"):
    """Three epochs of five steps; left after so many, 0 for never."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(110, 5)).astype("float32"), np.arange(110) % 3
    data = kzoo.Data((x[:80], y[:80]), validation=(x[80:], y[80:]))
    where = {
        "strategy": strategy,
        "devices": 2 if strategy == "mirrored" else None,
        "callbacks": [left_after(int(after))],
    }
    if resume:
        return kzoo.fit(data=data, resume=folder, verbose=False, **where)
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
    model = keras.Sequential([keras.Input((5,)), *layers, keras.layers.Dense(3, "softmax")])
    return kzoo.fit(model, data, run_dir=folder, epochs=3, batch_size=16, schedule="cosine", optimizer="adam",
                    learning_rate=0.02, loss="sparse_categorical_crossentropy", metrics=["accuracy"],
                    checkpoint="steps=1", **COMMON, **where)  # fmt: skip


def elastic(folder, resume, devices, epochs):
    """On so many replicas, without what draws or normalizes by each replica."""
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(70, 6)).astype("float32"), np.arange(70) % 3)
    where = {"strategy": "mirrored", "devices": int(devices)} if devices != "1" else {"strategy": "default"}
    if resume:
        return kzoo.fit(data=data, resume=folder, verbose=False, epochs=int(epochs), **where)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3, "softmax")])
    return kzoo.fit(model, data, run_dir=folder, epochs=int(epochs), batch_size=16, optimizer="adam", verbose=False,
                    loss="sparse_categorical_crossentropy", learning_rate=0.01, **where)  # fmt: skip


PROGRAMS = {f.__name__: f for f in (classifier, mirrored, translator, gan, fine_tuning, search, stepwise, elastic)}


def run(name, folder, resume):
    """From a folder's parent, so that nothing that is written has a path in it."""
    os.chdir(Path(folder).parent)
    name, *more = name.split(":")
    return PROGRAMS[name](Path(folder).name, resume, *more)
