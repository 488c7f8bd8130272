"""What corpus.verify finds in chunks and token files, and what it passes over."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.files import write_json
from corpus.indexed import Writer, bin_path, idx_path
from corpus.split import INDEX, chunk_name, split
from corpus.verify import Finding, chunks, digests, leftovers, main, token_files

GONE = 2**22 + 1  # a number that no process has: the kernel's largest is 2**22


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """Five chunks of forty documents, in a folder with a space."""
    source = tmp_path / "corpus.jsonl"
    source.write_bytes(b"".join(b'{"text": "%d"}\n' % (7**n) for n in range(40)))
    folder = tmp_path / "chunks of mine"
    split(source, folder, 5)
    return folder


def statuses(found: list[Finding]) -> list[str]:
    return [one.status for one in found]


def only(found: list[Finding], status: str) -> Finding:
    """The one finding of a status."""
    [one] = [one for one in found if one.status == status]
    return one


def test_chunks_as_listed_are_well(cut: Path) -> None:
    found = list(chunks(cut, 5))
    assert statuses(found) == ["ok"] and found[0].fact.startswith("5 chunks")


def test_nothing_there_is_no_fault(tmp_path: Path) -> None:
    assert statuses(list(chunks(tmp_path / "nowhere", 5))) == ["absent"]
    found, held = token_files(tmp_path / "nowhere/set", 5)
    assert statuses(found) == ["absent"] and held is None


def test_another_number_than_the_study_asks_for(cut: Path) -> None:
    one = only(list(chunks(cut, 6)), "fail")
    assert one.fact == "5 chunks; the study asks for 6" and "corpus.chunks to 5" in one.remedy


def test_a_cut_that_did_not_end(cut: Path) -> None:
    (cut / INDEX).unlink()
    one = only(list(chunks(cut, 5)), "warn")
    assert one.fact == f"5 chunks and no {INDEX}" and "split" in one.remedy


def test_missing_longer_and_strange_chunks(cut: Path) -> None:
    (cut / chunk_name(2)).unlink()
    with (cut / chunk_name(4)).open("ab") as stream:
        stream.write(b"x")
    (cut / chunk_name(9)).write_bytes(b"x")
    (cut / "chunk_notes.txt").write_text("not a chunk")
    found = list(chunks(cut, 5))
    assert "2 of 5" in only(found, "fail").fact and "1 missing" in only(found, "fail").fact
    assert chunk_name(4) in only(found, "fail").fact
    assert only(found, "warn").fact.endswith(chunk_name(9))


@pytest.mark.parametrize("text", ['{"chunks": 7}', '{"chunks": [{"file": 3}]}', "{}"])
def test_an_index_that_is_none(cut: Path, text: str) -> None:
    (cut / INDEX).write_text(text)
    assert only(list(chunks(cut, 5)), "fail").path.endswith(INDEX)


def test_digests_find_the_chunk_whose_bytes_changed(cut: Path) -> None:
    path = cut / chunk_name(3)
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"!\n")  # as long as before
    assert statuses(list(chunks(cut, 5))) == ["ok"]
    found, read, following = digests(cut, 1, float("inf"))
    assert [one.path for one in found] == [str(path)] and (read, following) == (5, 0)


def test_digests_in_slices_reach_every_chunk_once(cut: Path) -> None:
    first, seen = 1, []
    while first:
        found, read, following = digests(cut, first, 0.0)
        assert read == 1 and not found
        seen.append(first)
        first = following
    assert seen == [1, 2, 3, 4, 5]


def test_checksums_of_an_older_version_are_not_a_fault(cut: Path) -> None:
    index = json.loads((cut / INDEX).read_text())
    for chunk in index["chunks"]:
        chunk["sha256"] = chunk.pop("xxh3_128")
    (cut / INDEX).write_text(json.dumps(index))
    found, read, following = digests(cut, 1, float("inf"))
    assert statuses(found) == ["warn"] and (read, following) == (0, 0)


# --- token files


def make_set(folder: Path, parts: int, **more: Any) -> Path:
    """`folder/set_0001` ... with two documents each."""
    prefix = folder / "set"
    for number in range(1, parts + 1):
        part = folder / f"set_{number:04d}"
        with Writer(part, np.uint16) as writer:
            writer.add(np.arange(7), np.array([3, 4]))
            writer.publish()
        write_json(part.with_name(part.name + ".json"), {"documents": 2, "tasks": parts, **more})
    return prefix


def test_a_whole_set_is_well_and_counted(tmp_path: Path) -> None:
    found, held = token_files(make_set(tmp_path, 3, seed=42), 3)
    assert statuses(found) == ["ok"] and held
    assert (held.parts, held.tokens, held.record["seed"]) == (3, 21, 42)


def test_a_merged_set_is_not_counted_twice(tmp_path: Path) -> None:
    prefix = make_set(tmp_path, 2)
    for suffix in (".bin", ".idx", ".json"):
        shutil.copyfile(tmp_path / f"set_0001{suffix}", tmp_path / f"set{suffix}")
    found, held = token_files(prefix, 2)
    assert statuses(found) == ["ok"] and held and held.tokens == 14
    for number in (1, 2):
        for suffix in (".bin", ".idx", ".json"):
            (tmp_path / f"set_{number:04d}{suffix}").unlink()
    found, held = token_files(prefix, 2)
    assert statuses(found) == ["ok"] and held and held.tokens == 7


@pytest.mark.parametrize(
    ("suffix", "status", "words"),
    [
        (".idx", "fail", "has .bin and .json and no .idx"),
        (".bin", "fail", "has .idx and .json and no .bin"),
        (".json", "fail", "has .bin and .idx and no .json"),
    ],
)
def test_a_file_without_its_pair(tmp_path: Path, suffix: str, status: str, words: str) -> None:
    prefix = make_set(tmp_path, 2)
    (tmp_path / f"set_0002{suffix}").unlink()
    one = only(token_files(prefix, 2)[0], status)
    assert one.path.endswith("set_0002") and one.fact == words and "preprocess" in one.remedy


def test_a_bin_that_is_shorter_than_its_index_says(tmp_path: Path) -> None:
    prefix = make_set(tmp_path, 2)
    with bin_path(tmp_path / "set_0001").open("r+b") as stream:
        stream.truncate(5)
    one = only(token_files(prefix, 2)[0], "fail")
    assert "has 5 bytes" in one.fact


@pytest.mark.parametrize("content", [b"", b"MMIDIDX", b"\0" * 200, b"MMIDIDX\0\0" + b"\xff" * 60])
def test_an_index_of_anything_else_is_a_finding_and_no_crash(
    tmp_path: Path, content: bytes
) -> None:
    prefix = make_set(tmp_path, 1)
    idx_path(tmp_path / "set_0001").write_bytes(content)
    assert "fail" in statuses(token_files(prefix, 1)[0])


def test_a_sidecar_of_another_run(tmp_path: Path) -> None:
    prefix = make_set(tmp_path, 1)
    write_json(tmp_path / "set_0001.json", {"documents": 3})
    assert "says 3 documents" in only(token_files(prefix, 1)[0], "fail").fact


def test_missing_parts_and_parts_beyond(tmp_path: Path) -> None:
    prefix = make_set(tmp_path, 4)
    assert "2 of 6 parts are not there: 5, 6" in only(token_files(prefix, 6)[0], "warn").fact
    assert "parts beyond the study's 3: 4" in only(token_files(prefix, 3)[0], "fail").fact


def test_another_set_beside_it_is_not_its_part(tmp_path: Path) -> None:
    prefix = make_set(tmp_path, 2)
    for name in ("set_extra.bin", "set2_0001.bin", "set_00a1.idx"):
        (tmp_path / name).write_bytes(b"")
    assert statuses(token_files(prefix, 2)[0]) == ["ok"]


# --- what interrupted writes leave


@pytest.mark.parametrize(
    ("host", "pid", "age", "found"),
    [
        (socket.gethostname(), GONE, 0, True),
        (socket.gethostname(), os.getpid(), 9**6, False),
        ("node7.cluster", 17, 9**6, True),
        ("node7.cluster", 17, 1, False),
    ],
    ids=["its process is gone", "its process runs", "elsewhere and old", "elsewhere and new"],
)
def test_only_files_whose_writer_is_gone_are_leftovers(
    tmp_path: Path, host: str, pid: int, age: int, found: bool
) -> None:
    path = tmp_path / f".chunk_0001.jsonl.{host}.{pid}.tmp"
    path.write_bytes(b"x" * 10)
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    (tmp_path / ".other.tmp").write_bytes(b"")
    assert [one.status for one in leftovers(tmp_path)] == ["warn"] * found


# --- the program


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corpus.verify", *words], capture_output=True, text=True,
        cwd=Path(__file__).parents[2], check=False)


def test_the_program_tells_all_in_json_and_ends_with_1(cut: Path, tmp_path: Path) -> None:
    prefix = make_set(tmp_path, 2)
    (tmp_path / "set_0002.idx").unlink()
    done = run("--json", "--chunks", str(cut), "5", "--set", str(prefix), "2", "--set",
               str(tmp_path / "no"), "2")
    answer = json.loads(done.stdout)
    assert [one["status"] for one in answer["findings"]] == ["ok", "fail", "absent"]
    assert answer["sets"][0]["parts"] == 1
    assert done.returncode == 1 and done.stderr.count("\n") == 1


def test_the_program_in_words(cut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chunks", str(cut), "5", "--digests", str(cut)]) == 0
    assert capsys.readouterr().out.startswith("ok: ")


def test_an_unreadable_index_is_a_finding(cut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cut / INDEX).write_text("not json")
    assert main(["--chunks", str(cut), "5"]) == 1
    assert "is not JSON" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--chunks", "x", "0"], ["--set", "x", "-1"], ["--from", "0"],
                                   ["--chunks", "x"], ["--sets"]])
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--digests", "."]) == 2
    assert capsys.readouterr().err.startswith("error: ")
