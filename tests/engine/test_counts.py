"""What keeps training fast, by counts and not by the clock: functions that are compiled, how often their Python is run,
how often the host looks into an epoch.
"""

import keras
import kinds
import nets
import numpy as np
import pytest

import kzoo
from kzoo.engine import step
from kzoo.runs import Predictor

STEPS = 8


def images(shape, classes=10, rows=STEPS * 4):
    rng = np.random.default_rng(0)
    return kzoo.Data((rng.integers(0, 256, (rows, *shape), "uint8"), rng.integers(0, classes, rows)))


# name: (model, data, strategy, xla, functions that an epoch with validation needs)
ROWS = {
    "lenet5": ("lenet5", images((28, 28, 1)), "default", "off", 4),
    "lenet5, mirrored": ("lenet5", images((28, 28, 1)), "mirrored", "off", 6),
    "mlp, xla": ("mlp", images((28, 28, 1)), "default", "on", 4),
    "lstm": ("lstm_classifier_tiny", kinds.texts("lstm"), "default", "off", 4),
    "lstm, in halves": ("lstm_classifier_tiny", kinds.texts("lstm"), "default", "on", 6),
    "translator": ("transformer_tiny", kinds.texts("transformer"), "default", "off", 4),
    "players": ("dcgan_tiny", images((8, 8, 1)), "default", "off", 4),
}
SLOW = {"lenet5, mirrored", "lstm, in halves", "translator"}


@pytest.mark.parametrize("row", [pytest.param(row, marks=[pytest.mark.slow] * (row in SLOW)) for row in ROWS])
def test_counts(row, monkeypatch):
    model, data, where, xla, functions = ROWS[row]
    monkeypatch.setattr(step, "SECONDS_A_CALL", 1e9)  # the clock does not decide how often the host looks
    looks, traces = [], []
    run = step.Engine._run
    monkeypatch.setattr(step.Engine, "_run", lambda self, *given: looks[-1].append(given[1]) or run(self, *given))
    noted = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: looks.append([]),
        on_epoch_end=lambda epoch, logs: traces.append(
            [graph.experimental_get_tracing_count() for graph in noted.model_engine.traces]
        ),
    )
    feed, ready = nets.made(model, data, where, epochs=4, batch_size=4, xla=xla)
    noted.model_engine = ready.engine
    trainer = step_by_step(ready, feed, noted)
    assert len(ready.engine.traces) == functions
    assert traces[0] == traces[1] == traces[2] == traces[3], "something is traced again in a later epoch"
    assert max(traces[0]) <= 2 * feed.train.shapes + 2
    steps = feed.train.steps
    assert [sum(epoch) for epoch in looks] == [steps] * 4
    assert len(looks[0]) <= 5 and [len(epoch) for epoch in looks[2:]] == [1, 1], "the host looks into an epoch"
    assert len(trainer.history["loss" if "loss" in trainer.history else "generator_loss"]) == 4


def step_by_step(ready, feed, *callbacks):
    trainer = nets.Trainer(
        ready.engine, feed.train, None, epochs=4, callbacks=callbacks, actions=(),
        progress=nets.TrainingProgress(4, verbose=False),
    )  # fmt: skip
    with nets.precise(ready.objective.networks, None):
        trainer.run()
    return trainer


def test_a_further_call_runs_no_python_of_the_network():
    called = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            called.append(1)
            return keras.ops.softmax(x)

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), Counting()])
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    first = kzoo.predict(model, rows)
    before = len(called)
    assert [p.scores for p in kzoo.predict(model, rows)] == [p.scores for p in first]
    assert len(called) == before
    model.layers[0].kernel.assign(model.layers[0].kernel * 2)  # the weights that it has now
    assert [p.scores for p in kzoo.predict(model, rows)] != [p.scores for p in first]
    assert len(called) == before


def test_numbers_that_are_none_decide_nothing_for_good():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "softmax")])
    rows, weights = np.ones((2, 3), "float32"), model.get_weights()
    right = kzoo.predict(model, rows)[0].scores
    again = keras.models.clone_model(model)
    again.set_weights([np.full_like(w, np.nan) for w in weights])
    with pytest.raises(kzoo.KzooError, match="nan"):
        kzoo.predict(again, rows)
    again.set_weights(weights)
    assert kzoo.predict(again, rows)[0].scores == pytest.approx(right)


def test_a_model_keeps_its_tables_as_long_as_it_reads_the_same(tmp_path):
    run = kzoo.fit("lstm_classifier_tiny", kinds.texts("lstm"), epochs=1, run_dir=tmp_path / "run", verbose=False)
    assert Predictor.of(run.model).reader is Predictor.of(run.model).reader
