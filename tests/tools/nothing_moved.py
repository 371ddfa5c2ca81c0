"""The digits of small runs of every kind, to be compared before and after a change that must move nothing.

    python tests/tools/nothing_moved.py DATA > before.json      # DATA: the folder of the real data sets
    python tests/tools/nothing_moved.py DATA > after.json       # in the changed checkout; then compare the two

Losses of every epoch as hexadecimal floats, the SHA-256 of all weights by name, outputs of the shipped weights. On one
thread: sums are then taken in one order, and the digits are those of the code alone, on the same processor.
"""

import hashlib
import json
import lzma
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

import kzoo


def digits(model):
    """SHA-256 of every weight's bytes, by name."""
    found = hashlib.sha256()
    for key, variable in sorted(kzoo.weights_by_name(model).items()):
        found.update(key.encode() + variable.value.numpy().tobytes())
    return found.hexdigest()


def run_of(run):
    history = {name: [float(v).hex() for v in values] for name, values in run.history.items()}
    return {"history": history, "weights": digits(run.model)}


def texts(data, folder):
    with lzma.open(data / "sst2" / "train.tsv.xz", "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()[1:401]
    path = folder / "texts.tsv"
    path.write_text("\n".join(["sentence\tlabel", *lines]) + "\n", encoding="utf-8")
    return str(path)


def pairs(data, folder):
    import gzip

    sides = []
    for language in ("en", "de"):
        path = next((data / "multi30k").glob(f"train*.{language}.gz"))
        with gzip.open(path, "rt", encoding="utf-8") as file:
            sides.append([line.strip() for _, line in zip(range(300), file, strict=False)])
    path = folder / "pairs.tsv"
    rows = [f"{a}\t{b}" for a, b in zip(*sides, strict=True)]
    path.write_text("\n".join(["source\ttarget", *rows]) + "\n", encoding="utf-8")
    return str(path)


def main(data):
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    kinds = {
        "image": ("lenet5", "digits", {"augment": "shift"}),
        "tabular": ("mlp_xor", "xor", {}),
        "text": ("lstm_classifier_tiny", texts(data, folder), {}),
        "translation": ("transformer_tiny", pairs(data, folder), {}),
        "luong": ("seq2seq_luong_tiny", pairs(data, folder), {"style": "subclass"}),
        "generation": ("dcgan_tiny", "digits", {}),
    }
    found = {}
    common = {"epochs": 2, "limit_train_batches": 12, "limit_validation_batches": 3, "batch_size": 16, "verbose": False}
    strategies = {"one": {"strategy": "one"}, "mirrored": {"strategy": "mirrored", "devices": ["CPU:0", "CPU:1"]}}
    for kind, (model, source, options) in kinds.items():
        for name, strategy in strategies.items():
            found[f"{kind}, {name}"] = run_of(kzoo.fit(model, source, **common, **options, **strategy))
    first = kzoo.fit("lenet5", "digits", run_dir="half", **{**common, "epochs": 1})
    found["resumed"] = run_of(kzoo.fit(resume=first.path, epochs=3, verbose=False))
    found["mixed precision"] = run_of(kzoo.fit("resnet_cifar_tiny", "digits", precision="mixed_bfloat16", **common))
    tuned = kzoo.fine_tune(
        first.path, kzoo.load_data("digits", only=[0, 1, 2]), head_epochs=1, epochs=1, batch_size=16,
        limit_train_batches=8, limit_validation_batches=3, verbose=False,
    )  # fmt: skip
    found["fine-tuned"] = run_of(tuned)
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype="uint8")
    for name, size in (("lenet5@mnist", 28), ("resnet20@cifar10", 32)):
        pixels = np.repeat(tf.image.resize(images, (size, size)).numpy(), 3 if size == 32 else 1, axis=-1)
        model = kzoo.load_model(name)
        found[name] = {
            "weights": digits(model),
            "outputs": [float(v).hex() for v in np.ravel(model(pixels / 255.0, training=False))],
            "predictions": [str(p) for p in kzoo.predict(name, pixels)],
        }
    shipped = Path(kzoo.__file__).parents[1] / "saved_models" / "lenet5_mnist"
    found["shipped export"] = {"predictions": [str(p) for p in kzoo.predict(shipped, images)]}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    main(Path(sys.argv[1]).resolve())
