"""JSON lines that another program wrote: predictions, replies, metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.config import InputError

Row = dict[str, Any]


def read_rows(path: Path, texts: Sequence[str] = (), remedy: str = "Write it again") -> list[Row]:
    """The objects of a JSONL file; InputError naming the line that is none, or that lacks text
    under one of `texts`."""
    try:
        lines = path.read_text("utf-8").split("\n")  # splitlines knows ends that JSON does not
        rows = [(at, json.loads(line)) for at, line in enumerate(lines, 1) if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error})", remedy) from error
    for at, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{path} line {at} is no JSON object", remedy)
        if not all(isinstance(row.get(key), str) for key in texts):
            *others, last = texts
            lacks = f"{', '.join(others)} or {last}" if others else last
            raise InputError(f"{path} line {at} lacks {lacks}", remedy)
    return [row for _, row in rows]
