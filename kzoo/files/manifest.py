"""What files must hold: their sizes and sha256, written down beside them and read before they are.

A file and its entry cannot be replaced at one stroke. So the new entry is added first, then the file is renamed into
its place: until the next one is written, the old file and the new one are both right, and a kill between is no damage.
Of a file that was not there before, nothing is right as well (null), until it is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError
from kzoo.files.budget import read_small
from kzoo.files.whole import atomic

MANIFEST = "manifest.json"
_writing = threading.RLock()  # the loop and the thread that writes checkpoints


def digest_of(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def sealed(files: Mapping[str, Any], **told: Any) -> str:
    """A manifest as JSON, which shows its own damage: `files` is {name: digest, or the digests that are right}."""
    body = {**told, "files": dict(files)}
    return json.dumps({**body, "sha256": _digest_of(body)}, indent=1) + "\n"


def read_sealed(path: Path) -> dict[str, Any]:
    """What `sealed` has written.

    Raises:
        ValueError, OSError: It is not that any more.
    """
    read = json.loads(read_small(path))
    if not isinstance(read, dict) or not isinstance(read.get("files"), dict):
        raise ValueError("no manifest")
    mark = read.pop("sha256", None)
    if mark != _digest_of(read):
        raise ValueError("not what was written")
    return read


def _digest_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def damage(folder: Path, name: str, right: Any) -> str:
    """What is wrong with a file; "" where nothing is. `right` is one digest, or several of which one holds."""
    allowed = right if isinstance(right, list) else [right]
    path = folder / name
    try:
        size = path.stat().st_size
        if not path.is_file():
            return f"{name} is no file"
        if not any(size == one["size"] for one in allowed if one is not None):
            return f"{name} is not what was written: it has {size:,} bytes, not {allowed[0]['size']:,}"
        return "" if digest_of(path) in allowed else f"{name} is not what was written: its sha256 differs"
    except FileNotFoundError:
        return "" if None in allowed else f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"


class Manifest:
    """Of the files of one folder.

    Args:
        place: Where it stands in the folder.
        remedy: What helps where one of them is damaged.
    """

    def __init__(
        self, folder: Path, place: str = MANIFEST, remedy: str = "put it back from a copy, or train anew"
    ) -> None:
        self.folder, self.path, self.remedy = folder, folder / place, remedy

    def read(self) -> dict[str, Any]:
        """{name: the digests that are right}.

        Raises:
            KzooError: It is damaged, or there is none.
        """
        try:
            return read_sealed(self.path)["files"]
        except (ValueError, OSError, RecursionError):
            raise self._damaged(f"{MANIFEST} is not what was written, or is missing") from None

    @contextlib.contextmanager
    def writing(self, name: str, size: int | None = None) -> Iterator[Path]:
        """`atomic`, with the manifest knowing of it."""
        with _writing:
            new = not (self.folder / name).is_file()
            with atomic(self.folder / name, size) as beside:
                yield beside
                files = self.read() if self.path.is_file() else {}
                now = digest_of(beside)
                before = [None] if new else files.get(name, [])[:1]
                files[name] = [now, *(d for d in before if d != now)]
                self._write(files)
            if new:
                self._write({**files, name: [now]})

    def forget(self, *names: str) -> None:
        """These may go, or become others."""
        with _writing:
            files = self.read() if self.path.is_file() else {}
            if gone := set(names) & set(files):
                self._write({k: v for k, v in files.items() if k not in gone})

    def damages(self, *names: str) -> dict[str, str]:
        """{name: what is wrong} of those named, by default of all; without those that are whole.

        Raises:
            KzooError: The manifest itself is damaged, or there is none.
        """
        known = {name: right for name, right in self.read().items() if not names or name in names}
        found = {name: damage(self.folder, name, right) for name, right in known.items()}
        return {name: why for name, why in found.items() if why}

    def check(self, *names: str) -> None:
        """
        Raises:
            KzooError: One of those named, by default of all, is not what was written, or is missing.
        """
        for why in self.damages(*names).values():
            raise self._damaged(why)

    def _damaged(self, why: str) -> KzooError:
        return KzooError(f"{str(self.folder)!r} is damaged: {why}; {self.remedy}")

    def _write(self, files: Mapping[str, Any]) -> None:
        with atomic(self.path) as beside:
            beside.write_text(sealed(files), encoding="utf-8")
