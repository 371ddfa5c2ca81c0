"""What checkpoints cost a training: ResNet-20 on images of CIFAR-10's size, with and without one every so many seconds.

    python examples/benchmark_checkpoints.py --seconds 30 --rounds 3

Both train the same network on the same batches, in turn, in one process; the first round of each warms up. Printed are
images a second of each round and the ratio of the medians. Let nothing else run meanwhile.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import kzoo


class Clock(keras.callbacks.Callback):
    """Seconds of the last epoch, without what comes before its first batch is asked for."""

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.begun


def rate(checkpoint: str, steps: int, batch_size: int) -> float:
    """Images a second of the second of two epochs."""
    rng = np.random.default_rng(0)
    count = steps * batch_size
    data = (rng.integers(0, 256, (count, 32, 32, 3), "uint8"), rng.integers(0, 10, count))
    keras.utils.set_random_seed(0)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        kzoo.fit(
            kzoo.resnet20(), kzoo.Data(data), epochs=2, batch_size=batch_size,
            callbacks=[clock], run_dir=Path(folder) / "run", checkpoint=checkpoint, verbose=False,
        )  # fmt: skip
    return count / clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=30, help="between two checkpoints")
    parser.add_argument("--steps", type=int, default=200, help="of an epoch")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"epoch": [], f"seconds={options.seconds:g}": []}
    for number in range(options.rounds + 1):
        for way, rates in found.items():
            rates.append(rate(way, 5 if not number else options.steps, options.batch_size))
            if number:
                print(f"round {number}  {way:12}  {rates[-1]:8.1f} images/s", flush=True)
    without, with_them = (statistics.median(rates[1:]) for rates in found.values())
    print(f"with checkpoints, of the rate without: {with_them / without:.4f}")


if __name__ == "__main__":
    main()
