"""What one unit cannot learn and two layers can: AND, OR and XOR.

1. `mlp_xor` with the weights that Goodfellow, Bengio and Courville solve XOR with (Deep Learning, section 6.1).
2. The perceptron on AND, OR and XOR: one line separates the first two, no line the third.
3. `mlp_xor` trained from random weights, with 2 and with 8 hidden units: in how many of the seeds does it find XOR?
   With two units many starts end where one of them is dead or both do the same; eight leave room for mistakes.

    python examples/xor.py [SEEDS]          (default 10)
"""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

import kzoo

ROWS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
# h = relu(x W + b), y = h v: Goodfellow et al. 2016, equations 6.4 to 6.6
SOLUTION = {
    "hidden1/kernel": [[1, 1], [1, 1]],
    "hidden1/bias": [0, -1],
    "output/kernel": [[1], [-2]],
    "output/bias": [0],
}


def solved(style):
    """The outputs of the book's network for the four rows."""
    model = kzoo.mlp_xor(style=style)
    for name, variable in kzoo.weights_by_name(model).items():
        variable.assign(SOLUTION[name])
    return model.predict_on_batch(ROWS)[:, 0].tolist()


def accuracy(name, data, seed, folder, **overrides):
    """Of a fresh model of that name after its recipe's epochs."""
    keras.utils.set_random_seed(seed)
    model = kzoo.create_model(name, **overrides)
    run = kzoo.fit(model, data, seed=seed, xla=False, verbose=False, run_dir=Path(folder) / f"{name}-{data}-{seed}")
    return kzoo.evaluate(run).accuracy


def successes(hidden, seeds):
    """In how many seeds training finds XOR."""
    with tempfile.TemporaryDirectory() as folder:
        return sum(accuracy("mlp_xor", "xor", seed, folder, hidden=(hidden,)) == 1 for seed in range(seeds))


def main(seeds=10):
    for style in ("sequential", "functional", "subclass"):
        print(f"the book's weights, {style:12} {solved(style)}")
    with tempfile.TemporaryDirectory() as folder:
        for data in ("and", "or", "xor"):
            print(f"perceptron on {data:4} accuracy {accuracy('perceptron', data, 0, folder):.2f}")
    for hidden in (2, 8):
        print(f"mlp_xor with {hidden} hidden units: XOR learned in {successes(hidden, seeds)} of {seeds} seeds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
