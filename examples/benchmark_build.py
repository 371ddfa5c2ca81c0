"""How long a model takes to build: ResNet-50 in each style beside keras.applications', in one process.

python examples/benchmark_build.py [ROUNDS]      default 7; the four take turns, the ratio is the median over the rounds
"""

import statistics
import sys
import time

import keras

import kzoo

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
builders = {"keras.applications": lambda: keras.applications.ResNet50(weights=None)}
for style in ("functional", "sequential", "subclass"):
    builders[style] = lambda style=style: kzoo.resnet50(style=style)
seconds: dict[str, list[float]] = {name: [] for name in builders}
for _ in range(rounds + 1):  # the first round warms up
    for name, build in builders.items():
        keras.backend.clear_session()
        started = time.perf_counter()
        build()
        seconds[name].append(time.perf_counter() - started)
print(f"ResNet-50, {rounds} rounds  seconds  ratio")
for name, times in seconds.items():
    ratio = statistics.median(t / k for t, k in zip(times[1:], seconds["keras.applications"][1:], strict=True))
    print(f"{name:22}{statistics.median(times[1:]):10.2f}{ratio:7.2f}")
