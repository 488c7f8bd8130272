"""What all views share: the console, tables, colours of states."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.errors import plain
from pipeline.states import State

STYLES = {
    State.COMPLETED: "green", State.RUNNING: "cyan", State.QUEUED: "blue", State.HELD: "blue",
    State.SUBMITTING: "blue", State.PLANNED: "dim", State.FAILED: "red", State.TIMEOUT: "red",
    State.OOM: "red", State.LOST: "magenta", State.BLOCKED: "yellow", State.CANCELLED: "yellow",
    State.UNKNOWN: "magenta",
}  # fmt: skip


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # for `cli` to end on, as any other print's


def console() -> Console:
    """Standard output; its width is the terminal's, or wide enough for a log."""
    width = None if sys.stdout.isatty() else 120
    # What programs and schedulers say is shown as it is: `[5-20%4]` and `:x:` are no markup.
    return _Console(width=width, highlight=False, markup=False, emoji=False)


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


class _Table(Table):
    """What a site's file or a scheduler's answer holds does not steer the terminal."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(plain(c) if isinstance(c, str) else c for c in cells), **options)


def table_of(*columns: str) -> Table:
    table = _Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in ("tasks", "GPUs", "cores", "hours", "attempt")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def styled(state: State) -> Text:
    """A state in its colour."""
    return Text(str(state), style=STYLES[state])
