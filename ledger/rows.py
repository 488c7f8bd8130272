"""JSON lines, an object a line: the one reader of them for what fits into memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ledger.names import LedgerError

Row = dict[str, Any]


class RowError(LedgerError):
    """A line that is no row: where it stands and what is wrong with it, without a remedy."""


def read(path: Path, texts: Sequence[str] = ()) -> Iterator[tuple[str, Row]]:
    """Each row with its place, `file:line`; blank lines are passed over.

    A row ends at a line feed only: `str.splitlines` knows ends that may stand inside a JSON string.
    Raises OSError, and RowError at a line that is not UTF-8 or no JSON object, that holds what is
    no character, or that has no text under one of the keys in `texts`.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.strip():
                where = f"{path}:{number}"
                row = _row(line, where)
                for key in texts:
                    if not isinstance(row.get(key), str):
                        raise RowError(f"{where} has no text under {key!r}")
                yield where, row


def _row(line: bytes, where: str) -> Row:
    try:
        text = line.decode()
        row = json.loads(text)
        if "\\u" in text:  # only an escape can give half a pair, which no file could hold again
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError as fault:
        raise RowError(f"{where} is not UTF-8 ({fault.reason})") from fault
    except UnicodeEncodeError as fault:
        raise RowError(f"{where} holds half a surrogate pair, which is no character") from fault
    except (ValueError, RecursionError) as fault:
        raise RowError(f"{where} is not JSON ({fault})") from fault
    if not isinstance(row, dict):
        raise RowError(f"{where} is not a JSON object")
    return row
