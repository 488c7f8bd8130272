"""What all views share: the console, tables, colours of states."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table_of(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in ("tasks", "GPUs", "cores", "hours", "attempt")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def styled(state: State) -> Text:
    """A state in its colour."""
    return Text(str(state), style=STYLES[state])
