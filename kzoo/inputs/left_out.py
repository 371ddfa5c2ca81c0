"""Of many that are asked for an answer, one that has none is left out and named; the others are answered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from kzoo.errors import say

_told: ContextVar[list[str] | None] = ContextVar("left_out", default=None)


def leave_out(what: object, why: object) -> None:
    """Say it on stderr, and note it where somebody `notes_what_is_left_out`."""
    line = f"{what}: {why}; left out"
    say(line)
    if (told := _told.get()) is not None:
        told.append(line)


@contextlib.contextmanager
def notes_what_is_left_out() -> Iterator[list[str]]:
    """The lines that `leave_out` says in the block."""
    token = _told.set(told := [])
    try:
        yield told
    finally:
        _told.reset(token)
