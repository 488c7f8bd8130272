"""A web server on loopback that misbehaves as it is told, and the hub's API on top of it."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Request(msgspec.Struct):
    """What a client sent; `headers` has lower-case keys."""

    path: str
    headers: dict[str, str]


class Server:
    """Serves `files`, path to content, and remembers the `requests`. Change its fields at will."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.etag: str | None = "{sha}"  # None for no ETag, {sha} stands for the content's digest
        self.ranges = True  # whether Range is honoured
        self.if_range = True  # whether If-Range is honoured
        self.first_byte = 0  # added to the first byte that Content-Range states
        self.extra_length = 0  # added to Content-Length
        self.chunked = False  # no Content-Length, but chunks
        self.cuts: list[int] = []  # the next answers break off after so many bytes of the body
        self.reset = False  # whether they do so by a reset
        self.hold: int | None = None  # answers stop after so many bytes until `released`
        self.released = threading.Event()
        self.failures: list[tuple[int, dict[str, str]]] = []  # the next answers
        self.redirects: dict[str, tuple[str, dict[str, str]]] = {}  # path to address, headers
        self.json: dict[str, tuple[Any, dict[str, str]]] = {}  # path to value, headers
        self.secret: str | None = None  # the token without which nothing is served
        handler = type("Handler", (_Handler,), {"site": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def ranges_of(self, ending: str) -> list[str | None]:
        """The Range headers of the requests whose path ends so, in order."""
        return [one.headers.get("range") for one in self.requests if one.path.endswith(ending)]

    def add_dataset(self, name: str, files: dict[str, bytes], cdn: Server | None = None) -> None:
        """Serve a data set of the hub; with `cdn` its files are LFS and stand there."""
        about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files],
                 "tags": [], "private": False, "downloads": 0, "likes": 0}
        tree: list[dict[str, Any]] = []
        for path, body in files.items():
            sha = hashlib.sha256(body).hexdigest()
            entry = {"type": "file", "path": path, "size": len(body),
                     "oid": hashlib.sha1(body).hexdigest()}
            resolve = f"/datasets/{name}/resolve/{COMMIT}/{urllib.parse.quote(path)}"
            if cdn:
                entry["lfs"] = {"oid": sha, "size": len(body), "pointerSize": 134}
                cdn.files[f"/lfs/{sha}"] = body
                self.redirects[resolve] = (f"{cdn.url}/lfs/{sha}?Signature=s3cr3t", {
                    "X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{sha}"',
                    "X-Linked-Size": str(len(body))})
            else:
                self.files[resolve] = body
            tree.append(entry)
        tree.append({"type": "directory", "path": "a-folder", "size": 0, "oid": "0" * 40})
        for revision in ("", f"/revision/{COMMIT}", "/revision/v1"):
            self.json[f"/api/datasets/{name}{revision}"] = (about, {})
        listing, half = f"/api/datasets/{name}/tree/{COMMIT}", len(tree) // 2
        more = {"Link": f'<{self.url}{listing}/page2>; rel="next"'}
        self.json[listing], self.json[f"{listing}/page2"] = (tree[:half], more), (tree[half:], {})

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Answer in a thread of its own."""
        thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._http.shutdown()
            self._http.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    site: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.site.requests.append(Request(path, headers))
        if self.site.failures:
            status, more = self.site.failures.pop(0)
            self._send(status, b"sorry", more)
        elif self.site.secret and headers.get("authorization") != f"Bearer {self.site.secret}":
            self._send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        elif path in self.site.redirects:
            address, more = self.site.redirects[path]
            self._send(302, b"", {"Location": address} | more)
        elif path in self.site.json:
            value, more = self.site.json[path]
            if path.partition("/tree/")[2] == COMMIT and "recursive=true" not in self.path.lower():
                value = [entry for entry in value if "/" not in entry["path"]]
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"} | more)
        elif path in self.site.files:
            self._file(self.site.files[path], headers)
        else:
            self._send(404, b"", {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def _file(self, body: bytes, headers: dict[str, str]) -> None:
        site, more = self.site, {}
        etag = site.etag and f'"{site.etag}"'.format(sha=hashlib.sha256(body).hexdigest())
        if etag:
            more["ETag"] = etag.replace('"W/', 'W/"')
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        fresh = not site.if_range or headers.get("if-range", etag) == etag
        status, start = 200, 0
        if asked and site.ranges and fresh:
            status, start = 206, int(asked[1])
            if start >= len(body):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            first = start + site.first_byte
            more["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        rest = body[start:]
        length = max(0, len(rest) + site.extra_length)
        more |= ({"Transfer-Encoding": "chunked"} if site.chunked else
                 {"Content-Length": str(length)})
        self.protocol_version = "HTTP/1.1" if site.chunked else "HTTP/1.0"
        self.send_response(status)
        for key, value in more.items():
            self.send_header(key, value)
        self.end_headers()
        self._body(rest if site.extra_length >= 0 else rest[:length])
        return None

    def _body(self, rest: bytes) -> None:
        site, whole = self.site, len(rest)
        if site.cuts:
            rest = rest[: site.cuts.pop(0)]
        if site.hold is not None:
            self._write(rest[: site.hold])
            site.released.wait(60)
            rest = rest[site.hold :]
        self._write(rest)
        if len(rest) < whole and site.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.site.chunked and len(rest) == whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _write(self, block: bytes) -> None:
        try:
            if self.site.chunked:
                block = b"%x\r\n%s\r\n" % (len(block), block) if block else b""
            self.wfile.write(block)
        except ConnectionError:  # the client was killed, as the test means it to be
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""
