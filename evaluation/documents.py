"""Held-out documents of tokenised data: Megatron's MMIDIDX files, and which documents are held out.

An `.idx` file holds, little-endian: the nine bytes MMIDIDX\\0\\0, version 1 (u64), the tokens' type
code (u8), the number of sequences (u64) and of document bounds (u64), the sequences' lengths in
tokens (i32), their byte offsets in the `.bin` file (i64), and the documents' bounds as sequence
numbers (i64, the first 0). Layout after megatron-core's `datasets/indexed_dataset.py`.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.config import InputError

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
TYPES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Index:
    """One prefix: `lengths` in tokens, `offsets` in bytes, one of each a document."""

    prefix: Path
    kind: np.dtype[Any]
    lengths: np.ndarray[Any, np.dtype[np.int32]]
    offsets: np.ndarray[Any, np.dtype[np.int64]]

    def read(self, numbers: range) -> list[Ids]:
        """The ids of some documents, each with its EOD as it was written."""
        found = []
        with Path(f"{self.prefix}.bin").open("rb") as file:
            for number in numbers:
                file.seek(int(self.offsets[number]))
                data = file.read(int(self.lengths[number]) * self.kind.itemsize)
                found.append(np.frombuffer(data, dtype=self.kind).astype(np.int64))
        return found


def open_index(prefix: Path) -> Index:
    """Read `<prefix>.idx` and compare it with the size of `<prefix>.bin`.

    Raises InputError for a missing, truncated or foreign file, and for documents of several
    sequences: Megatron splits by sequences, so that its held-out share would be another one.
    """
    index, data = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    try:
        raw, size = index.read_bytes(), data.stat().st_size
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror})", "Run preprocessing again"
        ) from error
    broken = InputError(f"{index} is no whole MMIDIDX file", "Run preprocessing again")
    if len(raw) < HEADER.size:
        raise broken
    magic, version, code, sequences, bounds = HEADER.unpack_from(raw)
    if magic != MAGIC or version != 1 or code not in TYPES:
        raise broken
    if len(raw) != HEADER.size + 12 * sequences + 8 * bounds:
        raise broken
    at = HEADER.size
    lengths = np.frombuffer(raw, "<i4", sequences, at)
    offsets = np.frombuffer(raw, "<i8", sequences, at + 4 * sequences)
    documents = np.frombuffer(raw, "<i8", bounds, at + 12 * sequences)
    if not np.array_equal(documents, np.arange(sequences + 1)):
        raise InputError(f"{index} has documents of several sequences", "Run preprocessing again")
    kind = np.dtype(TYPES[code])
    if int(lengths.sum(dtype=np.int64)) * kind.itemsize != size:
        raise InputError(f"{data} has not the size that {index} tells", "Run preprocessing again")
    return Index(prefix, kind, lengths, offsets)


def find_prefixes(prefix: Path, chunks: int | None = None) -> list[Path]:
    """`prefix` where `<prefix>.bin` is there, else the complete set `<prefix>_0001` ...

    `chunks`, where known, is the size of the set. Raises InputError that names what is missing.
    """
    if Path(f"{prefix}.bin").is_file():
        return [prefix]
    pattern = f"{prefix.name}_" + "[0-9]" * 4 + ".bin"
    found = {int(path.stem[-4:]) for path in prefix.parent.glob(pattern)}
    missing = sorted(set(range(1, (chunks or max(found, default=0)) + 1)) - found)
    if not found or missing:
        names = ", ".join(f"{prefix.name}_{n:04d}.bin" for n in missing[:3]) or f"{prefix.name}.bin"
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"the data {prefix} is not complete: {names}{more} missing",
            "Run or resubmit the preprocess stage",
        )
    numbers = range(1, chunks + 1) if chunks else sorted(found)
    return [prefix.with_name(f"{prefix.name}_{n:04d}") for n in numbers]


def validation_range(documents: int, split: list[float]) -> range:
    """The numbers of the held-out documents, from round(n*train) to round(n*(train+valid)).

    Shares are normalised to sum 1 and rounded half to even, as Megatron's blended dataset builder
    does it in float64.
    """
    total = float(sum(split))
    train, valid = split[0] / total, split[1] / total
    return range(round(train * documents), round((train + valid) * documents))


def held_out(prefix: Path, split: list[float], chunks: int | None) -> list[Ids]:
    """The held-out documents of all prefixes in order, each with its EOD."""
    found: list[Ids] = []
    for part in find_prefixes(prefix, chunks):
        index = open_index(part)
        found += index.read(validation_range(len(index.lengths), split))
    if not found:
        raise InputError(
            f"the validation share of {prefix} holds no document",
            "Give train.split a larger second number, or use more data",
        )
    return found
