"""A small network, and every optimizer of Keras in many settings, with what Keras' own steps make of it."""

import keras
import numpy as np
import tensorflow as tf

from kzoo.engine import build_optimizer
from kzoo.engine.optimizers import pure


def dense(optimizer, **arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(7, "tanh", kernel_constraint="unit_norm"),
            keras.layers.Dense(2),
        ]
    )
    model.compile(optimizer, "mse", **arguments)
    return model


def rows(n=32):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 5)).astype("float32"), rng.normal(size=(n, 2)).astype("float32")


SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.9)


def without_decay_of_biases():
    optimizer = keras.optimizers.AdamW(0.05, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def loss_scaled():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.05), initial_scale=8, dynamic_growth_steps=2)


SETTINGS = {
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "decay": lambda: keras.optimizers.SGD(0.05, weight_decay=0.01),
    "decay, no biases": without_decay_of_biases,
    "schedule": lambda: keras.optimizers.SGD(SCHEDULE),
    "clipnorm": lambda: keras.optimizers.SGD(0.05, clipnorm=0.1),
    "global clipnorm": lambda: keras.optimizers.SGD(0.05, global_clipnorm=0.1),
    "clipvalue": lambda: keras.optimizers.SGD(0.05, clipvalue=0.01),
    "amsgrad": lambda: keras.optimizers.Adam(0.05, amsgrad=True),
    "average": lambda: keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5),
    "average, written": lambda: keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "accumulation": lambda: keras.optimizers.Adam(0.05, gradient_accumulation_steps=2),
    "accumulation, clip": lambda: keras.optimizers.AdamW(0.05, gradient_accumulation_steps=2, clipnorm=0.5),
    "loss scaling": loss_scaled,
    **{
        name: (lambda name=name: getattr(keras.optimizers, name)())
        for name in ("SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Adafactor", "Nadam", "Ftrl",
                     "Lion", "Lamb", "Muon")
    },
}  # fmt: skip


def gradients(model, steps=6):
    """Of each step, for each trainable variable."""
    rng = np.random.default_rng(1)
    return [
        [tf.constant(rng.normal(size=v.shape), tf.float32) for v in model.trainable_variables] for _ in range(steps)
    ]


def by_keras(optimizer):
    """(weights, slots) after six of Keras' own steps."""
    model = dense(optimizer)
    optimizer.build(model.trainable_variables)
    for found in gradients(model):
        optimizer.apply([optimizer.scale_loss(g) for g in found], model.trainable_variables)
    return model.get_weights(), [v.numpy() for v in optimizer.variables]


def by_the_pure_step(model, optimizer, step=None):
    """The same by the function that replicas run, in which nothing is assigned; of `step`, default the optimizer."""
    build_optimizer(optimizer, model.trainable_variables)
    step = tf.function(pure(step or optimizer).stateless_apply, autograph=False)
    weights = [tf.convert_to_tensor(v.value) for v in model.trainable_variables]
    slots = [tf.convert_to_tensor(v.value) for v in optimizer.variables]
    scale = [k for k, v in enumerate(optimizer.variables) if v is getattr(optimizer, "dynamic_scale", None)]
    for found in gradients(model):
        found = [g * slots[scale[0]] for g in found] if scale else found
        weights, slots = step(slots, found, weights)
    return weights, slots


# In place Keras' own `apply` runs, compiled by XLA or not: a few settings show it. Replicas have the pure one.
IN_PLACE = ("decay, no biases", "average, written", "accumulation, clip", "loss scaling", "Adafactor", "Lamb")
