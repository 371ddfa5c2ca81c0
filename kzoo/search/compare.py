"""A search picks the luckiest of its trials too: the default recipe and the best trial anew, on seeds of their own."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Mapping
from typing import Any

from kzoo.records import Searching
from kzoo.runs import RunFolder
from kzoo.search.results import Comparison, Trial
from kzoo.search.space import ZooHyperModel
from kzoo.search.tuner import drop_weights, passed, reason_of
from kzoo.verbs import evaluate

COMPARISON = "comparison.json"


def seeds_of(options: Searching) -> tuple[int, ...]:
    """Fresh ones: the search chose by its own."""
    return tuple((options.seed + k) % 2**32 for k in range(1, options.compare_seeds + 1))


def compare(
    folder: RunFolder, space: ZooHyperModel, options: Searching, default: Trial, best: Trial, say: Any
) -> Comparison | None:
    """Train both on each seed and score them on test; what is written already is not trained again."""
    if not options.compare_seeds or space.data.test is None:
        return None
    known = folder.read_json(COMPARISON) if (folder / COMPARISON).is_file() else []
    common = passed(options) | {"epochs": options.epochs}
    names = {best.number: "best trial", default.number: "default recipe"}  # of one that is both, the latter
    trials, metric = {default.number: default, best.number: best}, ""
    for seed in seeds_of(options):
        for trial in trials.values():
            row = next((r for r in known if (r["trial"], r["seed"]) == (trial.number, seed)), None)
            if row is None:
                row = _scored(folder, space, trial, seed, common)
                known.append(row)
                folder.write_json(COMPARISON, known)
                found = f"test {row['metric']} {row['score']:.4f}" if not row["reason"] else f"FAILED: {row['reason']}"
                say(f"{names[trial.number]:14} seed {seed}  {found}  {row['seconds']:.1f} s")
            metric = metric or row["metric"]
    score = {(r["trial"], r["seed"]): r["score"] for r in known}
    scores = lambda trial: tuple(score[trial.number, seed] for seed in seeds_of(options))
    others = () if best.number == default.number else scores(best)
    return Comparison(metric or "score", options.epochs, seeds_of(options), scores(default), others)


def _scored(
    folder: RunFolder, space: ZooHyperModel, trial: Trial, seed: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    started, path = time.perf_counter(), folder / "comparison" / f"trial{trial.number}-seed{seed}"
    shutil.rmtree(path, ignore_errors=True)
    row = {"trial": trial.number, "seed": seed, "metric": "", "score": None, "reason": ""}
    try:
        found = evaluate(space.train(trial.values, seed=seed, run_dir=path, **options), space.data)
        row["metric"], row["score"] = found.score
    except Exception as error:
        row["reason"] = reason_of(error)
    drop_weights(path)
    gc.collect()
    return {**row, "seconds": round(time.perf_counter() - started, 2)}
