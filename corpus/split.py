"""Cut the corpus into chunks, one for each task of the preprocessing array.

A document is a line. The chunks in order are the input byte for byte, and no chunk is larger than
another by more than the largest document. That such a cut into consecutive blocks always exists is
a theorem of Barany and Grinberg ("Block partitions of sequences", Israel J. Math. 206, 2015).

The input is read twice: once for the newlines, which say where to cut, and once by several threads
for the checksums, one a chunk. A chunk that exists already is compared with its part of the
input, byte for byte, and kept if it is equal. So a second run writes nothing, a killed one goes on,
and what changed in the input or in a chunk is made again whatever its size and date say.
`chunks.json` is written last and marks the work as done.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus.config import Config
from corpus.errors import CorpusError, Parser, UsageError, run
from corpus.files import (
    BLOCK,
    atomic,
    new_checksum,
    only_run,
    read_json,
    require_space,
    size_of,
    sweep,
    write_json,
)
from corpus.progress import Progress

T = TypeVar("T")
INDEX = "chunks.json"
_PLAN = ".chunks.json.plan"  # how many chunks the run was making that has not finished
_PIECE = 64 * BLOCK  # bytes that the kernel copies in one call
_THREADS = min(8, os.cpu_count() or 1)
# The kernel, the file system or a container's filter will not: then the bytes go through here.
_REFUSED = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


class Part(msgspec.Struct, frozen=True):
    """The bytes `start` to `end` of the input, the documents `first` to `last`, and their file."""

    file: Path
    start: int
    end: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


def chunk_name(number: int) -> str:
    """File name of chunk `number`, which counts from 1."""
    return f"chunk_{number:04d}.jsonl"


def split(source: Path, directory: Path, count: int) -> dict[str, Any]:
    """Cut `source` into exactly `count` chunks in `directory` and return their index.

    Raises CorpusError where the input has fewer documents than `count` or changes meanwhile, and
    where the disk is too full.
    """
    if count < 1:
        raise CorpusError(f"{count} chunks cannot be made. Ask for one or more.")
    with source.open("rb") as stream:
        before = _state(stream)
        parts = plan(scan(stream), directory, count, source)
        with only_run(directory):
            digests = _compare(stream, parts)
            old = read_json(directory / INDEX)
            index = _index(source, parts, digests)
            if old and all(old.get(key) == index[key] for key in index.keys() - {"input"}):
                (directory / _PLAN).unlink(missing_ok=True)
                return old
            _clear(old, parts, digests)
            write_json(directory / _PLAN, {"chunks": count})
            digests = _make(stream, parts, digests)
            if _state(stream) != before:
                raise _changed(source)
            index = _index(source, parts, digests)
            write_json(directory / INDEX, index)
            (directory / _PLAN).unlink()
    return index


def scan(stream: BinaryIO) -> NDArray[np.int64]:
    """The byte offset after each document, shape (documents,).

    Holds 8 bytes a document. A last line without a newline is a document too.
    """
    parts, offset, last = [np.zeros(0, np.int64)], 0, b"\n"
    progress = Progress(os.fstat(stream.fileno()).st_size, "bytes", "reading")
    while block := stream.read(BLOCK):
        newlines = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
        parts.append(newlines + (offset + 1))
        offset, last = offset + len(block), block[-1:]
        progress.update(offset)
    if last != b"\n":
        parts.append(np.array([offset], np.int64))
    return np.concatenate(parts)


def plan(ends: NDArray[np.int64], directory: Path, count: int, source: Path) -> list[Part]:
    """The `count` parts of `source`, whose documents end at `ends`.

    Raises CorpusError if there are fewer documents than parts.
    """
    if len(ends) < count:
        raise CorpusError(f"{source} has {len(ends)} documents, fewer than the {count} chunks "
                          "asked for. Set corpus.chunks to no more than its documents.")
    stops = [0, *cut(ends, count)]
    offsets = [0, *(int(ends[stop - 1]) for stop in stops[1:])]
    return [Part(directory / chunk_name(number + 1), *offsets[number : number + 2],
                 *stops[number : number + 2]) for number in range(count)]


def cut(ends: NDArray[np.int64], count: int) -> list[int]:
    """How many documents stand before the end of each of `count` chunks.

    With L the largest document, every chunk gets between a and a + L bytes, for the largest a that
    works, which a binary search finds. For a given a, the ends that a chunk's end can reach are a
    run of consecutive documents, because a window of L bytes always holds a document's end; so two
    bounds a chunk describe all of them.
    """
    edges = np.concatenate([np.zeros(1, np.int64), ends])
    largest = int(np.diff(edges).max())
    low, high = 1, int(ends[-1]) // count
    while low < high:
        middle = (low + high + 1) // 2
        if _bounds(edges, count, middle, largest)[-1][0] < len(edges):
            low = middle
        else:
            high = middle - 1
    bounds = _bounds(edges, count, low, largest)
    chosen = [len(edges) - 1]
    for chunk in range(count - 1, 0, -1):
        after = int(edges[chosen[-1]])
        first = max(bounds[chunk][0], int(np.searchsorted(edges, after - low - largest, "left")))
        last = min(bounds[chunk][1], int(np.searchsorted(edges, after - low, "right")) - 1)
        ideal = int(np.searchsorted(edges, int(ends[-1]) * chunk // count, "left"))
        chosen.append(min(max(ideal, first), last))
    return chosen[::-1]


def _bounds(
    edges: NDArray[np.int64], count: int, least: int, largest: int
) -> list[tuple[int, int]]:
    """First and last edge where chunk 0 ... count can end; len(edges) means past the input."""
    bounds = [(0, 0)]
    for _ in range(count):
        low, high = bounds[-1]
        start = int(edges[low]) if low < len(edges) else int(edges[-1])
        stop = int(edges[high]) + least + largest
        bounds.append((int(np.searchsorted(edges, start + least, "left")),
                       int(np.searchsorted(edges, stop, "right")) - 1))
    return bounds


def _state(stream: BinaryIO) -> tuple[int, int]:
    about = os.fstat(stream.fileno())
    return about.st_size, about.st_mtime_ns


def _changed(source: Path | str) -> CorpusError:
    return CorpusError(f"{source} changed while it was being split. Run it again.")


def _index(source: Path, parts: list[Part], digests: list[str | None]) -> dict[str, Any]:
    chunks = [{"file": part.file.name, "documents": part.last - part.first, "bytes": part.size,
               "first_document": part.first, "xxh3_128": digest}
              for part, digest in zip(parts, digests, strict=True)]
    return {"version": 2, "input": {"path": str(source), "bytes": parts[-1].end},
            "documents": parts[-1].last, "chunks": chunks}


def _clear(old: dict[str, Any] | None, parts: list[Part], digests: list[str | None]) -> None:
    """Remove chunks of an older cut that this one does not have, then the old index.

    In this order: a run killed in between still finds what it has to remove. Raises CorpusError
    before anything is touched if the disk has no room for the chunks to make.
    """
    directory, names = parts[0].file.parent, {part.file.name for part in parts}
    begun = (read_json(directory / _PLAN) or {}).get("chunks", 0)
    listed = {chunk["file"] for chunk in (old or {}).get("chunks", [])}
    listed |= {chunk_name(number) for number in range(1, begun + 1)}
    stale = [directory / name for name in listed - names if Path(name).name == name]
    missing = [part for part, digest in zip(parts, digests, strict=True) if digest is None]
    given_back = sum(size_of(file) or 0 for file in (*stale, *(part.file for part in missing)))
    require_space(directory, sum(part.size for part in missing) - given_back)
    for file in stale:
        sweep(file)
        file.unlink(missing_ok=True)
    (directory / INDEX).unlink(missing_ok=True)


class _Meter:
    """Progress of several threads together."""

    def __init__(self, parts: list[Part], label: str) -> None:
        self._lock, self._done = threading.Lock(), 0
        self._progress = Progress(sum(part.size for part in parts), "bytes", label)

    def advance(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._progress.update(self._done)

    def finish(self) -> None:
        self._progress.finish(self._done)


def _each(work: Callable[[Part], T], parts: list[Part]) -> list[T]:
    """`work` of every part, in order, by several threads; the first failure ends it."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, parts))


def _compare(source: BinaryIO, parts: list[Part]) -> list[str | None]:
    """The digest of each chunk that exists and is right; None for the others."""
    meter = _Meter([part for part in parts if size_of(part.file) == part.size], "comparing")
    return _each(lambda part: _digest(source, part, part.file, meter), parts)


def _make(source: BinaryIO, parts: list[Part], digests: list[str | None]) -> list[str | None]:
    """Write the chunks that have no digest yet; the digests of all."""
    missing = [part for part, digest in zip(parts, digests, strict=True) if digest is None]
    meter = _Meter(missing, "splitting")

    def make(part: Part) -> str:
        with atomic(part.file) as target:
            _copy(source, part, target)
            digest = _digest(source, part, Path(target.name), meter)
            if digest is None:
                raise _changed(source.name)
        return digest

    made = iter(_each(make, missing))
    meter.finish()
    return [digest or next(made) for digest in digests]


def _copy(source: BinaryIO, part: Part, target: BinaryIO) -> None:
    """Let the kernel copy the part, so that its bytes do not pass through this process."""
    kernel_copy = getattr(os, "copy_file_range", None)  # Linux has it
    reader, writer, done = source.fileno(), target.fileno(), 0
    while done < part.size:
        moved = 0
        if kernel_copy:
            try:
                moved = kernel_copy(reader, writer, min(_PIECE, part.size - done),
                                    part.start + done, done)
            except OSError as fault:
                if fault.errno not in _REFUSED:
                    raise
            if not moved:  # some file systems copy nothing instead of refusing
                kernel_copy = None
        if not moved:
            block = os.pread(reader, min(BLOCK, part.size - done), part.start + done)
            if not block:
                raise _changed(source.name)
            moved = os.pwrite(writer, block, done)
        done += moved


def _digest(source: BinaryIO, part: Part, copy: Path, meter: _Meter) -> str | None:
    """Checksum of the part, or None unless `copy` holds the same bytes."""
    if size_of(copy) != part.size:
        return None
    digest, offset = new_checksum(), part.start
    with copy.open("rb") as stream:
        while offset < part.end:
            block = os.pread(source.fileno(), min(BLOCK, part.end - offset), offset)
            if not block or stream.read(len(block)) != block:
                return None
            digest.update(block)
            offset += len(block)
            meter.advance(len(block))
    checksum: str = digest.hexdigest()
    return checksum


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.split", description="Cut a JSONL corpus into chunks.")
    parser.add_argument("--config", type=Path, help="the job's resolved configuration")
    parser.add_argument("--input", type=Path, help="JSONL, a document a line")
    parser.add_argument("--output-dir", type=Path, help="where chunk_0001.jsonl ... go")
    parser.add_argument("--num-chunks", type=int, help="how many chunks")
    flags = parser.parse_args(argv)
    config = Config.load(flags.config) if flags.config else Config({}, Path("the command line"))
    if not flags.config and None in (flags.input, flags.output_dir, flags.num_chunks):
        raise UsageError("give --config, or all of --input, --output-dir and --num-chunks.")
    source: Path = flags.input or config.path_parameter("corpus.file")
    directory: Path = flags.output_dir or config.path_parameter("corpus.chunk_dir")
    count: int | None = flags.num_chunks
    if count is None:
        count = config.parameter("corpus.chunks", int)
    if not source.is_file():
        raise CorpusError(f"{source}: no such file. Run the download stage first.")
    index = split(source, directory, count)
    print(f"{directory}: {len(index['chunks'])} chunks, {index['documents']} documents, "
          f"{index['input']['bytes']} bytes")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
