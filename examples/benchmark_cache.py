"""How much faster is it to train a head on features that were computed once? Let nothing else run meanwhile.

    python examples/benchmark_cache.py --model resnet20@cifar10 --data photos/

Both ways train the same head on the same images; the time is that of the fastest of each one's later epochs.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import kzoo

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="resnet20@cifar10")
parser.add_argument("--data", required=True)
parser.add_argument("--epochs", type=int, default=6)
options = parser.parse_args()

data, seconds, scores = kzoo.load_data(options.data), {}, {}
with tempfile.TemporaryDirectory() as folder:
    for cache in (False, True):
        run = kzoo.fine_tune(
            options.model, data, depth=0, head_epochs=options.epochs, patience=options.epochs, cache=cache,
            run_dir=Path(folder) / str(cache), verbose=False,
        )  # fmt: skip
        rows = csv.DictReader((run.path / "metrics.csv").read_text(encoding="utf-8").splitlines())
        ends = [float(row["seconds"]) for row in rows]
        seconds[cache] = min(b - a for a, b in zip(ends, ends[1:], strict=False))
        scores[cache] = run.history["val_loss"][-1]
        whole = run.seconds
        each = f"{1000 * seconds[cache]:8.1f} ms an epoch"
        print(f"cache={cache}: {each}, {whole:.1f} s in all, val_loss {scores[cache]:.6f}")
print(f"an epoch is {seconds[False] / seconds[True]:.1f} times faster; the losses differ by"
      f" {abs(scores[True] - scores[False]):.1e}")  # fmt: skip
