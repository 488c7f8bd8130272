"""Where a corpus comes from: files here, an address, a data set of the Hugging Face hub.

A source is described by a plain value (what the download's digest is made of) and opened as a
stream of texts. Files are `.jsonl` or `.parquet`, the former also gzipped.
"""

from __future__ import annotations

import glob
import gzip
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from corpus.errors import CorpusError, require
from corpus.files import sha256_file
from corpus.http import fetch

# SEA-PILE v2 files Filipino under the ISO 639-1 code of Tagalog; the study says "fil" (ISO 639-2).
LANGUAGE_DIRECTORIES = {"fil": "tl"}
_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


class Source(msgspec.Struct, frozen=True):
    """What to download: `location` as the user wrote it, its language and the key of the text."""

    location: str
    language: str = ""
    text_key: str = "text"

    @property
    def is_remote(self) -> bool:
        """Whether the network is needed to read it."""
        return self.location.startswith(("http://", "https://", "hf://"))


def describe(source: Source) -> dict[str, Any]:
    """What decides the output. Local files count with their content, remote ones by their name.

    A remote source that changes under the same name is therefore not noticed; delete the output's
    `.json` to fetch it again. Raises CorpusError if no local file matches.
    """
    about: dict[str, Any] = msgspec.to_builtins(source)
    if not source.is_remote:
        about["files"] = [[str(file), sha256_file(file)] for file in local_files(source.location)]
    return about


def texts(source: Source, workspace: Path) -> Iterator[tuple[str, str]]:
    """Each document's text with where it stands ("FILE:LINE"), in the order of the files.

    Partial downloads are kept in `workspace`. Raises CorpusError on anything short, corrupt or
    without the text key.
    """
    if source.location.startswith("hf://"):
        for file in _hub_files(source):
            yield from _read(file, source.text_key)
    elif source.is_remote:
        path = urllib.parse.urlsplit(source.location).path
        suffix = _suffix(path) or ".jsonl"
        file = fetch(source.location, workspace, suffix)
        yield from _read(file, source.text_key)
    else:
        for file in local_files(source.location):
            yield from _read(file, source.text_key)


def local_files(location: str) -> list[Path]:
    """Files that a path, a directory or a glob stands for, sorted. Raises CorpusError if none."""
    path = Path(location)
    if path.is_file():
        return [path]
    names = glob.glob(location, recursive=True)
    if path.is_dir():
        names = [str(entry) for entry in path.iterdir()]
    files = sorted(Path(name) for name in names if Path(name).is_file() and _suffix(name))
    if not files:
        raise CorpusError(f"{location}: no such file, and no {', '.join(_SUFFIXES)} file matches "
                          "it. Correct corpus.source.")
    return files


def _suffix(name: str) -> str:
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")


def _read(file: Path, key: str) -> Iterator[tuple[str, str]]:
    if file.name.endswith(".parquet"):
        yield from _read_parquet(file, key)
    else:
        yield from _read_jsonl(file, key)


def _read_jsonl(file: Path, key: str) -> Iterator[tuple[str, str]]:
    opener = gzip.open if file.name.endswith(".gz") else open
    try:
        with opener(file, "rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    where = f"{file}:{number}"
                    yield _text_of(line, key, where), where
    except (EOFError, gzip.BadGzipFile) as fault:
        raise CorpusError(f"{file} is truncated or not gzip ({fault}). Fetch it again.") from fault


def _text_of(line: bytes, key: str, where: str) -> str:
    try:
        record = json.loads(line)
    except ValueError as fault:
        raise CorpusError(f"{where} is not JSON ({fault}). Is the file complete?") from fault
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


def _read_parquet(file: Path, key: str) -> Iterator[tuple[str, str]]:
    parquet = require("pyarrow.parquet", "pyarrow")
    arrow = require("pyarrow", "pyarrow")
    try:
        table = parquet.ParquetFile(file)
    except (arrow.ArrowInvalid, OSError) as fault:
        raise CorpusError(f"{file} is not a whole Parquet file ({fault}). Fetch it again."
                          ) from fault
    if key not in table.schema_arrow.names:
        raise CorpusError(f"{file} has no column {key!r}; it has "
                          f"{', '.join(table.schema_arrow.names)}. Set corpus.text_key.")
    row = 0
    for batch in table.iter_batches(batch_size=1024, columns=[key]):
        for text in batch.column(0).to_pylist():
            row += 1
            if not isinstance(text, str):
                raise CorpusError(f"{file} row {row}: {key!r} is not text. Correct "
                                  "corpus.text_key or the file.")
            yield text, f"{file} row {row}"


def _hub_files(source: Source) -> Iterator[Path]:
    """Fetch the data set's files one by one into the hub's own cache, at one revision."""
    hub = require("huggingface_hub", "huggingface_hub")
    dataset, _, folder = source.location.removeprefix("hf://").partition(":")
    token = os.environ.get("HF_TOKEN") or None
    try:
        about = hub.HfApi(token=token).dataset_info(dataset)
        names = select(sorted(entry.rfilename for entry in about.siblings), folder, source.language)
        if not names:
            raise CorpusError(f"{source.location} has no {', '.join(_SUFFIXES)} files for "
                              f"{folder or source.language!r}. Name its folder: hf://{dataset}:DIR")
        for name in names:
            yield Path(hub.hf_hub_download(dataset, name, repo_type="dataset", revision=about.sha,
                                           token=token))
    except CorpusError:
        raise
    except Exception as fault:  # the hub raises its own, its HTTP client's and the system's errors
        raise CorpusError(
            f"{source.location} cannot be fetched ({type(fault).__name__}: {fault}). Check the "
            "network, the name, and HF_TOKEN where the data set asks for a licence."
        ) from fault


def select(names: list[str], folder: str, language: str) -> list[str]:
    """Those of a data set's files under `folder`, or else under the language's folder."""
    readable = [name for name in names if _suffix(name)]
    if folder:
        return [name for name in readable if name.startswith(folder.strip("/") + "/")]
    if not language:
        return readable
    codes = {language, LANGUAGE_DIRECTORIES.get(language, language)}
    return [name for name in readable if codes & set(PurePosixPath(name).parts[:-1])]
