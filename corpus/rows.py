"""Rows of JSON objects, one a line: questions, responses, conversations. They fit into memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from corpus.errors import CorpusError
from corpus.files import atomic
from ledger import rows
from ledger.rows import Row as Row

_SPACE = re.compile(r"\s+")


def read_rows(path: Path, texts: Sequence[str] = (), remedy: str = "") -> list[Row]:
    """The objects of a JSONL file, blank lines left out.

    Raises CorpusError where the file is missing (`remedy` says what brings it), where a line is no
    object, or where one of the keys in `texts` does not hold text.
    """
    try:
        return [row for _, row in placed_rows(path, texts)]
    except FileNotFoundError as fault:
        raise CorpusError(f"{path}: no such file. {remedy or 'Check the path.'}") from fault


def placed_rows(path: Path, texts: Sequence[str] = ()) -> Iterator[tuple[str, Row]]:
    """Each object with its place, `file:line`. Raises OSError, and CorpusError as `read_rows`."""
    try:
        yield from rows.read(path, texts)
    except rows.RowError as fault:
        raise CorpusError(f"{fault}. Repair or remove the line.") from fault


def write_rows(path: Path, given: Iterable[Row]) -> None:
    """Write rows as JSONL, atomically."""
    with atomic(path) as stream:
        for row in given:
            stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def normal(text: str) -> str:
    """A text by which equal ones are known: case and white space do not count."""
    return _SPACE.sub(" ", text).strip().casefold()
