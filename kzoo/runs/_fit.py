"""fit: check, plan, train, write the run folder."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.models._registry import model_info, without_auxiliaries
from kzoo.runs._find_rate import search_rate
from kzoo.runs._folder import Run, RunFolder, aside, atomic, check_free, temporary_folder
from kzoo.runs._given import check_callbacks, check_no_setter, check_number, check_patience, check_rate
from kzoo.runs._prepare import checked, make_ready, read
from kzoo.runs._record import (
    NOT_METRICS,
    Recorder,
    plain_options,
    run_card,
    run_config,
    samplers,
    show_batch,
    show_predictions,
    stopper,
)
from kzoo.spec import ModelInfo
from kzoo.training.loop import Trainer
from kzoo.training.objectives import Objective, unchanged
from kzoo.training.precision import precise
from kzoo.training.progress import TrainingProgress
from kzoo.training.replicas import workers_of
from kzoo.training.schedules import current_rate, follows_schedule, inner
from kzoo.training.strategies import strategy as make_strategy

NOT_WHOLE = "the model cannot be saved whole (a class of yours has no get_config): resume it with the model given"
# What a resumed run takes over from the run it continues, unless the caller gives it anew.
REPEATED = ("epochs", "batch_size", "strategy", "devices", "xla", "precision", "kernels", "sync_batch_norm",
            "schedule", "warmup", "class_weight", "augment", "freeze", "rates", "seed", "deterministic",
            "patience", "limit_train_batches", "limit_validation_batches")  # fmt: skip


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
    learning_rate: float | str | None = None,
    schedule: str | None = None,
    warmup: int | None = None,
    freeze: Sequence[str] | str | None = None,
    rates: Mapping[str, float] | None = None,
    loss: Any = None,
    metrics: Any = None,
    class_weight: Mapping[int, float] | str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    augment: str | Sequence[str] | None = None,
    patience: int | None = None,
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
    verbose: bool | str = True,
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
            recipe. `learning_rate` is set on the optimizer; `"find"` looks for one first, see `find_learning_rate`. A
            name may carry settings, `"adamw:weight_decay=0.05,clipnorm=1,gradient_accumulation_steps=4,use_ema=true"`;
            such an optimizer's weight decay leaves biases and norms alone.
        schedule: Of the learning rate: `"constant"`, `"cosine"` (half a cosine to zero over the run) or
            `"inverse-sqrt"` (after the warm-up, as in the Transformer's paper).
        warmup: Steps over which the learning rate first rises to its value.
        freeze: Layers whose names begin so do not learn; their batch normalization keeps its statistics. They stay
            frozen after the run, as if you had set `trainable` on them.
        rates: {how names of layers begin: factor on the learning rate}: `{"conv": 0.1}` trains these layers ten times
            slower. The longest of several that fit decides; the factor of the others is 1.
        class_weight: {class number: weight of its examples in the loss}, in training, as `keras.Model.fit` takes it; or
            `"balanced"`: every class counts the same.
        callbacks: Keras callbacks.
        augment: Names of augmentations, of kzoo/data/_augment.py: `"shift"`, `"crop-flip"`, `"flips"`, `"rotate"`, ….
        patience: Stop when the best epoch (by validation accuracy, of equal ones by loss; else by loss) is so many
            epochs ago. However the run ends, the model then has the weights of its best epoch.
        seed: Of the shuffling, of random layers and, for a model given by name, of its weights. Default 0.
        deterministic: TensorFlow's deterministic operations (slower).
        limit_train_batches, limit_validation_batches: Only so many batches an epoch: a quick try.
        max_time: Minutes after which no further epoch is begun.
        data_dir, download, languages: For `load_data`.
        run_dir: The run folder, exactly; default the next number in `runs/`.
        resume: A run to continue at its last whole epoch, in its own folder. Model, data and options are read from it;
            what is given here goes first.
        verbose: Print the plan and the progress, on stderr; `"epochs"`: the progress only.

    Returns:
        Run. The model given holds the trained weights and the optimizer's state: a second `fit` continues. The weights
        are those of the last epoch, or of the one that `Run.weights_of` names.

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
        if "transfer" in config["options"]:
            raise KzooError(
                f"{folder.path} was fine-tuned: kzoo fine-tune --resume goes on with it, and kzoo fine-tune or kzoo.fit"
                " with its model starts another run from it"
            )
        options = {**config["options"], **options}
    elif model is None:
        raise KzooError("fit needs a model: a Keras model, or a name from kzoo list")
    checked(options, style)
    search, learning_rate = learning_rate == "find", check_rate(learning_rate, resume is not None)
    check_number("max_time", max_time)
    strategy = make_strategy(options.get("strategy", "auto"), options.get("devices"))
    worker = workers_of(strategy)[1]
    if not isinstance(run_dir, str | os.PathLike | None):
        raise KzooError(f"run_dir must be a path; received {run_dir!r}")
    if run_dir is not None and worker == 0:
        check_free(Path(run_dir))

    data_given = data is not None
    feed = read(
        model, data, options, strategy, style=style, data_dir=data_dir, download=download, languages=languages,
        folder=folder, config=config,
    )  # fmt: skip
    check_patience(options.get("patience"), feed.model, feed.validation)
    given = {"loss": loss, "optimizer": optimizer, "metrics": metrics}
    found = None
    if search:
        check_no_setter(callbacks)
        found = search_rate(feed, options, **given)
        learning_rate = found.suggestion
    ready = make_ready(
        feed, options, **given, learning_rate=learning_rate, callbacks=callbacks, resumed=resume is not None
    )
    model, data, layer, labels = feed.model, feed.data, feed.layer, feed.labels
    objective, plan, info, precision = ready.objective, ready.plan, model_info(feed.model), options.get("precision")
    if resume is not None and (before := folder.read_json("plan.json")["strategy"]) != plan.strategy:
        plan = replace(plan, notes=(*plan.notes, f"begun under {before}, goes on under {plan.strategy}"))
    if found is not None:
        plan = replace(plan, notes=(*plan.notes, found.note()))

    # Everything holds: from here on files are written. Of several workers the first writes the run; the others keep
    # theirs in a temporary folder.
    if worker:
        folder, run_dir, verbose = aside(folder), temporary_folder() / "run", False
    preprocess = layer.spec if layer else None
    if info is not None:
        kept = ModelInfo(info.model, info.style, info.arguments, info.task, preprocess, labels or None)
        model._kzoo_info = kept
    first_epoch, rows = 0, []
    if folder is None:
        name = f"{plan.model}-{data.info.name}".replace("your data", "own-data")
        folder = RunFolder.create(name, run_dir)
        folder.write_json("config.json", run_config(model, data, layer, labels, options))
        if not folder.save_model(model):
            plan = replace(plan, notes=(*plan.notes, NOT_WHOLE))
        folder.save_checkpoint("last", model, epoch=0)
        if found is not None:
            found.plot(folder / "learning_rate.png")
    else:
        current = [current_rate(network.optimizer) for network in objective.networks]
        first_epoch = folder.load_checkpoint(folder.to_resume(), model)
        for network, rate in zip(objective.networks, current, strict=True):
            if learning_rate is not None and not follows_schedule(network.optimizer):
                inner(network.optimizer).learning_rate = rate  # given anew, it goes before the checkpoint's
        rows = folder.read_metrics()[:first_epoch]
        known = {"data": data.info.arguments, "labels": labels} if data_given else {}
        folder.write_json("config.json", {**config, **known, "options": plain_options(options), "stopped": ""})
    folder.write_json("plan.json", plan.to_config())
    progress = TrainingProgress(options["epochs"], unit=layer.unit if layer else "examples", verbose=bool(verbose))
    for label, text in plan.lines() if verbose != "epochs" else ():
        progress.say(f"{label:10} {text}")
    recorder, patience = Recorder(folder, model, rows, started=time.perf_counter()), options.get("patience")
    trainer = Trainer(
        ready.engine, feed.train, feed.validation, epochs=options["epochs"], callbacks=callbacks,
        actions=[recorder, *samplers(folder, model, layer), *([stopper(recorder, patience)] if patience else [])],
        progress=progress, max_seconds=max_time * 60 if max_time is not None else None,
    )  # fmt: skip
    trainer.history = {
        k: [row[k] for row in rows if k in row] for k in (rows[0] if rows else {}) if k not in NOT_METRICS
    }
    before = config.get("stopped", "") if config else ""
    stale = bool(patience and rows and recorder.stale() >= patience)
    if stale or first_epoch >= options["epochs"]:
        why = f"{before or 'its best epoch is too long ago'}; go on with a larger --patience"
        progress.say(
            f"nothing to do: {folder.path} "
            + (f"had {why}" if stale else f"has its {first_epoch} epochs; give more with --epochs")
        )
        folder.load_checkpoint("last", model)  # which may hold an average, or an earlier epoch's weights
        folder.write_json("config.json", {**folder.read_json("config.json"), "stopped": before})
        recorder.close()
        return Run(model, folder.path, trainer.history, plan, 0.0, worker, before)
    if before:
        progress.say(f"the run had {before}; it goes on after epoch {first_epoch}")
    show_batch(folder, ready.first_batch, labels, layer)
    started = time.perf_counter()
    try:
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
        progress.say(f"\ninterrupted; the checkpoint after {whole} whole epoch{'s' * (whole != 1)} is in {folder.path}")
        if verbose != "epochs":  # else it is a part of something that says how to go on
            progress.say(f"resume: kzoo fit --resume {shlex.quote(str(folder.path))}")
        raise
    run = Run(model, folder.path, trainer.history, plan, time.perf_counter() - started, worker, trainer.stopped)
    recorder.close()
    if recorder.rows:
        run.weights_of = _keep(recorder, objective, callbacks, patience)
    if run.weights_of is not None:
        progress.say(f"the model has the weights of epoch {run.weights_of} of {recorder.rows[-1]['epoch']}")
    if run.stopped:
        folder.write_json("config.json", {**folder.read_json("config.json"), "stopped": run.stopped})
    folder.save_model(model)
    with unchanged(objective.networks):
        show_predictions(folder, without_auxiliaries(model), feed.validation, labels)
    with atomic(folder / "card.md") as beside:
        beside.write_text(run_card(run, recorder), encoding="utf-8")
    return run


def _keep(
    recorder: Recorder, objective: Objective, callbacks: Sequence[keras.callbacks.Callback], patience: int | None
) -> int | None:
    """Write the last checkpoint as the model is to be left: with an average of the weights, or, by `patience` or
    Keras' EarlyStopping, the weights of the best epoch. Returns that epoch where it is not the last one.
    """
    folder, model, last = recorder.folder, recorder.model, recorder.rows[-1]["epoch"]
    averaged, held = any(inner(network.optimizer).use_ema for network in objective.networks), last
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.EarlyStopping) and callback.best_weights is not None:
            held = callback.best_epoch + 1
    if patience:
        held = recorder.best()["epoch"]
    if averaged or held != last:
        folder.keep_raw()
    if patience:
        folder.load_checkpoint("best", model, optimizer=False)
    folder.save_checkpoint("last", model, last)
    return held if held != last else None
