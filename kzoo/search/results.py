"""What comes of a search: its trials, the comparison on test, the search itself; as tables and as text."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kzoo.errors import cell
from kzoo.files import atomic
from kzoo.records import Printed
from kzoo.runs import Run, RunFolder, load_model, run_of


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: From 0, which has the default recipe's values.
        values: {hyperparameter: value}.
        score: The objective after the last epoch; None where it failed.
        epochs: That its model has seen; of Hyperband, those of the trial that it went on from included.
        seconds: Of this trial; None where a kill came before they were written.
        status: `"completed"`, `"failed"` or `"running"`.
        reason: Of the failure, one line; "" where there was none.
    """

    number: int
    values: Mapping[str, Any]
    score: float | None
    epochs: int | None
    seconds: float | None
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Comparison(Printed):
    """Test scores of the default recipe and of the best trial, each trained anew on every seed.

    Attributes:
        metric: What `evaluate` gives: accuracy, or BLEU.
        epochs: Of each training; of each stage where it is fine-tuned.
        seeds: None of them is the search's.
        default, best: A score a seed; None where the training failed. `best` is () where the default recipe is best.
    """

    metric: str
    epochs: int
    seeds: tuple[int, ...]
    default: tuple[float | None, ...]
    best: tuple[float | None, ...]

    def lines(self) -> list[str]:
        """A table: a column a seed, the mean and the standard deviation."""
        title = f"test {self.metric}, {counted(self.epochs, 'epoch')}"
        lines = [
            title + "".join(f"  seed {s:<3d}" for s in self.seeds)
            + "    mean  spread"
        ]  # fmt: skip
        width = len(title)
        for name, scores in (("default recipe", self.default), ("best trial", self.best)):
            if not scores:
                lines.append(f"{'best trial':{width}}  is the default recipe")
                continue
            cells = "".join(f"  {s:8.4f}" if s is not None else "    failed" for s in scores)
            whole = [s for s in scores if s is not None]
            mean = f"  {statistics.mean(whole):6.4f}" if whole else "        "
            spread = f"  {statistics.stdev(whole):6.4f}" if len(whole) > 1 else ""
            lines.append(f"{name:{width}}{cells}{mean}{spread}")
        return lines


@dataclass(frozen=True)
class Search:
    """A finished search.

    Attributes:
        path: Its folder, which is also the run of the best trial.
        objective: What trials are scored by.
        best: The best trial's values, {hyperparameter: value}.
        best_trial: The best trial.
        trials: All of them, in their order.
        comparison: On the test split; None where there is none, or it was left out.
        run: The best trial's run; its model is read when first asked for.
    """

    path: Path
    objective: str
    best_trial: Trial
    trials: tuple[Trial, ...] = field(repr=False)
    comparison: Comparison | None = field(repr=False, default=None)

    @property
    def best(self) -> dict[str, Any]:
        return dict(self.best_trial.values)

    @property
    def has_test(self) -> bool:
        """Whether the data that was searched on has a test split."""
        return " test" in RunFolder(self.path).read_json("plan.json")["data"]

    @property
    def run(self) -> Run:
        return run_of(RunFolder(self.path), load_model(self.path))

    def to_config(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "best": self.best}

    def __str__(self) -> str:
        best, failed = self.best_trial, sum(t.status == "failed" for t in self.trials)
        rows = [
            ("search", str(self.path)),
            ("trials", f"{len(self.trials)}, {failed} failed; {self.path / 'trials.csv'}"),
            ("best", f"trial {best.number}: {described(best.values)}"),
            (self.objective, f"{best.score:.4f} after {counted(best.epochs, 'epoch')}"),
        ]
        if self.trials[0].score is not None and best.number:
            first = self.trials[0]
            default = f"the default recipe, trial 0: {first.score:.4f} after {counted(first.epochs, 'epoch')}"
            rows[-1] = (self.objective, f"{rows[-1][1]}; {default}")
        lines = [f"{label:13} {text}" for label, text in rows]
        if self.comparison is not None:
            lines += ["", *self.comparison.lines()]
        return "\n".join(lines)


def write_table(folder: RunFolder, table: Sequence[Trial]) -> None:
    names = list(dict.fromkeys(name for trial in table for name in trial.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *names, "score", "epochs", "seconds", "status", "reason"])
    for t in table:
        values = [cell(t.values.get(name, "")) for name in names]
        writer.writerow([t.number, *values, t.score, t.epochs, t.seconds, t.status, cell(t.reason)])
    with atomic(folder / "trials.csv") as beside:
        beside.write_text(text.getvalue(), encoding="utf-8")


def write_card(folder: RunFolder, search: Search) -> None:
    """The best run's card, and how it was found."""
    text = (folder / "card.md").read_text(encoding="utf-8").partition("\n## Search\n")[0].rstrip()
    text = f"# {folder.path.name}\n{text.partition(chr(10))[2]}"  # it was written as that of trials/0003
    lines = ["## Search", "", "```", str(search), "```"]
    lines += ["", f"Scored on validation. {len(search.trials)} trials:", ""]
    lines += [
        f"- {t.number}: {described(t.values)}: {f'{t.score:.4f}' if t.score is not None else t.reason}"
        for t in search.trials
    ]
    with atomic(folder / "card.md") as beside:
        beside.write_text(text + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def described(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {short(value)}" for name, value in values.items())
