"""What bench measures, piece by piece: the loop, the first step, whole calls, answers, memory."""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.engine import compiled, own_compile, recipe_loss, recipe_of
from kzoo.exporting import export
from kzoo.inputs import Batches, Reader
from kzoo.models import model_info
from kzoo.records import Fit
from kzoo.tasks import as_taken, random_inputs
from kzoo.verbs import Feed, Ready, feed_of, fit, generate, predict, ready_of

EXECUTIONS = (1, 16)  # steps_per_execution tried for Model.fit; the better one counts
DISTINCT = 4  # batches that are fed in turn
CALLS = (1, 32)  # examples of a call that answers
EPOCHS = 3  # of a whole call of fit
LONG = 10_000  # epochs of the training whose loop is timed: one whose compilation by XLA pays


@dataclass(frozen=True)
class Call:
    """How long a further call takes that answers so many examples, in milliseconds: the median, and what one in a
    hundred exceeds.
    """

    name: str
    examples: int
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.name}, {self.examples} at once: {self.p50:,.2f} ms, one in a hundred {self.p99:,.2f}"


# ----------------------------------------------------------------------------------------------------------------------
# What is trained on
# ----------------------------------------------------------------------------------------------------------------------


def random_arrays(model: keras.Model, count: int, side: int) -> tuple[Any, ...]:
    """(x, y) as the network takes and gives them, (x,) where it has no loss; a free side is `side`."""
    x = as_taken(model, random_inputs(model, count, 0, side))
    few = keras.tree.map_structure(lambda part: part[:2], x)
    outputs, info, own = model(few, training=False), model_info(model), own_compile(model)
    loss = own["loss"] if own else recipe_loss(info) if info is not None and recipe_of(model) else None
    if loss is None:
        return (keras.tree.map_structure(np.asarray, x),)
    rng = np.random.default_rng(0)

    def labels(output: Any, loss: Any) -> np.ndarray:
        name = str(getattr(loss, "name", loss))
        if "sparse" in name or name == "token_crossentropy":
            return rng.integers(0, output.shape[-1], (count, *output.shape[1:-1]))
        return rng.integers(0, 2, (count, *output.shape[1:])).astype("float32")

    if info is not None and info.outputs:  # all have its labels
        y = labels(tf.nest.flatten(outputs)[0], tf.nest.flatten(loss)[0])
    elif isinstance(loss, Mapping | list | tuple):
        y = keras.tree.map_structure(labels, outputs, type(outputs)(loss) if isinstance(outputs, tuple) else loss)
    else:
        y = keras.tree.map_structure(lambda output: labels(output, loss), outputs)
    return keras.tree.map_structure(np.asarray, x), y


@dataclass
class Trial:
    """A model made ready to train as `fit` does it, and a few of its batches, ready in memory."""

    feed: Feed
    ready: Ready
    batches: list[Any]

    @classmethod
    def of(
        cls, model: Any, data: Any, options: Mapping[str, Any], strategy: tf.distribute.Strategy, optimizer: Any = None
    ) -> Trial:
        feed = feed_of(model, data, Fit.of({**options, "epochs": LONG}), strategy)
        ready = ready_of(feed, optimizer=optimizer)
        return cls(feed, ready, list(feed.train.epoch(0).take(DISTINCT)))

    @property
    def data(self) -> tf.data.Dataset:
        return functools.reduce(lambda a, b: a.concatenate(b), map(tf.data.Dataset.from_tensors, self.batches))

    @property
    def unit(self) -> tuple[str, int]:
        """(what is counted, how many of it are in a batch)."""
        x = tf.nest.flatten(self.batches[0])[0]
        if x.dtype.is_integer and len(x.shape) == 2:
            return "tokens", int(np.mean([tf.size(tf.nest.flatten(batch)[0]) for batch in self.batches]))
        return "images" if len(x.shape) == 4 else "examples", x.shape[0]

    @property
    def rows(self) -> float:
        """Of a batch, in the mean."""
        return float(np.mean([tf.nest.flatten(batch)[0].shape[0] for batch in self.batches]))

    def inputs(self, count: int) -> Any:
        """So many examples of the first batch, as the network reads them; again and again where it has fewer. (Texts of
        another batch may be of other lengths.)
        """
        return keras.tree.map_structure(lambda part: np.asarray(part)[np.arange(count) % len(part)], self.batches[0][0])

    def begin(self) -> None:
        self.ready.engine.begin(Batches(self.data.repeat(), None, Reader(), ready=True), 0)

    def forward(self) -> Callable[[int], None]:
        """(steps) -> nothing: the network alone, in inference."""
        model, kernels, xla = self.feed.model, self.ready.engine.kernels, self.ready.plan.xla
        inputs = [batch[0] for batch in self.batches]

        def outputs(x: Any) -> tf.Tensor:
            with kernels.swapped():  # all of it is needed, little is fetched
                return tf.add_n(
                    [tf.reduce_sum(tf.cast(t, tf.float32)) for t in tf.nest.flatten(model(x, training=False))]
                )

        graph = compiled(outputs, xla)

        def run(steps: int) -> None:
            for i in range(steps):
                result = graph(inputs[i % len(inputs)])
            result.numpy()

        return run


# ----------------------------------------------------------------------------------------------------------------------
# Seconds
# ----------------------------------------------------------------------------------------------------------------------


def seconds_of(run: Callable[..., Any], *given: Any) -> float:
    started = time.perf_counter()
    run(*given)
    return time.perf_counter() - started


def warm(run: Callable[[int], Any], seconds: float) -> tuple[float, int]:
    """(seconds of the first step, which is traced and compiled; steps that take about `seconds`)."""
    first = seconds_of(run, 1)
    run(DISTINCT)  # batches of other shapes are compiled too
    one = seconds_of(run, 1)
    steps = max(1, min(50, int(seconds / one)))
    one = seconds_of(run, steps) / steps
    return first, max(1, int(seconds / one))


def by_fit(model: keras.Model, data: tf.data.Dataset) -> dict[str, Callable[[int], None]]:
    """{setting: train so many steps by Model.fit}; each keeps the function that Keras compiled for it."""
    functions: dict[int, Any] = {}
    endless = data.repeat().prefetch(tf.data.AUTOTUNE)

    def run(executions: int, steps: int) -> None:
        model.steps_per_execution = executions
        model.train_function = functions.get(executions)
        model.fit(endless, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False)
        functions[executions] = model.train_function

    return {f"steps_per_execution={n}": lambda steps, n=n: run(n, steps) for n in EXECUTIONS}


def whole_fit(model: Any, data: Any, options: Mapping[str, Any]) -> float:
    """Seconds of a call of `kzoo.fit` from its beginning to its end, run folder and all."""
    with tempfile.TemporaryDirectory() as place:
        given = {**options, "epochs": EPOCHS, "run_dir": str(Path(place) / "run"), "verbose": False}
        return seconds_of(lambda: fit(model, data, **given))


def whole_keras(model: keras.Model, arrays: tuple[Any, ...], batch_size: int, executions: int) -> float:
    """Seconds of `Model.fit` on the same arrays, which compiles its step as kzoo's does."""
    model.steps_per_execution, model.train_function = executions, None
    return seconds_of(lambda: model.fit(*arrays, batch_size=batch_size, epochs=EPOCHS, verbose=0))


# ----------------------------------------------------------------------------------------------------------------------
# Answers
# ----------------------------------------------------------------------------------------------------------------------


def timed(name: str, examples: int, call: Callable[[], Any], seconds: float) -> Call:
    """Further calls, for about so many seconds: at least ten, at most a thousand."""
    call()
    one = min(seconds_of(call) for _ in range(2))
    taken = [1e3 * seconds_of(call) for _ in range(max(10, min(1000, int(seconds / one))))]
    return Call(name, examples, statistics.median(taken), float(np.percentile(taken, 99)))


def answers(model: keras.Model, raw: Any, ready: Any, verb: str, seconds: float, keras_too: bool) -> list[Call]:
    """Of kzoo's verb and of an export, and of Keras' ways, one after the other.

    Args:
        raw: Examples as the verb takes them, at least the most of CALLS.
        ready: The same as the network reads them.
    """
    found: list[Call] = []
    with tempfile.TemporaryDirectory() as place:
        served = _served(model, place) if verb == "predict" else None
        graph = tf.function(lambda x: model(x, training=False))
        for count in CALLS:
            some = raw[:count] if _is_texts(raw) else _first(raw, count)
            if verb == "generate":
                found.append(timed("kzoo.generate", count, lambda some=some: generate(model, some), seconds))
                continue
            found.append(timed("kzoo.predict", count, lambda some=some: predict(model, some), seconds))
            x = keras.tree.map_structure(tf.convert_to_tensor, _first(ready, count))
            if served is not None:
                found.append(timed("export", count, lambda x=x: served(x), seconds))
            if keras_too:
                ways = {
                    "Model.predict": lambda x=x: model.predict(x, verbose=0),
                    "model(x)": lambda x=x: model(x, training=False),
                    "tf.function": lambda x=x: graph(x),
                }
                found += [timed(name, count, call, seconds) for name, call in ways.items()]
    return found


def _is_texts(raw: Any) -> bool:
    """A list of something else is one array an input."""
    return isinstance(raw, list) and isinstance(raw[0], str)


def _first(rows: Any, count: int) -> Any:
    return keras.tree.map_structure(lambda part: part[:count], rows)


def _served(model: keras.Model, place: str) -> Callable[[Any], Any] | None:
    """The network's signature in an export; None of several inputs, which are given by name."""
    if isinstance(getattr(model, "input_shape", ()), Mapping | list):
        return None
    loaded = tf.saved_model.load(str(export(model, Path(place) / "export").path))
    signature = loaded.signatures["serving_default"]
    ((name, spec),) = signature.structured_input_signature[1].items()

    def call(x: Any) -> Any:  # the loaded objects live as long as this
        return loaded.signatures["serving_default"](**{name: tf.cast(x, spec.dtype)})

    return call


def peak_memory() -> float:
    """MiB: of the first GPU where there is one, otherwise of this process."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    try:
        import resource
    except ImportError:  # Windows has none
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
