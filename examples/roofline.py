"""How near a training comes to the machine: operations a second of each network of benchmark_fit.py beside what the
processor reaches in one product of matrices, and in the network's own convolutions and products, nothing around them.

    python examples/roofline.py                  # all networks, some minutes; let nothing else run
    python examples/roofline.py lenet resnet20

A multiply-accumulate is two floating-point operations; a step makes each three times: forwards, for the gradient of the
input, and for that of the kernel. "alone" is the time of the layers' convolutions and products, forwards and backwards,
each timed by itself on its own shapes; the rest of a step is what stands around them: normalisation, activations,
pooling, the update, memory.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import Counter

import keras
import tensorflow as tf
from benchmark_fit import ROWS
from keras import layers

import kzoo

SIDE = 2048  # of the square matrices


def seconds_of(call) -> float:
    """The median of ten calls, after one that warms up."""
    call()
    taken = []
    for _ in range(10):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def product_rate(dtype: str) -> float:
    """Floating-point operations a second of one large product."""
    a, b = (tf.cast(tf.random.stateless_uniform((SIDE, SIDE), (k, 0)), dtype) for k in range(2))
    graph = tf.function(lambda: tf.reduce_sum(tf.cast(tf.matmul(a, b), tf.float32)))
    return 2 * SIDE**3 / seconds_of(lambda: graph().numpy())


def alone(model: keras.Model, batch: int, dtype: str) -> float:
    """Seconds of the convolutions and products of a step, forwards and backwards; each shape is timed once."""
    shapes = Counter(what for layer in model.layers for what in _whats(layer))
    return sum(count * _backwards_too(what, batch, dtype) for what, count in shapes.items())


def _whats(layer) -> list[tuple]:
    """Of an attention its four projections; of a loop over time nothing: its products are too many and too small."""
    if isinstance(layer, layers.Conv2D):
        rest = (tuple(layer.kernel.shape), layer.strides, layer.padding.upper())
        return [("conv", tuple(layer.input.shape[1:]), *rest)]
    if isinstance(layer, layers.MultiHeadAttention):
        time, width = layer.input[0].shape[1:]
        return [("product", time, width, math.prod(layer.query_dense.kernel.shape) // width)] * 4
    if isinstance(layer, layers.Dense):
        return [("product", math.prod(layer.input.shape[1:-1]), *layer.kernel.shape)]
    return []


def _backwards_too(what: tuple, batch: int, dtype: str) -> float:
    if what[0] == "conv":
        _, shape, kernel, strides, padding = what
        x, k = tf.zeros((batch, *shape), dtype), tf.zeros(kernel, dtype)
        forward = lambda x, k: tf.nn.conv2d(x, k, strides, padding)
    else:
        _, rows, inside, outside = what
        x, k = tf.zeros((batch * rows, inside), dtype), tf.zeros((inside, outside), dtype)
        forward = tf.matmul

    @tf.function
    def step(x, k):
        with tf.GradientTape() as tape:
            tape.watch([x, k])
            y = forward(x, k)
        # What nobody asks for is not computed.
        return [tf.reduce_max(t) for t in (y, *tape.gradient(y, [x, k], tf.ones_like(y)))]

    return seconds_of(lambda: [t.numpy() for t in step(x, k)])


def main(names: list[str]) -> None:
    peaks = {dtype: product_rate(dtype) for dtype in ("float32", "bfloat16")}
    for dtype, peak in peaks.items():
        print(f"one product of {SIDE}x{SIDE}, {dtype}: {peak / 1e9:,.0f} GFLOP/s")
    print("\n| net | batch | precision | GFLOP/s | of the product's | step | convolutions and products alone | share |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    for name in names:
        build, batch, precision = ROWS[name]
        model = build()
        model.compile("adam", "sparse_categorical_crossentropy")
        dtype = "bfloat16" if "bfloat16" in precision else "float32"
        least = alone(model, batch, dtype)
        table = kzoo.summary(model)
        found = kzoo.bench(model, batch_size=batch, precision=precision, rounds=3)
        each = model.inputs[0].shape[1] if found.unit == "tokens" else 1
        step, rate = batch * each / found.training, 3 * 2 * table.macs * found.training / each
        known = "" if not table.uncounted else " (not all counted)"
        print(f"| {name} | {batch} | {precision} | {rate / 1e9:,.0f}{known} | {rate / peaks[dtype]:.0%} |"
              f" {1e3 * step:,.1f} ms | {1e3 * least:,.1f} ms | {least / step:.0%} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:] or list(ROWS))
