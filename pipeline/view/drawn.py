"""What is drawn with rich: tables that fold every column, live pictures."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.errors import plain
from pipeline.states import State
from pipeline.view.common import LOG_WIDTH, RIGHT, STYLES


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # for `cli` to end on, as any other print's


def console() -> Console:
    """Standard output; its width is the terminal's, or wide enough for a log."""
    width = None if sys.stdout.isatty() else LOG_WIDTH
    # What programs and schedulers say is shown as it is: `[5-20%4]` and `:x:` are no markup.
    return _Console(width=width, highlight=False, markup=False, emoji=False)


class _Table(Table):
    """What a site's file or a scheduler's answer holds does not steer the terminal."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(plain(c) if isinstance(c, str) else c for c in cells), **options)


def table_of(*columns: str) -> Table:
    table = _Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in RIGHT
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def styled(state: State) -> Text:
    """A state in its colour."""
    return Text(str(state), style=STYLES[state])
