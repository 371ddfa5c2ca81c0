"""Where the time of a training step goes: TensorFlow's operations, by their own time on the processor.

    python examples/profile_step.py resnet20 resnet50   # the networks of benchmark_fit.py

Two epochs of twelve steps by `kzoo.fit`, XLA off; the second is profiled. Operations run beside each other on several
cores, so their times add up to more than a step's. With XLA on there is nothing to see: a step is one operation.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from benchmark_fit import ROWS
from tensorflow.tsl.profiler.protobuf import xplane_pb2

import kzoo

STEPS, SHOWN = 12, 8


class ProfileSecondEpoch(keras.callbacks.Callback):
    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder, self.seconds = folder, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            tf.profiler.experimental.start(self.folder)
            self.seconds = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            self.seconds = time.perf_counter() - self.seconds
            tf.profiler.experimental.stop()


def operations(folder: str) -> Counter:
    """{operation: seconds} on the CPU, of TensorFlow's kernels (`name:Type` in the trace)."""
    spent: Counter[str] = Counter()
    for path in Path(folder).rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in (p for p in space.planes if "CPU" in p.name):
            names = {key: meta.name for key, meta in plane.event_metadata.items()}
            for event in (event for line in plane.lines for event in line.events):
                node, _, kind = names[event.metadata_id].rpartition(":")
                if node and kind.isidentifier() and "/" in node:
                    spent[kind.removeprefix("_MklNative").removeprefix("_Mkl")] += event.duration_ps / 1e12
    return spent


def profile(name: str) -> None:
    build, batch, precision = ROWS[name]
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    rng, (inputs,) = np.random.default_rng(0), model.inputs
    shape = (STEPS * batch, *inputs.shape[1:])
    integer = inputs.dtype.startswith("int")
    x = rng.integers(0, 10_000, shape) if integer else rng.random(shape, dtype="float32")
    y = rng.integers(0, model.outputs[0].shape[-1], STEPS * batch)
    with tempfile.TemporaryDirectory() as folder:
        watch = ProfileSecondEpoch(f"{folder}/profile")
        kzoo.fit(
            model, (x, y), batch_size=batch, epochs=2, xla="off", precision=precision, callbacks=[watch],
            run_dir=f"{folder}/run", verbose=False,
        )  # fmt: skip
        spent = operations(watch.folder)
    whole = sum(spent.values())
    print(f"{name}: {watch.seconds / STEPS * 1e3:.1f} ms a step; operations {whole / STEPS * 1e3:.1f} ms, of these")
    for kind, seconds in spent.most_common(SHOWN):
        print(f"  {seconds / whole:5.0%}  {kind}")


if __name__ == "__main__":
    for name in sys.argv[1:] or ROWS:
        profile(name)
