"""`doctor` and `sites`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
import msgspec
from rich.text import Text

from pipeline.site import Site
from pipeline.view.common import console, print_json, table_of
from pipeline.yamlio import dump

if TYPE_CHECKING:
    from pipeline.doctor import Check


def doctor(found: Sequence[Check], as_json: bool) -> None:
    """A line a check; failing ones with their remedy."""
    if as_json:
        print_json([msgspec.to_builtins(check) for check in found])
        return
    out = console()
    marks = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}
    for check in found:
        mark, style = marks[check.status]
        out.print(Text(mark, style=style).append(f"  {check.name}: {check.fact}", style=""))
        if check.remedy:
            out.print(Text(f"        -> {check.remedy}"))


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


def site(one: Site) -> None:
    """A site with all its values."""
    click.echo(dump(msgspec.to_builtins(one)), nl=False)
