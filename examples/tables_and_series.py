"""Numbers to classes, to numbers, to what comes next: four small sets, each beside what needs no network.

    python examples/tables_and_series.py ionosphere.csv airline-passengers.csv ETTh1.csv

Diabetes comes with scikit-learn; the others are files (UCI's ionosphere, Box and Jenkins' airline passengers, ETTh1 of
Zhou et al. 2021). Of ionosphere a fifth of the rows is drawn for test anew by each of five seeds, and all others train,
for the recipe chooses nothing more; diabetes has its own test rows, and validation is drawn. Series are cut in time:
70 % train, 10 % validation, 20 % test. Two to five minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import kzoo

SEEDS = range(5)
# name of the model, file, options of fit
SERIES = (
    ("gru_forecaster", "airline", {"epochs": 100, "set": {"input_shape": (12, 1), "horizon": 1}}),
    ("gru_forecaster", "airline", {"epochs": 100, "set": {"input_shape": (12, 1), "horizon": 6}}),
    ("gru_forecaster", "etth1", {"epochs": 8, "batch_size": 64, "set": {"input_shape": (96, 7), "horizon": 24}}),
    ("gru_forecaster", "etth1", {"epochs": 8, "batch_size": 64, "set": {"input_shape": (96, 7), "horizon": 96}}),
)


def rows(model: str, data: str | Path, score: str, folder: Path) -> list[float]:
    """A score on the test rows for each seed, which draws rows and the first weights."""
    found = []
    for seed in SEEDS:
        parts = {"test": 0.2, "validation": 0} if Path(data).suffix else {}
        read = kzoo.load_data(data, split_seed=seed, **parts)
        run = kzoo.fit(model, read, seed=seed, run_dir=folder / f"{model}-{seed}", verbose=False)
        found.append(getattr(kzoo.evaluate(run, read), score))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ionosphere", type=Path)
    parser.add_argument("airline", type=Path)
    parser.add_argument("etth1", type=Path)
    parser.add_argument("--epochs", type=int, help="of each series, others than those above")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())

    print("| data | model | test, mean of five seeds | least to greatest | seconds |")
    print("|---|---|---:|---:|---:|")
    for model, data, score in (("mlp_table", given.ionosphere, "accuracy"), ("mlp_regressor", "diabetes", "r2")):
        started = time.perf_counter()
        found = rows(model, data, score, folder)
        told = f"{score} {statistics.mean(found):.4f} | {min(found):.4f} to {max(found):.4f}"
        print(f"| {Path(data).stem} | `{model}` | {told} | {time.perf_counter() - started:.0f} |", flush=True)

    print("\n| series | model | reads, forecasts | MSE | MAE | naive MSE | naive MAE | seconds |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for k, (model, name, options) in enumerate(SERIES):
        started = time.perf_counter()
        options = options | ({"epochs": given.epochs} if given.epochs else {})
        run = kzoo.fit(model, getattr(given, name), run_dir=folder / f"series-{k}", verbose=False, **options)
        e, (length, _), horizon = kzoo.evaluate(run), options["set"]["input_shape"], options["set"]["horizon"]
        print(
            f"| {getattr(given, name).stem} | `{model}` | {length}, {horizon} | {e.mse:.4f} | {e.mae:.4f} |"
            f" {e.naive_mse:.4f} | {e.naive_mae:.4f} | {time.perf_counter() - started:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
