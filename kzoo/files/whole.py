"""Writing: beside its place and renamed into it, also through a power cut; what a full or broken disk says in a line.

A process that is killed leaves what it wrote beside: `.PID-name`, and of safetensors' own writing `.tmp` and six
letters. The next one that writes into the folder sweeps both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError

BESIDE = re.compile(r"\.(\d+)-.+|\.tmp[A-Za-z0-9]{6}")
OF_THE_DISK = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EPERM", "EFBIG", "ENAMETOOLONG", "ENOENT", "ENOTDIR",
                 "EISDIR", "ENXIO", "ENODEV", "ESTALE", "EMFILE", "ENFILE", "EBUSY")
    if hasattr(errno, name)
}  # fmt: skip
UNFINISHED: set[Path] = set()  # what is being written beside its place


class DiskError(KzooError):
    """A file cannot be written, for a reason that lies in the disk, its rights or its place.

    Attributes:
        result: What was computed and was to be written, where it can be told all the same.
    """

    result: Any = None


@contextlib.contextmanager
def computed(result: Any) -> Iterator[None]:
    """Inside, what was computed is being written: a disk's error carries it along."""
    try:
        yield
    except DiskError as error:
        error.result = result
        raise


@contextlib.contextmanager
def atomic(path: Path, size: int | None = None) -> Iterator[Path]:
    """A path beside `path` with the same suffix; moved over it when the block ends well, removed when not. After it
    the file outlasts a power cut.

    Args:
        size: Bytes that will be written, for the message where they do not fit.

    Raises:
        DiskError: It cannot be written; what was there before is there.
    """
    beside = beside_of(path)
    UNFINISHED.add(beside)
    try:
        with writing(path, size):
            yield beside
            synced(beside)
            os.replace(beside, path)
            synced(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        UNFINISHED.discard(beside)


@contextlib.contextmanager
def atomic_folder(path: Path, size: int | None = None) -> Iterator[Path]:
    """The same of a folder, whose files are written in the block. One that is there already is replaced."""
    beside = beside_of(path)
    UNFINISHED.add(beside)
    try:
        with writing(path, size):
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            with named_as(path, beside):
                yield beside
            synced_all(beside)
            if path.is_dir():
                removed(path)
            os.replace(beside, path)
            synced(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        UNFINISHED.discard(beside)


@contextlib.contextmanager
def named_as(place: Path, beside: Path) -> Iterator[None]:
    """A disk's error inside names the place where things go, not the one where they are made."""
    try:
        yield
    except DiskError as error:
        named = DiskError(str(error).replace(str(beside), str(place)))
        named.result = error.result
        raise named from error


def removed(path: Path) -> None:
    """Remove a folder: renamed first, so that no half of it is ever seen."""
    aside = path.with_name(f".{os.getpid()}-old-{path.name}")
    UNFINISHED.add(aside)
    try:
        with writing(path):
            os.replace(path, aside)
            shutil.rmtree(aside, ignore_errors=True)
    finally:
        UNFINISHED.discard(aside)


def beside_of(path: Path) -> Path:
    return path.with_name(f".{os.getpid()}-{path.name}")


def synced(path: Path) -> None:
    """What was written there is on the disk, of a folder its names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # a file system that has no such promise
            raise
    finally:
        os.close(handle)


def synced_all(folder: Path) -> None:
    """Everything in a folder."""
    for place, _, names in os.walk(folder):
        for name in names:
            synced(Path(place) / name)
        synced(Path(place))


@contextlib.contextmanager
def writing(path: Path, size: int | None = None) -> Iterator[None]:
    """A disk's error inside is one line: the path, what the disk says, how many bytes were wanted and are free."""
    try:
        yield
    except KzooError:
        raise
    except Exception as error:
        said = _said(error)
        if said is None:
            raise
        raise DiskError(f"cannot write {str(path)!r}: {said}{_room(path, size)}") from error


def _said(error: Exception) -> str | None:
    """What the disk says, where it is the disk's error; HDF5, safetensors and TensorFlow hide it in their own."""
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    if number is None:
        found = re.search(r"os error (\d+)|errno ?= ?(\d+)|\[Errno (\d+)\]", str(error))
        number = int(next(filter(None, found.groups()))) if found else None
    if number is None:
        known = {"ResourceExhaustedError": errno.ENOSPC, "PermissionDeniedError": errno.EACCES}
        text = {os.strerror(k).lower(): k for k in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)}
        number = next((k for words, k in text.items() if words in str(error).lower()), None)
        number = known.get(type(error).__name__, number)
    return os.strerror(number) if number in OF_THE_DISK else None


def _room(path: Path, size: int | None) -> str:
    wanted = "" if size is None else f"; {size:,} bytes wanted"
    folder = next((p for p in path.absolute().parents if p.is_dir()), None)
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return wanted
    return f"{wanted}, {free:,} free" if wanted else f"; {free:,} bytes free"


def let_go() -> None:
    """Remove what this process is writing; it is about to end."""
    for path in list(UNFINISHED):
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def left_behind(folder: Path) -> list[Path]:
    """What other processes are writing beside its place, or were when they were killed."""
    names = [(BESIDE.fullmatch(path.name), path) for path in folder.glob(".*")]
    return [path for match, path in names if match and match[1] != str(os.getpid())]


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder, and in those inside; nobody else writes there."""
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for path in left_behind(place):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
