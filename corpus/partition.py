"""Divide documents into parts (train, validation, test): each document goes whole to one part.

Equal texts go to the same part, so that no part holds a text of another. Texts are ordered by
their XXH3-128 with the study's seed, which is a seeded shuffle that depends neither on the order
of the documents nor on a library's random numbers, and the parts are filled in that order. Of n
documents the first part gets floor(share x n), and so on; the last gets the rest. Where a text
that occurs k times does not fit into what is left of a part, the next ones that do are taken; only
if none does, the part stays short and the last one grows.

The source is read twice: once for the digests (16 bytes a document are held), once to copy lines.
Lines keep their bytes and, within a part, their order. `partition.json` is written last.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus.config import Config
from corpus.errors import CorpusError, Parser, require, run
from corpus.files import (
    atomic,
    new_checksum,
    only_run,
    read_json,
    require_space,
    sha256_value,
    size_of,
    write_json,
)
from corpus.progress import Progress

INDEX = "partition.json"
FREE = -1  # of a text whose part is still open
Digests = NDArray[np.bytes_]  # (documents,) of 16 bytes each
Parts = NDArray[np.int8]  # (documents,) of indices into the parts
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def quotas(documents: int, shares: Sequence[float | Fraction]) -> list[int]:
    """How many of `documents` each part gets: floor(share x documents), the last one the rest.

    Shares are taken as they are written, so that 0.29 of 100 is 29. Raises CorpusError unless they
    are positive and add up to 1, and where a part would get nothing.
    """
    exact = [Fraction(str(share)) for share in shares]
    if len(exact) < 2 or min(exact) <= 0 or sum(exact) != 1:
        raise CorpusError(f"shares {', '.join(map(str, shares))} are not two or more positive "
                          "numbers that add up to 1. Correct them in the study.")
    counts = [floor(share * documents) for share in exact[:-1]]
    counts.append(documents - sum(counts))
    if min(counts) < 1:
        raise CorpusError(f"{documents} documents in shares of {', '.join(map(str, shares))} leave "
                          f"a part empty ({', '.join(map(str, counts))}). Give more documents, or "
                          "larger shares.")
    return counts


def text_digest(text: str, seed: int) -> bytes:
    """16 bytes that stand for a text; with another seed they come in another order."""
    digest: bytes = require("xxhash", "xxhash").xxh3_128_digest(text.encode(), seed=seed % 2**64)
    return digest


def assign(digests: Digests, counts: Sequence[int], pinned: Mapping[bytes, int]) -> Parts:
    """The part of each document, shape (documents,), for parts of `counts` documents.

    Equal digests get the same part, those in `pinned` the part that it names.
    """
    groups, members, sizes = np.unique(digests, return_inverse=True, return_counts=True)
    part = np.full(len(groups), FREE, np.int8)
    for digest, chosen in pinned.items():
        at = int(np.searchsorted(groups, digest))
        if at < len(groups) and bytes(groups[at]) == digest.rstrip(b"\0"):  # as numpy has it
            part[at] = chosen
    for number, count in enumerate(counts[:-1]):
        room = count - int(sizes[part == number].sum())
        part[_fill(np.flatnonzero(part == FREE), sizes, room)] = number
    part[part == FREE] = len(counts) - 1
    chosen_parts: Parts = part[members.reshape(-1)]
    return chosen_parts


def _fill(free: NDArray[np.int64], sizes: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    """The groups among `free`, in their order, that fit into `room` one after the other."""
    taken: list[NDArray[np.int64]] = [free[:0]]
    while room > 0 and len(free):
        fitting = int(np.searchsorted(np.cumsum(sizes[free]), room, side="right"))
        taken.append(free[:fitting])
        room -= int(sizes[free[:fitting]].sum())
        free = free[fitting:]  # its first one does not fit
        free = free[sizes[free] <= room]
    return np.concatenate(taken)


def partition(
    source: Path, directory: Path, shares: Mapping[str, float], seed: int, text_key: str = "text"
) -> dict[str, Any]:
    """Write `directory/<part>.jsonl` for each part of `shares` and return the index.

    Raises CorpusError on a line that is no document, on shares that make no parts, and on a full
    disk. A second run over the same source does nothing but read it.
    """
    if wrong := [name for name in shares if not _NAME.fullmatch(name)]:
        raise CorpusError(f"a part cannot be called {wrong[0]!r}. Use letters, digits, . _ and -.")
    with source.open("rb") as stream, only_run(directory):
        digests, checksum = _read(stream, source, seed, text_key)
        parts = assign(digests, quotas(len(digests), list(shares.values())), {})
        about = {"version": 1, "source": checksum, "shares": dict(shares), "seed": seed,
                 "text_key": text_key}
        known = read_json(directory / INDEX)
        if known and known.get("input_digest") == sha256_value(about) and _whole(directory, known):
            return known
        (directory / INDEX).unlink(missing_ok=True)
        require_space(directory, os.fstat(stream.fileno()).st_size)
        stream.seek(0)
        written = _copy(stream, directory, list(shares), parts)
        if sum(part["documents"] for part in written.values()) != len(parts):
            raise CorpusError(f"{source} changed while it was read. Run again when it is at rest.")
        index = {"version": 1, "input_digest": sha256_value(about), "source": str(source),
                 "source_xxh3_128": checksum, "seed": seed, "documents": len(parts),
                 "distinct_texts": len(np.unique(digests)), "parts": written}
        write_json(directory / INDEX, index)
    return index


def _read(stream: BinaryIO, source: Path, seed: int, text_key: str) -> tuple[Digests, str]:
    """A digest for each document, and the checksum of the whole file."""
    checksum, found = new_checksum(), bytearray()
    decoder = msgspec.json.Decoder()
    progress = Progress(os.fstat(stream.fileno()).st_size, "bytes", "reading")
    done = 0
    for number, line in enumerate(stream, 1):
        checksum.update(line)
        done += len(line)
        if not line.strip():
            continue
        try:
            text = decoder.decode(line).get(text_key)
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError) as fault:
            raise CorpusError(f"{source}:{number} is not a JSON object ({fault}). Repair or remove "
                              "that line.") from fault
        if not isinstance(text, str):
            raise CorpusError(f"{source}:{number} has no text under {text_key!r}. Set text_key to "
                              "the key that holds it, or repair the line.")
        found += text_digest(text, seed)
        progress.update(done)
    return np.frombuffer(bytes(found), "S16"), checksum.hexdigest()


def _copy(
    stream: BinaryIO, directory: Path, names: list[str], parts: Parts
) -> dict[str, dict[str, Any]]:
    """Copy each document's line to its part; blank lines are left out."""
    counts, sizes = [0] * len(names), [0] * len(names)
    digests = [new_checksum() for _ in names]
    progress, number = Progress(len(parts), "documents", "writing"), 0
    with ExitStack() as stack:
        files = [stack.enter_context(atomic(directory / f"{name}.jsonl")) for name in names]
        for line in stream:
            if not line.strip() or number == len(parts):
                continue
            line = line if line.endswith(b"\n") else line + b"\n"
            part, number = int(parts[number]), number + 1
            files[part].write(line)
            digests[part].update(line)
            counts[part] += 1
            sizes[part] += len(line)
            progress.update(number)
    return {name: {"file": f"{name}.jsonl", "documents": counts[n], "bytes": sizes[n],
                   "xxh3_128": digests[n].hexdigest()} for n, name in enumerate(names)}


def _whole(directory: Path, index: dict[str, Any]) -> bool:
    """Whether the parts are there at their sizes."""
    return all(size_of(directory / part["file"]) == part["bytes"]
               for part in index["parts"].values())


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.partition",
                    description="Divide a JSONL corpus into parts by whole documents.")
    parser.add_argument("--config", type=Path, required=True,
                        help="the job's resolved configuration, with a section partition")
    config = Config.load(parser.parse_args(argv).config)
    shares = config.parameter("partition.parts", dict)
    for name in shares:
        config.parameter(f"partition.parts.{name}", float)
    source = config.path_parameter("partition.source")
    directory = config.path_parameter("partition.output_dir")
    seed = config.parameter("partition.seed", int, config.parameter("seed", int, 0))
    text_key = config.parameter("partition.text_key", str, "text")
    index = partition(source, directory, shares, seed, text_key)
    told = ", ".join(f"{name} {part['documents']}" for name, part in index["parts"].items())
    print(f"{directory}: {index['documents']} documents, {told}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
