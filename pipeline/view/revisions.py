"""`diff`."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from pipeline.errors import plain
from pipeline.revisions import UNSET, Difference, shown
from pipeline.view.common import print_json

WIDTH = 100


def difference(found: Difference, as_json: bool) -> None:
    """Both values of every key, and below them why."""
    if as_json:
        print_json({
            "study": found.study, "from": found.one, "to": found.other,
            "changes": [
                {
                    "why": change.why,
                    "keys": {key: _sides(pair) for key, pair in change.keys.items()},
                }
                for change in found.changes
            ],
        })  # fmt: skip
        return
    head = f"{found.study}, {found.one} -> {found.other}"
    if not found.changes:
        click.echo(f"{head}: nothing differs.")
        return
    told = [change for change in found.changes if change.why]
    untold = sum(len(change.keys) for change in found.changes if not change.why)
    counts = [f"{_count(len(told), 'change')} with a reason"] if told else []
    counts += [f"{_count(untold, 'key')} without a reason"] if untold else []
    click.echo(f"{head}: {_count(len(found.keys), 'key')}: {', '.join(counts)}.")
    width = min(48, max(map(len, found.keys)))
    for change in found.changes:
        click.echo()
        for key, (before, after) in change.keys.items():
            click.echo(plain(f"{key:<{width}}  {shown(before)} -> {shown(after)}"))
        why = plain(change.why) or "! `revisions` gives no reason"
        indent = "    " if change.why else "  "
        for line in textwrap.wrap(why, WIDTH, initial_indent=indent, subsequent_indent="    "):
            click.echo(line)


def _sides(pair: tuple[Any, Any]) -> dict[str, Any]:
    """A side that lacks the key is left away."""
    return {
        side: value
        for side, value in zip(("from", "to"), pair, strict=True)
        if value is not UNSET
    }  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
