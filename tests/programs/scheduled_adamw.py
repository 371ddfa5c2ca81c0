"""AdamW with a warm-up, a cosine and clipped norms, labels one-hot and smoothed, top-k accuracy."""

import keras
import numpy as np
from keras import layers
from program import Program, batches


def build():
    model = keras.Sequential(
        [keras.Input((9,)), layers.Dense(12, activation="gelu"), layers.LayerNormalization(), layers.Dense(5)]
    )
    rate = keras.optimizers.schedules.CosineDecay(0.0, 8, warmup_target=0.02, warmup_steps=3)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.05, clipnorm=0.2)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(
        optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["categorical_accuracy", keras.metrics.TopKCategoricalAccuracy(2, name="top_2")],
    )
    return model


def data():
    rng = np.random.default_rng(25)
    return batches(rng.normal(size=(37, 9)).astype("float32"), np.eye(5, dtype="float32")[rng.integers(0, 5, 37)])


PROGRAM = Program(build, data)
