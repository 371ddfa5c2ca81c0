"""bench: how fast a model trains and predicts, alone or beside `Model.fit` in the same run."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.engine import (
    CLUSTERS,
    Choices,
    build_optimizer,
    check_precision,
    choose_xla,
    compiled,
    make_engine,
    precise,
    strategy_name,
)
from kzoo.engine import strategy as make_strategy
from kzoo.errors import KzooError
from kzoo.inputs import Batches, Reader
from kzoo.models import model_info, networks_of
from kzoo.records import VERBS, Timing, takes
from kzoo.tasks import input_spec, random_inputs, task_of
from kzoo.zoo import create_model

EXECUTIONS = (1, 16)  # steps_per_execution tried for Model.fit; the better one counts
DISTINCT = 4  # batches that are fed in turn


@dataclass(frozen=True)
class Bench:
    """Medians over the rounds; rates are `unit` a second.

    Attributes:
        training, inference: By kzoo.
        compile_seconds: The first training step, which is traced and compiled, less a later one.
        peak_memory: MiB of the process, or of the GPU, after kzoo's rounds were warm and before others began.
        fit: {setting of `Model.fit`: training rate}; empty if it was not asked for.
        ratio: kzoo's training rate to the best of `fit`: the median over the rounds, in each of which the two took
            turns; None without `fit`.
    """

    model: str
    batch_size: int
    strategy: str
    xla: bool
    precision: str
    kernels: tuple[str, ...]
    unit: str
    training: float
    inference: float
    compile_seconds: float
    peak_memory: float
    fit: dict[str, float] = field(default_factory=dict)
    ratio: float | None = None

    def to_config(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        rows = [
            ("model", f"{self.model}, batch {self.batch_size}, {self.precision}"),
            ("strategy", f"{self.strategy}, xla {'on' if self.xla else 'off'}"),
            ("kernels", ", ".join(self.kernels) or "Keras' own"),
            ("training", f"{self.training:,.0f} {self.unit}/s"),
            ("inference", f"{self.inference:,.0f} {self.unit}/s"),
            ("compile", f"{self.compile_seconds:.1f} s"),
            ("memory", f"{self.peak_memory:,.0f} MiB at most" if self.peak_memory == self.peak_memory else "not known"),
            *((f"fit, {name}", f"{rate:,.0f} {self.unit}/s") for name, rate in self.fit.items()),
        ]
        if self.ratio is not None:
            rows.append(("ratio", f"{self.ratio:.2f} to the better of fit's"))
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:{width}}  {text}" for label, text in rows)


@takes(*VERBS["bench"])
def bench(model: keras.Model | str, **given: Any) -> Bench:
    """Time training and inference on random data. For true figures let nothing else run.

    Args:
        model: A compiled Keras model with one input, or a name, built with `style` and `set`.

    Returns:
        Bench: rates, the time of compilation, the peak of memory, and the ratio to `Model.fit`.

    Raises:
        KzooError: Arguments that cannot hold.
    """
    options = Timing.of(given)
    batch_size, against, xla, precision = options.batch_size, options.against, options.xla, options.precision
    strategy, seconds, rounds = options.strategy, options.seconds, options.rounds
    check_precision(precision)
    if strategy in CLUSTERS or (strategy == "auto" and os.environ.get("TF_CONFIG")):
        raise KzooError(
            "bench times one process; 'multiworker' and 'parameter_server' span several: time kzoo fit there"
        )
    the_strategy = make_strategy(strategy, options.devices)
    if batch_size < the_strategy.num_replicas_in_sync:
        raise KzooError(f"batch_size={batch_size} is less than the {the_strategy.num_replicas_in_sync} replicas")
    if isinstance(model, str):
        model = create_model(model, options.style or "functional", **(options.set or {}))
    elif options.style or options.set:
        raise KzooError(f"style and set go with a model given by name; {model.name!r} is built already")
    check_single(model)
    task = task_of(model)
    task.compile(model, Choices(schedule="constant"))
    data, unit, per_example = _random(model, batch_size)
    batches = Batches(data.repeat(), None, Reader(), ready=True)
    xla_on, _ = choose_xla(model, xla, the_strategy.num_replicas_in_sync)
    before, executions = model.get_weights(), model.steps_per_execution
    with precise([model], precision):
        objective = task.objective(model, precision)
        for phase in objective.phases:
            build_optimizer(phase.optimizer, phase.model.trainable_variables)
        objective.prepare(next(iter(data)))
        engine = make_engine(objective, the_strategy, xla=xla_on, kernels=options.kernels)
        engine.begin(batches, 0)
        compile_seconds, steps = _warm(engine.train, seconds)
        forward = _forward(engine, model, data, xla_on)
        _, forward_steps = _warm(forward, seconds)
        memory = _peak_memory()
        opponents = _fits(model, data) if against else {}
        for run in opponents.values():
            run(max(EXECUTIONS))
        times: dict[str, list[float]] = {name: [] for name in ("train", "forward", *opponents)}
        steps = -(-steps // max(EXECUTIONS)) * max(EXECUTIONS) if opponents else steps
        for _ in range(rounds):
            times["train"].append(_seconds(engine.train, steps) / steps)
            times["forward"].append(_seconds(forward, forward_steps) / forward_steps)
            for name, run in opponents.items():
                times[name].append(_seconds(run, steps) / steps)
    model.set_weights(before)  # trained on noise since; the optimizer's state is
    model.steps_per_execution, model.train_function = executions, None
    rate = lambda name: batch_size * per_example / statistics.median(times[name])
    best = min(opponents, key=lambda name: statistics.median(times[name]), default=None)
    ratios = [theirs / ours for theirs, ours in zip(times[best], times["train"], strict=True)] if best else []
    info = model_info(model)
    return Bench(
        model=f"{info.model} ({info.style})" if info else model.name,
        batch_size=batch_size,
        strategy=strategy_name(the_strategy),
        xla=xla_on,
        precision=precision or model.dtype_policy.name,
        kernels=engine.kernels.names,
        unit=unit,
        training=rate("train"),
        inference=rate("forward"),
        compile_seconds=compile_seconds,
        peak_memory=memory,
        fit={name: rate(name) for name in opponents},
        ratio=statistics.median(ratios) if ratios else None,
    )


def check_single(model: keras.Model) -> None:
    """Refuse what random data cannot be made for."""
    if networks_of(model) != [model] or not isinstance(input_spec(model), tf.TensorSpec):
        raise KzooError(
            f"bench makes random data for one network with one input; {model.name!r} is none: time kzoo fit"
        )


def _random(model: keras.Model, batch_size: int) -> tuple[tf.data.Dataset, str, int]:
    """(batches of random inputs and labels, what is counted, how many of it are in an example)."""
    spec = input_spec(model)
    shape = tuple(spec.shape[1:])
    if None in shape:
        raise KzooError(f"{model.name!r} takes inputs of any size, {shape}; give it an input_shape")
    rng, dtype = np.random.default_rng(0), spec.dtype
    x = random_inputs(model, DISTINCT * batch_size, 0).numpy()
    outputs = tf.nest.flatten(model(x[:1], training=False))[0]  # of one with auxiliary outputs: all have its labels
    loss = tf.nest.flatten(model.loss)[0]
    sparse = "sparse" in str(getattr(loss, "name", loss))
    if sparse:
        y = rng.integers(0, outputs.shape[-1], (len(x), *outputs.shape[1:-1]))
    else:
        y = rng.integers(0, 2, (len(x), *outputs.shape[1:])).astype("float32")
    batches = [tuple(tf.constant(a[i::DISTINCT]) for a in (x, y)) for i in range(DISTINCT)]
    data = tf.data.Dataset.from_tensor_slices(tuple(tf.stack(parts) for parts in zip(*batches, strict=True)))
    unit = "tokens" if dtype.is_integer else "images" if len(shape) == 3 else "examples"
    return data, unit, int(np.prod(shape)) if dtype.is_integer else 1


def _forward(engine: Any, model: keras.Model, data: tf.data.Dataset, xla: bool) -> Callable[[int], None]:
    batches = [x for x, _ in data]

    def forward(x: tf.Tensor) -> tf.Tensor:
        with engine.kernels.swapped():
            return tf.reduce_sum(tf.nest.flatten(model(x, training=False))[0])  # all of it is needed, little is fetched

    graph = compiled(forward, xla)

    def run(steps: int) -> None:
        for i in range(steps):
            result = graph(batches[i % len(batches)])
        result.numpy()

    return run


def _fits(model: keras.Model, data: tf.data.Dataset) -> dict[str, Callable[[int], None]]:
    """{setting: train so many steps by Model.fit}; each keeps the function that Keras compiled for it."""
    functions: dict[int, Any] = {}
    endless = data.repeat().prefetch(tf.data.AUTOTUNE)

    def run(executions: int, steps: int) -> None:
        model.steps_per_execution = executions
        model.train_function = functions.get(executions)
        model.fit(endless, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False)
        functions[executions] = model.train_function

    return {f"steps_per_execution={n}": lambda steps, n=n: run(n, steps) for n in EXECUTIONS}


def _warm(run: Callable[[int], Any], seconds: float) -> tuple[float, int]:
    """(seconds of compilation, steps that take about `seconds`)."""
    first = _seconds(run, 1)
    one = _seconds(run, 1)
    steps = max(1, min(50, int(seconds / one)))
    one = _seconds(run, steps) / steps
    return max(0.0, first - one), max(1, int(seconds / one))


def _seconds(run: Callable[[int], Any], steps: int) -> float:
    started = time.perf_counter()
    run(steps)
    return time.perf_counter() - started


def _peak_memory() -> float:
    """MiB: of the first GPU where there is one, otherwise of this process."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    try:
        import resource
    except ImportError:  # Windows has none
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
