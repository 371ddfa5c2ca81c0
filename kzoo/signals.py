"""Signals that end a process: a training waits for the end of its step and writes a checkpoint first.

    SIGINT, SIGTERM, SIGHUP    a checkpoint, a line that says how to go on, exit status 130, 143, 129
    SIGUSR1                    a checkpoint; the training goes on. Before its first step and after its last one: nothing
    a second one               the end, at once

Of a program that takes a signal itself, or ignores it (nohup), nothing is taken away. What Python does by default with
a signal, an exception wherever it comes, ends in tracebacks out of imports and destructors: the command line ends the
process itself instead, after it has removed what was half written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from kzoo.files import let_go

ENDING = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
CHECKPOINT = getattr(signal, "SIGUSR1", None)
_spares: list[int] = []  # SIGUSR1, where it is ignored by this module and not by who began the process
_remedies: list[str] = []  # how to go on with what is being written, the outermost first


class Asked:
    """What signals have asked for since the last look.

    Attributes:
        number: Of the signal that ends the training; 0 where none came.
        checkpoint: Whether one asks for a checkpoint.
    """

    def __init__(self) -> None:
        self.number, self.checkpoint = 0, False

    def stop(self) -> None:
        """End as the signal wants it, now that nothing is lost."""
        number, self.number = self.number, 0
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


@contextlib.contextmanager
def held() -> Iterator[Asked]:
    """Inside, signals wait to be asked for. One that nobody has asked for comes when the block ends."""
    asked, before = Asked(), {}
    if threading.current_thread() is not threading.main_thread():  # which alone hears of signals
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if number == CHECKPOINT:
            asked.checkpoint = True
        elif asked.number:
            _again(number, before[number])
        else:
            asked.number = number

    for number in (*ENDING, *([CHECKPOINT] if CHECKPOINT is not None else [])):
        handler = signal.getsignal(number)
        if handler in (signal.SIG_DFL, signal.default_int_handler, end) or (
            handler is signal.SIG_IGN and number in _spares
        ):
            before[number] = handler
            signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked.number:
        os.kill(os.getpid(), asked.number)


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Inside, whoever asks for a checkpoint does not end the process where there is nothing to write yet, or any more;
    it is what a system does by default.
    """
    of_main = threading.current_thread() is threading.main_thread()
    if CHECKPOINT is None or not of_main or signal.getsignal(CHECKPOINT) is not signal.SIG_DFL:
        yield
        return
    _spare()
    try:
        yield
    finally:
        signal.signal(CHECKPOINT, signal.SIG_DFL)
        _spares.clear()


def _spare() -> None:
    """Ignored by the system: Python itself gives up its handlers before it has ended."""
    signal.signal(CHECKPOINT, signal.SIG_IGN)
    _spares.append(CHECKPOINT)


def _again(number: int, handler: Any) -> None:
    """A second signal, while the first one waits."""
    if handler is signal.default_int_handler:
        raise KeyboardInterrupt
    end(number)


@contextlib.contextmanager
def going_on(remedy: str) -> Iterator[None]:
    """Inside, a process that a signal ends says how to go on."""
    _remedies.append(remedy)
    try:
        yield
    finally:
        _remedies.pop()


def take() -> None:
    """Of the command line, as early as can be: a signal ends the process without a traceback."""
    for number in ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    if CHECKPOINT is not None and signal.getsignal(CHECKPOINT) is signal.SIG_DFL:
        _spare()


def end(number: int, frame: FrameType | None = None) -> None:
    """The end, now: nothing half written stays."""
    let_go()
    if _remedies:
        with contextlib.suppress(OSError):
            os.write(2, f"\n{_remedies[0]}\n".encode(errors="backslashreplace"))
    leave(128 + number)


def leave(status: int) -> None:
    """End the process, past TensorFlow's threads, which can take long to end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
            stream.flush()
    os._exit(status)
