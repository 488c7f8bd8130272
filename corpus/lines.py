"""The lines of a chunk in batches: what is read and hashed, and what a worker is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_BATCH_BYTES = 1 << 19
_EXCERPT_BYTES = 800


class Overlong(bytes):
    """The beginning of a line that is longer than a line may be."""


class Batch(NamedTuple):
    """Lines without their newlines; the first is number `first` of the chunk, from 0."""

    first: int
    lines: list[bytes]


def read_batches(path: Path, longest: int, digest: Any) -> Iterator[Batch]:
    """Batches of about half a MiB, or of one line; `digest` takes in every byte of the file.

    A line of more than `longest` bytes comes as `Overlong`; no more than that and a block of the
    file is ever held.
    """
    parts: list[bytes] = []
    first, held, excerpt = 0, 0, b""
    with path.open("rb") as stream:
        while block := stream.read(_BATCH_BYTES):
            digest.update(block)
            end = block.rfind(b"\n")
            if end >= 0:
                lines = block[:end].split(b"\n")
                if excerpt:
                    lines[0] = Overlong(excerpt)
                elif parts:
                    lines[0] = b"".join([*parts, lines[0]])
                if longest < held + len(block):
                    lines = [_whole(line, longest) for line in lines]
                yield Batch(first, lines)
                first, parts, held, excerpt = first + len(lines), [], 0, b""
            rest = block[end + 1 :]
            parts.append(rest)
            held += len(rest)
            if held > longest:
                excerpt = excerpt or b"".join(parts)[:_EXCERPT_BYTES]
                parts, held = [], 0
    if held or excerpt:
        yield Batch(first, [Overlong(excerpt) if excerpt else b"".join(parts)])


def _whole(line: bytes, longest: int) -> bytes:
    if len(line) <= longest or isinstance(line, Overlong):
        return line
    return Overlong(line[:_EXCERPT_BYTES])
