"""Fetching one file over HTTP so that a broken connection costs only what is still missing."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from corpus.errors import CorpusError
from corpus.files import BLOCK, read_json, write_json
from corpus.progress import Progress

_TRIES = 3
_TIMEOUT = 60.0  # seconds without a byte


def fetch(url: str, directory: Path, suffix: str) -> Path:
    """Download `url` into `directory` and return the file, complete.

    It grows as `<digest>.part` beside a `.part.json` with the server's ETag and size; a later call
    asks for the rest by Range, and starts anew where the server's file has changed. Raises
    CorpusError when the server refuses, or when the body stays short after a few tries.
    """
    stem = f".{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    part, whole = directory / f"{stem}.part", directory / f"{stem}{suffix}"
    directory.mkdir(parents=True, exist_ok=True)
    trouble = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(2**attempt / 4)
        try:
            size = _continue(url, part)
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500:
                raise CorpusError(f"{url}: the server answers {refusal.code} {refusal.reason}. "
                                  "Correct corpus.source.") from refusal
            trouble = f"the server answers {refusal.code}"
        except (OSError, http.client.HTTPException) as fault:
            trouble = str(fault) or type(fault).__name__
        else:
            held = part.stat().st_size
            if size is None or held == size:
                os.replace(part, whole)
                part.with_suffix(".part.json").unlink(missing_ok=True)
                return whole
            trouble = f"only {held} of {size} bytes came"
    raise CorpusError(f"{url}: {trouble}. What came is kept; run it again to fetch the rest.")


def _continue(url: str, part: Path) -> int | None:
    """Append what is missing; the file's full size, or None where the server does not say."""
    known: dict[str, Any] = read_json(part.with_suffix(".part.json")) or {}
    held = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "corpus-download/1", "Accept-Encoding": "identity"}
    # Without a validator the server's file may have changed in between: then take all of it again.
    if held and known.get("etag"):
        headers |= {"Range": f"bytes={held}-", "If-Range": known["etag"]}
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as refusal:
        if refusal.code == 416 and held == known.get("size"):
            return held
        if refusal.code == 416:
            part.unlink(missing_ok=True)
            raise OSError("the partial file does not fit the server's, starting anew") from refusal
        raise
    with answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        start = held if resumed else 0
        size = start + int(length) if length is not None else None
        etag = answer.headers.get("ETag") or ""
        write_json(part.with_suffix(".part.json"),
                   {"url": url, "size": size, "etag": "" if etag.startswith("W/") else etag})
        _append(answer, part, start, size)
    return size


def _append(answer: Any, part: Path, start: int, size: int | None) -> None:
    progress, done = Progress(size, "bytes", "downloading"), start
    with part.open("ab" if start else "wb") as stream:
        try:
            while block := answer.read(BLOCK):
                stream.write(block)
                done += len(block)
                progress.update(done)
        finally:
            stream.flush()
            os.fsync(stream.fileno())
