"""Look whether the chunks and the token files of a study are whole, in one go.

    python -m corpus.verify --chunks data/chunks 20 --set data/processed/patok/seapile 20

Nothing is changed, and without `--digests` no content is read, but for the indices. What is not
there yet is no fault. `--digests` compares each chunk with its checksum in chunks.json; with
`--seconds` it stops after the chunk at which that time is over and names the `next` one, so that a
caller with little patience goes through terabytes in pieces (`--from 8`).
"""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from corpus.errors import CorpusError, Parser, UsageError, run
from corpus.files import BLOCK, new_checksum, read_json, size_of
from corpus.indexed import Reader
from corpus.split import INDEX

Status = Literal["ok", "absent", "warn", "fail"]
_CHUNK = re.compile(r"chunk_\d{4,}\.jsonl")
_LEFTOVER = re.compile(r"\.(.+)\.([^.]*(?:\.[^.]+)*)\.(\d+)\.tmp")
_FRESH = 600  # seconds; another host's temporary file as young as this is being written
_SHOWN = 8  # numbers named in one message


class Finding(msgspec.Struct, frozen=True):
    """What is to be said of one path. `absent`: it was not made yet."""

    path: str
    status: Status
    fact: str
    remedy: str = ""


class Set(msgspec.Struct, frozen=True):
    """What a set of token files holds, as its first sidecar and all its indices tell."""

    prefix: str
    parts: int
    tokens: int
    record: dict[str, Any]


class NotSound(CorpusError):
    """Something is damaged."""

    exit_code = 1


def chunks(directory: Path, count: int) -> Iterator[Finding]:
    """Chunk files against chunks.json, and both against the number the study asks for."""
    yield from leftovers(directory)
    there = {path.name: size_of(path) for path in _files(directory) if _CHUNK.fullmatch(path.name)}
    again = "Run the split stage again; it keeps what is right"
    index = read_json(directory / INDEX)
    if index is None:
        fact = f"{len(there)} chunks and no {INDEX}" if there else "no chunks"
        yield Finding(str(directory), "warn" if there else "absent", fact, again if there else "")
        return
    listed = _listed(index)
    if listed is None:
        yield Finding(str(directory / INDEX), "fail", "is no index of chunks", again)
        return
    wrong = [name for name, size in listed.items() if there.get(name, -1) != size]
    if wrong:
        missing = sum(name not in there for name in wrong)
        fact = (f"{len(wrong)} of {len(listed)} chunks are missing or not as long as {INDEX} says "
                f"({missing} missing): {_few(wrong)}")
        yield Finding(str(directory), "fail", fact, again)
    if strange := sorted(there.keys() - listed):
        yield Finding(str(directory), "warn", f"{INDEX} does not list {_few(strange)}",
                      "Delete them if they are of an older split")
    if len(listed) != count:
        yield Finding(str(directory), "fail",
                      f"{len(listed)} chunks; the study asks for {count}",
                      f"Run the split stage again, or set corpus.chunks to {len(listed)}")
    elif not wrong:
        yield Finding(str(directory), "ok",
                      f"{len(listed)} chunks, {sum(listed.values()) / 1e9:.2f} GB, sizes as listed")


def digests(directory: Path, first: int, seconds: float) -> tuple[list[Finding], int, int]:
    """Chunks from number `first` on against their checksums, for about `seconds`.

    Returns what is wrong, how many were read, and the number to go on with, 0 at the end.
    """
    index = read_json(directory / INDEX) or {}
    listed = list(_listed(index) or {})
    sums = {chunk["file"]: chunk.get("xxh3_128") for chunk in index.get("chunks", [])}
    found, until = [], time.monotonic() + seconds
    for number in range(first, len(listed) + 1):
        name = listed[number - 1]
        if not isinstance(sums[name], str):
            found.append(Finding(str(directory / INDEX), "warn",
                                 "holds no XXH3 checksums: an older version made it",
                                 "Run the split stage again; it keeps what is right"))
            return found, 0, 0
        path = directory / name
        if path.is_file() and _checksum(path) != sums[name]:
            found.append(Finding(str(path), "fail", f"does not match its checksum in {INDEX}",
                                 "Run the split stage again; it makes this chunk anew"))
        if time.monotonic() >= until and number < len(listed):
            return found, number - first + 1, number + 1
    return found, max(0, len(listed) - first + 1), 0


def token_files(prefix: Path, tasks: int) -> tuple[list[Finding], Set | None]:
    """The .bin, .idx and .json under `prefix`: the parts of `tasks`, or the merged set."""
    found = list(leftovers(prefix.parent, prefix.name))
    parts = _parts(prefix)
    again = "Run its task of the preprocess stage again"
    good: list[str] = []
    tokens, record = 0, None
    for name, suffixes in sorted(parts.items()):
        path = prefix.with_name(name)
        if lacking := [s for s in (".bin", ".idx", ".json") if s not in suffixes]:
            here = [s for s in (".bin", ".idx", ".json") if s in suffixes]
            fact = f"has {' and '.join(here)} and no {' and no '.join(lacking)}"
            pair = ".bin" in suffixes or ".idx" in suffixes
            found.append(Finding(str(path), "fail" if pair else "warn", fact, again))
            continue
        try:
            own, size = _sound(path)
        except (CorpusError, ValueError, OverflowError) as fault:
            found.append(Finding(str(path), "fail", str(fault).split(". ")[0].rstrip("."), again))
            continue
        good.append(name)
        if name != prefix.name or len(parts) == 1:
            tokens, record = tokens + size, record or own
    if not parts:
        found.append(Finding(str(prefix), "absent", "no token files"))
        return found, None
    found += _complete(prefix, parts, good, tasks)
    return found, Set(str(prefix), len(good), tokens, record) if record else None


def _complete(prefix: Path, parts: Iterable[str], good: list[str], tasks: int) -> list[Finding]:
    numbers = {int(name.rpartition("_")[2]) for name in parts if name != prefix.name}
    found = []
    if prefix.name in parts and not numbers:
        numbers = set(range(1, tasks + 1))  # a merged set alone
    if missing := sorted(set(range(1, tasks + 1)) - numbers):
        found.append(Finding(str(prefix), "warn", f"{len(missing)} of {tasks} parts are not there: "
                             f"{_few(missing)}", "Run these tasks of the preprocess stage"))
    if more := sorted(numbers - set(range(1, tasks + 1))):
        found.append(Finding(str(prefix), "fail", f"parts beyond the study's {tasks}: {_few(more)}",
                             "Delete them if they are of an older split: training would read them"))
    if not missing and not more and len(good) == len(set(parts)):
        found.append(Finding(str(prefix), "ok", f"{len(good)} pairs of .bin and .idx, as long as "
                             "their indices say"))
    return found


def leftovers(directory: Path, name: str = "") -> Iterator[Finding]:
    """Temporary files whose writer is gone; one that is being written is passed over."""
    stale = []
    for path in _files(directory):
        match = _LEFTOVER.fullmatch(path.name)
        if match and match[1].startswith(name) and not _writing(path, match[2], int(match[3])):
            stale.append(path)
    if stale:
        size = sum(size_of(path) or 0 for path in stale)
        yield Finding(str(directory), "warn", f"{len(stale)} files of interrupted writes, "
                      f"{size / 1e9:.2f} GB: {_few(path.name for path in stale)}",
                      "Run their stage again, which clears them, or delete them")


def _writing(path: Path, host: str, pid: int) -> bool:
    if host == socket.gethostname():
        return Path(f"/proc/{pid}").exists()
    try:
        return time.time() - path.stat().st_mtime < _FRESH
    except FileNotFoundError:  # finished meanwhile
        return True


def _files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _listed(index: dict[str, Any]) -> dict[str, int] | None:
    """File name -> bytes of an index; None where it is none."""
    try:
        return {str(chunk["file"]): int(chunk["bytes"]) for chunk in index["chunks"]}
    except (KeyError, TypeError, ValueError):
        return None


def _parts(prefix: Path) -> dict[str, set[str]]:
    """Name of a part, or of the whole, -> the suffixes that are there."""
    pattern = re.compile(re.escape(prefix.name) + r"(_\d{4,9})?(\.bin|\.idx|\.json)")
    parts: dict[str, set[str]] = {}
    for path in _files(prefix.parent):
        if match := pattern.fullmatch(path.name):
            parts.setdefault(prefix.name + (match[1] or ""), set()).add(match[2])
    return parts


def _sound(prefix: Path) -> tuple[dict[str, Any], int]:
    """The sidecar of one part and its number of ids; CorpusError for what does not agree."""
    reader = Reader(prefix)
    record = read_json(prefix.with_name(prefix.name + ".json")) or {}
    if record.get("documents") != len(reader):
        raise CorpusError(f"its .json says {record.get('documents')} documents and its .idx "
                          f"{len(reader)}. Make it again.")
    if len(reader) and int(reader.lengths.min()) < 1:
        raise CorpusError("its .idx holds a document without ids. Make it again.")
    return record, len(reader.ids)


def _checksum(path: Path) -> str:
    digest = new_checksum()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    checksum: str = digest.hexdigest()
    return checksum


def _few(items: Iterable[object]) -> str:
    words = [str(item) for item in items]
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def _main(argv: Sequence[str] | None) -> None:
    flags = _parser().parse_args(argv)
    found: list[Finding] = []
    answer: dict[str, Any] = {}
    if flags.digests:
        directory = Path(flags.digests)
        wrong, answer["read"], answer["next"] = digests(directory, _number(flags.first),
                                                          flags.seconds)
        found += wrong
    for directory, count in flags.chunks:
        found += _guarded(Path(directory), chunks, _number(count))
    sets = []
    for prefix, tasks in flags.set:
        more, held = token_files(Path(prefix), _number(tasks))
        found += more
        sets += [held] if held else []
    if flags.json:
        print(msgspec.json.encode({**answer, "findings": found, "sets": sets}).decode())
    else:
        for one in found:
            print(f"{one.status}: {one.path}: {'. '.join(filter(None, (one.fact, one.remedy)))}")
    if bad := sum(one.status == "fail" for one in found):
        raise NotSound(f"{bad} of {len(found)} findings are faults. Do what they say.")


def _guarded(path: Path, look: Any, *more: Any) -> list[Finding]:
    """A look whose own error (an index that is no JSON) is a finding like others."""
    try:
        return list(look(path, *more))
    except CorpusError as fault:
        return [Finding(str(path), "fail", str(fault).rstrip("."))]


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**9:
        raise UsageError(f"{text} is no number of chunks. Give 1 or more.")
    return int(text)


def _parser() -> Parser:
    parser = Parser(prog="corpus.verify", description="Check chunks and token files.")
    parser.add_argument("--chunks", nargs=2, action="append", default=[], metavar=("DIR", "N"),
                        help="chunks, and how many there should be; repeatable")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("PREFIX", "N"),
                        help="token files, and how many parts there should be; repeatable")
    parser.add_argument("--digests", metavar="DIR", help="compare the chunks' checksums")
    parser.add_argument("--from", dest="first", default="1", metavar="K",
                        help="with --digests: begin with chunk K")
    parser.add_argument("--seconds", type=float, default=float("inf"),
                        help="with --digests: stop when this time is over")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
