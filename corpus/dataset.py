"""What preprocessing wrote under a prefix: one chunk, a merged set, or a set of chunks."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corpus.errors import CorpusError
from corpus.files import read_json, sha256_file
from corpus.indexed import Ids, Reader, bin_path, idx_path
from corpus.spelling import Spelling
from corpus.tokenizers import JSON, MODEL, Tokenizer, load_tokenizer

_BLOCK = 1 << 20  # tokens held at once
_SAME = ("dtype", "eod", "vocab_size", "variant", "tokenizer_digest")


class Part(NamedTuple):
    """One .bin with its .idx and its sidecar."""

    prefix: Path
    reader: Reader
    record: dict[str, Any]


class Dataset:
    """The parts of `prefix` as one stream of documents, numbered from 0.

    Raises CorpusError if a file is missing or corrupt, or if the parts do not belong together.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.parts = [_open(part) for part in _prefixes(prefix)]
        self.record = self.parts[0].record
        for part in self.parts[1:]:
            if differing := [key for key in _SAME if part.record.get(key) != self.record.get(key)]:
                raise CorpusError(f"{part.prefix} differs from {self.parts[0].prefix} in "
                                  f"{', '.join(differing)}. Run the preprocess stage again.")
        self.first = [0, *accumulate(len(part.reader) for part in self.parts)]
        self.eod = int(self.record["eod"])

    def __len__(self) -> int:
        return self.first[-1]

    def ids(self, start: int, stop: int) -> Ids:
        """The ids of documents start to stop - 1, EODs included, shape (tokens,)."""
        slices = []
        for part, first, behind in zip(self.parts, self.first, self.first[1:], strict=False):
            low, high = max(start, first) - first, min(stop, behind) - first
            if low < high:
                slices.append(part.reader.ids[_begin(part, low) : _begin(part, high)])
        if not slices:
            return np.zeros(0, self.parts[0].reader.dtype)
        return slices[0] if len(slices) == 1 else np.concatenate(slices)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges of whole documents, each of about a million tokens or one document."""
        for part, first in zip(self.parts, self.first, strict=False):
            start, size = 0, np.dtype(part.reader.dtype).itemsize * _BLOCK
            while start < len(part.reader):
                limit = int(part.reader.offsets[start]) + size
                stop = int(np.searchsorted(part.reader.offsets, limit, "right")) - 1
                stop = len(part.reader) if stop == len(part.reader) - 1 else max(stop, start + 1)
                yield first + start, first + stop
                start = stop

    def part_of(self, document: int) -> tuple[Part, int]:
        """The part that holds a document, and the document's number in it."""
        at = bisect_right(self.first, document) - 1
        return self.parts[at], document - self.first[at]

    def total(self, key: str) -> int:
        """The sum of a count over the parts' sidecars."""
        return sum(int(part.record.get(key, 0)) for part in self.parts)

    @property
    def missing(self) -> list[int]:
        """Numbers of chunks that are not there, where the set is one of chunks."""
        if self.parts[0].prefix == self.prefix:
            return []
        numbers = {_number(part.prefix) for part in self.parts}
        return sorted(set(range(1, int(self.record.get("tasks", 0)) + 1)) - numbers)

    def spelling(self, tokenizer: Path | None = None) -> Spelling:
        """The tokenizer that the set was made with: the given one, else the one that the sidecar
        names, else a `tokenizer/` beside the set or above it.

        Raises CorpusError if none is found, or if the given one is another.
        """
        return Spelling(self._tokenizer(tokenizer), self.eod)

    def _tokenizer(self, given: Path | None) -> Tokenizer:
        wanted = self.record["tokenizer_digest"]
        if given:
            tokenizer = load_tokenizer(given)
            if tokenizer.digest() != wanted:
                raise CorpusError(f"{given} is not the tokenizer that {self.prefix} was made with. "
                                  "Give that one with --tokenizer.")
            return tokenizer
        named = self.record.get("tokenizer")
        folders = [Path(named)] if isinstance(named, str) else []
        folders += [folder / "tokenizer" for folder in self.prefix.absolute().parents]
        for path in (folder / name for folder in folders for name in ("", JSON, MODEL)):
            if path.is_file() and sha256_file(path) == wanted:
                return load_tokenizer(path)
        raise CorpusError(f"the tokenizer that {self.prefix} was made with was not found near it. "
                          "Give its folder with --tokenizer.")


def _begin(part: Part, document: int) -> int:
    """Where a document's ids begin; their end for the number of documents."""
    if document == len(part.reader):
        return len(part.reader.ids)
    return int(part.reader.offsets[document]) // np.dtype(part.reader.dtype).itemsize


def _prefixes(prefix: Path) -> list[Path]:
    if idx_path(prefix).exists() or bin_path(prefix).exists():
        return [prefix]
    pattern = re.compile(re.escape(prefix.name) + r"_\d{4,}\.idx")
    folder = prefix.parent
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = [folder / name.removesuffix(".idx") for name in names if pattern.fullmatch(name)]
    if not found:
        raise CorpusError(f"there is neither {bin_path(prefix)} nor {prefix}_0001.bin. Give a "
                          "prefix without .bin, or run the preprocess stage first.")
    return sorted(found, key=_number)


def _number(prefix: Path) -> int:
    return int(prefix.name.rpartition("_")[2])


def _open(prefix: Path) -> Part:
    reader, sidecar = Reader(prefix), prefix.with_name(prefix.name + ".json")
    record = read_json(sidecar)
    if record is None:
        raise CorpusError(f"{sidecar}: no such file, so {prefix} is not finished. Run its task of "
                          "the preprocess stage.")
    if lacking := {"eod", "tokenizer_digest", "documents"} - record.keys():
        raise CorpusError(f"{sidecar} lacks {', '.join(sorted(lacking))}. Run the preprocess stage "
                          "again.")
    if record["documents"] != len(reader):
        raise CorpusError(f"{sidecar} says {record['documents']} documents, but {idx_path(prefix)} "
                          f"has {len(reader)}. Run the preprocess stage again.")
    return Part(prefix, reader, record)
