"""Put a run's weights among the published ones: the file, its row, the log of its training.

    python -m kzoo.runs.publish RUN --tag mnist --recipe "…" --licence "…"

The metrics are computed here, on the test split of the run's data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from dataclasses import asdict

from kzoo.models._registry import model_info
from kzoo.runs._evaluate import evaluate
from kzoo.runs._load import load
from kzoo.spec import WeightSpec
from kzoo.weights.store import save_weights
from kzoo.weights.table import FOLDER


def publish(run: str, tag: str, command: str, licence: str, data_dir: str | None = None) -> WeightSpec:
    """Write `published/<model>-<tag>.safetensors`, `.json` (the row) and `.csv` (the metrics of every epoch)."""
    loaded = load(run)
    info = model_info(loaded.model)
    found = evaluate(run, data_dir=data_dir)
    plan = loaded.run.read_json("plan.json")
    name = f"{info.model}-{tag}"
    path = save_weights(loaded.model, FOLDER / f"{name}.safetensors")
    seconds = loaded.run.read_metrics()[-1]["seconds"]
    row = WeightSpec(
        model=info.model,
        tag=tag,
        file=path.name,
        checksum=f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        size=path.stat().st_size,
        parameters=loaded.model.count_params(),
        classes=loaded.labels,
        preprocess=loaded.preprocess,
        metrics={"test accuracy": found.accuracy, "test examples": found.examples},
        data=found.data,
        command=command,
        recipe=(
            f"{plan['optimizer']}; batch {plan['batch_size']}; {plan['epochs']} epochs; augment"
            f" {', '.join(plan['augment']) or 'none'}; seed {plan['seed']}; {seconds:.0f} s on"
            f" {', '.join(plan['devices'])}"
        ),
        licence=licence,
        source=f"trained by kzoo; every epoch is in {name}.csv",
    )
    (FOLDER / f"{name}.json").write_text(json.dumps(asdict(row), indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(loaded.run / "metrics.csv", FOLDER / f"{name}.csv")
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    for option in ("tag", "command", "licence"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--data-dir")
    print(publish(**vars(parser.parse_args())))
