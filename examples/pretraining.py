"""What pre-training is worth: a small BERT learns from reviews without their labels, and then to tell good from bad;
beside the same network from scratch, and beside low-rank products in frozen layers.

    python examples/pretraining.py reviews/ [--pretrained RUN] [--epochs 3] [--few 1000]

`reviews/` has a train.csv and a test.csv with the columns text and label (IMDb's, of Maas et al. 2011). Each of the
three is trained on a few of the training reviews and on all of them; choices are the recipes', the best epoch is chosen
on a tenth of the training part. Half an hour on two cores, with the pre-training an hour and a half.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import kzoo

SIZES = {"vocabulary": 4000}


def pretrained(reviews: Path, folder: Path) -> Path:
    run = kzoo.fit(
        "bert_tiny_pretraining", reviews / "train.csv", set=SIZES, epochs=3, precision="mixed_bfloat16", run_dir=folder
    )
    return run.path


def few_of(reviews: Path, count: int, folder: Path) -> Path:
    """A folder with so many of the training reviews, as many of each class, and the whole test part."""
    folder.mkdir()
    data, kept = kzoo.load_data(reviews / "train.csv", validation=0), Counter()
    with open(folder / "train.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for text, label in data.train.shuffle(25_000, seed=0).as_numpy_iterator():
            if kept[label] < count // len(data.info.classes):
                kept[label] += 1
                table.writerow([text.decode(), data.info.classes[label]])
    (folder / "test.csv").symlink_to((reviews / "test.csv").absolute())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--pretrained", type=Path, help="a run of bert_tiny_pretraining; default: it is trained first")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--few", type=int, default=1000)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    source = given.pretrained or pretrained(given.reviews, folder / "pretrained")
    theirs = kzoo.save_weights(kzoo.load_model(source), folder / "weights", names="transformers")

    def begun(weights: Any = None) -> Any:
        return kzoo.bert_tiny(**SIZES, separator=3, weights=weights, classes=2)

    parts = (
        (f"{given.few:,}", few_of(given.reviews, given.few, folder / "few"), 8),
        ("all", given.reviews, given.epochs),
    )
    print("| reviews | begins with | what learns | test accuracy | seconds |\n|---|---|---|---:|---:|", flush=True)
    for many, data, epochs in parts:
        for what in ("random weights", "what was pre-trained", "the same, low-rank"):
            started, run_dir = time.perf_counter(), folder / f"{many}-{what}".replace(" ", "-")
            options = {"verbose": False, "run_dir": run_dir}
            if what == "the same, low-rank":
                run = kzoo.fine_tune(source, data, lora=8, epochs=epochs, head_epochs=1, **options)
            else:
                model = begun(str(theirs) if what != "random weights" else None)
                run = kzoo.fit(model, data, epochs=epochs, **options)
            learned = "products and head" if what == "the same, low-rank" else "everything"
            accuracy = kzoo.evaluate(run.path, data, checkpoint="best").accuracy
            seconds = time.perf_counter() - started
            print(f"| {many} | {what} | {learned} | {accuracy:.4f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
