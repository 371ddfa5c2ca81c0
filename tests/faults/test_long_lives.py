"""Hundreds of trainings and thousands of predictions in one process: nothing of them stays.

What Keras and TensorFlow keep is theirs: some 35 KB for every variable of a name that was not there before (a network
of the caller's has new names each time), and the programs that XLA has compiled.
"""

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph
from tensorflow.python.framework.ops import gradient_registry

import kzoo

HALF = 20  # MB that the second half of them may add


def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 8)).astype("float32"), np.arange(64) % 3


def network():
    layers = [keras.layers.Dense(8, "relu", name="a"), keras.layers.Dense(3, "softmax", name="b")]
    return keras.Sequential([keras.Input((8,)), *layers], name="net")


def fitted(**options):
    return kzoo.fit(network(), rows(), epochs=1, batch_size=16, optimizer="adam", verbose=False,
                    loss="sparse_categorical_crossentropy", metrics=["accuracy"], **options)  # fmt: skip


def kept():
    """Graphs that are alive, and gradients that are registered for good."""
    gc.collect()
    gc.collect()
    graphs = sum(isinstance(o, FuncGraph) for o in gc.get_objects())
    return graphs, sum(name.startswith("CustomGradient") for name in gradient_registry.list())


@pytest.mark.parametrize("options", [{"xla": "on"}, {"xla": "off", "strategy": "mirrored"}])
def test_a_training_leaves_no_graph(options):
    if options.get("strategy"):
        options = {**options, "devices": len(tf.config.list_logical_devices("CPU"))}
    fitted(**options)
    before = kept()
    fitted(**options)
    assert kept() == before


def megabytes():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def many(what, times):
    """Megabytes that the second half of so many added."""
    for _ in range(times // 2):
        what()
    before = megabytes()
    for _ in range(times // 2):
        what()
    return megabytes() - before


def of_one_model(call):
    """`call` of a model that is trained at the first time."""
    kept = []

    def again():
        if not kept:
            kept.append(fitted().model)
        call(kept[0])

    return again


KINDS = {
    "fits": (200, lambda: fitted(xla="off")),
    "evaluations": (200, of_one_model(lambda model: kzoo.evaluate(model, rows()))),
    "predictions": (10_000, of_one_model(lambda model: kzoo.predict(model, rows()[0][:1]))),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs Linux' /proc")
def test_many_in_one_process(kind, tmp_path):
    found = subprocess.run([sys.executable, __file__, kind], capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr[-2000:]
    times, added = found.stdout.split()[-2:]
    print(f"{times} {kind}: {added} MB in the second half")
    assert float(added) < HALF


if __name__ == "__main__":
    times, what = KINDS[sys.argv[1]]
    print(times, f"{many(what, times):.1f}")
