"""list_runs: what there is in `runs/`, and how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError
from kzoo.runs.folder import RunFolder
from kzoo.runs.places import CONFIG, ROOT, numbered
from kzoo.tasks import Score, find_task


@dataclass(frozen=True)
class Listed:
    """One run.

    Attributes:
        model, data, verb: What was trained, on what, by which verb.
        epochs: Those that are done.
        metric, score: By which its epochs are ranked, and that of the best one; "" and None where nothing ranks them.
        state: `"finished"`, or what is known of its end.
        options: What was given to the verb.
    """

    name: str
    path: Path
    verb: str
    model: str
    data: str
    epochs: int
    seconds: float
    metric: str
    score: float | None
    state: str
    options: dict[str, Any]

    def to_config(self) -> dict[str, Any]:
        return {**self.__dict__, "path": str(self.path)}


def list_runs(*runs: str | int) -> list[Listed]:
    """The runs in `runs/`, or those named by path, number or `last`, in order.

    Raises:
        KzooError: No run of that name.
    """
    if runs:
        return [_listed(RunFolder.find(run).path) for run in runs]
    return [_listed(path) for _, path in numbered() if (path / CONFIG).is_file()]


def _listed(path: Path) -> Listed:
    folder = RunFolder(path)
    try:
        folder.manifest.check("config.json", "metrics.csv")
        config = folder.read_config()
        rows = folder.read_metrics()
    except KzooError as error:
        return Listed(path.name, path, "", "", "", 0, 0.0, "", None, str(error), {})
    try:
        score = find_task(config["task"]).score if config.get("task") else Score()
    except KzooError:  # of an extension that is not imported here
        score = Score()
    monitor = score.of(rows[-1]) if score is not None and rows else None
    best = score.best(rows)[monitor[0]] if monitor else None
    info = config.get("model")
    return Listed(
        path.name, path, config.get("verb", ""), (info or {}).get("model") or config.get("source") or "own model",
        (config.get("data") or {}).get("name", "own data"), len(rows), rows[-1]["seconds"] if rows else 0.0,
        monitor[0] if monitor else "", best,
        config.get("stopped") or ("finished" if config.get("finished") else "not finished"), config.get("options", {}),
    )  # fmt: skip


def table_of(found: Sequence[Listed]) -> str:
    """A line a run."""
    if not found:
        return f"{ROOT}/ has no runs yet"
    head = ("run", "by", "model", "data", "epochs", "seconds", "score", "", "state")
    lines = [head] + [
        (r.name, r.verb.replace("_", "-"), r.model, r.data, str(r.epochs), f"{r.seconds:.0f}",
         "" if r.score is None else f"{r.score:.4f}", r.metric, r.state)
        for r in found
    ]  # fmt: skip
    wide = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(line, wide, strict=True)).rstrip() for line in lines)


def comparison_of(found: Sequence[Listed]) -> str:
    """The table, and below it the options in which the runs differ."""
    names = dict.fromkeys(name for run in found for name in run.options)
    differ = [n for n in names if len({str(run.options.get(n)) for run in found}) > 1]
    lines = [table_of(found)]
    if differ:
        wide = max(len(name) for name in differ)
        lines += ["", "what differs of what they were given (- is not given)"]
        lines += [
            f"{name:{wide}}  " + "  |  ".join(str(run.options.get(name, "-")) for run in found) for name in differ
        ]
    return "\n".join(lines)
