from __future__ import annotations

import gzip
import hashlib
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from corpus.download import download, main, sidecar, verify
from corpus.errors import CorpusError
from corpus.files import only_run
from corpus.sources import Source
from tests.corpus.server import COMMIT, Server
from tests.require import require

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


def test_lines_are_those_of_the_json_module(tmp_path: Path) -> None:
    characters = [chr(code) for code in range(0x11000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(characters[at : at + 512]) for at in range(0, len(characters), 512)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    download(Source(str(tmp_path / "in.jsonl")), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == "".join(
        json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()


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


def test_output_among_its_sources_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(BODY)
    download(Source(str(tmp_path)), tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(CorpusError, match="both the output and a part of the source"):
        download(Source(str(tmp_path)), tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_failure_leaves_the_old_output_and_its_sidecar(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_bytes(BODY)
    first = download(Source(str(source)), out)
    with pytest.raises(CorpusError, match="no key 'content'"):
        download(Source(str(source), text_key="content"), out)
    assert texts_of(out) == TEXTS and json.loads(sidecar(out).read_bytes()) == first


def test_new_output_never_stands_beside_an_old_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_bytes(BODY)
    download(Source(str(source)), out)
    source.write_bytes(BODY + BODY)
    monkeypatch.setattr("corpus.download.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        download(Source(str(source)), out)
    assert texts_of(out) == TEXTS * 2 and not sidecar(out).exists()


def test_full_disk_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_bytes(BODY)
    monkeypatch.setattr("corpus.files.shutil.disk_usage", lambda path: SimpleNamespace(free=60))
    with pytest.raises(CorpusError, match=r"needs 0\.00 GiB and has 0\.00 GiB free. Free some"):
        download(Source(str(tmp_path / "in.jsonl")), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("corpus.http.sleep", lambda seconds: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Server().running() as server:
        server.files["/corpus.jsonl"] = BODY
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_http_source(tmp_path: Path, server: Server) -> None:
    server.cuts = [40, 10]
    url = f"{server.url}/corpus.jsonl"
    record = download(Source(f"{url}?key=secret"), tmp_path / "out")
    assert texts_of(tmp_path / "out") == TEXTS
    assert server.ranges_of("corpus.jsonl") == [None, "bytes=40-", "bytes=50-"]
    assert record["fetched"] == [{"url": url, "sha256": hashlib.sha256(BODY).hexdigest()}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.json"]
    assert download(Source(f"{url}?key=secret"), tmp_path / "out") == record
    assert len(server.requests) == 3


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_compressed_http_source(tmp_path: Path, server: Server, kind: str) -> None:
    if kind == "zst":
        require("zstandard", find_spec("zstandard") is not None, "zstandard is an extra")
        import zstandard
    server.files["/c"] = gzip.compress(BODY) if kind == "gz" else zstandard.compress(BODY)
    server.files[f"/c.jsonl.{kind}"] = server.files["/c"]
    download(Source(f"{server.url}/c.jsonl.{kind}?download=true"), tmp_path / "out")
    assert texts_of(tmp_path / "out") == TEXTS


def test_http_gives_up_with_65_and_the_next_run_goes_on(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--source", f"{server.url}/corpus.jsonl", "--output", str(tmp_path / "out")]
    server.cuts = [50, *[0] * 5]
    assert main(argv) == 65
    assert f"only 50 of {len(BODY)} bytes came" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(argv) == 0
    assert texts_of(tmp_path / "out") == TEXTS
    assert server.ranges_of("corpus.jsonl")[6:] == ["bytes=50-"]


def test_http_refusal_is_clear_and_leaves_nothing(tmp_path: Path, server: Server) -> None:
    with pytest.raises(CorpusError, match="answers 404"):
        download(Source(f"{server.url}/absent.jsonl"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_length_too_short_is_noticed_and_taken_anew(tmp_path: Path, server: Server) -> None:
    server.extra_length = -4
    with pytest.raises(CorpusError, match=r"corpus.jsonl:3 is not JSON.*complete\?"):
        download(Source(f"{server.url}/corpus.jsonl"), tmp_path / "out")
    server.extra_length = 0
    download(Source(f"{server.url}/corpus.jsonl"), tmp_path / "out")
    assert texts_of(tmp_path / "out") == TEXTS
    assert server.ranges_of("corpus.jsonl") == [None, None]


def test_wrong_key_costs_no_second_download(tmp_path: Path, server: Server) -> None:
    with pytest.raises(CorpusError, match="no key 'content'; it has text"):
        download(Source(f"{server.url}/corpus.jsonl", text_key="content"), tmp_path / "out")
    download(Source(f"{server.url}/corpus.jsonl"), tmp_path / "out")
    assert len(server.requests) == 1


def test_second_run_at_the_same_time_is_refused(tmp_path: Path, server: Server) -> None:
    source = Source(f"{server.url}/corpus.jsonl")
    with only_run(tmp_path / ".out.parts"), pytest.raises(CorpusError, match="another run"):
        download(source, tmp_path / "out")
    download(source, tmp_path / "out")


def lines(first: int, count: int) -> bytes:
    return b"".join(json.dumps({"text": f"dokumento {n} " * 40}).encode() + b"\n"
                    for n in range(first, first + count))


def parquet_of(texts: list[str]) -> bytes:
    require("hub", find_spec("pyarrow") is not None, "pyarrow is an extra, for Parquet only")
    import pyarrow
    from pyarrow import parquet

    target = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": texts, "id": list(range(len(texts)))}), target)
    return target.getvalue()


@pytest.fixture
def dataset(server: Server) -> Iterator[Server]:
    """The host that the hub redirects to; the hub has three files of Filipino there."""
    require("hub", find_spec("huggingface_hub") is not None, "huggingface_hub is an extra")
    with Server().running() as cdn:
        server.add_dataset("org/pile", {
            "tl/0.jsonl": lines(0, 1500), "tl/1.jsonl.gz": gzip.compress(lines(1500, 500)),
            "tl/2.parquet": parquet_of(TEXTS), "id/0.jsonl": b"not asked for", "README.md": b"#",
        }, cdn)
        yield cdn


def expected() -> list[str]:
    return [json.loads(line)["text"] for line in lines(0, 2000).splitlines()] + TEXTS


def test_hub_source(
    tmp_path: Path, server: Server, dataset: Server, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.secret, dataset.cuts = "hf_secret", [99_000]
    argv = ["--source", "hf://org/pile", "--language", "fil", "--output", str(tmp_path / "out")]
    assert main(argv) == 0
    assert texts_of(tmp_path / "out") == expected()
    assert [one.headers.get("range") for one in dataset.requests] == [
        None, "bytes=99000-", None, None]
    assert not any("authorization" in one.headers for one in dataset.requests)
    record = json.loads(sidecar(tmp_path / "out").read_bytes())
    assert [about["url"] for about in record["fetched"]] == [
        f"{server.url}/datasets/org/pile/resolve/{COMMIT}/tl/{name}"
        for name in ("0.jsonl", "1.jsonl.gz", "2.parquet")]
    said = capsys.readouterr()
    assert "hf_secret" not in said.out + said.err
    assert b"hf_secret" not in (tmp_path / "out.json").read_bytes()
    server.requests.clear()
    assert main(argv) == 0 and not server.requests


def test_hub_files_that_do_not_fit_are_refused_before_any_is_fetched(
    tmp_path: Path, dataset: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.files.shutil.disk_usage",
                        lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(CorpusError, match="GiB free"):
        download(Source("hf://org/pile", "fil"), tmp_path / "out")
    assert not dataset.requests and list(tmp_path.iterdir()) == []


def killed_when(root: Path, argv: list[str], due: Callable[[], bool]) -> None:
    """Run the program and kill it as soon as it is `due`."""
    process = subprocess.Popen([sys.executable, "-m", "corpus.download", *argv], cwd=root)
    try:
        while not due():
            assert process.poll() is None, "it ended before it was to be killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


def test_killed_while_fetching_goes_on_where_it_was(
    root: Path, tmp_path: Path, dataset: Server
) -> None:
    argv = ["--source", "hf://org/pile", "--language", "fil", "--output", str(tmp_path / "out")]
    parts, hold = tmp_path / ".out.parts", 300_000
    dataset.hold = hold
    killed_when(root, argv, lambda: any(path.stat().st_size >= hold
                                        for path in parts.glob("*-0.jsonl")))
    dataset.hold = None
    dataset.released.set()
    assert [path.name for path in tmp_path.iterdir()] == [parts.name]
    dataset.requests.clear()
    assert main(argv) == 0
    assert texts_of(tmp_path / "out") == expected()
    assert [one.headers.get("range") for one in dataset.requests] == [f"bytes={hold}-", None, None]
    assert "if-range" in dataset.requests[0].headers
    download(Source("hf://org/pile", "fil"), tmp_path / "fresh")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "fresh").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fresh", "fresh.json", "out", "out.json"]


def test_killed_between_two_files_and_while_writing(
    root: Path, tmp_path: Path, dataset: Server
) -> None:
    argv = ["--source", "hf://org/pile", "--language", "fil", "--output", str(tmp_path / "out")]
    code = ("import os, signal, sys, corpus.{module} as m\nreal, calls = m.{name}, []\n"
            "def dying(*about):\n"
            " calls.append(about)\n"
            " if len(calls) == {after}: os.kill(os.getpid(), signal.SIGKILL)\n"
            " return real(*about)\n"
            "m.{name} = dying\nfrom corpus.download import main\nmain(sys.argv[1:])")
    for module, name, after in (("sources", "fetch", 3), ("download", "_line", 1900)):
        killed = subprocess.run(
            [sys.executable, "-c", code.format(module=module, name=name, after=after), *argv],
            cwd=root, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert not (tmp_path / "out").exists() and not sidecar(tmp_path / "out").exists()
    assert len(dataset.requests) == 3  # two before the first death, the third before the second
    assert list(tmp_path.glob(".out.*.tmp"))
    assert main(argv) == 0
    assert len(dataset.requests) == 3
    assert texts_of(tmp_path / "out") == expected()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.json"]


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
