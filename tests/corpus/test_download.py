from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus.download import download, main, sidecar, verify
from corpus.errors import CorpusError
from corpus.sources import Source, select

TEXTS = ["Kumusta, mundo.\nIkalawa.", "ñ 漢 😀", "katapusan"]
BODY = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


def texts_of(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "*.jsonl", "."])
def test_local_sources(tmp_path: Path, name: str) -> None:
    folder, out = tmp_path / "in", tmp_path / "out" / "corpus.jsonl"
    folder.mkdir()
    content = gzip.compress(BODY) if name.endswith("gz") else BODY
    (folder / ("in.jsonl.gz" if name.endswith("gz") else "in.jsonl")).write_bytes(content)
    record = download(Source(str(folder / name)), out)
    assert texts_of(out) == TEXTS
    assert record["documents"] == verify(out) == 3
    assert record["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert json.loads(sidecar(out).read_bytes()) == record


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is an extra, for Parquet sources only")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"content": TEXTS, "id": [1, 2, 3]}), tmp_path / "a.parquet")
    download(Source(str(tmp_path / "a.parquet"), text_key="content"), tmp_path / "out")
    assert texts_of(tmp_path / "out") == TEXTS
    with pytest.raises(CorpusError, match="no column 'text'"):
        download(Source(str(tmp_path / "a.parquet")), tmp_path / "out2")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    with pytest.raises(CorpusError, match="not a whole Parquet file"):
        download(Source(str(tmp_path / "a.parquet"), text_key="content"), tmp_path / "out2")


def test_second_run_is_a_no_op_until_something_changes(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_bytes(BODY)
    download(Source(str(source)), out)
    before = out.stat().st_mtime_ns
    download(Source(str(source)), out)
    assert out.stat().st_mtime_ns == before
    out.write_bytes(out.read_bytes().replace(b"mundo", b"MUNDO"))
    download(Source(str(source)), out)
    assert texts_of(out) == TEXTS
    source.write_bytes(BODY + BODY)
    assert download(Source(str(source)), out)["documents"] == 6


def test_empty_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"text": ""}\n\n' + BODY)
    record = download(Source(str(tmp_path / "in.jsonl")), tmp_path / "out")
    assert (record["documents"], record["empty_left_out"]) == (3, 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "no documents"), (b'{"text": ""}\n', "no documents"), (b'{"text": "a"}\n{"te', ":2 is "),
     (b'{"content": "a"}\n', "no key 'text'; it has content"), (b'["a"]\n', "not a JSON object"),
     (b'{"text": 3}\n', "holds int"), (b'{"text": "\\ud83d"}\n', "surrogate"),
     (b"\xff\n", "not JSON")])
def test_bad_sources_leave_nothing(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    with pytest.raises(CorpusError, match=says):
        download(Source(str(tmp_path / "in.jsonl")), tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(BODY)[:-9])
    with pytest.raises(CorpusError, match="truncated"):
        download(Source(str(tmp_path / "in.jsonl.gz")), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"x\n", b'{"text": ""}\n', b"{}\n", b'{"text": "a"}'])
def test_verify_refuses(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(CorpusError):
        verify(tmp_path / "c")


def test_language_folders() -> None:
    names = ["tl/a.parquet", "tl/readme.md", "tlx/b.parquet", "data/fil/c.jsonl.gz", "en/d.parquet"]
    assert select(names, "", "fil") == ["tl/a.parquet", "data/fil/c.jsonl.gz"]
    assert select(names, "", "tl") == ["tl/a.parquet"]
    assert select(names, "en", "fil") == ["en/d.parquet"]


class Server:
    """Serves `body`, cutting the first `cuts` answers short, and remembers the Range headers."""

    def __init__(self, body: bytes, cuts: int) -> None:
        self.body, self.cuts, self.etag, self.status = body, cuts, '"v1"', 200
        self.ranges: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on the terminal."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/corpus.jsonl"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        fresh = asked and request.headers.get("If-Range") == self.etag
        start = int(asked.removeprefix("bytes=").rstrip("-")) if fresh and asked else 0
        rest = self.body[start:]
        request.send_response(206 if fresh else self.status)
        request.send_header("ETag", self.etag)
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        if self.cuts:
            self.cuts -= 1
            rest = rest[: len(rest) // 2]
        request.wfile.write(rest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("corpus.http.time.sleep", lambda seconds: None)
    server = Server(BODY, cuts=0)
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_http_resumes_where_it_broke_off(tmp_path: Path, server: Server) -> None:
    server.cuts = 2
    download(Source(server.url), tmp_path / "out")
    assert texts_of(tmp_path / "out") == TEXTS
    half = len(BODY) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + (len(BODY) - half) // 2}-"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.json"]


def test_http_gives_up_with_65_and_the_next_run_goes_on(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    argv, server.cuts = ["--source", server.url, "--output", str(tmp_path / "out")], 3
    assert main(argv) == 65
    assert f"of {len(BODY)} bytes came" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(argv) == 0
    assert texts_of(tmp_path / "out") == TEXTS
    assert server.ranges[3] is not None


def test_http_starts_anew_when_the_file_changed(tmp_path: Path, server: Server) -> None:
    server.cuts = 3
    with pytest.raises(CorpusError):
        download(Source(server.url), tmp_path / "out")
    server.body, server.etag = BODY.replace(b"mundo", b"MUNDO!!"), '"v2"'
    download(Source(server.url), tmp_path / "out")
    assert texts_of(tmp_path / "out")[0].startswith("Kumusta, MUNDO!!")


def test_http_refusal_is_clear(tmp_path: Path, server: Server) -> None:
    server.status = 404
    with pytest.raises(CorpusError, match="answers 404"):
        download(Source(server.url), tmp_path / "out")


def test_plan_command_reaches_the_program(root: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(BODY)
    script, out = root / "scripts" / "download_seapile.py", "data/corpora/seapile.jsonl"
    subprocess.run([sys.executable, script, "--output", out, "--language", "fil", "--source",
                    "in.jsonl"], cwd=tmp_path, check=True)
    assert texts_of(tmp_path / out) == TEXTS
    refused = subprocess.run([sys.executable, script, "--output", "x", "--source", "absent.jsonl"],
                             cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 65
    assert refused.stderr.startswith("error: absent.jsonl") and refused.stderr.count("\n") == 1
