"""bench: how fast a model trains and predicts, alone or beside `Model.fit` in the same run."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data._pipeline import Batches
from kzoo.errors import KzooError, unknown, whole_number
from kzoo.models._players import networks_of
from kzoo.models._registry import create_model, model_info, model_spec
from kzoo.training.engines import make_engine, objective_of
from kzoo.training.optimizers import build_optimizer
from kzoo.training.plan import choose_xla, compile_for
from kzoo.training.precision import check_precision, precise
from kzoo.training.step import compiled
from kzoo.training.strategies import CLUSTERS, strategy_name
from kzoo.training.strategies import strategy as make_strategy

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
            ("memory", f"{self.peak_memory:,.0f} MiB at most"),
            *((f"fit, {name}", f"{rate:,.0f} {self.unit}/s") for name, rate in self.fit.items()),
        ]
        if self.ratio is not None:
            rows.append(("ratio", f"{self.ratio:.2f} to the better of fit's"))
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:{width}}  {text}" for label, text in rows)


def bench(
    model: keras.Model | str,
    *,
    batch_size: int = 32,
    against: str | None = None,
    strategy: str | tf.distribute.Strategy = "auto",
    devices: Sequence[str] | int | None = None,
    xla: bool | str = "auto",
    precision: str | None = None,
    kernels: bool = True,
    style: str = "functional",
    seconds: float = 2.0,
    rounds: int = 5,
    **arguments: Any,
) -> Bench:
    """Time training and inference on random data. For true figures let nothing else run.

    Args:
        model: A compiled Keras model with one input and one output, or a name, built with `style` and `arguments`
            (`classes=…`, `input_shape=…`).
        batch_size: Global.
        against: `"keras"`: time `Model.fit` too, in the same rounds, on the same model, batches and precision, XLA as
            Keras chooses, with each of several `steps_per_execution`.
        strategy, devices, xla, precision, kernels: As for `kzoo.fit`.
        seconds: Roughly, of each measurement.
        rounds: Measurements of each; after one that warms up.

    Raises:
        KzooError: Arguments that cannot hold.
    """
    if against not in (None, "keras"):
        raise unknown("opponent", against, ("keras",))
    for name, value in (("batch_size", batch_size), ("rounds", rounds)):
        whole_number(name, value)
    check_precision(precision)
    if strategy in CLUSTERS or (strategy == "auto" and os.environ.get("TF_CONFIG")):
        raise KzooError(
            "bench times one process; 'multiworker' and 'parameter_server' span several: time kzoo fit there"
        )
    the_strategy = make_strategy(strategy, devices)
    if batch_size < the_strategy.num_replicas_in_sync:
        raise KzooError(f"batch_size={batch_size} is less than the {the_strategy.num_replicas_in_sync} replicas")
    if isinstance(model, str):
        model = create_model(model, style=style, **arguments)
    elif arguments:
        raise KzooError(f"{', '.join(arguments)}: for a model given by name; {model.name!r} is built already")
    check_single(model)
    compile_for(model, loss=None, optimizer=None, metrics=None, learning_rate=None, schedule="constant", steps=None)
    data, unit, per_example = _random(model, batch_size)
    batches = Batches(data.repeat(), None, ready=True)
    xla_on, _ = choose_xla(model, xla, the_strategy.num_replicas_in_sync)
    before, executions = model.get_weights(), model.steps_per_execution
    with precise([model], precision):
        objective = objective_of(model, precision)
        for phase in objective.phases:
            build_optimizer(phase.optimizer, phase.model.trainable_variables)
        objective.prepare(next(iter(data)))
        engine = make_engine(objective, the_strategy, xla=xla_on, kernels=kernels)
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
    info = model_info(model)
    spec = model_spec(info.model) if info else None
    if spec is not None and (isinstance(spec.input_shape, Mapping) or networks_of(model) != [model]):
        raise KzooError(f"bench makes random data for models with one input; {spec.name} is none: time kzoo fit")
    if info is None and len(getattr(model, "inputs", None) or []) != 1:
        raise KzooError(f"bench makes random data for models with one input; {model.name!r} is none")


def _random(model: keras.Model, batch_size: int) -> tuple[tf.data.Dataset, str, int]:
    """(batches of random inputs and labels, what is counted, how many of it are in an example)."""
    info = model_info(model)
    spec = model_spec(info.model) if info else None
    shape = tuple(info.arguments["input_shape"]) if info else model.inputs[0].shape[1:]
    dtype = tf.as_dtype(spec.input_dtype if spec else model.inputs[0].dtype)
    if None in shape:
        raise KzooError(f"{model.name!r} takes inputs of any size, {shape}; give it an input_shape")
    rng = np.random.default_rng(0)
    if dtype.is_integer:
        embedding = next(layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding))
        x = rng.integers(0, embedding.input_dim, (DISTINCT * batch_size, *shape)).astype(dtype.as_numpy_dtype)
    else:
        x = rng.random((DISTINCT * batch_size, *shape), dtype="float32")
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
