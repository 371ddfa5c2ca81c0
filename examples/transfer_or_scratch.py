"""Is it worth it? Networks that learned elsewhere, and the same networks from nothing, on few images.

    python examples/transfer_or_scratch.py classes  --origin runs/0001-five --data-dir ~/tensorflow_datasets
    python examples/transfer_or_scratch.py insects  --data hymenoptera/       # train/ and test/, a folder a class
    python examples/transfer_or_scratch.py surfaces --data neu128/            # a folder a class
    python examples/transfer_or_scratch.py --plot transfer.png

`classes`: a ResNet-20 that knows five classes of CIFAR-10 learns the other five, of 50 images each. `insects`: the
weights `cifar10` on photographs of ants and bees. `surfaces`: the same on grey photographs of steel, 20 of each of six
defects.

Both sides see the same images in the same batches, the same augmentation and as many epochs, with a rise of the rate
over a tenth of the steps (from nothing once, in transfer in each stage), and each has its learning rate chosen among
the same two on the validation split, for every seed anew. A seed draws the images, the head (or all weights) and the
order. Of each training the epoch with the best validation accuracy is kept, and tested once.
Results go to transfer.json, run after run; what is there is not computed again.
"""

import argparse
import json
import statistics
from pathlib import Path

import keras

import kzoo

SEEDS, RATES = (0, 1, 2), (1e-3, 3e-3)
BATCH = 16
HEAD, EPOCHS = 8, 8  # of the head alone, and of each stage after it; from nothing as many as all stages have
FIVE = ["dog", "frog", "horse", "ship", "truck"]
SIDE = {"classes": (32, 32, 3), "insects": (64, 64, 3), "surfaces": (64, 64, 1)}
AUGMENT = {"classes": "crop-flip", "insects": "flip", "surfaces": "flip"}


def data_of(task: str, options: argparse.Namespace, seed: int) -> kzoo.Data:
    if task == "classes":  # 50 images of each class to learn from, 50 to choose by
        return kzoo.load_data(
            "cifar10", only=FIVE, validation=0.01, per_class=50, split_seed=seed, data_dir=options.data_dir
        )
    if task == "insects":
        return kzoo.load_data(options.data, validation=0.2, split_seed=seed)
    return kzoo.load_data(options.data, test=0.8, validation=0.1, per_class=20, split_seed=seed)


def transferred(task: str, data: kzoo.Data, rate: float, seed: int, folder: Path, options) -> tuple[Path, int]:
    start = {"model": options.origin} if options.origin else {"model": "resnet20", "weights": "cifar10"}
    run = kzoo.fine_tune(
        **start, data=data, input_shape=SIDE[task], head_epochs=HEAD, epochs=EPOCHS, patience=EPOCHS,
        batch_size=BATCH, learning_rate=rate, batch_norm=options.batch_norm, augment=AUGMENT[task], seed=seed,
        run_dir=folder, verbose=False,
    )  # fmt: skip
    return run.path, run.history


def from_nothing(task: str, data: kzoo.Data, rate: float, seed: int, folder: Path, options) -> tuple[Path, int]:
    keras.utils.set_random_seed(seed)
    model, epochs = kzoo.resnet20(classes=len(data.info.classes), input_shape=SIDE[task]), HEAD + 3 * EPOCHS
    steps = epochs * -(-data.info.counts["train"] // BATCH)
    run = kzoo.fit(
        model, data, epochs=epochs, batch_size=BATCH, optimizer="adam", learning_rate=rate,
        schedule="cosine", warmup=steps // 10, augment=AUGMENT[task], seed=seed, run_dir=folder, verbose=False,
    )  # fmt: skip
    return run.path, run.history


def compute(task: str, options: argparse.Namespace) -> None:
    results = read(options.results)
    for seed in SEEDS:
        data = data_of(task, options, seed)
        for side, train in (("transfer", transferred), ("scratch", from_nothing)):
            for rate in RATES:
                key = f"{task} {side} {seed} {rate:g}"
                if key in results:
                    continue
                folder = options.runs / key.replace(" ", "-")
                path, history = train(task, data, rate, seed, folder, options)
                best = max(zip(history["val_accuracy"], [-loss for loss in history["val_loss"]], strict=True))
                found = kzoo.evaluate(path, data, checkpoint="best")
                results[key] = {
                    "validation": best[0], "validation loss": -best[1], "test": found.accuracy,
                    "baseline": found.baseline, "curve": history["val_accuracy"],
                }  # fmt: skip
                options.results.write_text(json.dumps(results))
                print(f"{key}: validation {best[0]:.4f}, test {found.accuracy:.4f}", flush=True)
    print(table(results))


def read(path: Path) -> dict[str, dict]:
    return json.loads(path.read_text()) if path.exists() else {}


def chosen(results: dict[str, dict], task: str, side: str) -> list[dict]:
    """For each seed the run of the learning rate that is best on validation."""
    rows = []
    for seed in SEEDS:
        tried = [
            row | {"rate": key.split()[-1]} for key, row in results.items() if key.startswith(f"{task} {side} {seed} ")
        ]
        if tried:
            rows.append(max(tried, key=lambda row: (row["validation"], -row["validation loss"])))
    return rows


def table(results: dict[str, dict]) -> str:
    lines = ["| data | from | test accuracy, mean | spread | seeds | learning rates |", "|---|---|---:|---:|---|---|"]
    for task in SIDE:
        for side in ("transfer", "scratch"):
            rows = chosen(results, task, side)
            if rows:
                tests = [row["test"] for row in rows]
                each = ", ".join(f"{t:.4f}" for t in tests)
                rates = ", ".join(row["rate"] for row in rows)
                mean, spread = statistics.mean(tests), statistics.stdev(tests) if len(tests) > 1 else 0.0
                lines.append(f"| {task} | {side} | {mean:.4f} | {spread:.4f} | {each} | {rates} |")
    return "\n".join(lines)


def plot(results: dict[str, dict], path: Path) -> None:
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, task in zip(figure.subplots(1, 3), SIDE, strict=True):
        for side, colour in (("transfer", "#0072b2"), ("scratch", "#d55e00")):
            rows = chosen(results, task, side)
            if not rows:
                continue
            curves = np.array([row["curve"] for row in rows])
            epochs = np.arange(1, curves.shape[1] + 1)
            axes.plot(epochs, curves.mean(axis=0), color=colour, label=side)
            axes.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.15)
            axes.axhline(rows[0]["baseline"], color="grey", linewidth=1, linestyle="--")
        for k in range(3):
            axes.axvline(HEAD + k * EPOCHS + 0.5, color="grey", linewidth=1, linestyle=":")
        axes.set(title=task, xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    figure.suptitle("ResNet-20, tuned and from nothing: mean and range over 3 seeds; dotted: a group is thawed")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", choices=SIDE)
    parser.add_argument("--data")
    parser.add_argument("--data-dir")
    parser.add_argument("--origin", help="for `classes`: a run of a resnet20 on the other five")
    parser.add_argument("--batch-norm", default="frozen")
    parser.add_argument("--results", type=Path, default=Path("transfer.json"))
    parser.add_argument("--runs", type=Path, default=Path("transfer-runs"))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.task == "classes" and not options.origin:
        parser.error("classes needs --origin, see above")
    if options.task:
        compute(options.task, options)
    if options.plot:
        plot(read(options.results), options.plot)
