from __future__ import annotations

import gzip
import io
import json
import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import CorpusError, MissingPackage
from corpus.sources import Damaged, Input, Source, least_output, local_files, obtain, texts
from tests.require import require

TEXTS = [f"dokumento {n} ñ 漢 " * (n % 7) + "\n" for n in range(3000)]
BODY = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


def read(path: Path, key: str = "text") -> list[str]:
    return [text for text, _ in texts([Input(path, path.name)], key)]


@pytest.fixture
def zstandard() -> Any:
    require("zstandard", find_spec("zstandard") is not None, "zstandard is an extra")
    import zstandard

    return zstandard


def test_zstandard_frame_after_frame(tmp_path: Path, zstandard: Any) -> None:
    """As tools make them that compress in parallel or append; the third frame is not data."""
    cut, path = 50_001, tmp_path / "a.jsonl.zst"
    skipped = struct.pack("<II", 0x184D2A50, 5) + b"about"
    stream = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(stream, closefd=False) as writer:
        writer.write(BODY[cut:])  # its header does not state the size
    path.write_bytes(zstandard.compress(BODY[:cut]) + skipped + stream.getvalue())
    assert read(path) == TEXTS
    path.write_bytes(zstandard.compress(BODY[:cut])[:-1])
    with pytest.raises(Damaged, match=r"a.jsonl.zst is truncated"):
        read(path)


@pytest.mark.parametrize("cut", [1, 4, 1000, -1], ids=["a byte", "checksum", "much", "garbage"])
def test_damaged_zstandard_is_noticed(tmp_path: Path, zstandard: Any, cut: int) -> None:
    whole = zstandard.ZstdCompressor(write_checksum=True).compress(BODY)
    (tmp_path / "a.jsonl.zst").write_bytes(whole[:-cut] if cut > 0 else whole + b"garbage")
    with pytest.raises(Damaged, match="Fetch it again"):
        read(tmp_path / "a.jsonl.zst")


def test_zstandard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingPackage, match="pip install zstandard"):
        read(tmp_path / "a.jsonl.zst")


@pytest.mark.parametrize("change", ["short", "flipped", "overwritten", "plain"])
def test_damaged_gzip_is_noticed(tmp_path: Path, change: str) -> None:
    whole = bytearray(gzip.compress(BODY))
    if change == "flipped":  # found by the checksum
        whole[-8] ^= 255
    elif change == "overwritten":  # found by the decompressor
        whole[1000:1100] = b"\xff" * 100
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes({"short": bytes(whole[:-9]), "plain": BODY}.get(change, bytes(whole)))
    with pytest.raises(Damaged, match="a.jsonl.gz"):
        read(path)


def test_gzip_member_after_member(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(BODY[:5000]) + gzip.compress(BODY[5000:]))
    assert read(tmp_path / "a.jsonl.gz") == TEXTS


@pytest.fixture
def write_parquet() -> Any:
    require("hub", find_spec("pyarrow") is not None, "pyarrow is an extra, for Parquet only")
    import pyarrow
    from pyarrow import parquet

    def write(path: Path, columns: dict[str, Any], **how: Any) -> None:
        parquet.write_table(pyarrow.table(columns), path, **how)

    return write


def test_parquet_in_row_groups(tmp_path: Path, write_parquet: Any) -> None:
    # More columns in the file than in the schema, and larger ones.
    nested = [{"a": n, "b": f"{n} " * 200} for n in range(len(TEXTS))]
    write_parquet(tmp_path / "a.parquet", {"meta": nested, "text": TEXTS}, row_group_size=700)
    assert read(tmp_path / "a.parquet") == TEXTS
    size = sum(len(text.encode()) for text in TEXTS)
    write_parquet(tmp_path / "b.parquet", {"meta": nested, "text": TEXTS}, use_dictionary=False)
    assert size <= least_output([Input(tmp_path / "b.parquet", "b")], "text") < 1.3 * size


def test_parquet_takes_little_memory(tmp_path: Path, write_parquet: Any) -> None:
    """One row group of 80 MB is read in pages: what arrow holds at once stays far below it."""
    import pyarrow

    write_parquet(tmp_path / "a.parquet", {"text": [f"x{n:07d}" * 1250 for n in range(8000)]},
                  compression="none", use_dictionary=False)
    before = pyarrow.total_allocated_bytes()
    held = [pyarrow.total_allocated_bytes() - before
            for _ in texts([Input(tmp_path / "a.parquet", "a")], "text")]
    assert len(held) == 8000 and max(held) < 40e6
    assert (tmp_path / "a.parquet").stat().st_size > 79e6


@pytest.mark.parametrize(
    ("columns", "says"),
    [({"text": ["a", None]}, "row 2: 'text' is not text"), ({"text": [1]}, "row 1: 'text' is not"),
     ({"content": ["a"]}, "no column 'text'; it has content")])
def test_parquet_without_text(
    tmp_path: Path, write_parquet: Any, columns: dict[str, Any], says: str
) -> None:
    write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(CorpusError, match=says) as fault:
        read(tmp_path / "a.parquet")
    assert not isinstance(fault.value, Damaged)


def test_damage_inside_parquet_is_noticed(tmp_path: Path, write_parquet: Any) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, {"text": TEXTS}, compression="zstd", use_dictionary=False)
    whole = bytearray(path.read_bytes())
    whole[100 : len(whole) // 2] = bytes(len(whole) // 2 - 100)
    path.write_bytes(whole)
    with pytest.raises(Damaged, match="a.parquet"):
        read(path)


def test_nesting_beyond_reason_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": ' + b"[" * 200_000 + b"\n")
    with pytest.raises(Damaged, match="a.jsonl:1 is not JSON"):
        read(tmp_path / "a.jsonl")


def test_local_files(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.parquet", "c.jsonl.zst", "d.jsonl.gz", "notes.txt", "e.jsonl.tmp"):
        (tmp_path / name).write_bytes(BODY)
    (tmp_path / "sub [1]").mkdir()
    (tmp_path / "sub [1]" / "f.jsonl").write_bytes(BODY)
    every = ["a.parquet", "b.jsonl", "c.jsonl.zst", "d.jsonl.gz"]
    assert [path.name for path in local_files(str(tmp_path))] == every
    assert [path.name for path in local_files(str(tmp_path / "*.jsonl*"))] == every[1:]
    assert [path.name for path in local_files(str(tmp_path / "**" / "*.jsonl"))] == [
        "b.jsonl", "f.jsonl"]
    assert [path.name for path in local_files(str(tmp_path / "sub [1]"))] == ["f.jsonl"]
    assert local_files(str(tmp_path / "notes.txt")) == [tmp_path / "notes.txt"]
    with pytest.raises(CorpusError, match="no such file.*jsonl.zst"):
        local_files(str(tmp_path / "none*"))
    files = obtain(Source(str(tmp_path / "*.jsonl")), tmp_path / "unused")
    assert files == [Input(tmp_path / "b.jsonl", str(tmp_path / "b.jsonl"))]
    assert least_output(files, "text") == len(BODY)
