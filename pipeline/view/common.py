"""What all views share: colours of states, JSON, tables as plain lines.

Nothing here loads rich, which costs a tenth of what `status` may take; what draws with it is in
`drawn.py`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from pipeline.errors import plain
from pipeline.states import State

STYLES = {
    State.COMPLETED: "green", State.RUNNING: "cyan", State.QUEUED: "blue", State.HELD: "blue",
    State.SUBMITTING: "blue", State.PLANNED: "dim", State.FAILED: "red", State.TIMEOUT: "red",
    State.OOM: "red", State.LOST: "magenta", State.BLOCKED: "yellow", State.CANCELLED: "yellow",
    State.UNKNOWN: "magenta",
}  # fmt: skip
RIGHT = ("tasks", "GPUs", "cores", "hours", "attempt")  # columns of numbers
LOG_WIDTH = 120  # characters, where nobody looks at a terminal
LEAST = 20  # characters of a last column that is worth folding


def say(text: str, style: str = "") -> None:
    """A line on standard output; colours only where a terminal shows them."""
    click.echo(paint(text, style), color=False if os.environ.get("NO_COLOR") else None)


def paint(text: str, style: str) -> str:
    """The text in a style's escapes: a colour's name, `bold`, `dim`, or none."""
    if not style:
        return text
    return click.style(text, **({style: True} if style in ("bold", "dim") else {"fg": style}))


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> Iterator[str]:
    """A line a row under a heading, the second cell in the row's style; the last column is folded
    at the terminal's width. What is shown of files and schedulers does not steer the terminal."""
    cells = [columns, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    whole = _width()
    room = whole - before if whole - before >= LEAST else max(widths[-1], 1)
    for row, style in zip(cells, ["", *styles], strict=True):
        parts = [
            cell.rjust(width) if name in RIGHT else cell.ljust(width)
            for cell, width, name in zip(row, widths, columns, strict=True)
        ]
        first, *more = _folded(row[-1], room)
        if style:
            parts[1] = paint(parts[1], style)
        line = "  ".join([*parts[:-1], first]).rstrip()
        yield line if row is not columns else paint(line, "bold")
        for rest in more:
            yield " " * before + rest


def _folded(text: str, room: int) -> list[str]:
    """The text in lines, cut between words where that can be."""
    if len(text) <= room:
        return [text]
    import textwrap

    return textwrap.wrap(text, room, break_on_hyphens=False) or [""]


def _width() -> int:
    """Columns of the terminal, or wide enough for a log."""
    if not sys.stdout.isatty():
        return LOG_WIDTH
    import shutil

    return shutil.get_terminal_size().columns


def print_json(value: Any) -> None:
    """JSON that any program reads: no NaN, and what is no Unicode as an escape."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str)
    if not text.isascii():
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(_finite(value), indent=2, default=str)
    click.echo(text)


def _finite(value: Any) -> Any:
    """The value with null for every number that JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    return value
