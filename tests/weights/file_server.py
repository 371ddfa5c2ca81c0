"""A file server on this machine that stands in for the sources of weights, with their faults as switches."""

import contextlib
import http.server
import threading
from dataclasses import dataclass, field


@dataclass
class File:
    """What one path answers.

    Attributes:
        cut: Bytes after which the connection is closed, once for each number.
        status: Answered instead of the file, once each.
        ranges: Whether parts are given out.
        etag, modified: Of the file; empty: not said.
        linked: The sha256 that Hugging Face names.
        redirect: Where the file is.
        length: Whether the length is said.
        pause: The answer waits for it.
    """

    data: bytes = b""
    cut: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    ranges: bool = True
    etag: str = '"v1"'
    modified: str = ""
    linked: str = ""
    redirect: str = ""
    length: bool = True
    pause: threading.Event | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        files, asked = self.server.files, self.server.asked
        asked.append((self.path, self.headers.get("Range")))
        file = files.get(self.path)
        self.close_connection = True
        if file is None:
            return self.answer(404, b"not here")
        if file.pause is not None:
            file.pause.wait(30)
        if file.status:
            return self.answer(file.status.pop(0), b"no")
        if file.redirect:
            return self.answer(302, b"", Location=file.redirect, **self.said(file))
        start, code = 0, 200
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted and file.ranges and condition in (file.etag, file.modified):
            start, code = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(file.data):
                return self.answer(416, b"")
        body = file.data[start:]
        headers = self.said(file)
        if code == 206:
            headers["Content-Range"] = f"bytes {start}-{len(file.data) - 1}/{len(file.data)}"
        self.answer(code, body, cut=file.cut.pop(0) if file.cut else None, length=file.length, **headers)

    def said(self, file):
        named = {"ETag": file.etag, "Last-Modified": file.modified, "X-Linked-ETag": file.linked}
        return {name: value for name, value in named.items() if value}

    def answer(self, code, body, cut=None, length=True, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body if cut is None else body[:cut])
            self.wfile.flush()


class Server:
    """files: {path: File}; asked: [(path, Range or None)] in the order of the requests."""

    def __init__(self):
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.files = self.http.files = {}
        self.asked = self.http.asked = []
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
