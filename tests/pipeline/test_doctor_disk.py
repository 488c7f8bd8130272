"""Free bytes and inodes, quotas, and what the jobs will write."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.doctor import disk
from pipeline.doctor.check import Scope
from tests.pipeline.doctored import asked, bad, by_name, facts, scope

KIB = 1024
# Room in KiB; the project, the logs and /tmp.
ROW = "free|ext2/ext3|{inodes}|/dev/sda1 {size} {used} {left} 40% {mount}\n"


def row(left: int = 10**9, inodes: str = "9999999", mount: str = "/scratch") -> str:
    return ROW.format(inodes=inodes, size=10**10, used=1, left=left, mount=mount)


def well(**changed: str) -> str:
    rows = {"project": row(), "logs": row(), "tmp": row(mount="/")} | changed
    return "".join(rows.values())


@pytest.mark.parametrize(
    ("line", "free"),
    [
        (row(7), disk.Free("/dev/sda1", "/scratch", "ext2/ext3", 7 * KIB, 9999999)),
        (row(7, "0"), disk.Free("/dev/sda1", "/scratch", "ext2/ext3", 7 * KIB, -1)),
        (row(7, "-"), disk.Free("/dev/sda1", "/scratch", "ext2/ext3", 7 * KIB, -1)),
        (row(7, mount="/a b"), disk.Free("/dev/sda1", "/a b", "ext2/ext3", 7 * KIB, 9999999)),
        (
            "free|nfs|5|fs 1:/vol x 100 50 -8 101% /n\n",
            disk.Free("fs 1:/vol x", "/n", "nfs", 0, 5),
        ),
    ],
)  # fmt: skip
def test_a_row_of_df(line: str, free: disk.Free) -> None:
    assert disk.parse_free(line) == ([free], [])


@pytest.mark.parametrize("text", ["", "free|||", "df: x: Permission denied", "free|a|b|c d e f g"])
def test_rows_of_anything_else(text: str) -> None:
    assert disk.parse_free(text) == ([], [])


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("nas:/home 1000 2000 3000 0 5 10 20 0", (1000 * KIB, 5)),
        ("nas:/home 1000 2000 3000 5 10 20", (1000 * KIB, 5)),
        ("nas:/home 1000 0 3000 0 5 0 0 0", (2000 * KIB, -1)),
        ("nas:/home 2500* 2000 3000 6days 5 10 20", (0, 5)),
        ("nas:/home 2500* 2000 3000 1733 5 10 20 0", (0, 5)),
        ("nas:/home 1000 0 0 0 5 0 0 0", (-1, -1)),
        ("/lustre 1000 0 4000 - 30* 10 20 6d", (3000 * KIB, 0)),
        ("/lustre [1000] 0 [4000] - 5 0 0 -", None),
    ],
)
def test_a_row_of_quota(line: str, left: tuple[int, int] | None) -> None:
    head = "Disk quotas for user me (uid 1): \n Filesystem blocks quota limit grace files\n"
    found = [(q.bytes, q.files) for q in disk.parse_quota(f"{head}  {line}\n")]
    assert found == ([left] if left else [])


@pytest.mark.parametrize("text", ["", "Disk quotas for user x (uid 1): none", "a b c d e f g h"])
def test_no_quota(text: str) -> None:
    assert disk.parse_quota(text) == []


def small(*stages: str) -> Scope:
    """A study whose tiny models take no room."""
    return scope(*stages, profiles=("demo",))


def test_enough_of_everything() -> None:
    found = by_name(disk.checks(small(), facts(free=well(), sizes="")))
    assert bad(found.values()) == []
    assert list(found) == ["room on /scratch", "inodes on /scratch", "room for temporary files"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"project": row(10), "logs": row(10)}, "fail room on /scratch: 0 MB free"),
        ({"project": row(900_000), "logs": row(900_000)}, "warn room on /scratch: 922 MB free"),
        ({"project": row(inodes="500")}, "fail inodes on /scratch: 500 files can be made"),
        ({"tmp": row(5, mount="/")}, "warn room for temporary files: 0 MB free"),
        ({"logs": row(10, mount="/logs")}, "fail room on /logs: 0 MB free"),
    ],
)
def test_too_little(changed: dict[str, str], expected: str) -> None:
    found = bad(disk.checks(small(), facts(free=well(**changed), sizes="")))
    assert len(found) == 1 and found[0].startswith(expected), found


def test_what_is_there_already_is_not_written_again() -> None:
    of = scope("train", log_dir="/logs")
    free = well(logs=row(mount="/logs"))
    need = by_name(disk.checks(of, facts(free=free, sizes="")))["room on /logs"].fact
    assert "180.0 GB to be written" in need
    there = "".join("4096\n" for _ in disk._outputs(of))
    need = by_name(disk.checks(of, facts(free=free, sizes=there)))["room on /logs"].fact
    assert "0 MB to be written" in need


def test_a_corpus_of_known_size_tells_the_rest() -> None:
    of = scope("split", "preprocess")
    paths = disk._outputs(of)
    corpus = of.path("data/corpora/seapile-v2-filipino.jsonl")
    unknown = by_name(disk.checks(of, facts(free=well(), sizes="")))["room on /scratch"]
    assert "which is not known before" in unknown.fact
    sizes = "".join(f"{35 * 10**9 if path == corpus else '-'}\n" for path in paths)
    known = by_name(disk.checks(of, facts(free=well(), sizes=sizes)))["room on /scratch"]
    # 35 GB of chunks; 10^10 tokens of 4 bytes, 1 + 1.1 + 1.5 times.
    assert "179.0 GB to be written" in known.fact and "not known" not in known.fact


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("/dev/sda1 1000 0 500000 0 5 0 0 0", ["fail quota on /scratch: 511 MB left"]),
        ("/dev/sda1 1000 0 90000000 0 99 0 100 0", ["fail quota on /scratch: 92.2 GB left, 1 f"]),
        ("/dev/sda1 1000 0 90000000 0 99 0 0 0", []),
        ("nas:/elsewhere 1000 0 1001 0 99 0 0 0", []),
    ],
)
def test_quotas(quota: str, expected: list[str]) -> None:
    found = bad(disk.checks(small(), facts(free=well(), sizes="", quota=quota)))
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


def test_lustres_own_quota() -> None:
    lustre = "lustre|    /scratch/me  1000 0 2000 - 5 0 0 - \n"
    [line] = bad(disk.checks(small(), facts(free=well(logs=row() + lustre), sizes="")))
    assert line.startswith("fail quota on /scratch: 1 MB left")


def test_it_is_asked_for_real(tmp_path: Path) -> None:
    of = scope(profiles=("demo",), project=tmp_path / "not made yet", log_dir="/tmp/x 'y'/z")
    answers = asked(disk.questions(of), tmp_path)
    free, _ = disk.parse_free(answers.text("free"))
    assert len(free) == 3 and all(f.mount.startswith("/") and f.bytes > 0 for f in free)
    assert answers.text("sizes").split() == ["-"] * len(disk._outputs(of))
    by_name(disk.checks(of, answers))
