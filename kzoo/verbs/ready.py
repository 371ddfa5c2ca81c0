"""A feed, made ready to train: compiled, its objective in an engine, the plan. Nothing here writes anything.

`fit` trains what is made ready here, `find_learning_rate` tries rates on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.engine import (
    Choices,
    Compiled,
    Engine,
    Objective,
    Phase,
    adds_only,
    build_optimizer,
    check_precision,
    choose_xla,
    described_rates,
    device_names,
    draws_otherwise,
    factors_of,
    freeze,
    freezing_of,
    inner,
    make_engine,
    precise,
    rate_setter,
    recipe_of,
    restore_flags,
    skip_biases_and_norms,
    strategy_name,
    trainable_flags,
    unchanged,
    uncompilable,
)
from kzoo.errors import KzooError, in_a_line
from kzoo.inputs import told
from kzoo.keras_internals import layers_in
from kzoo.models import model_info, networks_of
from kzoo.records import Plan
from kzoo.tensorflow_internals import is_op_determinism_enabled
from kzoo.verbs.feed import Feed


@dataclass
class Ready:
    """What can be trained: everything holds.

    Attributes:
        decided: What a resumed run must find as it is: {"batch_size", "epochs", "schedule", "warmup", "spare_biases"}.
    """

    objective: Objective
    engine: Engine
    first_batch: Any
    plan: Plan
    decided: dict[str, Any]


def ready_of(
    feed: Feed,
    *,
    loss: Any = None,
    optimizer: Any = None,
    metrics: Any = None,
    learning_rate: float | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    resumed: Mapping[str, Any] | None = None,
) -> Ready:
    """Freeze, compile where it is needed, and set the engine up.

    Args:
        resumed: What was decided when the run was begun, where it goes on.

    Raises:
        KzooError: The parts do not fit together; the layers that learned before learn again.
    """
    check_precision(feed.options.precision)
    flags = trainable_flags(feed.model)
    try:
        if feed.options.freeze:
            freeze(feed.model, feed.options.freeze)
        compiled, decided = _compiled(feed, loss, optimizer, metrics, learning_rate, callbacks, resumed)
        return _ready(feed, compiled, decided)
    except BaseException:
        restore_flags(flags)
        raise


def _compiled(
    feed: Feed, loss: Any, optimizer: Any, metrics: Any, learning_rate: float | None, callbacks: Any,
    resumed: Mapping[str, Any] | None,
) -> tuple[Compiled, dict[str, Any]]:  # fmt: skip
    model, options, steps = feed.model, feed.options, feed.train.steps
    epochs = getattr(options, "epochs", None)  # of the search for a rate: none
    choices = Choices(
        loss=loss, optimizer=optimizer, metrics=metrics, learning_rate=learning_rate,
        schedule=getattr(options, "schedule", None), warmup=getattr(options, "warmup", None),
        steps=steps * epochs if steps and epochs else None, rate_setter=rate_setter(callbacks),
        resumed=resumed is not None,
    )  # fmt: skip
    with _beside(feed):
        compiled = feed.task.compile(model, choices)
        recipe = recipe_of(model)
        if compiled.sources["optimizer"] != "the model's compile":
            spare = isinstance(optimizer or (recipe.optimizer if recipe else None), str)
        else:
            spare = bool((resumed or {}).get("spare_biases"))
            for network in networks_of(model) if spare else ():
                skip_biases_and_norms(network.optimizer, network)  # which Keras' files do not tell
    decided = {"batch_size": feed.train.batch_size and options.batch_size, "epochs": epochs,
               "schedule": compiled.schedule, "warmup": compiled.warmup, "spare_biases": spare}  # fmt: skip
    return compiled, {name: value for name, value in decided.items() if value is not None}


def _ready(feed: Feed, compiled: Compiled, decided: dict[str, Any]) -> Ready:
    model, options, strategy, train = feed.model, feed.options, feed.strategy, feed.train
    if options.sync_batch_norm and isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise KzooError("parameter servers' workers have no common batch to synchronise; leave sync_batch_norm out")
    replicas = strategy.num_replicas_in_sync
    steps = train.steps * decided["epochs"] if train.steps and "epochs" in decided else None
    xla, xla_reason = choose_xla(model, options.xla, replicas, options.sync_batch_norm, steps, train.shapes)
    with _beside(feed):
        objective = feed.task.objective(model, options.precision)
        if rates := getattr(options, "rates", None):
            factors = factors_of(model, rates)
            objective.phases = [replace(phase, factors=factors) for phase in objective.phases]
        for phase in objective.phases:
            check_own_step(inner(phase.optimizer))
            build_optimizer(phase.optimizer, phase.model.trainable_variables)
    if objective.draws:
        feed.train, train = (replace(train, draws=objective.draws),) * 2
        feed.validation = feed.validation and replace(feed.validation, draws=objective.draws)
    with precise(objective.networks, options.precision):
        with _beside(feed), unchanged(objective.networks):
            first_batch = try_batch(objective, train)
            if feed.validation is not None:
                try_validation(objective, feed.validation)
            limit = objective.label_limit(first_batch)
            if xla and (why := uncompilable(model, first_batch, lambda: objective.learn(first_batch))):
                if options.xla == "on":
                    raise KzooError(f"XLA cannot compile {why} in {model.name!r}; use xla='off'")
                xla, xla_reason = False, f"auto: XLA cannot compile {why}"
        with _beside(feed), unchanged(objective.networks):  # from the states that the training begins with
            shared = shared_out(objective, first_batch) if replicas > 1 else []
        engine = make_engine(
            objective, strategy, xla=xla, kernels=options.kernels, sync_batch_norm=options.sync_batch_norm,
            slices=options.repeated_rows == "keras", steps=steps,
        )  # fmt: skip
    engine.notes += [*shared, *(draws_otherwise(model) if xla else ())]
    if options.repeated_rows == "sum" and any(map(_squares_rows, objective.phases)):
        engine.notes.append(
            "an embedding's row that a batch reads several times learns from the sum of its gradients; Keras' fit"
            " squares each alone (repeated_rows='keras')"
        )
    if engine.workers > 1:
        engine.check_same(checksum(first_batch), "the first batch")
    check_labels(feed.data, limit)
    if feed.class_weights is not None:
        weights, limit = check_class_weights(feed.class_weights, feed.data, first_batch, limit)
        feed.train.class_weights = train.class_weights = weights
    for batches in (train, feed.validation):
        if batches is not None:
            batches.label_limit = limit
    plan = _plan(feed, engine, xla=xla, xla_reason=xla_reason, sources={**feed.sources, **compiled.sources})
    return Ready(objective, engine, first_batch, plan, decided)


def _plan(feed: Feed, engine: Engine, **decided: Any) -> Plan:
    model, info, objective, options = feed.model, model_info(feed.model), engine.objective, feed.options
    replicas, freezing, rates = feed.strategy.num_replicas_in_sync, freezing_of(model), getattr(options, "rates", None)
    notes = [*feed.notes, *objective.notes(replicas), *engine.notes]
    units = info.arguments["classes"] if info is not None else 0
    if any(isinstance(layer, keras.layers.Lambda) for layer in layers_in(model)):
        notes.append(
            "it has a Lambda: Keras opens the run's model.keras only after"
            " keras.config.enable_unsafe_deserialization(); a registered layer in its place needs no such thing"
        )
    if feed.labels and units > max(len(feed.labels), 2):
        notes.append(f"{units - len(feed.labels)} of the model's {units} outputs have no class in the data")
    return Plan(
        model=info.model if info else model.name,
        style=info.style if info else type(model).__name__,
        parameters=model.count_params(),
        trainable=freezing.trained,
        frozen=str(freezing) if freezing.frozen else "",
        rates=described_rates(model, rates) if rates else "",
        data=feed.data.info.describe(),
        input=feed.reading.line,
        augment=tuple(map(told, options.augment or ())),
        objective=", then ".join(
            p.name if p.name == p.model.name else f"{p.name} {p.model.name}" for p in objective.phases
        ),
        **objective.described(),
        strategy=strategy_name(feed.strategy),
        replicas=replicas,
        devices=tuple(device_names(feed.strategy)),
        precision=options.precision or f"{model.dtype_policy.name}, as the model has it",
        kernels=engine.kernels.names,
        batch_size=feed.train.batch_size,
        epochs=getattr(options, "epochs", 0) or 0,
        steps_per_epoch=feed.train.steps,
        seed=options.seed,
        deterministic=is_op_determinism_enabled(),  # for the process, once it is
        notes=tuple(notes),
        **decided,
    )


def _squares_rows(phase: Phase) -> bool:
    """Whether Keras' optimizer would square the gradients of an embedding's rows."""
    return not adds_only(phase.optimizer) and any(isinstance(y, keras.layers.Embedding) for y in layers_in(phase.model))


def check_own_step(optimizer: keras.optimizers.Optimizer) -> None:
    """
    Raises:
        KzooError: The optimizer has an `apply_gradients` of its own, which Keras' fit would call.
    """
    if type(optimizer).apply_gradients is not keras.optimizers.Optimizer.apply_gradients:
        raise KzooError(
            f"{type(optimizer).__name__} has an apply_gradients of its own, which kzoo's step would not call; override"
            " update_step or apply, or train it with Keras' fit"
        )


def _beside(feed: Feed) -> contextlib.AbstractContextManager:
    """Where what belongs to the model comes into being: XLA reads the variables of one device only, and a model that
    was given may have been made on another than the strategy's.
    """
    if isinstance(feed.strategy, tf.distribute.OneDeviceStrategy):
        return tf.device(feed.model.variables[0].value.device)
    return contextlib.nullcontext()


# ----------------------------------------------------------------------------------------------------------------------
# The first batch
# ----------------------------------------------------------------------------------------------------------------------


def try_batch(objective: Objective, train: Any) -> Any:
    """The first batch, seen once in inference mode: what does not fit together shows before anything is written."""
    with in_a_line("the data's first batch failed"):
        batch = next(iter(train.epoch(0)), None)
    if batch is None:
        raise KzooError("the train split gives no batch")
    with in_a_line(f"cannot train {objective.model.name!r}"):
        objective.prepare(batch)
    if not objective.learns:
        raise KzooError(
            f"the loss of {objective.model.name!r} has no gradient: it depends on none of the weights that learn;"
            " compute it of the outputs, by operations of TensorFlow or keras.ops"
        )
    return batch


def shared_out(objective: Objective, batch: Any) -> list[str]:
    """What is to be said of replicas that each see a part of a batch.

    Raises:
        KzooError: They cannot; or the network takes batches of one size only.
    """
    says = f"{objective.model.name!r} cannot take a part of a batch, as replicas give it"
    with in_a_line(says, "; train it with strategy='one'"):
        return objective.check_divisible(batch)


def try_validation(objective: Objective, validation: Any) -> None:
    """Its first batch, so that a training does not end after its first epoch."""
    with in_a_line("the validation data's first batch failed"):
        batch = next(iter(validation.epoch(0)), None)
    if batch is None:
        raise KzooError("the validation split gives no batch")
    if objective.validates:
        with in_a_line(f"cannot validate {objective.model.name!r}"):
            objective.see(batch)
        objective.reset()


def checksum(batch: Any) -> float:
    """Of a batch's numbers, which every worker must read in the same order: each takes its own part of it."""
    arrays = [np.asarray(t) for t in tf.nest.flatten(batch)]
    numbers = [a.astype("float64").ravel() for a in arrays if a.dtype.kind in "uifb"]
    return float(sum((a * np.linspace(1, 2, len(a))).sum() for a in numbers))


def check_labels(data: Data, limit: int | None) -> None:
    """Labels in arrays, before anything is written; those of a tf.data.Dataset are checked batch by batch."""
    for split, (low, high) in data.labels.items():
        if limit is not None and (low < 0 or high >= limit):
            raise KzooError(f"the {split} labels reach from {low} to {high}, but the model has classes={limit}")


def check_class_weights(
    weights: tuple[float, ...], data: Data, batch: Any, limit: int | None
) -> tuple[tuple[float, ...], int | None]:
    """(a weight for each class that the model or the labels have: 1 where none was given, the limit of the labels)."""
    y = batch[1]
    if limit is None and y.shape.rank > 1 and y.shape[-1] > 1:  # one-hot
        classes, limit = y.shape[-1], None
    else:
        classes = limit or max(data.labels.get("train", (0, len(weights) - 1))[1] + 1, 2)
        limit = max(classes, len(weights))
    if y.dtype.is_floating and (strange := [v for v in np.ravel(y) if v != np.round(v)]):
        raise KzooError(f"class_weight goes with classes, and the labels are numbers such as {strange[0]:g}")
    if len(weights) > classes:
        raise KzooError(f"class_weight must name classes from 0 to {classes - 1}; received class {len(weights) - 1}")
    return (*weights, *(1.0 for _ in range(classes - len(weights)))), limit
