"""Of many that are asked for an answer, one that has none is left out and named; the others are answered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from kzoo.errors import KzooError, say

_told: ContextVar[list[str] | None] = ContextVar("left_out", default=None)


def leave_out(what: object, why: object) -> None:
    """Say it on stderr, and note it where somebody `notes_what_is_left_out`."""
    line = f"{what}: {why}; left out"
    say(line)
    if (told := _told.get()) is not None:
        told.append(line)


def leave_out_all(wrong: Sequence[tuple[object, object]], others: object, error: str = "{why}") -> None:
    """Leave out each of `wrong`, (what, why); where there are no others, the first one is an error in these words."""
    if wrong and not others:
        raise KzooError(error.format(what=wrong[0][0], why=wrong[0][1]))
    for what, why in wrong:
        leave_out(what, why)


@contextlib.contextmanager
def notes_what_is_left_out() -> Iterator[list[str]]:
    """The lines that `leave_out` says in the block."""
    token = _told.set(told := [])
    try:
        yield told
    finally:
        _told.reset(token)
