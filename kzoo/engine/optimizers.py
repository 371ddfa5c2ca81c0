"""Keras optimizers: by name, and as pure functions: (gradients, weights, slots) -> (weights, slots)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kzoo.engine.schedules import inner
from kzoo.errors import KzooError, unknown
from kzoo.keras_internals import (
    PartlyScaled,
    TFOptimizer,
    built_on,
    made_in,
    move_keys,
    neutral_methods,
    spare,
    spared,
)

NOT_SCALED = ("Ftrl", "ScheduleFreeAdamW", "MultiOptimizer")  # what they store fits only the steps that they made

POSITIVE = ("learning_rate", "weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps")


def optimizer_of(text: str) -> keras.optimizers.Optimizer:
    """`"adamw"`, or with settings: `"sgd:momentum=0.9,clipnorm=1,gradient_accumulation_steps=4,use_ema=true"`.

    Raises:
        KzooError: An unknown optimizer or setting, or a value that it does not take.
    """
    name, _, settings = text.partition(":")
    kinds = {
        n.lower(): kind
        for n, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer) and n != "Optimizer"
    }
    if name.lower() not in kinds:
        raise unknown("optimizer", name, kinds)
    kind = kinds[name.lower()]
    allowed = [n for n in inspect.signature(kind.__init__).parameters if n not in ("self", "name", "kwargs")]
    config = {}
    for setting in filter(None, settings.split(",")):
        key, _, value = (part.strip() for part in setting.partition("="))
        if key in config:
            raise KzooError(f"optimizer={text!r} gives {key} twice")
        if key not in allowed:
            raise unknown(f"setting of {kind.__name__}", key, allowed)
        try:
            config[key] = json.loads(value.lower())
        except ValueError:
            raise KzooError(f"{key}={value} in optimizer={text!r}: give a number, true or false") from None
        if key in POSITIVE and config[key] is not None and not config[key] > 0:
            raise KzooError(f"{key} in optimizer={text!r} must be above 0; received {config[key]}")
    try:
        return kind(**config, name=name.lower())  # Keras counts names up, and TensorFlow keeps some 35 KB a new one
    except (ValueError, TypeError) as error:
        raise KzooError(f"optimizer={text!r}: {str(error).splitlines()[0]}") from error


def skip_biases_and_norms(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> None:
    """Weight decay shrinks matrices and convolutions only, not what adds or scales (Goyal et al. 2017, section 5.1;
    He et al. 2019, section 3.1). Keras' own `exclude_from_weight_decay` does the same, before the optimizer is built.
    """
    if optimizer.weight_decay is not None:
        spare(optimizer, [v for v in model.trainable_variables if len(v.shape) < 2])


def optimizer_settings(optimizer: keras.optimizers.Optimizer) -> list[str]:
    """What it does beyond its rule, for the plan."""
    said = []
    if optimizer.weight_decay is not None:
        alone = spared(optimizer)
        said.append(f"weight decay {optimizer.weight_decay:g}" + f" (not of {alone} biases and norms)" * bool(alone))
    for name in ("clipnorm", "global_clipnorm", "clipvalue"):
        if getattr(optimizer, name) is not None:
            said.append(f"{name} {getattr(optimizer, name):g}")
    if optimizer.gradient_accumulation_steps:
        said.append(f"{optimizer.gradient_accumulation_steps} batches an update")
    if optimizer.use_ema:
        said.append(f"moving average of weights, {optimizer.ema_momentum:g}")
    return said


def build_optimizer(optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]) -> None:
    """Make its variables, in the scope of the strategy that it was made in."""
    if optimizer.built and not built_on(inner(optimizer)):  # for no weights, as Keras reads a whole .h5
        optimizer.built = False
    if not optimizer.built:
        with made_in(optimizer).scope():
            optimizer.build(variables)


def variables_of(phase: Any) -> list[keras.Variable]:
    """Those that its optimizer was built for; some may be frozen by now."""
    built_for = built_on(inner(phase.optimizer))
    known = {id(v) for v in built_for}
    missing = [v.path for v in phase.model.trainable_variables if id(v) not in known]
    if missing:
        raise KzooError(
            f"the optimizer does not know {missing[0]!r}{' and others' * (len(missing) > 1)}, which became trainable"
            " after it was built; compile the model anew, or give optimizer=…"
        )
    return built_for


def without_frozen(gradients: list[Any], phase: Any) -> list[Any]:
    """Of `variables_of`; None for those that are not trainable now."""
    learning = {id(v) for v in phase.model.trainable_variables}
    return [g if id(v) in learning else None for g, v in zip(gradients, variables_of(phase), strict=True)]


def adds_only(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an update adds the gradient times a number, and nothing else: slices of it may be added one by one."""
    clipped = any(getattr(optimizer, name) is not None for name in ("clipnorm", "global_clipnorm", "clipvalue"))
    plain = type(optimizer) is keras.optimizers.SGD and optimizer.momentum == 0
    return plain and not clipped and not optimizer.gradient_accumulation_steps


def finalize(phase: Any) -> None:
    """End a training as Keras does: an average of the weights (`use_ema`) takes their place. Frozen ones keep theirs,
    which their average equals but for rounding.
    """
    if inner(phase.optimizer).use_ema:
        kept = [(v, tf.identity(v.value)) for v in _frozen(phase)]
        phase.optimizer.finalize_variable_values(variables_of(phase))
        for variable, value in kept:
            variable.assign(value)


def _frozen(phase: Any) -> list[keras.Variable]:
    """Those that the optimizer knows and that are not trainable now."""
    learning = {id(v) for v in phase.model.trainable_variables}
    return [v for v in variables_of(phase) if id(v) not in learning]


def stepper(phase: Any) -> keras.optimizers.Optimizer:
    """The phase's optimizer, on the same variables, with the factors of the phase on their updates.

    Where nothing is scaled it is the optimizer itself. Otherwise a copy with the settings it has now; nothing of the
    optimizer is changed.

    Raises:
        KzooError: Updates of this optimizer cannot be scaled.
    """
    own = inner(phase.optimizer)
    known = {id(v) for v in variables_of(phase)}
    factors = {key: factor for key, factor in phase.factors.items() if key in known}
    kept = _frozen(phase) if own.use_ema and own.ema_overwrite_frequency else []
    if not factors and not kept:
        return phase.optimizer
    if factors and any(kind.__name__ in NOT_SCALED for kind in type(own).__mro__):
        raise KzooError(
            f"rates cannot scale the updates of {type(own).__name__}, which are not proportional to its learning rate;"
            " use another optimizer, or leave rates out"
        )
    return _partly(phase.optimizer, factors, kept)


def _partly(
    optimizer: keras.optimizers.Optimizer, factors: Mapping[int, float], kept: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        copy = _copy(optimizer, type(optimizer))
        vars(copy)["inner_optimizer"] = _partly(optimizer.inner_optimizer, factors, kept)
        return copy
    copy = _copy(optimizer, type(type(optimizer).__name__, (PartlyScaled, type(optimizer)), {}))
    vars(copy).update(_factors=factors, _kept=kept)
    return copy


def _copy(optimizer: keras.optimizers.Optimizer, kind: type) -> keras.optimizers.Optimizer:
    """Another object on the same variables."""
    copy = object.__new__(kind)
    vars(copy).update(vars(optimizer))
    return copy


def pure(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The same optimizer, on the same variables, with a working `stateless_apply`.

    On the TensorFlow backend Keras raises there, for TFOptimizer's methods want tf.Variables; the backend-neutral
    methods of the base class do not. They go between the optimizer's own class and TFOptimizer, so that what an
    optimizer overrides (Nadam, LossScaleOptimizer) stays. This leans on Keras' internals: tests hold it to the
    supported versions.

    Args:
        optimizer: Built. Nothing of it is changed; the settings it has now are the ones used.
    """
    between = type("Neutral", (TFOptimizer,), neutral_methods())
    kind = type(type(optimizer).__name__, (type(optimizer), between), {})
    copy = _copy(optimizer, kind)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        vars(copy)["inner_optimizer"] = pure(optimizer.inner_optimizer)
        return copy
    move_keys(optimizer, copy)  # the neutral methods have other keys
    return copy
