"""bench: what one waits for, of a model: the loop, the first step, a whole call of fit, further calls; beside Keras'
own in the same run, if that is asked for.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from kzoo.benching.pytorch import beside_torch, namesake
from kzoo.benching.sweep import Point, Sweep, values_of
from kzoo.benching.timing import (
    CALLS,
    DISTINCT,
    EPOCHS,
    EXECUTIONS,
    Call,
    Trial,
    answers,
    by_fit,
    peak_memory,
    random_arrays,
    seconds_of,
    warm,
    whole_fit,
    whole_keras,
)
from kzoo.engine import CLUSTERS, check_precision, compile_kept, own_seeds, precise
from kzoo.engine import strategy as make_strategy
from kzoo.errors import KzooError
from kzoo.models import model_info, networks_of
from kzoo.records import VERBS, Printed, Timing, takes
from kzoo.tasks import find_task, task_of
from kzoo.verbs import as_before, fresh
from kzoo.zoo import create_model, model_spec

PASSED = ("strategy", "devices", "xla", "precision", "kernels", "batch_size")  # to fit


@dataclass(frozen=True)
class Bench(Printed):
    """Medians over the rounds; rates are `unit` a second.

    Attributes:
        tokens: Of an example, its padding included, in the mean; None where none are read.
        training, inference: By kzoo: its loop over batches in memory, and the network alone, None of several networks.
        first_step: Seconds until the first step of a training is done, which is traced and compiled.
        whole: Seconds of a whole call of `kzoo.fit` on `examples` examples, three epochs, run folder and all.
        calls: How long further calls take that answer.
        memory: MiB of the process, or of the GPU, at most, after kzoo's own steps and before others' began.
        others: {setting of `Model.fit`, or way of PyTorch: training rate}; empty if none was asked for.
        ratio: kzoo's training rate to the best of them: the median over the rounds, in each of which they took turns;
            None without.
        whole_fit, whole_ratio: Seconds of the whole of `Model.fit` with that setting, and how much longer than kzoo's;
            None where kzoo reads the examples from texts, tables or series, which `Model.fit` does not take.
    """

    model: str
    batch_size: int
    tokens: int | None
    strategy: str
    xla: bool
    precision: str
    kernels: tuple[str, ...]
    unit: str
    training: float
    inference: float | None
    first_step: float
    examples: int
    whole: float
    calls: tuple[Call, ...]
    memory: float
    others: dict[str, float]
    ratio: float | None
    whole_fit: float | None
    whole_ratio: float | None

    def to_config(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        long = f" of {self.tokens:,} tokens" if self.tokens is not None else ""
        rows = [
            ("model", f"{self.model}, batch {self.batch_size}{long}, {self.precision}"),
            ("strategy", f"{self.strategy}, xla {'on' if self.xla else 'off'}"),
            ("kernels", ", ".join(self.kernels) or "Keras' own"),
            ("training", f"{self.training:,.0f} {self.unit}/s"),
            *((f"  {name}", f"{rate:,.0f} {self.unit}/s") for name, rate in self.others.items()),
            *[("  ratio", f"{self.ratio or 0:.2f} to the better of these")] * (self.ratio is not None),
            *[("inference", f"{self.inference or 0:,.0f} {self.unit}/s")] * (self.inference is not None),
            ("first step", f"{self.first_step:.1f} s"),
            ("whole of fit", f"{self.whole:.1f} s for {EPOCHS} epochs of {self.examples:,} examples"),
            *[("  by Keras", f"{self.whole_fit or 0:.1f} s, ratio {self.whole_ratio or 0:.2f}")]
            * (self.whole_fit is not None),
            *[("  by Keras", "not timed: kzoo reads raw examples here, which Model.fit does not take")]
            * (self.whole_fit is None and any("steps_per_execution" in name for name in self.others)),
            *(("call" if not k else "", str(call)) for k, call in enumerate(self.calls)),
            ("memory", f"{self.memory:,.0f} MiB at most" if self.memory == self.memory else "not known"),
        ]
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:{width}}  {text}".rstrip() for label, text in rows)


@takes(*VERBS["bench"])
@own_seeds()
def bench(model: keras.Model | str, **given: Any) -> Bench | Sweep:
    """Time a model on random data. For true figures let nothing else run.

    Args:
        model: A Keras model, whose weights and optimizer are afterwards what they were, or a name, built with `style`
            and `set`.

    Returns:
        Bench: rates, seconds of the first step and of a whole call, milliseconds of answers, the peak of memory, and
        the ratios to Keras; with `sweep` a Sweep: how the time of a step grows.

    Raises:
        KzooError: Arguments that cannot hold.
    """
    options = Timing.of(given)
    check_precision(options.precision)
    if options.strategy in CLUSTERS or (options.strategy == "auto" and os.environ.get("TF_CONFIG")):
        raise KzooError(
            "bench times one process; 'multiworker' and 'parameter_server' span several: time kzoo fit there"
        )
    if isinstance(model, str):
        model_spec(model)  # or an error
    elif options.style or options.set or options.size:
        raise KzooError(f"style, set and size go with a model given by name; {model.name!r} is built already")
    if options.against == "torch":
        info = model_info(model) if not isinstance(model, str) else None
        namesake(model if isinstance(model, str) else info.model if info is not None else model.name)  # or an error
    if options.sweep is not None:
        return _swept(model, options)
    strategy = make_strategy(options.strategy, options.devices)
    if options.batch_size < strategy.num_replicas_in_sync:
        raise KzooError(f"batch_size={options.batch_size} is less than the {strategy.num_replicas_in_sync} replicas")
    return _timed(model, options, strategy)


def _timed(model: Any, options: Timing, strategy: tf.distribute.Strategy) -> Bench:
    with _subject(model, options, DISTINCT * options.batch_size) as (given, data, optimizer):
        trial = Trial.of(given, data, _passed(given, options), strategy, optimizer)
        model, plan = trial.feed.model, trial.ready.plan
        with precise(trial.ready.objective.networks, options.precision):
            trial.begin()
            first, steps = warm(trial.ready.engine.train, options.seconds)
            forward = None if networks_of(model) != [model] else trial.forward()
            _, forward_steps = warm(forward, options.seconds) if forward else (0.0, 0)
            memory = peak_memory()  # before Keras' own begins, which is not given back
            rates, whole_steps = _rounds(trial, forward, options, steps, forward_steps)
        raw = trial.feed.task.question(model, data, max(CALLS))
        ready = trial.inputs(max(CALLS)) if trial.feed.task.verb == "predict" else None
        calls = answers(model, raw, ready, trial.feed.task.verb, options.seconds, options.against == "keras")
        many = whole_steps * options.batch_size
        whole = _whole(trial, given, _examples(model, options, many), options, rates)
    unit, per_batch = trial.unit
    rate = lambda name: per_batch / statistics.median(rates[name])
    best = _best(rates)
    ratios = [theirs / ours for theirs, ours in zip(rates[best], rates["train"], strict=True)] if best else []
    return Bench(
        model=f"{plan.model} ({plan.style})",
        batch_size=options.batch_size,
        tokens=round(per_batch / trial.rows) if unit == "tokens" else None,
        strategy=plan.strategy,
        xla=plan.xla,
        precision=options.precision or model.dtype_policy.name,
        kernels=plan.kernels,
        unit=unit,
        training=rate("train"),
        inference=rate("forward") if forward else None,
        first_step=first,
        examples=many,
        whole=whole["kzoo"],
        calls=tuple(calls),
        memory=memory,
        others={name: rate(name) for name in rates if name not in OWN},
        ratio=statistics.median(ratios) if ratios else None,
        whole_fit=whole.get("keras"),
        whole_ratio=whole["keras"] / whole["kzoo"] if "keras" in whole else None,
    )


OWN = ("train", "forward")
WHOLE = 3  # rounds of whole calls, which are long, at most


def _best(rates: dict[str, list[float]]) -> str | None:
    """The fastest of the others, if they were timed."""
    return min((n for n in rates if n not in OWN), key=lambda n: statistics.median(rates[n]), default=None)


def _rounds(
    trial: Trial, forward: Callable[[int], None] | None, options: Timing, steps: int, forward_steps: int
) -> tuple[dict[str, list[float]], int]:
    """({what: seconds of a step in each round}, steps of a round)."""
    with _others(trial, options) as others:
        steps = -(-steps // max(EXECUTIONS)) * max(EXECUTIONS) if others else steps
        found: dict[str, list[float]] = {name: [] for name in ("train", *["forward"] * bool(forward), *others)}
        for _ in range(options.rounds):
            found["train"].append(seconds_of(trial.ready.engine.train, steps) / steps)
            if forward is not None:
                found["forward"].append(seconds_of(forward, forward_steps) / forward_steps)
            for name, run in others.items():
                found[name].append(seconds_of(run, steps) / steps)
    return found, steps


@contextlib.contextmanager
def _others(trial: Trial, options: Timing) -> Iterator[dict[str, Callable[[int], None]]]:
    """{name: take so many steps}, warm."""
    model = trial.feed.model
    if options.against is None or networks_of(model) != [model]:
        yield {}
    elif options.against == "keras":
        others = by_fit(model, trial.data)
        for run in others.values():
            run(max(EXECUTIONS))
        yield others
    else:
        info = model_info(model)
        side, classes = info.arguments["input_shape"][0], info.arguments["classes"]
        with beside_torch(namesake(info.model), options.batch_size, side, classes, options.precision) as others:
            yield others


def _whole(trial: Trial, given: Any, data: Any, options: Timing, rates: dict[str, list[float]]) -> dict[str, float]:
    """Seconds of whole calls, in turn: the medians."""
    model, best = trial.feed.model, _best(rates)
    found: dict[str, list[float]] = {"kzoo": []}
    for _ in range(min(options.rounds, WHOLE)):
        found["kzoo"].append(whole_fit(given, data, _passed(given, options)))
        if options.against == "keras" and best is not None and isinstance(data, tuple):
            executions = int(best.partition("=")[2])
            found.setdefault("keras", []).append(whole_keras(model, data, options.batch_size, executions))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


# ----------------------------------------------------------------------------------------------------------------------
# What is timed
# ----------------------------------------------------------------------------------------------------------------------


def _passed(given: Any, options: Timing) -> dict[str, Any]:
    names = (*PASSED, "style", "set") if isinstance(given, str) else PASSED
    return {name: getattr(options, name) for name in names}


@contextlib.contextmanager
def _subject(model: Any, options: Timing, count: int) -> Iterator[tuple[Any, Any, Any]]:
    """(the model, or its name where it is built for its data; random data; an optimizer of its own); the model is
    afterwards what it was.
    """
    data, optimizer = None, None
    if isinstance(model, str):
        spec = model_spec(model)
        data = find_task(spec.task).made_up(spec, count, options.tokens)
        if options.size is not None and (data is not None or len(spec.input_shape) != 3):
            raise KzooError(f"size={options.size} is of images; {model!r} reads none")
        if data is None:
            size = {"input_shape": (options.size, options.size, spec.input_shape[-1])} if options.size else {}
            model = create_model(model, options.style or "functional", **{**size, **(options.set or {})})
    if data is not None:
        yield model, data, None
        return
    data = _examples(model, options, count)
    if networks_of(model) != [model]:
        yield model, data, None
        return
    if getattr(model, "compiled", False):
        optimizer = fresh(None, model)
    executions = model.steps_per_execution
    with compile_kept(model), as_before(model):
        yield model, data, optimizer
    model.steps_per_execution, model.train_function = executions, None


def _examples(model: Any, options: Timing, count: int) -> Any:
    """Random data: raw, as the task makes it up, or arrays."""
    made = task_of(model).made_up(model, count, options.tokens)
    return made if made is not None else random_arrays(model, count, options.tokens)


def _swept(model: Any, options: Timing) -> Sweep:
    points = []
    for value in values_of(model, options):
        changes = {"batch": {"batch_size": value}, "replicas": {"devices": value, "strategy": "mirrored"}}
        how = replace(options, **changes.get(options.sweep, {options.sweep: value}))
        strategy = make_strategy(how.strategy, how.devices)
        if how.batch_size < strategy.num_replicas_in_sync:
            raise KzooError(f"batch_size={how.batch_size} is less than {value} replicas; give --batch-size")
        with _subject(model, how, DISTINCT * how.batch_size) as (given, data, optimizer):
            trial = Trial.of(given, data, _passed(given, how), strategy, optimizer)
            with precise(trial.ready.objective.networks, how.precision):
                trial.begin()
                first, steps = warm(trial.ready.engine.train, how.seconds)
                each = [seconds_of(trial.ready.engine.train, steps) / steps for _ in range(how.rounds)]
            points.append(Point(value, 1e3 * statistics.median(each), 1e3 * min(each), 1e3 * max(each), first))
            plan = trial.ready.plan
    return Sweep(f"{plan.model} ({plan.style})", options.sweep, options.batch_size, tuple(points))
