"""Where a corpus comes from: files here, an address, a data set of the Hugging Face hub.

A source is described by a plain value (what the download's digest is made of), obtained as files
here and read as a stream of texts. Files are `.jsonl`, also compressed by gzip or Zstandard, or
`.parquet`.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from corpus.errors import CorpusError, require
from corpus.files import require_space, sha256_file, size_of
from corpus.http import Remote, discard, fetch, parse, shown
from corpus.hub import SUFFIXES, hub_files
from corpus.progress import Progress

_BATCH = 128  # rows of Parquet, which may be long documents


class Damaged(CorpusError):
    """A file is cut off or not what its name says: another copy of it may be right."""


class Source(msgspec.Struct, frozen=True):
    """What to download: `location` as the user wrote it, its language and the key of the text."""

    location: str
    language: str = ""
    text_key: str = "text"

    @property
    def is_remote(self) -> bool:
        """Whether the network is needed to read it."""
        return self.location.startswith(("http://", "https://", "hf://"))


class Input(msgspec.Struct, frozen=True):
    """A file to read: `name` is what messages call it; a fetched one has `url` and `sha256`."""

    path: Path
    name: str
    url: str = ""
    sha256: str = ""


def describe(source: Source) -> dict[str, Any]:
    """What decides the output. Local files count with their content, remote ones by their name.

    A remote source that changes under the same name is therefore not noticed; delete the output's
    `.json` to fetch it again, or name a revision of the hub. Raises CorpusError if no local file
    matches.
    """
    about: dict[str, Any] = msgspec.to_builtins(source)
    if not source.is_remote:
        about["files"] = [[str(file), sha256_file(file)] for file in local_files(source.location)]
    return about


def obtain(source: Source, workspace: Path) -> list[Input]:
    """The files of `source`, in order; remote ones are fetched into `workspace` first.

    Raises CorpusError if there is none, if one cannot be had, or if the disk has no room for them
    and, as the output will be no smaller, for as much again.
    """
    if not source.is_remote:
        return [Input(file, str(file)) for file in local_files(source.location)]
    if source.location.startswith("hf://"):
        remotes = hub_files(source.location, source.language)
    else:
        remotes = [Remote(source.location, parse(source.location).path)]
    held = sum(size_of(remote.part(workspace)) or 0 for remote in remotes)
    total = sum(remote.size or 0 for remote in remotes)
    require_space(workspace.parent, max(total - held, 0) + total)
    progress, inputs, before = Progress(total or None, "bytes", "downloading", held), [], 0

    def report(held: int, size: int | None) -> None:
        progress.total = total or size
        progress.update(before + held)

    for remote in remotes:
        path, digest = fetch(remote, workspace, report)
        before += path.stat().st_size
        url = shown(remote.url)
        inputs.append(Input(path, remote.name if remote.page else url, url, digest))
    progress.finish(before)
    return inputs


def texts(inputs: list[Input], key: str) -> Iterator[tuple[str, str]]:
    """Each document's text with where it stands ("FILE:LINE"), in the order of the files.

    Raises CorpusError on anything short, corrupt or without the text key. A fetched file that is
    damaged is removed, as another try would otherwise find it again.
    """
    for file in inputs:
        reader = _read_parquet if file.path.name.endswith(".parquet") else _read_jsonl
        try:
            yield from reader(file, key)
        except Damaged:
            if file.url:
                discard(file.path)
            raise


def least_output(inputs: list[Input], key: str) -> int:
    """About the bytes that the texts of `inputs` take at least.

    Files of lines count as they are, Parquet with its text column before compression.
    """
    size = 0
    for file in inputs:
        if not file.path.name.endswith(".parquet"):
            size += file.path.stat().st_size
            continue
        with _open_parquet(file, key) as table:
            groups = [table.metadata.row_group(n) for n in range(table.metadata.num_row_groups)]
        columns = [group.column(n) for group in groups for n in range(group.num_columns)]
        size += sum(column.total_uncompressed_size for column in columns
                    if column.path_in_schema == key)
    return size


def local_files(location: str) -> list[Path]:
    """Files that a path, a directory or a glob stands for, sorted. Raises CorpusError if none."""
    path = Path(location)
    if path.is_file():
        return [path]
    names = glob.glob(location, recursive=True)
    if path.is_dir():
        names = [str(entry) for entry in path.iterdir()]
    files = sorted(Path(name) for name in names if Path(name).is_file() and name.endswith(SUFFIXES))
    if not files:
        raise CorpusError(f"{location}: no such file, and no {', '.join(SUFFIXES)} file matches "
                          "it. Correct corpus.source.")
    return files


def _read_jsonl(file: Input, key: str) -> Iterator[tuple[str, str]]:
    zstandard = require("zstandard", "zstandard") if file.path.name.endswith(".zst") else None
    damage: list[type[Exception]] = [EOFError, gzip.BadGzipFile, zlib.error]
    if zstandard:
        damage.append(zstandard.ZstdError)
    with file.path.open("rb") as raw:
        stream: Any = raw
        if file.path.name.endswith(".gz"):
            stream = gzip.GzipFile(fileobj=raw)
        elif zstandard:
            stream = io.BufferedReader(_Zstandard(raw, zstandard), 1 << 20)
        try:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    where = f"{file.name}:{number}"
                    yield _text_of(line, key, where), where
        except tuple(damage) as fault:
            raise Damaged(f"{file.name} is truncated or not compressed as its name says ({fault}). "
                          "Fetch it again.") from fault


class _Zstandard(io.RawIOBase):
    """Decompresses frame after frame and, unlike the library's reader, notices a missing end."""

    def __init__(self, raw: BinaryIO, zstandard: Any) -> None:
        # The largest window a frame can ask for on 64 bits, as `zstd --long=31` makes them.
        self._new = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj
        self._raw, self._rest, self._ready = raw, b"", memoryview(b"")
        self._frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            block = self._rest or self._raw.read(1 << 14)
            if not block and self._frame:
                raise EOFError("the last frame has no end")
            if not block:
                return 0
            self._frame = self._frame or self._new()
            self._ready, self._rest = memoryview(self._frame.decompress(block)), b""
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _text_of(line: bytes, key: str, where: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as fault:
        raise Damaged(f"{where} is not JSON ({fault}). Is the file complete?") from fault
    if not isinstance(record, dict):
        raise CorpusError(f"{where} is not a JSON object. Give one object a line.")
    if key not in record:
        keys = ", ".join(sorted(record)) or "none"
        raise CorpusError(f"{where} has no key {key!r}; it has {keys}. Set corpus.text_key to the "
                          "one that holds the text.")
    text = record[key]
    if not isinstance(text, str):
        raise CorpusError(f"{where}: {key!r} holds {type(text).__name__}, not text. Correct "
                          "corpus.text_key or the file.")
    return text


def _read_parquet(file: Input, key: str) -> Iterator[tuple[str, str]]:
    row = 0
    with _open_parquet(file, key) as table:
        for batch in table.iter_batches(batch_size=_BATCH, columns=[key]):
            for text in batch.column(0).to_pylist():
                row += 1
                if not isinstance(text, str):
                    raise CorpusError(f"{file.name} row {row}: {key!r} is not text. Correct "
                                      "corpus.text_key or the file.")
                yield text, f"{file.name} row {row}"


@contextmanager
def _open_parquet(file: Input, key: str) -> Iterator[Any]:
    parquet = require("pyarrow.parquet", "pyarrow")
    arrow = require("pyarrow", "pyarrow")
    try:
        # So it reads page by page; otherwise it would hold a row group's whole column.
        with parquet.ParquetFile(file.path, buffer_size=1 << 20, pre_buffer=False) as table:
            names = table.schema_arrow.names
            if key not in names:
                raise CorpusError(f"{file.name} has no column {key!r}; it has {', '.join(names)}. "
                                  "Set corpus.text_key.")
            yield table
    except (arrow.ArrowException, UnicodeDecodeError, OSError) as fault:
        raise Damaged(f"{file.name} is not a whole Parquet file ({fault}). Fetch it again."
                      ) from fault
