"""`doctor` and `sites`."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click
import msgspec
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.site import Queue, Site
from pipeline.view.common import print_json
from pipeline.view.drawn import console, table_of
from pipeline.yamlio import dump

if TYPE_CHECKING:
    from pipeline.doctor.check import Check, Status
    from pipeline.sync import Comparison

# `silent`: nobody answered, so it is unknown.
MARKS = {
    "ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red"),
    "silent": ("????", "magenta"),
}  # fmt: skip
WORDS: dict[Status, str] = {
    "fail": "to mend before anything is submitted", "silent": "unknown, nobody answered",
    "warn": "to look at", "ok": "well",
}  # fmt: skip


def doctor(found: Sequence[Check], as_json: bool) -> None:
    """A table a section, a line a check; what is not well with its remedy."""
    if as_json:
        print_json([msgspec.to_builtins(check) for check in found])
        return
    out = console()
    for section in dict.fromkeys(check.section for check in found):
        out.print(Text(section, style="bold"))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=4)
        table.add_column(max_width=52, overflow="fold")
        table.add_column(overflow="fold")
        for check in (check for check in found if check.section == section):
            mark, style = MARKS[check.status]
            table.add_row(Text(mark, style=style), Text(check.name), _told(check))
        out.print(Padding(table, (0, 0, 0, 2), expand=False))
    counts = Counter(check.status for check in found)
    words = (f"{counts[status]} {word}" for status, word in WORDS.items() if counts[status])
    out.print(Text(", ".join(words)))


def _told(check: Check) -> Text:
    """The fact; where something is to be done, who waits for it and the remedy."""
    text = Text(check.fact)
    if check.status == "ok":
        return text
    if check.needed_by:
        more = f" and {len(check.needed_by) - 3} more" if len(check.needed_by) > 3 else ""
        text.append(f" (for {', '.join(check.needed_by[:3])}{more})", style="dim")
    return text.append(f"\n-> {check.remedy}", style="bold") if check.remedy else text


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows on a terminal what takes long, on one line that is gone afterwards."""
    shown = sys.stderr.isatty()

    def say(text: str) -> None:
        if shown:
            click.echo(f"\r{text} ...\x1b[K", nl=False, err=True)

    try:
        yield say
    finally:
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def sites(found: Sequence[tuple[str, Site]], default: str) -> None:
    """The sites, the default one marked."""
    table = table_of("site", "scheduler", "queue", "GPUs", "cores", "walltime", "")
    for name, one in found:
        d = one.defaults
        walltime = "" if d.walltime is None else str(d.walltime)
        table.add_row(
            name, one.scheduler, d.queue or "", str(d.gpus or 0), str(d.cpus or ""), walltime,
            ", ".join(_notes(name, one, default)),
        )  # fmt: skip
    console().print(table)


def _notes(name: str, one: Site, default: str) -> Iterator[str]:
    if name == default:
        yield "default"
    if one.scheduler == "torque":
        yield "untested: from Torque's manual"
    if one.host:
        yield f"over ssh: {one.host}"
    if not one.history:
        yield "no history: only receipts tell how jobs ended"


def site(one: Site) -> None:
    """A site with all its values, and what its queues allow."""
    values = msgspec.to_builtins(one)
    queues = values.pop("queues")
    click.echo(dump({key: value for key, value in values.items() if value is not None}), nl=False)
    if not queues:
        return
    rows = queues.values()
    keys = [key for key in Queue.__struct_fields__ if any(row[key] is not None for row in rows)]
    table = table_of("queue", *(key.replace("_", " ") for key in keys))
    for name, queue in queues.items():
        if (charge := one.queues[name].charge) is not None:
            queue["charge"] = charge.text
        table.add_row(name, *("" if queue[key] is None else str(queue[key]) for key in keys))
    click.echo()
    console().print(table)


def sync(found: Comparison, dry_run: bool, as_json: bool) -> None:
    """What was sent, or would be; files that are left out come last."""
    if as_json:
        print_json({
            "changes": [msgspec.to_builtins(c) for c in found.changes if c.action != "same"],
            "same": len(found.of("same")), "left_out": found.left_out,
        })  # fmt: skip
        return
    for change in found.changes:
        if change.action != "same" and (dry_run or change.action == "changed there"):
            click.echo(f"{change.action}: {change.path}")
    for path, reason in found.left_out.items():
        click.echo(f"left out: {path}, {reason}")
    sent, gone, same = (len(found.of(*a)) for a in (("put", "update"), ("delete",), ("same",)))
    verbs = ("would be put", "would be deleted") if dry_run else ("put", "deleted")
    click.echo(f"{sent} files {verbs[0]}, {gone} {verbs[1]}, {same} as they were")
