"""fit: options, data and model, plan, train, record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Number
from typing import Any

import keras

from kzoo.engine import (
    Action,
    Objective,
    Place,
    Trainer,
    TrainingProgress,
    current_rate,
    every,
    follows_schedule,
    inner,
    own_seeds,
    precise,
    unchanged,
)
from kzoo.engine import strategy as make_strategy
from kzoo.errors import KzooError, listed, say
from kzoo.files import DiskError, atomic
from kzoo.models import attach_info, model_info
from kzoo.records import VERBS, FindingRate, Fit, Moments, Plan, takes
from kzoo.runs import (
    Begun,
    Predictor,
    Recorder,
    Run,
    RunFolder,
    aside,
    begin,
    config_of,
    config_of_model,
    described,
    history_of,
    resumable,
    temporary_folder,
)
from kzoo.signals import spared
from kzoo.tensorflow_internals import workers_of
from kzoo.verbs.feed import Feed, feed_of
from kzoo.verbs.find_rate import RateSearch, check_no_setter, search_rate
from kzoo.verbs.inside import inside
from kzoo.verbs.keras_words import WORDS, in_our_words
from kzoo.verbs.ready import Ready, ready_of
from kzoo.zoo import without_auxiliaries

NOT_WHOLE = "the model cannot be saved whole (a class of yours has no get_config): resume it with the model given"


@takes(*VERBS["fit"], words=WORDS)
@own_seeds()
@spared()
def fit(model: keras.Model | str | None = None, data: Any = None, **given: Any) -> Run:
    """Train a model and write a run folder.

    Args:
        model: Any Keras model, of kzoo or your own, in any style; or a name, built for the classes of the data.
        data: Data, what `load_data` takes, arrays `(x, y[, weight])` or a batched tf.data.Dataset. Arrays and datasets
            are fed as they are, as Keras does; Data and names are raw, and are prepared for the model.

    Returns:
        Run. The model given holds the trained weights and the optimizer's state: a second `fit` continues. The weights
        are those of the last epoch, or of the one that `Run.weights_of` names.

    Raises:
        KzooError: Arguments that cannot hold; nothing has been written then.
        KeyboardInterrupt: After the resuming command was printed.
    """
    data, given = in_our_words(data, given)
    validation = None if isinstance(given.get("validation", 0), Number) else given.pop("validation")
    callbacks = check_callbacks(given.get("callbacks", ()))
    if any(isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in callbacks):
        given.setdefault("on_nan", "continue")  # it ends the training itself
    begun = begin("fit", given, model, data)
    options, found = begun.options, None
    if begun.model is None and not begun.resumed:
        raise KzooError("fit needs a model: a Keras model, or a name from kzoo list")
    if begun.resumed and options.learning_rate == "find":
        raise KzooError("learning_rate='find' goes with a new run; a resumed one goes on at its own rate")
    if options.learning_rate == "find":
        check_no_setter(callbacks)
    strategy = make_strategy(options.strategy, options.devices)
    worker = workers_of(strategy)[1]
    begun.check_folder(worker)
    with begun.folder.written(_said(begun)) if begun.resumed and not worker else contextlib.nullcontext():
        feed = feed_of(begun.model, begun.data, options, strategy, begun.reading, begun.folder, validation)
        check_classes(begun, feed)
        check_patience(options.patience, feed)
        chosen = {"loss": options.loss, "optimizer": options.optimizer, "metrics": options.metrics}
        rate = options.learning_rate
        if rate == "find":
            found = search_rate(feed, FindingRate.of(feed.options.given()))
            rate = found.suggestion
        decided = begun.config.get("decided", {}) if begun.resumed else None
        ready = ready_of(feed, **chosen, learning_rate=rate, callbacks=callbacks, resumed=decided)
        if (info := model_info(feed.model)) is not None:  # what it has learned on is what it reads from now on
            inputs, targets = feed.reading.specs
            attach_info(feed.model, replace(info, inputs=inputs, targets=targets, labels=feed.labels or None))
        # Everything holds: from here on files are written. Of several workers the first writes the run; the others
        # keep theirs in a temporary folder.
        folder, place = begun.folder, begun.keeping.run_dir
        if worker:
            folder, place = aside(folder), str(temporary_folder() / "run")
        if folder is None:
            name = f"{ready.plan.model}-{feed.data.info.name}".replace("your data", "own-data")
            folder = RunFolder.create(name, place)
        with contextlib.nullcontext() if begun.resumed else folder.written():
            return _fitted(begun, feed, ready, folder, callbacks, worker, found, rate)


def _fitted(
    begun: Begun, feed: Feed, ready: Ready, folder: RunFolder, callbacks: list[keras.callbacks.Callback], worker: int,
    found: RateSearch | None, rate: float | None,
) -> Run:  # fmt: skip
    """Train, in a folder that this process alone writes."""
    options, said = begun.options, begun.keeping.verbose if not worker else False
    plan, notes = ready.plan, _lost(begun, callbacks)
    rates = [current_rate(network.optimizer) for network in ready.objective.networks]
    if begun.resumed:
        before = folder.read_plan()
        kept = {k: v for k, v in (before.get("sources") or {}).items() if k not in begun.given}
        plan = replace(plan, sources={**plan.sources, **kept})  # its model's compile is what was given then
        notes += _changed_since(before, plan)
    else:
        _fill(folder, begun, feed, ready, found)
    notes += [note] if (note := folder.read_config().get("found")) else []
    notes += [] if (folder / "model.keras").is_file() else [NOT_WHOLE]
    plan = replace(plan, notes=(*plan.notes, *notes))
    recorder = Recorder(
        folder, feed.task, ready.engine, callbacks, feed.reading.reader, folder.read_metrics(), options.on_nan
    )
    progress = TrainingProgress(
        feed.options.epochs, unit=feed.reading.reader.unit if feed.train.batch_size else "batches", verbose=bool(said)
    )
    trainer = Trainer(
        ready.engine, feed.train, feed.validation, epochs=feed.options.epochs, callbacks=callbacks,
        actions=_actions(recorder, options), progress=progress, on_nan=options.on_nan,
        max_seconds=options.max_time * 60 if options.max_time is not None else None,
    )  # fmt: skip
    place, remind, over = Place(0, 0, 0, {}), lambda: None, ""
    if begun.resumed:
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.CSVLogger):  # its rows of before stay
                callback.append = True
        place, remind = _restore(recorder, rates if rate is not None else [])
        over = _over(begun, recorder, place, feed)
    run = Run(feed.model, folder.path, history_of(recorder.rows), plan, 0.0, worker)
    if over and begun.config.get("finished"):
        progress.say(f"nothing to do: {folder.path} {over}")
        return _as_it_was(run, recorder)
    if begun.resumed:
        _go_on(begun, feed, ready, recorder, progress)
    folder.write_json("plan.json", plan.to_config())
    folder.show(feed.task.show_batch(ready.first_batch, feed.reading, feed.labels))
    if not begun.resumed:
        recorder.checkpoint(place)
        recorder.later.wait()
        folder.settle()
        run.path = folder.path
    for label, text in plan.lines() if said != "epochs" else ():
        progress.say(f"{label:10} {text}")
    trainer.history, trainer.stopped = run.history, over  # a run that was killed after its last epoch is only ended
    with resumable("fit", folder.path, progress.say if said != "epochs" else lambda _: None):
        _train(trainer, recorder, place, remind, feed.options.precision)
        run.seconds = time.perf_counter() - recorder.started
        run.stopped = recorder.ended(place, options.patience) if over else trainer.stopped
        _record(run, recorder, feed, ready.objective, callbacks, progress)
    if feed.data.info.whole and (remedy := _not_learned(run, feed)):
        progress.say(remedy)
    return run


def _actions(recorder: Recorder, options: Fit) -> list[Action]:
    """What is done between the epochs, and inside them."""
    moments = Moments.parsed(options.checkpoint)
    found = [every(recorder.show, epochs=1), every(recorder.epoch, epochs=1)]  # a kill between shows it again
    found += [every(recorder.stopper(options.patience), epochs=1)] if options.patience else []
    found.append(every(recorder.between, steps=moments.get("steps"), signals=True))
    return [*found, every(recorder.if_idle, seconds=moments.get("seconds"))]


def _said(begun: Begun) -> Callable[[str], Any]:
    return say if begun.keeping.verbose is True else lambda _: None


def _lost(begun: Begun, callbacks: Sequence[Any]) -> list[str]:
    lost = "callbacks" in begun.config.get("objects", ()) and not callbacks
    return ["the run before had callbacks, which a file cannot hold; this one has none"] if lost else []


def _changed_since(before: Mapping[str, Any], plan: Plan) -> list[str]:
    """What a resumed run does otherwise than the plan of before."""
    notes = []
    if before["strategy"] != plan.strategy:
        notes.append(f"begun under {before['strategy']}, goes on under {plan.strategy}")
    if (augment := tuple(before.get("augment", ()))) != plan.augment:
        notes.append(f"begun with augment {', '.join(augment) or 'none'}, goes on with another")
    return notes


def check_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    found = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
    if not isinstance(found, list | tuple) or not all(isinstance(c, keras.callbacks.Callback) for c in found):
        raise KzooError(f"callbacks must be Keras callbacks, made by calling their class; received {callbacks!r}")
    return list(found)


def check_patience(patience: int | None, feed: Feed) -> None:
    if patience is None:
        return
    if feed.task.score is None:
        raise KzooError(
            f"patience needs a score of epochs, which the networks of {feed.model.name!r} do not have; leave it out"
        )
    if feed.validation is None:
        raise KzooError("patience needs a validation split to score epochs on; give one, or leave patience out")


def check_classes(begun: Begun, feed: Feed) -> None:
    """What goes on learns the classes that it has learned: their numbers are its model's outputs. A model that is
    trained anew may have learned others, if none of them has another place now.

    Raises:
        KzooError: The classes are others.
    """
    info = model_info(feed.model)
    before = begun.config.get("labels") if begun.resumed else info.labels if info is not None else None
    who = str(begun.folder.path) if begun.resumed else repr(feed.model.name)
    if not before or not feed.labels or list(feed.labels) == list(before):
        return
    if begun.resumed or any(name in before and before.index(name) != k for k, name in enumerate(feed.labels)):
        raise KzooError(
            f"{who} learned the classes {listed(before, 10)}; {feed.data.info.name} has {listed(feed.labels, 10)};"
            " start with a new model, or tune it to them by kzoo.fine_tune"
        )


def _fill(folder: RunFolder, begun: Begun, feed: Feed, ready: Ready, found: RateSearch | None) -> None:
    """The folder of a new run, with all that a kill could not bring back."""
    own = config_of_model(feed.model, feed.task.name, *feed.reading.specs, feed.labels)
    own |= {"found": found.note()} if found is not None else {}
    folder.write_json(
        "config.json", config_of(begun, feed.data, decided=ready.decided, stopped="", finished=False, **own)
    )
    folder.write_splits(feed.data.info)
    folder.save_model(feed.model)
    if found is not None:
        found.plot(folder / "learning_rate.png")


def _restore(recorder: Recorder, rates: Sequence[float]) -> tuple[Place, Any]:
    """Everything as the newest checkpoint has it; a rate that was given anew goes before the checkpoint's."""
    folder = recorder.folder
    name = folder.checkpoints.newest
    if name is None:
        raise KzooError(f"{str(folder.path)!r} has no whole checkpoint to go on from; start a new run")
    place, remind = recorder.restore(name)
    for network, rate in zip(recorder.objective.networks, rates, strict=False):
        if not follows_schedule(network.optimizer):
            inner(network.optimizer).learning_rate = rate
    recorder.taken_up(place)
    return place, remind


def _over(begun: Begun, recorder: Recorder, place: Place, feed: Feed) -> str:
    """Why a resumed run has no epoch left; "" where it has."""
    patience = feed.options.patience
    if not begun.config.get("finished") and (why := recorder.ended(place, patience)):
        return f"had {why}"
    if patience and recorder.rows and recorder.stale() >= patience:
        had = begun.config.get("stopped") or "its best epoch is too long ago"
        return f"had {had}; go on with a larger --patience"
    return f"has its {place.epoch} epochs; give more with --epochs" if place.epoch >= feed.options.epochs else ""


def _as_it_was(run: Run, recorder: Recorder) -> Run:
    """A finished run, with the weights that it was left with: an average's, or an earlier epoch's."""
    recorder.restore_weights(recorder.folder.checkpoints.find("last"))
    config = recorder.folder.read_config()
    run.stopped, run.weights_of = config.get("stopped", ""), config.get("weights_of")
    return run


def _go_on(begun: Begun, feed: Feed, ready: Ready, recorder: Recorder, progress: TrainingProgress) -> None:
    """What the folder of a resumed run says from here on."""
    folder = recorder.folder
    if before := begun.config.get("stopped"):
        progress.say(f"the run had {before}; it goes on after epoch {len(recorder.rows)}")
    folder.checkpoints.go_on()
    known = {"data": feed.data.info.arguments or None, "labels": list(feed.labels)}
    folder.update_config(
        **known, options={**begun.config["options"], **Fit.of(begun.given).to_config()}, decided=ready.decided,
        stopped="", finished=False, verb="fit",
    )  # fmt: skip


def _train(trainer: Trainer, recorder: Recorder, place: Place, remind: Any, precision: str | None) -> None:
    folder = recorder.folder
    try:
        try:
            with precise(trainer.objective.networks, precision):
                trainer.run(place, remind)
        finally:
            recorder.close()
    except DiskError as error:
        raise DiskError(f"{error}; the last whole checkpoint is {folder.checkpoints.newest}") from error
    except KzooError as error:
        whole, _ = recorder.restore(folder.checkpoints.newest)
        raise KzooError(f"{error}; the model is as after its last checkpoint, {described(whole)}") from error
    except (KeyboardInterrupt, SystemExit):
        whole, _ = recorder.restore(folder.checkpoints.newest)
        trainer.progress.say(f"\ninterrupted; the checkpoint after {described(whole)} is in {folder.path}")
        raise


def _record(
    run: Run, recorder: Recorder, feed: Feed, objective: Objective, callbacks: Sequence[keras.callbacks.Callback],
    progress: TrainingProgress,
) -> None:  # fmt: skip
    """What is left of the training: the model with its final weights, pictures, the card."""
    folder, model = recorder.folder, run.model
    recorder.draw()
    if "learning_rate" in run.history:  # by a callback; what it said before the run was resumed is in the table only
        run.history["learning_rate"] = [row["learning_rate"] for row in recorder.rows]
    if recorder.rows:
        run.weights_of = _leave(recorder, objective, callbacks, feed.options.patience)
    if run.weights_of is not None:
        progress.say(f"the model has the weights of epoch {run.weights_of} of {recorder.rows[-1]['epoch']}")
    folder.update_config(stopped=run.stopped, weights_of=run.weights_of)
    folder.save_model(model)
    if feed.validation is not None:
        with unchanged(objective.networks):
            final = Predictor.of(without_auxiliaries(model), reader=feed.reading.reader)
            folder.show(feed.task.show_predictions(final, feed.validation, feed.labels))
            folder.show(inside(final, feed.validation.split))
    with atomic(folder / "card.md") as beside:
        beside.write_text(recorder.card(run), encoding="utf-8")
    folder.update_config(finished=True)  # nothing is left to do


def _not_learned(run: Run, feed: Feed) -> str:
    """What helps where a truth table, of which a network can learn every row, was not learned; "" where it was."""
    right, info = run.last.get("binary_accuracy", run.last.get("accuracy", 1.0)), model_info(feed.model)
    if right == 1 or info is None:
        return ""
    why = "more epochs help (--epochs)"
    if info.settings.get("hidden"):
        why = (
            "so small a network can stand still where no small step helps, and more epochs do not; another start does"
            " (--seed 1), or more hidden units (--set 'hidden=(8,)')"
        )
    elif feed.data.info.name == "xor":
        why = (
            "a network without hidden units parts classes by one straight line, as XOR's cannot be; mlp_xor has a"
            " hidden layer"
        )
    return f"{right:.2f} of {feed.data.info.name} is right: {why}"


def _leave(
    recorder: Recorder, objective: Objective, callbacks: Sequence[keras.callbacks.Callback], patience: int | None
) -> int | None:
    """Give the model the weights that it is left with, beside the checkpoint that training goes on from: an average,
    or, by `patience` or Keras' EarlyStopping, those of the best epoch. Returns that epoch where it is not the last one.
    """
    folder, last = recorder.folder, recorder.rows[-1]["epoch"]
    averaged, held = any(inner(network.optimizer).use_ema for network in objective.networks), last
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.EarlyStopping) and callback.best_weights is not None:
            held = callback.best_epoch + 1
    if patience:
        held = recorder.best()["epoch"]
        recorder.restore_weights(folder.checkpoints.find("best"))
    if averaged or held != last:
        place = Place(last, 0, 0, {})
        folder.checkpoints.leave(place, recorder.state(place)[0])
    return held if held != last else None
