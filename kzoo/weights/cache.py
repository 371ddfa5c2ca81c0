"""The cache of fetched weight files: where a file lies, whether it is the right one, and who may write it.

It is `$XDG_CACHE_HOME/kzoo/weights` (else `~/.cache/kzoo/weights`), laid out `<host>/<path of the URL>` as `wget -x`
lays files out: files can be placed in it by hand, and a copy of it is a mirror. Beside a file lies `.<name>.json`, what
was found when it was checked; while its size and time of change are those noted there, it is not read through again.
Standard library only, but for the lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from kzoo.errors import KzooError, say

ALGORITHMS = {"sha256": 64, "md5": 32}  # digits of a whole digest
# What Windows does not allow in names, as wget replaces it there.
REPLACED = str.maketrans({":": "+", "?": "@", **dict.fromkeys('*"<>|', "_")}) if os.name == "nt" else {}


def cache_folder() -> Path:
    """Where fetched files are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kzoo" / "weights"


def cached_path(url: str) -> Path:
    """Where the file of `url` is in the cache, or would be.

    Raises:
        KzooError: Not an address of a file by http or https.

    >>> cached_path("https://example.org/models/vgg16.h5").parts[-3:]
    ('example.org', 'models', 'vgg16.h5')
    """
    parts, names = _parts(url)
    return cache_folder().joinpath(*(name.translate(REPLACED) for name in (host_of(parts), *names)))


def shown(url: str) -> str:
    """An address as it may be printed: without a password, and without the query, which may hold a key.

    >>> shown("https://me:secret@example.org/a.h5?key=1")
    'https://example.org/a.h5'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{host_of(parts)}{parts.path}"


def check_checksum(checksum: str, source: str) -> None:
    """
    Raises:
        KzooError: It cannot be one.
    """
    algorithm, _, digits = checksum.partition(":")
    if not re.fullmatch(r"[0-9a-f]{8,}", digits) or len(digits) > ALGORITHMS.get(algorithm, 0):
        raise KzooError(
            f"{source}: a checksum is sha256: or md5: and 8 or more hexadecimal digits; received {checksum!r}"
        )


def digests_of(path: Path, checksum: str | None) -> dict[str, str]:
    """{"sha256": digits}, and the digest that `checksum` needs."""
    algorithms = {"sha256", (checksum or "sha256").partition(":")[0]}
    found = {name: hashlib.new(name, usedforsecurity=False) for name in sorted(algorithms)}
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            for digest in found.values():
                digest.update(piece)
    return {name: digest.hexdigest() for name, digest in found.items()}


def matches(digests: Mapping[str, str], checksum: str) -> bool:
    """Whether a digest begins with the checksum's digits.

    >>> matches({"sha256": "f37072fd47e89c5e"}, "sha256:f37072fd")
    True
    """
    algorithm, _, digits = checksum.partition(":")
    return digests.get(algorithm, "").startswith(digits)


def _parts(url: str) -> tuple[SplitResult, list[str]]:
    """The parts of an address, and the names of its path."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise KzooError(f"{url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise KzooError(f"{url!r} is no address by http or https; give https://host/path/file")
    names = parts.path.lstrip("/").split("/")
    if parts.query:  # as wget names such files
        names[-1] += f"?{parts.query}"
    if not all(_plain(name) for name in [*names, host]):
        raise KzooError(f"{shown(url)} is not the address of a file; give https://host/path/file")
    return parts, names


def _plain(name: str) -> bool:
    """Whether it is one name below its folder."""
    return name.strip(".") != "" and not re.search(r"[\\/\x00-\x1f]", name) and len(name) < 200


def host_of(parts: SplitResult) -> str:
    """With the port, without a user."""
    return parts.netloc.rpartition("@")[2].lower()


def fault_of(path: Path, checksum: str | None, source: str) -> str | None:
    """What is wrong with the cached file; None where it is the right one.

    It is read through each time: a disk rots without a change of time or size. Without a checksum it must still be what
    was fetched; a file that was placed there by hand has no notes yet, and is taken as it is.

    Raises:
        KzooError: It cannot be read.
    """
    try:
        return _fault(path, checksum)
    except OSError as error:
        raise KzooError(f"{source}: {str(path)!r} cannot be read ({reason_of(error)}); make it readable") from error


def _fault(path: Path, checksum: str | None) -> str | None:
    if not path.is_file():
        return "it is not in the cache"
    noted = read_json(notes_of(path)).get("sha256", "")
    checksum = checksum or f"sha256:{noted}"
    algorithm, _, digits = checksum.partition(":")
    known = digests_of(path, checksum)
    if matches(known, checksum):
        if noted != known["sha256"]:
            write_notes(path, known)
        return None
    return f"{str(path)!r} has {algorithm} {known[algorithm][: len(digits)]}, expected {digits}"


def notes_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def write_notes(path: Path, digests: Mapping[str, str]) -> None:
    write_json(notes_of(path), digests)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Written beside and renamed. Notes save time only: where they cannot be written, there are none."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(values), encoding="utf-8")
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def locked(path: Path, source: str) -> Iterator[None]:
    """One process at a time fetches a file; the others wait, and say so."""
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            say(f"{source}: waiting for another process that fetches {path.name}")
            lock.acquire()
    except OSError as error:
        raise KzooError(
            f"{source}: the cache {str(path.parent)!r} cannot be written ({reason_of(error)}); make it writable, or set"
            " XDG_CACHE_HOME to a folder that is"
        ) from error
    try:
        yield
    finally:
        lock.release()


def reason_of(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
