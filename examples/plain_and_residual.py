"""Deeper is worse without shortcuts: plain and residual networks of 20 and 56 layers on CIFAR-10.

He et al. 2015, figure 6: errors on the augmented training images (dashed) and on the test images (solid). Each of the
four networks trains for equal epochs from the same recipe; a run that is there already is continued, not repeated.

python examples/plain_and_residual.py [EPOCHS] [FOLDER]      default 6 epochs, runs/plain-and-residual
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

import kzoo

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 6
folder = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/plain-and-residual")

cifar10 = kzoo.load_data("cifar10", validation=0)
data = kzoo.Data(cifar10.train, validation=cifar10.test, info=cifar10.info)  # the test error of every epoch
errors = {}
for kind in ("plain", "residual"):
    for depth in (20, 56):
        path = folder / f"{kind}-{depth}"
        if path.is_dir():
            run = kzoo.fit(data=data, resume=path, epochs=epochs)
        else:
            model = kzoo.create_model(f"resnet{depth}", residual=kind == "residual")
            run = kzoo.fit(
                model, data, epochs=epochs, augment="crop-flip", precision="mixed_bfloat16", run_dir=path
            )  # fmt: skip
        errors[kind, depth] = [[1 - a for a in run.history[key]] for key in ("accuracy", "val_accuracy")]

figure = Figure(figsize=(9, 3.8), layout="constrained")
for kind, axes in zip(("plain", "residual"), figure.subplots(1, 2, sharey=True), strict=True):
    for depth, colour in ((20, "#d9822b"), (56, "#2f6db3")):
        train, test = errors[kind, depth]
        numbers = range(1, len(train) + 1)
        axes.plot(numbers, [100 * e for e in train], "--", color=colour, label=f"{depth} layers, train")
        axes.plot(numbers, [100 * e for e in test], color=colour, label=f"{depth} layers, test")
    axes.set_title(kind)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.xaxis.get_major_locator().set_params(integer=True)
figure.axes[0].set_ylabel("error (%)")
figure.savefig(folder / "errors.png", dpi=120)

print("network       train error  test error")
for (kind, depth), (train, test) in errors.items():
    print(f"{kind:9}{depth:4}{train[-1]:>13.1%}{test[-1]:>12.1%}")
print(f"picture       {folder / 'errors.png'}")
