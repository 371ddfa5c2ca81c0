"""Downloads against a server on this machine: whole, resumed, checked, refused, by several processes, not at all."""

import errno
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import safetensors.numpy
from file_server import File

from kzoo.errors import KzooError
from kzoo.weights import cache as caching
from kzoo.weights import download
from kzoo.weights.cache import cached_path
from kzoo.weights.download import fetch

DATA = safetensors.numpy.save({"fc.weight": np.random.default_rng(0).random((250, 1000), "float32")})  # 1 MB
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"
PAGE = b"<!DOCTYPE html>\n<html>Sign in</html>"
PATH = "/models/w.safetensors"
CUT = 5 * download.PIECE  # whole pieces: of a cut connection the last, unfinished one is lost


@pytest.fixture(autouse=True)
def _cache(cache):
    return cache


def get(server, checksum=SHA256, path=PATH):
    return fetch(server.url + path, checksum=checksum, size=None, source="weights='w'")


def refused(server, *parts, checksum=SHA256, path=PATH):
    """One line with these parts, and nothing of that name in the cache."""
    with pytest.raises(KzooError) as error:
        get(server, checksum, path)
    assert "\n" not in str(error.value)
    for part in ("^weights='w'", *parts):
        assert re.search(part, str(error.value)), f"{part!r} not in {error.value}"
    assert not cached_path(server.url + path).exists()


def part_of(server, path=PATH):
    final = cached_path(server.url + path)
    return final.with_name(f".{final.name}.part")


@pytest.mark.parametrize("checksum", [SHA256, SHA256[:15], MD5])
def test_a_file_is_fetched_once_and_checked(server, cache, checksum, capsys):
    server.files[PATH] = File(DATA)
    path = get(server, checksum)
    assert path == cache / server.url.removeprefix("http://") / "models" / "w.safetensors"
    assert path.read_bytes() == DATA
    said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"weights='w': fetching {server.url}{PATH} \(1.0 MB\)", said[0])
    assert re.fullmatch(r"weights='w': fetched 1.0 MB in \d+ s, '.*w.safetensors'", said[1]) and len(said) == 2
    assert get(server, checksum) == path
    assert capsys.readouterr().err == "" and len(server.asked) == 1
    assert sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock")) == [
        ".w.safetensors.json", "w.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("validator", [{}, {"etag": 'W/"weak"', "modified": "Wed, 25 Nov 2026 08:00:00 GMT"}])
def test_a_cut_connection_is_taken_up_where_it_was_cut(server, validator):
    server.files[PATH] = File(DATA, cut=[CUT, CUT], **validator)
    assert get(server).read_bytes() == DATA
    assert server.asked == [(PATH, None), (PATH, f"bytes={CUT}-"), (PATH, f"bytes={2 * CUT}-")]


def test_a_later_call_goes_on(server, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    server.files[PATH] = File(DATA, cut=[CUT])
    refused(
        server, "cannot be fetched: the connection was cut", f"{CUT:,} bytes are kept", "next try goes on from there"
    )
    assert part_of(server).stat().st_size == CUT
    assert get(server).read_bytes() == DATA
    assert server.asked[-1] == (PATH, f"bytes={CUT}-") and not part_of(server).exists()


def test_another_file_by_then_is_fetched_whole(server, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    server.files[PATH] = File(b"x" * 900_000, cut=[CUT])
    refused(server)
    server.files[PATH] = File(DATA, etag='"v2"')
    assert get(server).read_bytes() == DATA
    server.files["/b.safetensors"] = File(DATA[::-1] + DATA, cut=[20 * download.PIECE])
    refused(server, path="/b.safetensors")
    server.files["/b.safetensors"] = File(DATA)  # shorter than the part, under the same name of its state
    monkeypatch.setattr(download, "TRIES", 2)
    assert get(server, path="/b.safetensors").read_bytes() == DATA


@pytest.mark.parametrize("file", [File(DATA, cut=[CUT], ranges=False), File(DATA, cut=[CUT], etag="")])
def test_a_server_without_parts_begins_again(server, file):
    server.files[PATH] = file
    assert get(server).read_bytes() == DATA
    assert len(server.asked) == 2


def test_a_server_that_always_cuts_is_given_up(server):
    server.files[PATH] = File(DATA, cut=[CUT] * 20, ranges=False)
    refused(
        server, "the connection was cut", "set KZOO_WEIGHTS_URL to a mirror, or fetch it by hand, as '.*w.safetensors'"
    )
    assert len(server.asked) == download.TRIES


def test_a_cut_file_of_unknown_length_is_no_file(server):
    server.files[PATH] = File(DATA, cut=[CUT] * 9, length=False)
    refused(server, "it was removed: what came is not a whole .safetensors|it was removed", checksum=SHA256)
    server.files[PATH] = File(PAGE[:3], length=False)
    refused(server, "gave no weights, and it was removed: what came is no weight file", checksum=None)


def test_another_content_is_removed(server):
    other = safetensors.numpy.save({"fc.weight": np.ones((10, 10), "float32")})
    server.files[PATH] = File(other)
    found = hashlib.sha256(other).hexdigest()
    refused(
        server, rf"gave a file of sha256 {found}, expected {SHA256[7:]}; it was removed: it was changed there or on"
    )
    assert not part_of(server).exists()
    refused(server, rf"gave a file of sha256 {found[:8]}, expected {SHA256[7:15]};", checksum=SHA256[:15])
    refused(server, "gave a file of md5 ", checksum=MD5)


def test_a_web_page_is_not_kept(server):
    server.files[PATH] = File(PAGE)
    refused(server, "it was removed: what came is a web page, not weights")
    refused(server, "gave no weights, and it was removed: what came is a web page", checksum=None)
    assert not part_of(server).exists()


def test_what_servers_answer(server, monkeypatch):
    refused(server, rf"{server.url}{PATH} is not there \(404\); look at the name, or fetch it by hand, as ")
    for code, said in ((403, r"is not given to everyone \(403\): it needs a login"), (418, "answers 418 ")):
        server.files[PATH] = File(status=[code])
        refused(server, said)
    server.files[PATH] = File(DATA, status=[503, 429])
    assert get(server).read_bytes() == DATA
    server.files["/b.safetensors"] = File(status=[500] * 9)
    refused(server, "cannot be fetched: the server answers 500 ", path="/b.safetensors")
    server.files["/c.safetensors"] = File(redirect=server.url + PATH)
    assert get(server, path="/c.safetensors").read_bytes() == DATA
    server.files["/d.safetensors"] = File(redirect=f"{server.url}/d.safetensors")
    refused(server, "cannot be fetched: Exceeded 30 redirects", path="/d.safetensors")
    server.files["/e.safetensors"] = File(redirect="ftp://127.0.0.1/e.safetensors")
    refused(server, "cannot be fetched: No connection adapters", path="/e.safetensors")


def test_no_network(server, monkeypatch):
    started = time.perf_counter()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/w.h5"
    with pytest.raises(
        KzooError, match="^weights='w': .* cannot be fetched: the connection is refused; look at the net"
    ):
        fetch(url, checksum=None, size=None, source="weights='w'")

    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    with pytest.raises(KzooError, match="cannot be fetched: no such host is known: a wrong name, or no network; look"):
        fetch("https://nowhere.invalid/w.h5", checksum=None, size=None, source="weights='w'")
    assert time.perf_counter() - started < 10


def test_a_server_that_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (0.2, 0.2))
    server.files[PATH] = File(DATA, pause=threading.Event())
    refused(server, "cannot be fetched: the server does not answer in time")
    server.files[PATH].pause.set()


def test_a_mirror_is_asked_instead_of_the_source(server, cache, monkeypatch):
    monkeypatch.setenv("KZOO_WEIGHTS_URL", f"{server.url}/copy/")
    url = "https://example.org/models/w.safetensors"
    server.files["/copy/example.org/models/w.safetensors"] = File(DATA)
    path = fetch(url, checksum=SHA256, size=None, source="weights='w'")
    assert path == cache / "example.org" / "models" / "w.safetensors" and path.read_bytes() == DATA
    path.unlink()
    with pytest.raises(KzooError, match=r"gave a file of md5 .*; it was removed: it was changed there or on its way"):
        fetch(url, checksum=f"md5:{'0' * 32}", size=None, source="weights='w'")
    with pytest.raises(
        KzooError, match=r"/copy/example.org/b.h5 is not there \(404\); the mirror has no such file; unset"
    ):
        fetch("https://example.org/b.h5", checksum=None, size=None, source="weights='w'")
    assert {place for place, _ in server.asked} == {
        "/copy/example.org/models/w.safetensors",
        "/copy/example.org/b.h5",
    }
    monkeypatch.setenv("KZOO_WEIGHTS_URL", "/a/folder")
    with pytest.raises(KzooError, match="KZOO_WEIGHTS_URL must be an address by http or https; received '/a/folder'"):
        fetch(url, checksum=None, size=None, source="weights='w'")


@pytest.mark.parametrize("variable", ["KZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked(server, monkeypatch, variable):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.files[PATH] = File(DATA)
    monkeypatch.setenv(variable, "1")
    refused(
        server,
        f"it is not in the cache, and {variable} is set; unset it, or put {server.url}{PATH} there by hand, as '",
    )
    path = cached_path(server.url + PATH)
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)  # by hand
    assert get(server) == path and server.asked == []
    path.write_bytes(DATA[:-1])
    with pytest.raises(KzooError, match=rf"w.safetensors' has sha256 .*, expected {SHA256[7:]}, and {variable} is set"):
        get(server)
    assert server.asked == []
    monkeypatch.setenv("HF_ENDPOINT", "https://elsewhere.example")
    if variable == "HF_HUB_OFFLINE":  # of Hugging Face only
        assert get(server).read_bytes() == DATA


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_a_damaged_file_in_the_cache_is_fetched_again(server, checksum, capsys):
    server.files[PATH] = File(DATA)
    path = get(server, checksum)
    path.write_bytes(DATA[:-1] + b"\0")
    capsys.readouterr()
    assert get(server, checksum).read_bytes() == DATA
    said = capsys.readouterr().err
    assert re.search(r"^weights='w': '.*' has sha256 .*, expected .*; it is removed and fetched again\n", said)
    assert len(server.asked) == 2


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_a_file_that_has_rotted_is_fetched_again(checksum, server, capsys):
    """With the size and the time that it had."""
    server.files[PATH] = File(DATA)
    path = get(server, checksum)
    state, rotten = path.stat(), bytearray(DATA)
    rotten[len(DATA) // 2] ^= 4
    path.write_bytes(rotten)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert get(server, checksum).read_bytes() == DATA
    assert "expected" in capsys.readouterr().err and len(server.asked) == 2


def test_a_server_that_gives_without_end_is_left(server, monkeypatch):
    monkeypatch.setattr(download, "MOST", 100_000)
    server.files[PATH] = File(DATA)
    refused(server, "gives more than 100,000 bytes, and it was removed; KZOO_MAX_DOWNLOAD allows more", checksum=None)
    assert not part_of(server).exists()


def test_hugging_face_vouches_for_its_files(server, capsys):
    server.files["/cdn"] = File(DATA)
    server.files[PATH] = File(redirect=f"{server.url}/cdn", linked=f'"{SHA256[7:]}"')
    assert get(server, None).read_bytes() == DATA
    assert "nothing vouches" not in capsys.readouterr().err
    server.files["/b.safetensors"] = File(redirect=f"{server.url}/cdn", linked="0" * 64)
    refused(server, f"gave a file of sha256 {SHA256[7:]}, expected {'0' * 64}", checksum=None, path="/b.safetensors")


def test_what_nothing_vouches_for_is_said(server, capsys):
    server.files[PATH] = File(DATA)
    get(server, None)
    assert f"weights='w': nothing vouches for this file; its sha256 is {SHA256[7:]}\n" in capsys.readouterr().err


def test_a_cache_that_cannot_be_read(server, monkeypatch):
    server.files[PATH] = File(DATA)
    path = get(server)
    assert path.is_file()

    def forbidden(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(caching, "digests_of", forbidden)
    with pytest.raises(
        KzooError, match=r"^weights='w': '.*w.safetensors' cannot be read \(permission denied\); make it"
    ):
        get(server)


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    server.files[PATH] = File(DATA)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    refused(server, r"the cache '.*' cannot be written \(not a directory\); make it writable, or set XDG_CACHE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    usage = download.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=500_000))
        refused(server, r"w.safetensors needs 1.0 MB, and '.*' has 0.5 MB free; make room there, or set XDG_CACHE_HOME")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download.os, "fsync", full)
    refused(server, r"w.safetensors cannot be written to '.*' \(no space left on device\); make room there")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/w.h5", "w.h5", "https:///w.h5", "https://example.org", "https://example.org/",
        "https://example.org/a/", "https://example.org/../w.h5", "https://example.org/a/..", "https://example.org/a//b",
        "https://example.org/a\\..\\w.h5", "https://example.org:port/w.h5", "https://../w.h5", "https://example.org/a?b/c",
    ],
)  # fmt: skip
def test_addresses_that_name_no_file(url):
    with pytest.raises(KzooError, match="is no address|is not the address of a file") as error:
        fetch(url, checksum=None, size=None, source="weights='w'")
    assert "\n" not in str(error.value)


def test_addresses_keep_to_their_place(cache):
    assert cached_path("https://me:key@Example.org:81/a%2F..%2Fb.h5?v=1") == (
        cache / "example.org:81" / "a%2F..%2Fb.h5?v=1"
    )


@pytest.mark.parametrize("checksum", ["sha256:12", "sha1:12345678", "md5:" + "0" * 33, "sha256:xyzxyzxyz", "12345678"])
def test_checksums_that_are_none(server, checksum):
    refused(server, "a checksum is sha256: or md5: and 8 or more hexadecimal digits; received", checksum=checksum)
    assert server.asked == []


def test_a_bar_on_a_terminal(server, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    server.files[PATH] = File(DATA, cut=[CUT])
    get(server)
    said = capsys.readouterr().err
    assert "w.safetensors" in said and "fetching" not in said and "fetched 1.0 MB" in said


FETCH = """
import sys
from kzoo.weights.download import fetch
print(fetch(sys.argv[1], checksum=sys.argv[2], size=None, source="weights='w'"))
"""


def test_two_processes_at_once_fetch_it_once(server, tmp_path):
    file = server.files[PATH] = File(DATA, pause=threading.Event(), cut=[CUT])
    logs = [tmp_path / f"{i}.log" for i in range(2)]
    command = [sys.executable, "-c", FETCH, server.url + PATH, SHA256]
    processes = []
    for log in logs:
        with log.open("w") as stderr:
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True))
    try:
        deadline = time.monotonic() + 30
        while not server.asked or not any("waiting for another process" in log.read_text() for log in logs):
            assert time.monotonic() < deadline and all(p.poll() is None for p in processes)
            time.sleep(0.02)
        file.pause.set()
        found = {p.communicate(timeout=300)[0].strip() for p in processes}
    finally:
        file.pause.set()
        for process in processes:
            process.kill()
            process.communicate()
    assert [p.returncode for p in processes] == [0, 0]
    assert found == {str(cached_path(server.url + PATH))}
    assert cached_path(server.url + PATH).read_bytes() == DATA
    assert len(server.asked) == 2, "one download, in two pieces"


def test_a_killed_process_leaves_a_part_and_no_lock(server):
    file = server.files[PATH] = File(DATA, pause=threading.Event())
    process = subprocess.Popen([sys.executable, "-c", FETCH, server.url + PATH, SHA256], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not server.asked:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
        file.pause.set()
    assert get(server).read_bytes() == DATA


def test_kzoo_is_imported_without_network_libraries():
    network = "{'requests', 'urllib3', 'filelock', 'rich'}"
    code = f"import sys, kzoo, kzoo.weights.sources; kzoo.list_models(); print({network} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert found.stdout.strip() == "set()", found.stderr
