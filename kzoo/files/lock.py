"""One process writes a folder at a time; another one is told which."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
import time
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError
from kzoo.files.whole import UNFINISHED, left_behind, writing

LOCK = ".lock"  # in the folder; gone when nobody writes
PATIENCE = 0.5  # seconds: somebody may only be asking who holds it
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # a file system without them


class Lock:
    """Held from `take` to `release`. The operating system lets go of it when the holder dies, however it does.

    Attributes:
        taken_over: Who held it and is dead, as a line to say; "" where nobody did.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.taken_over = folder / LOCK, ""
        self._handle: int | None = None

    def take(self) -> Lock:
        """
        Raises:
            KzooError: Another one writes the folder: its process, machine and since when.
        """
        patience = time.monotonic() + PATIENCE
        while True:
            with writing(self.path):
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            free, before = _looked_at(handle)
            if free and _same(handle, self.path):  # or its holder has just removed it
                break
            os.close(handle)
            if not free and time.monotonic() > patience:
                raise _held(self.path.parent, before)
            time.sleep(0.02)
        if before is not None:
            self.taken_over = f"{self.path.parent} was left by {_named(before)}, which has ended; going on"
        told = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.time(),
            "started": _started(os.getpid()),
        }
        with writing(self.path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(told).encode(), 0)
        self._handle = handle
        return self

    def moved(self, folder: Path) -> None:
        """The folder has another place now."""
        self.path = folder / LOCK

    def release(self) -> None:
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Lock:
        return self.take()

    def __exit__(self, *error: object) -> None:
        self.release()


def made_aside(parent: Path) -> Path:
    """An empty folder in `parent`, to be locked, filled and renamed. Those that killed processes were filling go.

    Raises:
        OSError: It cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for path in left_behind(parent):
        with contextlib.suppress(KzooError):
            check_unlocked(path)
            if (path / LOCK).is_file():
                shutil.rmtree(path, ignore_errors=True)
    aside = parent / f".{os.getpid()}-{secrets.token_hex(4)}"
    UNFINISHED.add(aside)  # for good: once it is renamed there is none of this name
    aside.mkdir()
    return aside


def check_unlocked(folder: Path) -> None:
    """Takes nothing, changes nothing.

    Raises:
        KzooError: As `Lock.take`.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return
    try:
        free, before = _looked_at(handle)
    finally:
        os.close(handle)
    if not free:
        raise _held(folder, before)


def _held(folder: Path, holder: dict[str, Any] | None) -> KzooError:
    return KzooError(f"{str(folder)!r} is being written by {_named(holder)}; wait for its end")


def _looked_at(handle: int) -> tuple[bool, dict[str, Any] | None]:
    """(whether it is ours now, who has written into it)."""
    free, before = _locked(handle), _read(handle)
    if free is None:  # the file system knows no locks: what the file says must do
        free = before is None or not _running(before)
    return free, before


def _locked(handle: int) -> bool | None:
    """Whether the lock is ours now; None where the file system has none."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        return False
    return True


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _read(handle: int) -> dict[str, Any] | None:
    try:
        told = json.loads(os.pread(handle, 4096, 0))
        return told if isinstance(told, dict) else {}
    except ValueError:
        return None if not os.fstat(handle).st_size else {}


def _named(told: dict[str, Any] | None) -> str:
    told = told or {}
    since = told.get("since")
    when = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(since)) if isinstance(since, int | float) else ""
    here = told.get("host") == socket.gethostname()
    where = "" if here else f" on {told.get('host', '?')}"
    return f"process {told.get('pid', '?')}{where}{when}"


def _running(told: dict[str, Any]) -> bool:
    """Whether the holder lives; of another machine it is taken to."""
    if told.get("host") != socket.gethostname() or not isinstance(told.get("pid"), int):
        return True
    with contextlib.suppress(ProcessLookupError):
        os.kill(told["pid"], 0)
        return told.get("started") in (None, _started(told["pid"]))
    return False


def _started(pid: int) -> float | None:
    """A number that another process of the same pid does not have."""
    try:
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
