"""fit: check, plan, train, write the run folder."""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

import kzoo
from kzoo.data import Data
from kzoo.data._pipeline import Batches, check_augment
from kzoo.data._sequences import batches_of
from kzoo.errors import KzooError
from kzoo.models._players import networks_of
from kzoo.models._registry import model_info, without_auxiliaries
from kzoo.preprocess import NoiseLayer, PreprocessLayer
from kzoo.runs._folder import Run, RunFolder, atomic, check_free
from kzoo.runs._given import (
    check_callbacks,
    check_class_weights,
    check_classes,
    check_labels,
    check_number,
    check_options,
    check_train_step,
    checksum,
    class_weights_of,
    data_of,
    input_of,
    model_of,
    numbered,
    task_of,
    try_batch,
)  # fmt: skip
from kzoo.runs._record import NOT_METRICS, Recorder, run_card, samplers, show_batch, show_predictions
from kzoo.spec import ModelInfo, preprocess_config
from kzoo.training.engines import make_engine, objective_of
from kzoo.training.freezing import check_names, check_rates, described_rates, freezing_of
from kzoo.training.freezing import freeze as freeze_layers
from kzoo.training.loop import Trainer
from kzoo.training.objectives import unchanged
from kzoo.training.optimizers import build_optimizer, skip_biases_and_norms
from kzoo.training.plan import Plan, choose_xla, compile_for, recipe_of
from kzoo.training.precision import check_precision, precise
from kzoo.training.progress import TrainingProgress
from kzoo.training.replicas import workers_of
from kzoo.training.schedules import current_rate, follows_schedule, inner, rate_setter
from kzoo.training.step import Engine
from kzoo.training.strategies import device_names, strategy_name
from kzoo.training.strategies import strategy as make_strategy

DEFAULT_BATCH, DEFAULT_EPOCHS = 32, 10
NOT_WHOLE = "the model cannot be saved whole (a class of yours has no get_config): resume it with the model given"
# What a resumed run takes over from the run it continues, unless the caller gives it anew.
REPEATED = ("epochs", "batch_size", "strategy", "devices", "xla", "precision", "kernels", "sync_batch_norm",
            "schedule", "warmup", "class_weight", "augment", "freeze", "rates", "seed", "deterministic",
            "limit_train_batches", "limit_validation_batches")  # fmt: skip


def fit(
    model: keras.Model | str | None = None,
    data: Any = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    style: str | None = None,
    strategy: str | tf.distribute.Strategy | None = None,
    devices: Sequence[str] | int | None = None,
    xla: bool | str | None = None,
    precision: str | None = None,
    kernels: bool | None = None,
    sync_batch_norm: bool | None = None,
    optimizer: Any = None,
    learning_rate: float | None = None,
    schedule: str | None = None,
    warmup: int | None = None,
    freeze: Sequence[str] | str | None = None,
    rates: Mapping[str, float] | None = None,
    loss: Any = None,
    metrics: Any = None,
    class_weight: Mapping[int, float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    augment: str | Sequence[str] | None = None,
    seed: int | None = None,
    deterministic: bool | None = None,
    limit_train_batches: int | None = None,
    limit_validation_batches: int | None = None,
    max_time: float | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    languages: str | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    verbose: bool = True,
) -> Run:
    """Train a model and write a run folder.

    Args:
        model: Any Keras model, of kzoo or your own, in any style; or a name, built for the classes of the data.
        data: Data, what `load_data` takes (default `"digits"`), arrays `(x, y[, weight])` or a batched
            tf.data.Dataset. Arrays and datasets are fed as they are, as Keras does; Data and names are raw, and are
            preprocessed for the model.
        epochs, batch_size: Default the model's recipe. `batch_size` is global.
        style: For a model given by name: `"functional"` (default), `"sequential"` or `"subclass"`.
        strategy, devices: See `kzoo.strategy`.
        xla: `"auto"`, `"on"` or `"off"`.
        precision: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"` (with loss scaling), set on every layer for the
            run and taken back after it; default what the layers have.
        kernels: Equal, faster code in the place of some stock Keras layers; the plan names them. Default True.
        sync_batch_norm: Batch normalization over the batch of all replicas, not of each; needs XLA off.
        optimizer, loss, metrics: As `keras.Model.compile` takes them; default the model's own `compile`, then the
            recipe. `learning_rate` is set on the optimizer. A name may carry settings,
            `"adamw:weight_decay=0.05,clipnorm=1,gradient_accumulation_steps=4,use_ema=true"`; such an optimizer's
            weight decay leaves biases and norms alone.
        schedule: Of the learning rate: `"constant"`, `"cosine"` (half a cosine to zero over the run) or
            `"inverse-sqrt"` (after the warm-up, as in the Transformer's paper).
        warmup: Steps over which the learning rate first rises to its value.
        freeze: Layers whose names begin so do not learn; their batch normalization keeps its statistics. They stay
            frozen after the run, as if you had set `trainable` on them.
        rates: {how names of layers begin: factor on the learning rate}: `{"conv": 0.1}` trains these layers ten times
            slower. The longest of several that fit decides; the factor of the others is 1.
        class_weight: {class number: weight of its examples in the loss}, in training, as `keras.Model.fit` takes it.
        callbacks: Keras callbacks.
        augment: Names from `kzoo.data`: `"shift"`, `"flip"`, `"crop-flip"`.
        seed: Of the shuffling, of random layers and, for a model given by name, of its weights. Default 0.
        deterministic: TensorFlow's deterministic operations (slower).
        limit_train_batches, limit_validation_batches: Only so many batches an epoch: a quick try.
        max_time: Minutes after which no further epoch is begun.
        data_dir, download, languages: For `load_data`.
        run_dir: The run folder, exactly; default the next number in `runs/`.
        resume: A run to continue at its last whole epoch, in its own folder. Model, data and options are read from it;
            what is given here goes first.
        verbose: Print the plan and the progress, on stderr.

    Returns:
        Run. The model given holds the trained weights and the optimizer's state: a second `fit` continues.

    Raises:
        KzooError: Arguments that cannot hold; nothing has been written then.
        KeyboardInterrupt: After the checkpoint was saved and the resuming command printed.
    """
    callbacks = check_callbacks(callbacks)
    options = {k: v for k, v in locals().items() if k in REPEATED and v is not None}
    folder = config = None
    if resume is not None:
        if run_dir is not None:
            raise KzooError("give run_dir or resume, not both: a resumed run writes into its own folder")
        folder = RunFolder.find(resume)
        config = folder.read_json("config.json")
        options = {**config["options"], **options}
    elif model is None:
        raise KzooError("fit needs a model: a Keras model, or a name from kzoo list")
    if "class_weight" in options:
        options["class_weight"] = numbered(options["class_weight"])
    for key, check in (("freeze", check_names), ("rates", check_rates)):
        if key in options:
            options[key] = check(options[key])
    check_options(options, style)
    check_number("learning_rate", learning_rate)
    learning_rate = None if learning_rate is None else float(learning_rate)
    check_number("max_time", max_time)
    seed = options.setdefault("seed", 0)
    augment = check_augment(options.get("augment"))
    check_precision(options.get("precision"))
    the_strategy = make_strategy(options.get("strategy", "auto"), options.get("devices"))
    replicas, (_, worker) = the_strategy.num_replicas_in_sync, workers_of(the_strategy)
    if not isinstance(run_dir, str | os.PathLike | None):
        raise KzooError(f"run_dir must be a path; received {run_dir!r}")
    if run_dir is not None and worker == 0:
        check_free(Path(run_dir))

    data_given = data is not None
    data, fed_as_given = data_of(
        data,
        config,
        data_dir,
        download,
        languages,
        task_of(model) if config is None else config["task"],
        "limit_train_batches" in options,
    )
    keras.utils.set_random_seed(seed)
    if options.get("deterministic"):
        tf.config.experimental.enable_op_determinism()
    with _placement(the_strategy):
        model = model_of(model, style, data, folder, config, fed_as_given)
        check_train_step(model)
        check_classes(model, data)
    if options.get("freeze"):
        freeze_layers(model, options["freeze"])
    info = model_info(model)
    recipe = recipe_of(info)
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
    with _placement(the_strategy):
        compiled_from, options["schedule"], options["warmup"] = compile_for(
            model,
            loss=loss,
            optimizer=optimizer,
            metrics=metrics,
            learning_rate=learning_rate,
            schedule=options.get("schedule"),
            steps=train.steps * options["epochs"] if train.steps else None,
            warmup=options.get("warmup"),
            rate_setter=rate_setter(callbacks),
            resumed=resume is not None,
        )
        sources |= compiled_from
        if compiled_from["optimizer"] == "the model's compile":
            for network in networks_of(model) if options.get("decay_of_matrices_only") else ():
                skip_biases_and_norms(network.optimizer, network)  # which Keras' files do not tell
        else:
            options["decay_of_matrices_only"] = isinstance(optimizer or recipe.optimizer, str)
    sync_batch_norm = bool(options.get("sync_batch_norm"))
    if sync_batch_norm and isinstance(the_strategy, tf.distribute.ParameterServerStrategy):
        raise KzooError("parameter servers' workers have no common batch to synchronise; leave sync_batch_norm out")
    xla_on, xla_reason = choose_xla(model, options.get("xla", "auto"), replicas, sync_batch_norm)
    precision = options.get("precision")
    objective = objective_of(model, precision, options.get("rates"))
    with _placement(the_strategy):
        for phase in objective.phases:
            build_optimizer(phase.optimizer, phase.model.trainable_variables)
    with precise(objective.networks, precision):
        with unchanged(objective.networks):
            first_batch = try_batch(objective, train)
            limit = objective.label_limit(first_batch)
        engine = make_engine(
            objective, the_strategy, xla=xla_on, kernels=options.get("kernels", True),
            sync_batch_norm=sync_batch_norm,
        )  # fmt: skip
    if engine.workers > 1:
        engine.check_same(checksum(first_batch), "the first batch")
    check_labels(data, limit)
    if weights is not None:
        limit = check_class_weights(weights, data, first_batch, limit)
    for batches in (train, validation):
        if batches is not None:
            batches.label_limit = limit
    plan = _plan(
        model, data, engine, the_strategy, train, options,
        input=input_line, xla=xla_on, xla_reason=xla_reason, augment=augment, sources=sources, input_notes=notes,
    )  # fmt: skip

    labels, units = _labels(model, data), info.arguments["classes"] if info else 0
    if labels and units > max(len(labels), 2):
        plan = replace(
            plan, notes=(*plan.notes, f"{units - len(labels)} of the model's {units} outputs have no class in the data")
        )
    if resume is not None and (before := folder.read_json("plan.json")["strategy"]) != plan.strategy:
        plan = replace(plan, notes=(*plan.notes, f"begun under {before}, goes on under {plan.strategy}"))

    # Everything holds: from here on files are written. Of several workers the first writes the run; the others keep
    # theirs in a temporary folder.
    if worker:
        folder, run_dir, verbose = _aside(folder), _temporary() / "run", False
    preprocess = layer.spec if layer else None
    if info is not None:
        kept = ModelInfo(info.model, info.style, info.arguments, info.task, preprocess, labels or None)
        model._kzoo_info = kept
    first_epoch, rows = 0, []
    if folder is None:
        name = f"{plan.model}-{data.info.name}".replace("your data", "own-data")
        folder = RunFolder.create(name, run_dir)
        folder.write_json("config.json", _config(model, data, layer, labels, options))
        if not folder.save_model(model):
            plan = replace(plan, notes=(*plan.notes, NOT_WHOLE))
        folder.save_checkpoint("last", model, epoch=0)
    else:
        current = [current_rate(network.optimizer) for network in objective.networks]
        first_epoch = folder.load_checkpoint(folder.to_resume(), model)
        for network, rate in zip(objective.networks, current, strict=True):
            if learning_rate is not None and not follows_schedule(network.optimizer):
                inner(network.optimizer).learning_rate = rate  # given anew, it goes before the checkpoint's
        rows = folder.read_metrics()[:first_epoch]
        known = {"data": data.info.arguments, "labels": labels} if data_given else {}
        folder.write_json("config.json", {**config, **known, "options": _kept(options)})
    folder.write_json("plan.json", plan.to_config())
    progress = TrainingProgress(options["epochs"], unit=layer.unit if layer else "examples", verbose=verbose)
    for label, text in plan.lines():
        progress.say(f"{label:10} {text}")
    if first_epoch >= options["epochs"]:
        progress.say(f"nothing to do: {folder.path} has its {first_epoch} epochs; give more with --epochs")

    recorder = Recorder(folder, model, rows, started=time.perf_counter())
    show_batch(folder, first_batch, labels, layer)
    seconds = max_time * 60 if max_time is not None else None
    trainer = Trainer(
        engine, train, validation, epochs=options["epochs"], callbacks=callbacks,
        actions=[recorder, *samplers(folder, model, layer)], progress=progress, max_seconds=seconds,
    )  # fmt: skip
    trainer.history = {
        k: [row[k] for row in rows if k in row] for k in (rows[0] if rows else {}) if k not in NOT_METRICS
    }
    started = time.perf_counter()
    try:
        if first_epoch < options["epochs"]:
            with precise(objective.networks, precision):
                trainer.run(first_epoch)
    except KzooError as error:
        folder.load_checkpoint("last", model)
        raise KzooError(f"{error}; the model is as after its last whole epoch") from error
    except KeyboardInterrupt:
        whole = folder.load_checkpoint("last", model)
        folder.save_model(model)
        recorder.rows = recorder.rows[:whole]  # an epoch whose checkpoint was not reached is not whole
        folder.write_metrics(recorder.rows)
        recorder.close()
        progress.say(
            f"\ninterrupted; the checkpoint after {whole} whole epoch{'s' * (whole != 1)} is in {folder.path}\n"
            f"resume: kzoo fit --resume {shlex.quote(str(folder.path))}"
        )
        raise
    seconds = time.perf_counter() - started
    recorder.close()
    if recorder.rows and any(inner(network.optimizer).use_ema for network in objective.networks):
        folder.keep_raw()
    if recorder.rows:  # a callback may have put other weights in place when training ended
        folder.save_checkpoint("last", model, recorder.rows[-1]["epoch"])
    folder.save_model(model)
    with unchanged(objective.networks):
        show_predictions(folder, without_auxiliaries(model), validation, labels)
    run = Run(model, folder.path, trainer.history, plan, seconds, worker)
    with atomic(folder / "card.md") as beside:
        beside.write_text(run_card(run, recorder), encoding="utf-8")
    return run


def _plan(
    model: keras.Model, data: Data, engine: Engine, strategy: tf.distribute.Strategy, train: Batches,
    options: dict[str, Any], *, input_notes: Sequence[str], **decided: Any,
) -> Plan:  # fmt: skip
    info, objective, replicas = model_info(model), engine.objective, strategy.num_replicas_in_sync
    freezing = freezing_of(model)
    return Plan(
        model=info.model if info else model.name,
        style=info.style if info else type(model).__name__,
        parameters=model.count_params(),
        trainable=freezing.trained,
        frozen=str(freezing) if freezing.frozen else "",
        rates=described_rates(model, options["rates"]) if options.get("rates") else "",
        data=data.info.describe(),
        objective=", then ".join(
            p.name if p.name == p.model.name else f"{p.name} {p.model.name}" for p in objective.phases
        ),
        **objective.described(),
        strategy=strategy_name(strategy),
        replicas=replicas,
        devices=tuple(device_names(strategy)),
        precision=options.get("precision") or f"{model.dtype_policy.name}, as the model has it",
        kernels=engine.kernels.names,
        batch_size=train.batch_size,
        epochs=options["epochs"],
        steps_per_epoch=train.steps,
        seed=options["seed"],
        deterministic=is_op_determinism_enabled(),  # for the process, once it is
        notes=(*data.info.notes, *input_notes, *objective.notes(replicas), *engine.notes),
        **decided,
    )


def _placement(strategy: tf.distribute.Strategy) -> contextlib.AbstractContextManager:
    """Where the model's own variables live: with one device, there; replicas have copies of them."""
    if isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return tf.device(strategy.extended.worker_devices[0])
    return contextlib.nullcontext()


def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kzoo-worker-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _aside(folder: RunFolder | None) -> RunFolder | None:
    """A copy of the run that is resumed, for a worker that is not the first."""
    return None if folder is None else RunFolder(shutil.copytree(folder.path, _temporary() / folder.path.name))


def _config(
    model: keras.Model, data: Data, layer: Any, labels: Sequence[str], options: dict[str, Any]
) -> dict[str, Any]:
    """config.json: what it takes to build the model and read the data again."""
    info = model_info(model)
    return {
        "kzoo": kzoo.__version__,
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "model": info.to_config() if info else None,
        "task": info.task if info else data.info.task,
        "preprocess": preprocess_config(layer.spec if layer else None),
        "labels": labels,
        "data": data.info.arguments,
        "options": _kept(options),
    }


def _kept(options: dict[str, Any]) -> dict[str, Any]:
    """Without a strategy given as an object, which a file cannot hold."""
    return {k: v for k, v in options.items() if not isinstance(v, tf.distribute.Strategy)}


def _labels(model: keras.Model, data: Data) -> tuple[str, ...]:
    tasks = [data.info.task, *([info.task] if (info := model_info(model)) else [])]
    return data.info.classes if all(task.endswith("classification") for task in tasks) else ()
