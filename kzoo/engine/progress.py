"""Progress of training on stderr: a bar on a terminal or in a notebook, a line an epoch elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kzoo.errors import printable_lines


def numbers(values: Mapping[str, float]) -> str:
    return "  ".join(
        f"{name} {value:.4f}" if abs(value) >= 1e-3 or not value else f"{name} {value:.1e}"
        for name, value in values.items()
    )


class Stderr:
    """stderr as it is when something is written. Where nobody can read it any more, training goes on."""

    @property
    def encoding(self) -> str:
        return getattr(sys.stderr, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()

    def write(self, text: str) -> int:
        if sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        if sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()


class TrainingProgress:
    """`unit` is what is counted a second: images, rows."""

    def __init__(self, epochs: int, *, unit: str = "images", verbose: bool = True) -> None:
        self.console = Console(file=Stderr(), quiet=not verbose, highlight=False)
        self.animated = verbose and (self.console.is_terminal or self.console.is_jupyter)
        self.epochs, self.unit = epochs, unit
        self.bar: Progress | None = None

    def epoch_begin(self, epoch: int, steps: int | None) -> None:
        self.started, self.examples = time.perf_counter(), 0
        self.epoch = f"epoch {epoch + 1}/{self.epochs}"
        if self.animated:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[logs]}"),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.epoch, total=steps, logs="", speed="")

    def advance(self, steps: int, examples: int, logs: Mapping[str, float]) -> None:
        self.examples += examples
        if self.bar is not None:
            self.bar.update(self.task, advance=steps, logs=numbers(logs), speed=self.speed())

    def speed(self) -> str:
        return f"{self.examples / max(time.perf_counter() - self.started, 1e-9):,.0f} {self.unit}/s"

    def trained(self) -> None:
        """The training part of the epoch is over: the clock of images/s stops."""
        self.seconds, self.final_speed = time.perf_counter() - self.started, self.speed()

    def epoch_end(self, logs: Mapping[str, float]) -> None:
        self.close()
        self.console.print(
            f"{self.epoch}  {self.seconds:.1f} s  {self.final_speed}  {numbers(logs)}", markup=False, soft_wrap=True
        )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def say(self, text: str) -> None:
        self.console.print(printable_lines(text), markup=False, soft_wrap=True)
