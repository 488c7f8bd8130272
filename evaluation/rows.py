"""JSON lines that another program wrote: predictions, replies, metrics, benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.config import InputError
from ledger import rows
from ledger.rows import Row as Row


def read_rows(path: Path, texts: Sequence[str] = (), remedy: str = "Write it again") -> list[Row]:
    """The objects of a JSONL file; InputError naming the line that is none, or that lacks text
    under one of `texts`."""
    try:
        return [row for _, row in rows.read(path, texts)]
    except rows.RowError as error:
        raise InputError(str(error), remedy) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", remedy) from error
