"""A folder of many small photographs: how soon training begins, how fast it goes on, how much memory it takes; beside
Keras' own way, `image_dataset_from_directory` and `fit`.

    python examples/benchmark_folder.py --images 100000

Both train the same network with the same batches on all cores, each in a process of its own; the pictures are generated
under a seed. Printed is one table: seconds until the first batch is learned (the folder's listing included), images a
second of the first and of the last epoch, the process' highest memory.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDE, CLASSES, BATCH = 64, 10, 128


def generate(folder: Path, images: int) -> None:
    """JPEGs of 64x64, some 2 KB each, in a folder a class."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (CLASSES, 8, 8, 3))
    for k in range(CLASSES):
        (folder / f"class{k}").mkdir(parents=True)
    for k in range(images):
        noisy = np.clip(colours[k % CLASSES] + rng.integers(-60, 60, (8, 8, 3)), 0, 255).astype("uint8")
        picture = Image.fromarray(noisy).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        picture.save(folder / f"class{k % CLASSES}" / f"{k:06d}.jpg", quality=85)


def network(size: int):
    """A small convolutional network that scales its images itself, so that both are given the same numbers."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((size, size, 3)), layers.Rescaling(1 / 255), layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(4), layers.Flatten(), layers.Dense(CLASSES, activation="softmax"),
        ]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(way: str, folder: str, size: int, epochs: int, steps: int | None) -> dict[str, float]:
    """What one process measures.

    Args:
        steps: Of an epoch; None: all of them.
    """
    import keras

    class Times(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.ends = []

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.last = time.perf_counter()
            self.ends.append(self.last - self.began)

    times, model = Times(), network(size)
    if way == "kzoo":
        import kzoo

        start = time.perf_counter()
        run_dir = Path(folder).with_name("run")
        kzoo.fit(model, folder, validation=0, epochs=epochs, batch_size=BATCH, callbacks=[times], run_dir=run_dir,
                 limit_train_batches=steps, verbose=False)  # fmt: skip
    else:
        start = time.perf_counter()
        data = keras.utils.image_dataset_from_directory(
            folder, image_size=(size, size), batch_size=BATCH, verbose=False
        )
        model.fit(data, epochs=epochs, steps_per_epoch=steps, callbacks=[times], verbose=0)
    images = sum(len(files) for _, _, files in os.walk(folder))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if steps is not None:
        return {"begins": times.last - start}
    return {"first": images / times.ends[0], "last": images / times.ends[-1], "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=32, help="of the network's input")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(train(*chosen.child, chosen.size, chosen.epochs, chosen.steps)))
        return

    def measured(way: str, *more: str) -> dict[str, float]:
        command = [sys.executable, __file__, "--size", str(chosen.size), "--child", way, str(folder), *more]
        out = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        shutil.rmtree(folder.with_name("run"), ignore_errors=True)
        return json.loads(out.decode().splitlines()[-1])

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        generate(folder, chosen.images)
        print(f"{chosen.images:,} JPEGs of {SIDE}x{SIDE} for {chosen.size}x{chosen.size}, batches of {BATCH}")
        print(f"{'':6} {'begins after':>13} {'first epoch':>13} {'last epoch':>13} {'memory':>10}")
        for _ in range(chosen.rounds):
            found = {}
            for way in ("keras", "kzoo"):
                begins = measured(way, "--epochs", "1", "--steps", "1")
                row = found[way] = begins | measured(way, "--epochs", str(chosen.epochs))
                print(f"{way:6} {row['begins']:11.1f} s {row['first']:11,.0f}/s {row['last']:11,.0f}/s"
                      f" {row['memory']:7,.0f} MB")  # fmt: skip
            ratio = {key: found["kzoo"][key] / found["keras"][key] for key in found["kzoo"]}
            print(f"{'ratio':6} {ratio['begins']:13.2f} {ratio['first']:13.2f} {ratio['last']:13.2f}"
                  f" {ratio['memory']:10.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
