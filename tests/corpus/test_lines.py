"""Batches give back all lines of a file, wherever its blocks end."""

from __future__ import annotations

import hashlib
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import lines as lines_module
from corpus.lines import Batch, Overlong, read_batches
from tests.draws import draws

CONTENT = st.lists(st.sampled_from([b"\n", b"\n\n", b"a", b"bc", b"\r", b"\xff", b"{}", b"\0",
                                    b"x" * 9, b"y" * 30])).map(b"".join)


def lines_of(content: bytes) -> list[bytes]:
    """The lines of a file: what its newlines end, and what is behind the last of them."""
    lines = content.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def read(path: Path, longest: int) -> list[Batch]:
    digest = hashlib.sha256()
    batches = list(read_batches(path, longest, digest))
    assert digest.digest() == hashlib.sha256(path.read_bytes()).digest()
    assert [batch.first for batch in batches[:1]] in ([], [0])
    for before, after in pairwise(batches):
        assert after.first == before.first + len(before.lines)
    assert all(batch.lines for batch in batches)
    return batches


def check(path: Path, content: bytes, longest: int) -> None:
    path.write_bytes(content)
    found = [line for batch in read(path, longest) for line in batch.lines]
    wanted = lines_of(content)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert isinstance(ours, Overlong) == (len(theirs) > longest)
        if len(theirs) > longest:
            assert ours and theirs.startswith(ours) and len(ours) <= 800
        else:
            assert ours == theirs


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines") / "chunk.jsonl"


@draws(400)
@given(content=CONTENT, block=st.integers(1, 40), longest=st.sampled_from([1, 5, 9, 29, 30, 1000]))
def test_any_content_and_any_blocks(path: Path, content: bytes, block: int, longest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "_BATCH_BYTES", block)
        check(path, content, longest)


LONG = b"L" * 50
PLACES = {
    "alone": LONG, "alone, ended": LONG + b"\n", "first": LONG + b"\na\nb\n",
    "last": b"a\nb\n" + LONG + b"\n", "last, not ended": b"a\nb\n" + LONG,
    "two": (LONG + b"\n") * 2, "two, not ended": LONG + b"\n" + LONG,
    "between": b"a\n" + LONG + b"\nb\n",
    "before nothing": LONG + b"\n\n\n", "behind nothing": b"\n\n" + LONG, "just": b"j" * 20 + b"\n",
    "just, not ended": b"j" * 20, "one more": b"j" * 21 + b"\nx",
    "far": LONG * 9 + b"\n" + LONG * 9,
}


@pytest.mark.parametrize("block", [*range(1, 60), 64, 128, 1 << 19])
def test_lines_that_are_too_long(path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(lines_module, "_BATCH_BYTES", block)
    for content in PLACES.values():
        check(path, content, 20)


def test_what_is_kept_of_a_long_line_is_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "chunk.jsonl"
    content = bytes(range(48, 58)) * 100_000
    path.write_bytes(b"a\n" + content + b"\nb")
    (one, long, other) = [line for batch in read(path, 5000) for line in batch.lines]
    assert (one, long, other) == (b"a", content[:800], b"b")
    assert isinstance(long, Overlong) and not isinstance(other, Overlong)


def test_a_file_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chunk.jsonl"
    path.write_bytes(b"")
    assert read(path, 10) == []


def test_memory_does_not_grow_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of 8 MB where 100 kB are allowed, in blocks of 16 KiB."""
    path = tmp_path / "chunk.jsonl"
    path.write_bytes(b"a\n" + b"x" * 8_000_000 + b"\nb\n" + b"y" * 8_000_000)
    monkeypatch.setattr(lines_module, "_BATCH_BYTES", 1 << 14)
    tracemalloc.start()
    try:
        found = [line for batch in read_batches(path, 100_000, hashlib.sha256())
                 for line in batch.lines]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [len(line) for line in found] == [1, 800, 1, 800]
    assert peak < 1_000_000
