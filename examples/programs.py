"""Many kinds of training script, in Keras and in kzoo: how far are the numbers apart?

    python examples/programs.py              # the table, in about ten minutes
    python examples/programs.py unet ctc     # some of them

The scripts are those of `tests/programs`, each trained by `Model.fit` on one device, and by `kzoo.fit` on one device,
by XLA, and on two replicas of one CPU. A cell is the largest difference from Keras in losses, metrics and weights (of a
value, absolute below one), or the line by which kzoo refuses. An asterisk: it is not expected to be the same; why is
said below the table.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "programs"))


def main(names: list[str]) -> None:
    import program

    warnings.simplefilter("ignore")
    program.strategy("mirrored")  # before TensorFlow starts: it cuts the CPU
    known, reasons = program.programs(), []
    print("| program | one device | XLA | mirrored x2 |\n|---|---|---|---|")
    for name in names or known:
        found = program.compare(known[name])
        cells = []
        for way, value in found.items():
            reason = known[name].held.get(way)
            cells.append(value.split(";")[0] if isinstance(value, str) else f"{value:.0e}" + "*" * bool(reason))
            if reason and not isinstance(value, str):
                reasons.append(f"{name}, {way}: {reason}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(*["", *reasons], sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
