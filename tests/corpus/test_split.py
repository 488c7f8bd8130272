from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.files import only_run
from corpus.split import INDEX, chunk_name, cut, main, scan, split


def write(path: Path, documents: list[bytes]) -> bytes:
    content = b"".join(documents)
    path.write_bytes(content)
    return content


@given(st.data(), st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_cut_balances_any_documents(data: st.DataObject, sizes: list[int]) -> None:
    count = data.draw(st.integers(1, len(sizes)))
    ends = np.cumsum(np.array(sizes, np.int64))
    stops = cut(ends, count)
    assert len(stops) == count and stops[-1] == len(sizes)
    assert all(later > earlier for earlier, later in zip([0, *stops], stops, strict=False))
    chunks = np.diff(np.concatenate([[0], ends[np.array(stops) - 1]]))
    assert chunks.max() - chunks.min() <= max(sizes)


@pytest.mark.parametrize("ending", [b"\n", b""], ids=["newline at the end", "none"])
@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_chunks_in_order_are_the_input(tmp_path: Path, count: int, ending: bytes) -> None:
    lines = [json.dumps({"text": "á" * (n * 37 % 91)}).encode() + b"\n" for n in range(21)]
    lines[-1] = lines[-1][:-1] + ending
    content = write(tmp_path / "in.jsonl", lines)
    index = split(tmp_path / "in.jsonl", tmp_path / "out", count)
    names = sorted(path.name for path in (tmp_path / "out").glob("chunk_*"))
    assert names == [chunk_name(n) for n in range(1, count + 1)]
    chunks = [(tmp_path / "out" / name).read_bytes() for name in names]
    assert b"".join(chunks) == content
    assert index["input"]["bytes"] == len(content) and index["documents"] == 21
    first = 0
    for chunk, about in zip(chunks, index["chunks"], strict=True):
        assert about["first_document"] == first
        assert about["documents"] == len(chunk.splitlines())
        assert about["bytes"] == len(chunk)
        assert about["xxh3_128"] == xxhash.xxh3_128_hexdigest(chunk)
        first += about["documents"]
    assert json.loads((tmp_path / "out" / INDEX).read_bytes()) == index


def test_scan_finds_ends_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.split.BLOCK", 1)
    write(tmp_path / "in", [b"a" * 7 + b"\n", b"\n", b"b" * 20])
    with (tmp_path / "in").open("rb") as stream:
        assert scan(stream).tolist() == [8, 9, 29]


LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"\r")), min_size=1,
                 max_size=40)


@given(st.data(), LINES, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_any_documents_come_back(
    data: st.DataObject, lines: list[bytes], ending: bytes, newline_last: bool
) -> None:
    documents = [line + ending for line in lines]
    if not newline_last:
        documents.append(b"x" * data.draw(st.integers(1, 50)))
    count = data.draw(st.integers(1, len(documents)))
    with tempfile.TemporaryDirectory() as name:
        content = write(Path(name, "in"), documents)
        index = split(Path(name, "in"), Path(name, "out"), count)
        chunks = [path.read_bytes() for path in sorted(Path(name, "out").glob("chunk_*"))]
    assert b"".join(chunks) == content and len(chunks) == count
    assert all(chunk.endswith(b"\n") for chunk in chunks[:-1])
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) - min(sizes) <= max(map(len, documents))
    assert [about["documents"] for about in index["chunks"]] == [
        chunk.count(b"\n") + (not chunk.endswith(b"\n")) for chunk in chunks]


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "in", [b"{}\n"] * 9)
    first = split(tmp_path / "in", tmp_path / "out", 3)
    before = state(tmp_path / "out")
    assert split(tmp_path / "in", tmp_path / "out", 3) == first
    assert state(tmp_path / "out") == before


def test_changed_input_and_changed_count(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(tmp_path / "in", [b"{}\n"] * 9)
    split(tmp_path / "in", out, 5)
    (out / "chunk_0099.jsonl").write_text("the user's own")
    content = write(tmp_path / "in", [b"[]\n"] * 9)
    split(tmp_path / "in", out, 2)
    assert sorted(path.name for path in out.iterdir()) == [
        "chunk_0001.jsonl", "chunk_0002.jsonl", "chunk_0099.jsonl", INDEX]
    assert b"".join((out / chunk_name(n)).read_bytes() for n in (1, 2)) == content


def test_change_that_keeps_size_and_date_is_noticed(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(source, [b"{}\n"] * 9)
    first, date = split(source, out, 3), source.stat()
    untouched = state(out)[chunk_name(1)]
    with source.open("r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        stream.write(b"[]")
    os.utime(source, ns=(date.st_atime_ns, date.st_mtime_ns))
    second = split(source, out, 3)
    assert (out / chunk_name(3)).read_bytes() == b"{}\n{}\n[]\n"
    assert second["chunks"][:2] == first["chunks"][:2]
    assert second["chunks"][2]["xxh3_128"] == xxhash.xxh3_128_hexdigest(b"{}\n{}\n[]\n")
    assert state(out)[chunk_name(1)] == untouched


@pytest.mark.parametrize("damage", [b"short", b"{}\n" * 8 + b"[]\n"], ids=["short", "same size"])
def test_damaged_chunk_is_made_again(tmp_path: Path, damage: bytes) -> None:
    content = write(tmp_path / "in", [b"{}\n"] * 9)
    split(tmp_path / "in", tmp_path / "out", 1)
    (tmp_path / "out" / chunk_name(1)).write_bytes(damage)
    split(tmp_path / "in", tmp_path / "out", 1)
    assert (tmp_path / "out" / chunk_name(1)).read_bytes() == content


@pytest.mark.parametrize("again", [6, 2], ids=["as many chunks", "fewer"])
def test_killed_run_goes_on(root: Path, tmp_path: Path, again: int) -> None:
    out = tmp_path / "out"
    content = write(tmp_path / "in", [b"%d\n" % n for n in range(60)])
    # Killed in the kernel's fourth copy, which has written already but has not been renamed.
    code = ("import os, signal, sys, corpus.split as s\ncopy, calls = os.copy_file_range, []\n"
            "def dying(*about):\n"
            " calls.append(copy(*about))\n"
            " if len(calls) == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
            " return calls[-1]\n"
            "os.copy_file_range, s._THREADS = dying, 1\ns.main(sys.argv[1:])")
    killed = subprocess.run([sys.executable, "-c", code, "--input", tmp_path / "in", "--output-dir",
                             out, "--num-chunks", "6"], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = state(out)
    assert [name for name in sorted(left) if name.startswith("chunk")] == [
        chunk_name(n) for n in (1, 2, 3)]
    assert INDEX not in left and any(name.endswith(".tmp") for name in left)
    index = split(tmp_path / "in", out, again)
    assert sorted(path.name for path in out.iterdir()) == [
        *(chunk_name(n) for n in range(1, again + 1)), INDEX]
    assert b"".join((out / about["file"]).read_bytes() for about in index["chunks"]) == content
    split(tmp_path / "in", tmp_path / "fresh", again)
    assert (out / INDEX).read_bytes() == (tmp_path / "fresh" / INDEX).read_bytes()
    if again == 6:
        assert all(state(out)[chunk_name(n)] == left[chunk_name(n)] for n in (1, 2, 3))


def no_room(*about: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("way", ["copy_file_range", "pwrite"])
def test_full_disk_leaves_no_part_of_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    content, calls = write(tmp_path / "in", [b"{}\n"] * 9), []
    real = os.copy_file_range if way == "copy_file_range" else os.pwrite

    def filling(*about: Any) -> int:
        calls.append(about)
        return no_room() if len(calls) == 3 else real(*about)

    if way == "pwrite":
        monkeypatch.delattr(os, "copy_file_range")
    monkeypatch.setattr(os, way, filling)
    monkeypatch.setattr("corpus.split._THREADS", 1)
    argv = ["--input", str(tmp_path / "in"), "--output-dir", str(tmp_path / "out"),
            "--num-chunks", "4"]
    assert main(argv) == 1
    assert "No space left on device" in capsys.readouterr().err
    left = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*")}
    assert chunk_name(2) in left and not {chunk_name(3), INDEX} & left.keys()
    assert not list((tmp_path / "out").glob(".*.tmp"))
    assert main(argv) == 0
    assert all((tmp_path / "out" / name).read_bytes() == chunk for name, chunk in left.items()
               if name.startswith("chunk_"))
    assert b"".join((tmp_path / "out" / chunk_name(n)).read_bytes() for n in range(1, 5)) == content


def test_disk_without_room_is_refused_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in", [b"{}\n"] * 9)
    split(tmp_path / "in", tmp_path / "out", 3)
    before = state(tmp_path / "out")
    write(tmp_path / "in", [b"[]\n"] * 20)
    monkeypatch.setattr("corpus.files.shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(CorpusError, match="needs .* GiB and has .* GiB free"):
        split(tmp_path / "in", tmp_path / "out", 3)
    assert state(tmp_path / "out") == before


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, 0])
def test_bytes_are_copied_where_the_kernel_will_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    content, real = write(tmp_path / "in", [b"%d\n" % n for n in range(50)]), os.copy_file_range

    def refusing(reader: int, writer: int, size: int, start: int, offset: int) -> int:
        if offset == 0:
            return real(reader, writer, 5, start, offset)  # a short copy first, refused after that
        if code:
            raise OSError(code, os.strerror(code))
        return 0

    monkeypatch.setattr(os, "copy_file_range", refusing)
    split(tmp_path / "in", tmp_path / "out", 4)
    assert b"".join((tmp_path / "out" / chunk_name(n)).read_bytes() for n in range(1, 5)) == content


def test_other_errors_of_the_kernel_are_not_swallowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*about: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write(tmp_path / "in", [b"{}\n"] * 9)
    monkeypatch.setattr(os, "copy_file_range", failing)
    with pytest.raises(OSError, match="Input/output error"):
        split(tmp_path / "in", tmp_path / "out", 3)
    assert not list((tmp_path / "out").glob("chunk_*"))


@pytest.mark.parametrize("change", [b"[]", b"{}\n{}\n"], ids=["content", "length"])
def test_input_that_changes_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    write(tmp_path / "in", [b"{}\n"] * 9)
    real = os.copy_file_range

    def changing(*about: Any) -> int:
        moved = real(*about)
        with (tmp_path / "in").open("r+b") as stream:
            stream.seek(0, os.SEEK_END if len(change) > 2 else os.SEEK_SET)
            stream.write(change)
        return moved

    monkeypatch.setattr(os, "copy_file_range", changing)
    with pytest.raises(CorpusError, match="changed while it was being split"):
        split(tmp_path / "in", tmp_path / "out", 3)
    assert not (tmp_path / "out" / INDEX).exists()


def test_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "in", [b"{}\n"] * 9)
    with only_run(tmp_path / "out"), pytest.raises(CorpusError, match="another run"):
        split(tmp_path / "in", tmp_path / "out", 3)
    split(tmp_path / "in", tmp_path / "out", 3)


@pytest.mark.parametrize(("documents", "count"), [(3, 4), (0, 1), (3, 0), (3, -1)])
def test_impossible_counts_are_refused(tmp_path: Path, documents: int, count: int) -> None:
    write(tmp_path / "in", [b"{}\n"] * documents)
    with pytest.raises(CorpusError):
        split(tmp_path / "in", tmp_path / "out", count)
    assert not (tmp_path / "out").exists()


def test_plan_command_runs_verbatim(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [b"{}\n"] * 40)
    script = root / "training" / "nemo" / "data" / "split_jsonl.py"
    subprocess.run([sys.executable, script, "--input", "in.jsonl", "--output-dir", "data/chunks",
                    "--num-chunks", "20"], cwd=tmp_path, check=True)
    assert len(list((tmp_path / "data" / "chunks").glob("chunk_*.jsonl"))) == 20


@pytest.mark.parametrize(
    ("argv", "code"),
    [([], 2), (["--num-chunks", "x"], 2), (["--nonsense"], 2), (["--config", "absent.yaml"], 65),
     (["--input", "absent", "--output-dir", "out", "--num-chunks", "2"], 65)])
def test_mistakes_are_one_line(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
