"""What is shown of a model's work: pictures and texts with a name, drawn where they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A PNG file by its name; `draw(path)` writes it."""

    name: str
    draw: Callable[[Path], None]

    def write(self, path: Path) -> None:
        self.draw(path)


@dataclass(frozen=True)
class Text:
    """A text file by its name."""

    name: str
    text: str

    def write(self, path: Path) -> None:
        path.write_text(self.text, encoding="utf-8")


Shown = Picture | Text
