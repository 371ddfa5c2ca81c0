"""Surface inspection: from a folder of photographs to a table of predictions, and a picture of what goes wrong.

    python examples/aoi_defects.py FOLDER [--images NEW] [--output predictions.csv]

FOLDER holds one subfolder of images a class (`good/`, `scratch/`, …), or images and a labels.csv. A network that has
learned elsewhere is tuned to them. Where FOLDER has no test split 20 % of it are kept apart for the figures, which
name each class' missed examples and those falsely taken for it; all mistakes are listed, the surest are drawn.

The NEU surface defects (six classes, 300 photographs each) come as a zip of such folders:

    python -m zipfile -e neu128.zip defects
    python examples/aoi_defects.py defects --size 64 --epochs 2

gave accuracy 0.9694 on the 360 test photographs (11 mistakes), after 8 epochs in two minutes on two CPU cores.
"""

import argparse
import csv
from pathlib import Path

import kzoo


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="one subfolder of images a class, or images and a labels.csv")
    parser.add_argument("--model", default="resnet20", help="a name from kzoo list, or a run")
    parser.add_argument(
        "--weights", default="cifar10", help="what the model has learned; '' for a run, which has its own"
    )
    parser.add_argument("--size", type=int, help="side of the images that the network reads; default the model's")
    parser.add_argument("--epochs", type=int, default=10, help="of each stage of the tuning, at most")
    parser.add_argument("--images", help="a folder of images to predict; default the test images")
    parser.add_argument("--output", default="predictions.csv", help="the table of predictions")
    given = parser.parse_args(arguments)

    data = kzoo.load_data(given.folder)
    if data.test is None:
        data = kzoo.load_data(given.folder, test=0.2)
    print(data.info.describe())
    print("\n".join(data.info.notes))

    run = kzoo.fine_tune(
        given.model,
        data,
        weights=given.weights or None,
        input_shape=(given.size, given.size, 3) if given.size else None,
        head_epochs=given.epochs,
        epochs=given.epochs,
        augment=["flips", "rotate90"],  # a surface has no up; a word or a face would have one
        class_weight="balanced",  # defects are rare
    )

    found = kzoo.evaluate(run, data)
    print(f"\naccuracy {found.accuracy:.4f} on {found.examples:,} test images; baseline {found.baseline:.4f}")
    width = max(len(label) for label in found.labels)
    print(f"{'class':{width}}  images  missed  falsely raised")
    for k, label in enumerate(found.labels):
        right = found.confusion[k, k]
        missed, raised = found.confusion[k].sum() - right, found.confusion[:, k].sum() - right
        print(f"{label:{width}}  {found.confusion[k].sum():6}  {missed:6}  {raised:14}")
    for mistake in found.mistakes[:5]:
        print(f"{mistake.input}: {mistake.guess} with {mistake.probability:.3f}, is {mistake.true}")

    images = given.images or [Path(given.folder) / name for name in data.info.files["test"]]
    with open(given.output, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "class", "probability"])
        for prediction in kzoo.predict(run, images, top=1):
            table.writerow([prediction.input, prediction.labels[0], f"{prediction.scores[0]:.4f}"])
    print(f"\npredictions   {given.output}")
    for name in ("mistakes", "worst", "confusion"):
        if name in found.files:
            print(f"{name:13} {found.files[name]}")
    return found


if __name__ == "__main__":
    main()
