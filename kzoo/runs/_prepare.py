"""What stands before training: a model and the batches that it reads; its objective in an engine, and the plan.

Nothing here writes anything. `fit` trains what is made ready here, `find_learning_rate` tries rates on it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from kzoo.data import Data
from kzoo.data._data import balanced_weights
from kzoo.data._pipeline import Batches, check_augment
from kzoo.data._sequences import batches_of
from kzoo.errors import KzooError
from kzoo.models._players import networks_of
from kzoo.models._registry import model_info
from kzoo.preprocess import NoiseLayer, PreprocessLayer
from kzoo.runs._folder import RunFolder
from kzoo.runs._given import (
    check_class_weights,
    check_classes,
    check_labels,
    check_options,
    check_train_step,
    check_weights,
    checksum,
    class_weights_of,
    data_of,
    input_of,
    model_of,
    task_of,
    try_batch,
)
from kzoo.training.engines import make_engine, objective_of
from kzoo.training.freezing import (
    check_names,
    check_rates,
    described_rates,
    freeze,
    freezing_of,
    restore_flags,
    trainable_flags,
)
from kzoo.training.objectives import Objective, unchanged
from kzoo.training.optimizers import build_optimizer, skip_biases_and_norms
from kzoo.training.plan import Plan, choose_xla, compile_for, recipe_of
from kzoo.training.precision import check_precision, precise
from kzoo.training.schedules import rate_setter
from kzoo.training.step import Engine
from kzoo.training.strategies import device_names, strategy_name

DEFAULT_BATCH, DEFAULT_EPOCHS = 32, 10


@dataclass
class Feed:
    """A model and the batches that it reads.

    Attributes:
        strategy: Trains it.
        layer: Turns raw examples into inputs; None where they are fed as they are.
        class_weights: Of each class, in the order of their numbers.
        input: The plan's line about the input; `notes` say what it changes.
        sources: Where batch size and epochs come from.
    """

    model: keras.Model
    data: Data
    strategy: tf.distribute.Strategy
    layer: Any
    train: Batches
    validation: Batches | None
    class_weights: tuple[float, ...] | None
    augment: tuple[str, ...]
    input: str
    notes: list[str]
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, of a classifier."""
        info = model_info(self.model)
        tasks = [self.data.info.task, *([info.task] if info else [])]
        return self.data.info.classes if all(task.endswith("classification") for task in tasks) else ()


@dataclass
class Ready:
    """What can be trained: everything holds."""

    objective: Objective
    engine: Engine
    first_batch: Any
    plan: Plan


def checked(options: dict[str, Any], style: str | None) -> None:
    """The options that a run repeats; some are put into their plain form.

    Raises:
        KzooError: One of them cannot hold.
    """
    for key, check in (("class_weight", check_weights), ("freeze", check_names), ("rates", check_rates)):
        if key in options:
            options[key] = check(options[key])
    check_options(options, style)
    options.setdefault("seed", 0)
    check_augment(options.get("augment"))
    check_precision(options.get("precision"))


def read(
    model: Any,
    data: Any,
    options: dict[str, Any],
    strategy: tf.distribute.Strategy,
    *,
    style: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    languages: str | None = None,
    folder: RunFolder | None = None,
    config: Any = None,
) -> Feed:
    """Load the data, make or take the model, cut batches; batch size and epochs enter `options` where they lack.

    Args:
        folder, config: Of a run that is resumed.
    """
    replicas, seed = strategy.num_replicas_in_sync, options["seed"]
    data, fed_as_given = data_of(
        data, config, data_dir, download, languages, task_of(model) if config is None else config["task"],
        "limit_train_batches" in options,
    )  # fmt: skip
    if options.get("class_weight") == "balanced":
        options["class_weight"] = balanced_weights(data.info)
    keras.utils.set_random_seed(seed)
    if options.get("deterministic"):
        tf.config.experimental.enable_op_determinism()
    with placement(strategy):
        model = model_of(model, style, data, folder, config, fed_as_given)
        check_train_step(model)
        check_classes(model, data)
    recipe = recipe_of(model_info(model))
    sources: dict[str, str] = {}
    for key, default in (("batch_size", DEFAULT_BATCH), ("epochs", DEFAULT_EPOCHS)):
        if key not in options:
            options[key] = getattr(recipe, key) if recipe else default
            sources[key] = recipe.source if recipe else "kzoo's default"
    if fed_as_given != "batches" and options["batch_size"] < replicas:
        raise KzooError(
            f"batch_size={options['batch_size']} is less than the {replicas} replicas; give each one example"
        )
    layer, input_line, notes = input_of(model, data, fed_as_given)
    augment = check_augment(options.get("augment"))
    if augment and not isinstance(layer, PreprocessLayer | NoiseLayer):
        why = "this data is fed as given" if layer is None else f"{data.info.name} holds texts"
        raise KzooError(f"augment={list(augment)} needs raw images that kzoo preprocesses; {why}")
    common = {"layer": layer, "seed": seed, "ready": fed_as_given == "batches"}
    size = None if fed_as_given == "batches" else options["batch_size"]
    weights = class_weights_of(options.get("class_weight"), data, layer)
    train = batches_of(
        data.train, size, shuffle=True, augment=augment, limit=options.get("limit_train_batches"),
        class_weights=weights, **common,
    )  # fmt: skip
    validation = None
    if data.validation is not None:
        validation = batches_of(data.validation, size, limit=options.get("limit_validation_batches"), **common)
    for split, batches in (("train", train), ("validation", validation)):
        notes += [f"{split}: {note}" for note in getattr(batches, "notes", ())]
    if train.steps == 0:
        raise KzooError(f"the train split of {data.info.name} is empty")
    return Feed(model, data, strategy, layer, train, validation, weights, augment, input_line, notes, sources)


def make_ready(feed: Feed, options: dict[str, Any], **given: Any) -> Ready:
    """Freeze, compile where it is needed, and set the engine up. `options` take what was decided.

    Args:
        **given: `loss`, `optimizer`, `metrics`, `learning_rate`, `callbacks` of `fit`, and `resumed`.

    Raises:
        KzooError: The parts do not fit together; the layers that learned before learn again.
    """
    flags = trainable_flags(feed.model)
    try:
        return _ready(feed, options, **given)
    except BaseException:
        restore_flags(flags)
        raise


def _ready(
    feed: Feed, options: dict[str, Any], *, loss: Any, optimizer: Any, metrics: Any, learning_rate: float | None,
    callbacks: Sequence[keras.callbacks.Callback], resumed: bool,
) -> Ready:  # fmt: skip
    model, data, strategy, train = feed.model, feed.data, feed.strategy, feed.train
    recipe, sources = recipe_of(model_info(model)), dict(feed.sources)
    if options.get("freeze"):
        freeze(model, options["freeze"])
    with _beside(model, strategy):
        compiled_from, options["schedule"], options["warmup"] = compile_for(
            model, loss=loss, optimizer=optimizer, metrics=metrics, learning_rate=learning_rate,
            schedule=options.get("schedule"), steps=train.steps * options["epochs"] if train.steps else None,
            warmup=options.get("warmup"), rate_setter=rate_setter(callbacks), resumed=resumed,
        )  # fmt: skip
        sources |= compiled_from
        if compiled_from["optimizer"] == "the model's compile":
            for network in networks_of(model) if options.get("decay_of_matrices_only") else ():
                skip_biases_and_norms(network.optimizer, network)  # which Keras' files do not tell
        else:
            options["decay_of_matrices_only"] = isinstance(optimizer or recipe.optimizer, str)
    sync_batch_norm = bool(options.get("sync_batch_norm"))
    if sync_batch_norm and isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise KzooError("parameter servers' workers have no common batch to synchronise; leave sync_batch_norm out")
    replicas = strategy.num_replicas_in_sync
    xla_on, xla_reason = choose_xla(model, options.get("xla", "auto"), replicas, sync_batch_norm)
    precision = options.get("precision")
    with _beside(model, strategy):
        objective = objective_of(model, precision, options.get("rates"))
        for phase in objective.phases:
            build_optimizer(phase.optimizer, phase.model.trainable_variables)
    with precise(objective.networks, precision):
        with _beside(model, strategy), unchanged(objective.networks):
            first_batch = try_batch(objective, train)
            limit = objective.label_limit(first_batch)
        engine = make_engine(
            objective, strategy, xla=xla_on, kernels=options.get("kernels", True), sync_batch_norm=sync_batch_norm
        )
    if engine.workers > 1:
        engine.check_same(checksum(first_batch), "the first batch")
    check_labels(data, limit)
    if feed.class_weights is not None:
        limit = check_class_weights(feed.class_weights, data, first_batch, limit)
    for batches in (train, feed.validation):
        if batches is not None:
            batches.label_limit = limit
    plan = _plan(feed, engine, options, xla=xla_on, xla_reason=xla_reason, sources=sources)
    labels, info = feed.labels, model_info(model)
    units = info.arguments["classes"] if info else 0
    if labels and units > max(len(labels), 2):
        unused = f"{units - len(labels)} of the model's {units} outputs have no class in the data"
        plan = replace(plan, notes=(*plan.notes, unused))
    return Ready(objective, engine, first_batch, plan)


def _plan(feed: Feed, engine: Engine, options: Mapping[str, Any], **decided: Any) -> Plan:
    model, info, objective = feed.model, model_info(feed.model), engine.objective
    replicas, freezing = feed.strategy.num_replicas_in_sync, freezing_of(feed.model)
    return Plan(
        model=info.model if info else model.name,
        style=info.style if info else type(model).__name__,
        parameters=model.count_params(),
        trainable=freezing.trained,
        frozen=str(freezing) if freezing.frozen else "",
        rates=described_rates(model, options["rates"]) if options.get("rates") else "",
        data=feed.data.info.describe(),
        input=feed.input,
        augment=feed.augment,
        objective=", then ".join(
            p.name if p.name == p.model.name else f"{p.name} {p.model.name}" for p in objective.phases
        ),
        **objective.described(),
        strategy=strategy_name(feed.strategy),
        replicas=replicas,
        devices=tuple(device_names(feed.strategy)),
        precision=options.get("precision") or f"{model.dtype_policy.name}, as the model has it",
        kernels=engine.kernels.names,
        batch_size=feed.train.batch_size,
        epochs=options["epochs"],
        steps_per_epoch=feed.train.steps,
        seed=options["seed"],
        deterministic=is_op_determinism_enabled(),  # for the process, once it is
        notes=(*feed.data.info.notes, *feed.notes, *objective.notes(replicas), *engine.notes),
        **decided,
    )


def placement(strategy: tf.distribute.Strategy) -> contextlib.AbstractContextManager:
    """Where the model's own variables live: with one device, there; replicas have copies of them."""
    if isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return tf.device(strategy.extended.worker_devices[0])
    return contextlib.nullcontext()


def _beside(model: keras.Model, strategy: tf.distribute.Strategy) -> contextlib.AbstractContextManager:
    """Where what belongs to the model comes into being: XLA reads the variables of one device only, and a model that
    was given may have been made on another than the strategy's.
    """
    if isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return tf.device(model.variables[0].value.device)
    return contextlib.nullcontext()
