"""Put a run's weights among the published ones: the file, its row, the log of its training.

    python .ci/publish.py RUN --tag mnist --licence "…" --command "kzoo fit …"

The metrics are computed here, on the test split of the run's data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from dataclasses import asdict

import kzoo
from kzoo.models import model_info
from kzoo.records import WeightSpec
from kzoo.runs import load
from kzoo.weights import FOLDER


def publish(run: str, tag: str, command: str, licence: str, data_dir: str | None = None) -> WeightSpec:
    """Write `published/<model>-<tag>.safetensors`, `.json` (the row) and `.csv` (the metrics of every epoch)."""
    predictor = load(run)
    info, folder = model_info(predictor.model), predictor.run
    found = kzoo.evaluate(run, data_dir=data_dir)
    plan = folder.read_json("plan.json")
    name = f"{info.model}-{tag}"
    path = kzoo.save_weights(predictor.model, FOLDER / f"{name}.safetensors")
    seconds = folder.read_metrics()[-1]["seconds"]
    row = WeightSpec(
        model=info.model,
        tag=tag,
        file=path.name,
        checksum=f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        size=path.stat().st_size,
        parameters=predictor.model.count_params(),
        classes=predictor.labels,
        inputs=info.inputs,
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
    told = {**asdict(row), "inputs": row.inputs.to_config()}
    (FOLDER / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(folder / "metrics.csv", FOLDER / f"{name}.csv")
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    for option in ("tag", "command", "licence"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--data-dir")
    print(publish(**vars(parser.parse_args())))
