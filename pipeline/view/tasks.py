"""`logs` and `why`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.text import Text

from pipeline import diagnose
from pipeline.errors import StateError
from pipeline.job import Job
from pipeline.view.common import print_json
from pipeline.view.drawn import console, styled

if TYPE_CHECKING:
    from pipeline.remote import Remote


def logs(job: Job, root: Path, tasks: Sequence[int], follow_on: bool, lines: int | None) -> None:
    """Prints the newest log of each task; with `follow_on`, what is added until interrupted."""
    found = diagnose.log_files(job, root)
    paths = {task: found[task] for task in tasks if task in found}
    if not paths:
        paths = dict(enumerate(diagnose.scheduler_files(job, root)[-1:]))
    if not paths and not follow_on:
        raise StateError(
            f"{root / job.log_dir}: no log yet. The job has not started; see `pipeline status`"
        )
    positions: dict[Path, int] = {}
    for path in paths.values():
        if len(paths) > 1:
            click.echo(f"==> {path} <==")
        raw = path.read_bytes()  # and printed as it is: what a program wrote need not be UTF-8
        positions[path] = len(raw)
        click.echo(b"".join(raw.splitlines(keepends=True)[-lines:] if lines else [raw]), nl=False)
    if follow_on:
        _tail(job, root, tasks, positions)


def remote_logs(
    job: Job, transport: Remote, tasks: Sequence[int], follow_on: bool, lines: int | None
) -> None:
    """The same, of a job on another host; one task after the other, whole."""
    if follow_on and len(tasks) > 1:
        raise StateError(f"{job.name} has {len(tasks)} tasks. Name one to follow over SSH")
    for task in tasks:
        if len(tasks) > 1:
            click.echo(f"==> {transport.host}: {job.log_dir}, task {task} <==")
        for piece in transport.log(job.name, task, follow_on, lines):
            click.echo(piece, nl=False)


def _tail(job: Job, root: Path, tasks: Sequence[int], positions: dict[Path, int]) -> None:
    while True:
        found = diagnose.log_files(job, root)
        for path in (found[task] for task in tasks if task in found):
            if path.stat().st_size == positions.get(path, 0):
                continue
            with path.open("rb") as file:
                file.seek(positions.get(path, 0))
                added = file.read()
            positions[path] = positions.get(path, 0) + len(added)
            click.echo(added, nl=False)
        time.sleep(0.5)


def why(found: Sequence[diagnose.Diagnosis], as_json: bool) -> None:
    """The reason for a task's state, the line that shows it, the remedy."""
    if as_json:
        print_json([msgspec.to_builtins(d) for d in found])
        return
    out = console()
    apply = ", by `pipeline resubmit --apply`"
    for d in found:
        head = Text(f"{d.job} task {d.task}: ").append_text(styled(d.state))
        out.print(head.append(f" (evidence: {d.evidence})"))
        for label, value in (
            ("reason", d.reason), ("cause", d.cause), ("line", d.line), ("remedy", d.advice),
            ("patch", "; ".join(map(str, d.changes)) + apply if d.changes else ""),
            ("host", d.receipt.get("host", "")), ("log", d.log),
        ):  # fmt: skip
            if value:
                out.print(Text(f"  {label}: ", style="bold").append(str(value), style=""))
