"""Files from the network into the cache: whole, checked, once.

A file gets its name only after it was checked; until then it is `.<name>.part`, and a broken download goes on from
there. What is in the cache is not asked for again, whatever became of it at its source; a revision (`hf://owner/name@…`)
or a checksum says which one is meant.

Environment: `KZOO_WEIGHTS_URL` is a mirror, asked instead of the sources, for `<mirror>/<host>/<path>`.
`KZOO_OFFLINE=1` keeps to the cache, as `HF_HUB_OFFLINE=1` does for Hugging Face, whose address is `HF_ENDPOINT`.
`requests` honours `HTTPS_PROXY` and the like.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from kzoo.errors import KzooError, say
from kzoo.weights.cache import (
    cache_folder,
    cached_path,
    check_checksum,
    digests_of,
    fault_of,
    host_of,
    locked,
    matches,
    notes_of,
    read_json,
    reason_of,
    shown,
    write_json,
    write_notes,
)
from kzoo.weights.kinds import kind_of

if TYPE_CHECKING:  # imported where something is fetched, and nowhere else
    import requests

TRIES = 5  # in a row that bring no byte more; 2 where the server was never reached
WAIT = 1.0  # seconds before the second try, twice as many before each further one
TIMEOUT = (10, 60)  # seconds to connect, and without a byte
MOST = int(os.environ.get("KZOO_MAX_DOWNLOAD") or 8 << 30)  # bytes of a file whose size nobody has published
MOST_OF_A_TEXT = 8 << 20  # the vocabularies of several languages have some
UNKNOWN_HOST = "no such host is known: a wrong name, or no network"
PIECE = 1 << 16  # bytes at a time; of a cut connection the last, unfinished piece is lost
__all__ = ["Unreachable", "cache_folder", "fetch", "hf_endpoint"]


class Unreachable(KzooError):
    """No server gave an answer."""


def hf_endpoint() -> str:
    """The address of Hugging Face, or of what `HF_ENDPOINT` puts in its place."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def fetch(url: str, *, checksum: str | None, size: int | None, source: str, weights: bool = True) -> Path:
    """The file of `url`: from the cache, or fetched into it.

    Args:
        checksum: `"sha256:<digits>"` or `"md5:<digits>"`, whole or the first digits where no more is published. None:
            the sha256 that the server names, as Hugging Face's does; where it names none, nothing vouches for the
            file, and that is said on stderr with the sha256 found.
        size: Bytes, about: for the progress where the server does not say.
        source: What errors call the file: `weights='imagenet'`.
        weights: False of a small text beside them: it may be anything, and nothing is said of it.

    Returns:
        The path of the checked file.

    Raises:
        KzooError: It cannot be had, is not what it should be, or the cache cannot be written; one line each. What came
            and is not the file is removed.
    """
    path = cached_path(url)
    if checksum is not None:
        check_checksum(checksum, source)
    fault = fault_of(path, checksum, source)
    if fault is None:
        return path
    if name := _offline(url):
        raise _forbidden(fault, name, url, path, source)
    asked = _mirrored(url)
    with locked(path, source):
        fault = fault_of(path, checksum, source)  # another process may have fetched it meanwhile
        if fault is not None:
            if path.exists():
                say(f"{source}: {fault}; it is removed and fetched again")
                path.unlink()
            _Download(asked, path, checksum, size, source, weights).run()
    return path


def check_network(url: str, source: str) -> None:
    """What `fetch` would say after a while of a file that is not in the cache: no such host is known. Nothing is asked
    of the host itself, and nothing at all behind a proxy.

    Raises:
        KzooError: It cannot be fetched.
    """
    path, asked = cached_path(url), _mirrored(url)
    if name := _offline(url):
        raise _forbidden(f"{path.name} is not in the cache", name, url, path, source)
    if getproxies():
        return
    parts = urlsplit(asked)
    try:
        socket.getaddrinfo(parts.hostname, parts.port or parts.scheme)
    except OSError as error:
        raise _unfetched(asked, path, source, UNKNOWN_HOST) from error


def _forbidden(fault: str, variable: str, url: str, path: Path, source: str) -> KzooError:
    return KzooError(
        f"{source}: {fault}, and {variable} is set; unset it, or put {shown(url)} there by hand, as {str(path)!r}"
    )


def _unfetched(url: str, path: Path, source: str, why: str) -> Unreachable:
    return Unreachable(
        f"{source}: {shown(url)} cannot be fetched: {why}; look at the network, set KZOO_WEIGHTS_URL to a mirror, or"
        f" fetch it by hand, as {str(path)!r}"
    )


def _mirrored(url: str) -> str:
    """What is asked for a file: the mirror, where there is one."""
    mirror = os.environ.get("KZOO_WEIGHTS_URL")
    if not mirror:
        return url
    if not mirror.startswith(("http://", "https://")):
        raise KzooError(f"KZOO_WEIGHTS_URL must be an address by http or https; received {mirror!r}")
    parts = urlsplit(url)
    query = f"%3F{parts.query}" if parts.query else ""
    return f"{mirror.rstrip('/')}/{host_of(parts)}{parts.path}{query}"


def _offline(url: str) -> str:
    """The variable of the environment that forbids to fetch it; "" where none does."""
    names = ["KZOO_OFFLINE"]
    if url.startswith(f"{hf_endpoint()}/"):
        names.append("HF_HUB_OFFLINE")
    return next((name for name in names if os.environ.get(name, "").lower() in ("1", "on", "yes", "true")), "")


@dataclass
class _Download:
    """One file into `.<name>.part`, checked, then renamed to `path`."""

    url: str
    path: Path
    checksum: str | None
    size: int | None
    source: str
    weights: bool
    promised: str | None = None  # the checksum that the server names

    @property
    def part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def by_hand(self) -> str:
        return f"fetch it by hand, as {str(self.path)!r}"

    def run(self) -> None:
        started = time.perf_counter()
        try:
            self.get()
            digests = digests_of(self.part, self.checksum)
            self.check(digests)
            os.replace(self.part, self.path)
        except OSError as error:
            raise KzooError(
                f"{self.source}: {self.path.name} cannot be written to {str(self.path.parent)!r}"
                f" ({reason_of(error)}); make room there, or set XDG_CACHE_HOME to another folder"
            ) from error
        notes_of(self.part).unlink(missing_ok=True)
        write_notes(self.path, digests)
        if not self.weights:
            return
        size, seconds = _megabytes(self.path.stat().st_size), time.perf_counter() - started
        say(f"{self.source}: fetched {size} in {seconds:.0f} s, {str(self.path)!r}")
        if self.checksum is None and self.promised is None:
            say(f"{self.source}: nothing vouches for this file; its sha256 is {digests['sha256']}")

    def remove(self) -> None:
        self.part.unlink(missing_ok=True)
        notes_of(self.part).unlink(missing_ok=True)

    def check(self, digests: Mapping[str, str]) -> None:
        """By the checksum; without one it is at least a weight file. What is not the file is removed."""
        checksum = self.checksum or self.promised
        good = checksum is not None and matches(digests, checksum)
        try:
            if self.weights:
                kind_of(self.part, "what came")
            said = ""
        except KzooError as error:  # a web page, most often: the address has moved, or asks for a login
            said = str(error)
        if good or (checksum is None and not said):
            return
        self.remove()
        if checksum is None:
            raise KzooError(f"{self.source}: {shown(self.url)} gave no weights, and it was removed: {said}")
        algorithm, _, digits = checksum.partition(":")
        raise KzooError(
            f"{self.source}: {shown(self.url)} gave a file of {algorithm} {digests[algorithm][: len(digits)]}, expected"
            f" {digits}; it was removed: {said or 'it was changed there or on its way; try again, or another mirror'}"
        )

    def get(self) -> None:
        """All bytes into `part`, going on where it ends."""
        import requests
        from requests import exceptions

        hopeless = (exceptions.InvalidSchema, exceptions.InvalidURL, exceptions.SSLError, exceptions.TooManyRedirects)
        failed, most, kept = 0, 2, 0
        with requests.Session() as session, _Bar(shown(self.url), self.source) as bar:
            session.headers.update({"User-Agent": "kzoo", "Accept-Encoding": "identity"})
            while True:
                before = self.part.stat().st_size if self.part.exists() else 0
                try:
                    with session.get(self.url, headers=self.headers(before), stream=True, timeout=TIMEOUT) as response:
                        most = TRIES
                        self.refuse(response)
                        self.write(response, before, bar)
                        return
                except exceptions.RequestException as error:
                    kept = self.part.stat().st_size if self.part.exists() else 0
                    failed = 1 if kept > before else failed + 1
                    if failed >= most or isinstance(error, hopeless):
                        remains = f"; {kept:,} bytes are kept, and the next try goes on from there" if kept else ""
                        raise _unfetched(self.url, self.path, self.source, f"{_reason(error)}{remains}") from error
                time.sleep(WAIT * 2 ** (failed - 1))

    def headers(self, before: int) -> dict[str, str]:
        """The rest only, if the file there is still the one that the part was begun with."""
        noted = read_json(notes_of(self.part))
        if not before or noted.get("url") != self.url or not noted.get("validator"):
            return {}
        return {"Range": f"bytes={before}-", "If-Range": noted["validator"]}

    def refuse(self, response: requests.Response) -> None:
        """
        Raises:
            requests.HTTPError: What may pass: the server is overloaded.
            KzooError: What will not.
        """
        from requests import HTTPError

        code, where = response.status_code, shown(response.url)
        if self.url.startswith("https:") and not response.url.startswith("https:"):
            raise KzooError(
                f"{self.source}: {shown(self.url)} leads to {where}, which is not encrypted; {self.by_hand}"
            )
        if code in (200, 206):
            return
        if code == 416:  # the part is longer than what is there now
            self.remove()
            raise HTTPError("the file there has another length now")
        if code in (408, 425, 429) or code >= 500:
            raise HTTPError(f"the server answers {code} {response.reason}")
        if code in (404, 410):
            mirror = "the mirror has no such file; unset KZOO_WEIGHTS_URL" if os.environ.get("KZOO_WEIGHTS_URL") else ""
            raise KzooError(
                f"{self.source}: {where} is not there ({code}); {mirror or 'look at the name'}, or {self.by_hand}"
            )
        if code in (401, 403):
            raise KzooError(
                f"{self.source}: {where} is not given to everyone ({code}): it needs a login, or does not exist;"
                f" {self.by_hand}"
            )
        raise KzooError(f"{self.source}: {where} answers {code} {response.reason}; {self.by_hand}")

    def write(self, response: requests.Response, before: int, bar: _Bar) -> None:
        from requests import exceptions

        going_on = response.status_code == 206
        total = response.headers.get("Content-Length", "")
        total = int(total) if total.isdecimal() and "Content-Encoding" not in response.headers else None
        if going_on:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if not found or int(found[1]) != before:
                self.remove()
                raise exceptions.ChunkedEncodingError("the server gives another part than the one asked for")
            total = int(found[2])
        start = before if going_on else 0
        self.check_length(total or 0)
        self.promised = _promised([*response.history, response])
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - start > free:
            raise KzooError(
                f"{self.source}: {self.path.name} needs {_megabytes(total - start)}, and {str(self.path.parent)!r} has"
                f" {_megabytes(free)} free; make room there, or set XDG_CACHE_HOME to another folder"
            )
        validator = response.headers.get("ETag", "")
        if not validator or validator.startswith("W/"):
            validator = response.headers.get("Last-Modified", "")
        write_json(notes_of(self.part), {"url": self.url, "validator": validator})
        if self.weights:
            bar.begin(start, total or self.size)
        with self.part.open("ab" if going_on else "wb") as file:
            for piece in response.iter_content(PIECE):
                file.write(piece)
                self.check_length(file.tell())
                bar.advance(len(piece))
            file.flush()
            os.fsync(file.fileno())
        written = self.part.stat().st_size
        if total is not None and written != total:
            raise exceptions.ChunkedEncodingError(f"the connection was cut at {written:,} of {total:,} bytes")

    def check_length(self, length: int) -> None:
        """
        Raises:
            KzooError: It is more than such a file may have.
        """
        most = MOST_OF_A_TEXT if not self.weights else 2 * self.size + PIECE if self.size else MOST
        if length > most:
            self.remove()
            raise KzooError(
                f"{self.source}: {shown(self.url)} gives more than {most:,} bytes, and it was removed;"
                + (" KZOO_MAX_DOWNLOAD allows more" if most == MOST else " that is not the file")
            )


def _promised(responses: list[requests.Response]) -> str | None:
    """The sha256 that Hugging Face names on the way to a large file."""
    for response in responses:
        digits = response.headers.get("X-Linked-ETag", "").strip('"').lower()
        if re.fullmatch(r"[0-9a-f]{64}", digits):
            return f"sha256:{digits}"
    return None


def _reason(error: Exception) -> str:
    """What went wrong on the way, in a few words."""
    from requests import exceptions

    said = str(error)
    if isinstance(error, exceptions.Timeout):
        return "the server does not answer in time"
    if isinstance(error, exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, exceptions.ProxyError):
        return "the proxy does not let it through"
    if "NameResolution" in said or "getaddrinfo" in said:
        return UNKNOWN_HOST
    if "refused" in said:
        return "the connection is refused"
    if "IncompleteRead" in said or "Connection broken" in said or "aborted" in said:
        return "the connection was cut"
    return said.splitlines()[0] if said else type(error).__name__


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"


class _Bar:
    """Progress on stderr: a bar on a terminal or in a notebook, a line elsewhere."""

    def __init__(self, url: str, source: str) -> None:
        self.url, self.source, self.bar, self.task = url, source, None, None

    def __enter__(self) -> _Bar:
        return self

    def begin(self, start: int, total: int | None) -> None:
        """The server gives bytes, from `start` on; again after a cut."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        console = Console(stderr=True, highlight=False)
        if console.is_terminal or console.is_jupyter:
            if self.bar is None:
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(bar_width=24),
                    DownloadColumn(binary_units=True),
                    TransferSpeedColumn(),
                    TimeRemainingColumn(),
                )
                self.bar = Progress(*columns, console=console, transient=True)
                self.task = self.bar.add_task(self.url.rpartition("/")[2], total=total)
                self.bar.start()
            self.bar.update(self.task, completed=start, total=total)
            return
        how = f", going on after {_megabytes(start)}" if start else ""
        size = f" ({_megabytes(total)}{how})" if total else ""
        say(f"{self.source}: fetching {self.url}{size}")

    def advance(self, count: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, advance=count)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
