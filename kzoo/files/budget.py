"""How much a file may make of itself: what it declares is compared with its size before anything is read or made.

A file of a few kilobytes can declare gigabytes, or be packed so. Honest ones are packed to a tenth, masks and the like
to a hundredth.
"""

from __future__ import annotations

import itertools
import json
import re
import zipfile
from pathlib import Path
from typing import IO, Any

from kzoo.errors import KzooError

ALWAYS = 256 << 20  # bytes that any file may take
RATIO = 100  # how many times its size a larger one may
SMALL = 32 << 20  # bytes of a manifest, a config with its vocabulary
DEPTH = 200  # of JSON inside JSON: what reads it calls itself for each, down to the end of the stack
PIECE = 1 << 20
STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def budget_of(path: Path) -> int:
    return max(ALWAYS, RATIO * path.stat().st_size)


def check_budget(path: Path, declared: int) -> None:
    """
    Raises:
        KzooError: It declares more than it may.
    """
    if declared > (most := budget_of(path)):
        raise KzooError(
            f"{str(path)!r} declares {declared:,} bytes, {declared // max(path.stat().st_size, 1):,} times its size; at"
            f" most {most:,} are read"
        )


def check_archive(path: Path) -> None:
    """Of a zip archive, what its entries declare.

    Raises:
        KzooError: More than they may.
        zipfile.BadZipFile, OSError: It is none.
    """
    with zipfile.ZipFile(path) as archive:
        check_budget(path, sum(entry.file_size for entry in archive.infolist()))


def read_all(file: IO[bytes], path: Path) -> bytes:
    """What a packed file holds.

    Raises:
        KzooError: More than it may.
    """
    most, size = budget_of(path), 0
    while piece := file.read(PIECE):  # counted first, and not kept
        size += len(piece)
        if size > most:
            raise KzooError(f"{str(path)!r} unpacks to more than {most:,} bytes; at most that is read")
    file.seek(0)
    return file.read()


def read_small(path: Path, most: int = SMALL) -> bytes:
    """What a file says that people could have written; a pipe is not waited for.

    Raises:
        ValueError: It is larger, or no file.
        OSError: It cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    if (size := path.stat().st_size) > most:
        raise ValueError(f"it has {size:,} bytes, and at most {most:,} are read")
    return path.read_bytes()


def read_json(text: str | bytes, path: Path) -> Any:
    """JSON that is not nested deeper than anybody writes it.

    Raises:
        KzooError: It is.
        ValueError: It is no JSON.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    if text.count("[") + text.count("{") > DEPTH:
        marks = re.sub(r"[^\[\]{}]", "", STRINGS.sub("", text))
        if max(itertools.accumulate(1 if mark in "[{" else -1 for mark in marks), default=0) > DEPTH:
            raise KzooError(f"{str(path)!r} is nested more than {DEPTH} deep; nothing that kzoo or Keras writes is")
    return json.loads(text)
