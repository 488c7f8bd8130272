"""`run` and `status --watch`: following a run, and its end."""

from __future__ import annotations

import json
import random
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline import diagnose
from pipeline.plan import Plan
from pipeline.report import JobStatus, Report
from pipeline.states import ACTIVE, FINAL, State
from pipeline.validate import format_walltime
from pipeline.view.drawn import console, styled
from pipeline.view.status import print_jobs, progress, remark, summary, task_counts
from pipeline.view.tasks import why

if TYPE_CHECKING:
    from pipeline.retry import Retries
    from pipeline.submit import Engine


def follow(engine: Engine, interval: float | None, retries: Retries | None = None) -> Report:
    """Shows the run until nothing is active or waits to be tried again: a live table on a terminal,
    lines elsewhere."""
    here = engine.plan.site.scheduler == "local" and not engine.transport.host
    pause = interval or (1.0 if here else 60.0)
    started = time.monotonic()
    if not console().is_terminal:
        return _follow_in_lines(engine, pause, interval is None, retries)
    with Live(console=console(), auto_refresh=False, transient=True) as live:
        while True:
            report = engine.status()
            _, waiting = retries.act(report) if retries else ([], False)
            live.update(live_view(engine.plan, report, time.monotonic() - started), refresh=True)
            if _ended(report) and not waiting:
                return report
            _sleep(pause, interval is None)


def _sleep(pause: float, jitter: bool) -> None:
    # Many users who follow their runs should not ask the scheduler in the same second.
    time.sleep(pause * random.uniform(0.8, 1.2) if jitter and pause > 5 else pause)


def _ended(report: Report) -> bool:
    """Whether nothing more will happen by itself. UNKNOWN may still become something."""
    return not any(state in ACTIVE or state == State.UNKNOWN for state in report.counts())


def _follow_in_lines(engine: Engine, pause: float, jitter: bool, retries: Retries | None) -> Report:
    seen: dict[str, tuple[str, int]] = {}
    while True:
        report = engine.status()
        for job in report.jobs.values():
            line = f"{job.name}: {job.state} {task_counts(job)}"
            if seen.get(job.name) != (line, job.link) and (
                job.name in seen or job.state != State.PLANNED
            ):
                stamp = datetime.now().strftime("%H:%M:%S")
                note = remark(job)
                click.echo(f"{stamp} {line}{' ' + note if note else ''}")
            seen[job.name] = line, job.link
        again, waiting = retries.act(report) if retries else ([], False)
        for link in report.dropped:
            click.echo(f"cancelled {link}: nothing is left for it to do")
        for outcome in (o for o in again if o.action == "submitted" and o.link < 2):
            click.echo(f"trying again: {outcome.job} tasks {outcome.tasks} {outcome.id}")
        if _ended(report) and not waiting:
            return report
        _sleep(pause, jitter)


def live_view(made: Plan, report: Report, elapsed: float) -> RenderableType:
    """Stages down, arms across; below, what runs now."""
    columns = list(dict.fromkeys(["", *made.study.arms]))  # the first: jobs of no arm
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    for column in columns:
        table.add_column(column or "all arms")
    running = []
    for stage in dict.fromkeys(job.stage for job in made.jobs):
        cells = {job.arm: report.jobs[job.name] for job in made.jobs if job.stage == stage}
        table.add_row(stage, *(_cell(cells[c]) if c in cells else Text("") for c in columns))
        running += [job for job in cells.values() if job.state == State.RUNNING and job.progress]
    lines = [Text(f"{job.name}: {progress(job.progress)}", style="cyan") for job in running]
    lines += [Text(f"No answer about {i}: {r}", style="magenta") for i, r in report.silent.items()]
    footer = Text(", ").join(Text(text, style) for text, style in summary(report))
    footer.append(f"   {format_walltime(int(elapsed))}", style="dim")
    return Group(table, *lines, footer)


def _cell(job: JobStatus) -> Text:
    counts = job.counts()
    if len(job.tasks) == 1 or (len(counts) == 1 and State.PLANNED in counts):
        return styled(job.state)
    done = len(job.of(State.COMPLETED))
    width = 12
    filled = round(width * done / len(job.tasks))
    bar = Text("━" * filled, style="green").append("━" * (width - filled), style="dim")
    return bar.append(f" {done}/{len(job.tasks)} ").append_text(styled(job.state))


def ending(engine: Engine, report: Report) -> None:
    """After a run: what failed and why, or the comparison and where everything lies."""
    print_jobs(engine.plan, report)
    failed = [j for j in report.jobs.values() if j.state in FINAL and j.state != State.COMPLETED]
    for job in failed[:3]:
        task = next(t for t in job.tasks.values() if t.state == job.state)
        why([diagnose.why(engine.plan.job(job.name), task, engine.root)], as_json=False)
    if failed:
        only = "" if any(job.state == State.CANCELLED for job in failed) else " --failed"
        click.echo(f"Mend it and run `pipeline resubmit{only}` with the same options.")
        return
    for made in engine.plan.jobs:
        if made.kind == "analyze":
            comparison(engine.root / made.config["parameters"]["analyze"]["results_dir"], console())
    study = engine.plan.study
    for what in ("data", "results", "state"):
        click.echo(f"{what}: {study.directory(what)}/")


def comparison(folder: Path, out: Console) -> None:
    """The table that analysis left: metrics down, arms across; all of it is in comparison.md."""
    path = folder / "comparison.json"
    try:
        found = json.loads(path.read_bytes())
        columns, rows = found["headline"], found["rows"]
        arms = [str(row[columns[0]]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        click.echo(f"{path}: holds no comparison", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for arm in arms:
        table.add_column(arm, justify="right")
    for column in columns[1:]:
        table.add_row(str(column), *(_figure(row.get(column)) for row in rows))
    out.print()
    out.print(table)
    for note in found.get("notes", []):
        out.print(f"  {note}", style="dim")
    out.print(f"\ncomparison: {_shown(path.with_suffix('.md'))}")


def _shown(path: Path) -> str:
    """A path as a user would type it: relative where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
