from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
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
    assert index["input"]["sha256"] == hashlib.sha256(content).hexdigest()
    first = 0
    for chunk, about in zip(chunks, index["chunks"], strict=True):
        assert about["first_document"] == first
        assert about["documents"] == len(chunk.splitlines())
        assert about["bytes"] == len(chunk)
        assert about["sha256"] == hashlib.sha256(chunk).hexdigest()
        first += about["documents"]
    assert json.loads((tmp_path / "out" / INDEX).read_bytes()) == index


def test_scan_finds_ends_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.split.BLOCK", 1)
    write(tmp_path / "in", [b"a" * 7 + b"\n", b"\n", b"b" * 20])
    ends, _ = scan(tmp_path / "in")
    assert ends.tolist() == [8, 9, 29]


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "in", [b"{}\n"] * 9)
    split(tmp_path / "in", tmp_path / "out", 3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    split(tmp_path / "in", tmp_path / "out", 3)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


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


def test_damaged_chunk_is_made_again(tmp_path: Path) -> None:
    content = write(tmp_path / "in", [b"{}\n"] * 9)
    split(tmp_path / "in", tmp_path / "out", 1)
    (tmp_path / "out" / chunk_name(1)).write_bytes(b"short")
    split(tmp_path / "in", tmp_path / "out", 1)
    assert (tmp_path / "out" / chunk_name(1)).read_bytes() == content


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
