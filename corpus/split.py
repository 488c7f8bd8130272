"""Cut the corpus into chunks, one for each task of the preprocessing array.

A document is a line. The chunks in order are the input byte for byte, and no chunk is larger than
another by more than the largest document. That such a cut into consecutive blocks always exists is
a theorem of Barany and Grinberg ("Block partitions of sequences", Israel J. Math. 206, 2015).
`chunks.json` is written last and marks the work as done.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus.config import Config
from corpus.errors import CorpusError, Parser, UsageError, run
from corpus.files import BLOCK, atomic, read_json, size_of, write_json
from corpus.progress import Progress

INDEX = "chunks.json"


def chunk_name(number: int) -> str:
    """File name of chunk `number`, which counts from 1."""
    return f"chunk_{number:04d}.jsonl"


def split(source: Path, directory: Path, count: int) -> dict[str, Any]:
    """Cut `source` into exactly `count` chunks in `directory` and return their index.

    A second call with the same input and count changes nothing. Raises CorpusError where the input
    is empty or has fewer documents than `count`.
    """
    if count < 1:
        raise CorpusError(f"{count} chunks cannot be made. Ask for one or more.")
    ends, digest = scan(source)
    if len(ends) < count:
        raise CorpusError(f"{source} has {len(ends)} documents, fewer than the {count} chunks "
                          "asked for. Set corpus.chunks to no more than its documents.")
    old = read_json(directory / INDEX)
    if old and _current(old, directory, digest, count):
        return old
    _clear(old, directory, count)
    chunks, copied = _copy(source, directory, ends, cut(ends, count))
    if copied != digest:
        raise CorpusError(f"{source} changed while it was being split. Run it again.")
    index = {"version": 1, "input": {"path": str(source), "bytes": int(ends[-1]), "sha256": digest},
             "documents": len(ends), "chunks": chunks}
    write_json(directory / INDEX, index)
    return index


def scan(source: Path) -> tuple[NDArray[np.int64], str]:
    """The byte offset after each document, shape (documents,), and the input's SHA-256.

    Holds 8 bytes a document. A last line without a newline is a document too.
    """
    digest, parts, offset, last = hashlib.sha256(), [np.zeros(0, np.int64)], 0, b"\n"
    progress = Progress(source.stat().st_size, "bytes", "reading")
    with source.open("rb") as stream:
        while block := stream.read(8 * BLOCK):
            digest.update(block)
            newlines = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
            parts.append(newlines.astype(np.int64) + offset + 1)
            offset, last = offset + len(block), block[-1:]
            progress.update(offset)
    if last != b"\n":
        parts.append(np.array([offset], np.int64))
    return np.concatenate(parts), digest.hexdigest()


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


def _current(index: dict[str, Any], directory: Path, digest: str, count: int) -> bool:
    chunks = index.get("chunks", [])
    return (index.get("version") == 1 and index["input"]["sha256"] == digest
            and len(chunks) == count
            and all(size_of(directory / chunk["file"]) == chunk["bytes"] for chunk in chunks))


def _clear(old: dict[str, Any] | None, directory: Path, count: int) -> None:
    """Remove chunks that the old index lists and the new one will not, then the old index.

    In this order: a run killed in between still finds in the index what it has to remove.
    """
    names = {chunk_name(number) for number in range(1, count + 1)}
    for chunk in (old or {}).get("chunks", []):
        if chunk["file"] not in names and Path(chunk["file"]).name == chunk["file"]:
            (directory / chunk["file"]).unlink(missing_ok=True)
    (directory / INDEX).unlink(missing_ok=True)


def _copy(
    source: Path, directory: Path, ends: NDArray[np.int64], stops: list[int]
) -> tuple[list[dict[str, Any]], str]:
    chunks, first, offset = [], 0, 0
    whole = hashlib.sha256()
    progress = Progress(int(ends[-1]), "bytes", "splitting")
    with source.open("rb") as stream:
        for number, stop in enumerate(stops, 1):
            end, start = int(ends[stop - 1]), offset
            digest = hashlib.sha256()
            with atomic(directory / chunk_name(number)) as chunk:
                while offset < end and (block := stream.read(min(BLOCK, end - offset))):
                    digest.update(block)
                    whole.update(block)
                    chunk.write(block)
                    offset += len(block)
                    progress.update(offset)
            chunks.append({"file": chunk_name(number), "documents": stop - first,
                           "bytes": offset - start, "first_document": first,
                           "sha256": digest.hexdigest()})
            first = stop
    progress.finish(offset)
    return chunks, whole.hexdigest()


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
