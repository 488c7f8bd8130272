"""Rows of JSON objects, one a line: questions, responses, conversations. They fit into memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from corpus.errors import CorpusError
from corpus.files import atomic

Row = dict[str, Any]
_SPACE = re.compile(r"\s+")


def read_rows(path: Path, texts: Iterable[str] = (), remedy: str = "") -> list[Row]:
    """The objects of a JSONL file, blank lines left out.

    Raises CorpusError where the file is missing (`remedy` says what brings it), where a line is no
    object, or where one of the keys in `texts` does not hold text.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError as fault:
        raise CorpusError(f"{path}: no such file. {remedy or 'Check the path.'}") from fault
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as fault:
            raise CorpusError(f"{path}:{number} is not JSON ({fault}). Repair or remove the "
                              "line.") from fault
        if not isinstance(row, dict):
            raise CorpusError(f"{path}:{number} is not a JSON object. Repair or remove the line.")
        for key in texts:
            if not isinstance(row.get(key), str):
                raise CorpusError(f"{path}:{number} has no text under {key!r}. Add it, or remove "
                                  "the line.")
        rows.append(row)
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSONL, atomically."""
    with atomic(path) as stream:
        for row in rows:
            stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def normal(text: str) -> str:
    """A text by which equal ones are known: case and white space do not count."""
    return _SPACE.sub(" ", text).strip().casefold()
