"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import difflib
import json
import random
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline import diagnose, estimate
from pipeline.errors import StateError
from pipeline.plan import Job, Plan
from pipeline.ranges import to_ranges
from pipeline.site import Site
from pipeline.states import ACTIVE, FINAL, State
from pipeline.track import JobStatus, Report, TaskStatus, check_outputs
from pipeline.validate import format_walltime
from pipeline.yamlio import dump

if TYPE_CHECKING:
    from pipeline.doctor import Check
    from pipeline.submit import Engine, Outcome

STYLES = {
    State.COMPLETED: "green", State.RUNNING: "cyan", State.QUEUED: "blue", State.HELD: "blue",
    State.SUBMITTING: "blue", State.PLANNED: "dim", State.FAILED: "red", State.TIMEOUT: "red",
    State.OOM: "red", State.LOST: "magenta", State.BLOCKED: "yellow", State.CANCELLED: "yellow",
    State.UNKNOWN: "magenta",
}  # fmt: skip


def console() -> Console:
    """Standard output; its width is the terminal's, or wide enough for a log."""
    width = None if sys.stdout.isatty() else 120
    return Console(width=width, highlight=False)


def _json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in ("tasks", "GPUs", "cores", "hours", "attempt")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


# ---- plan and check ---------------------------------------------------------------------------


def plan(made: Plan, as_json: bool) -> None:
    """The jobs, and the times and sizes that follow from them."""
    figures = estimate.figures(made)
    if as_json:
        jobs = [
            {k: v for k, v in msgspec.to_builtins(job).items() if k != "config"}
            for job in made.jobs
        ]
        _json({"study": made.study.name, "site": made.site.site, "jobs": jobs, "figures": figures})
        return
    table = _table("job", "tasks", "nodes", "GPUs", "cores", "memory", "walltime", "hours", "needs")
    for job in made.jobs:
        r = job.resources
        table.add_row(
            job.name, str(job.tasks), str(r.nodes), str(r.gpus), str(r.cpus),
            f"{r.mem_bytes / 1e9:.0f} GB", format_walltime(r.walltime_s),
            _hours(job.hours), ", ".join(u.job for u in job.upstream),
        )  # fmt: skip
    out = console()
    out.print(table)
    out.print()
    for name, text in figures.items():
        out.print(f"{name}: {text}")


def _hours(hours: tuple[float, float]) -> str:
    low, high = (f"{h:g}" for h in hours)
    return low if low == high else f"{low}-{high}"


def check(made: Plan, as_json: bool) -> None:
    """That a study holds together, and in what its arms differ."""
    differing = estimate.differing(made.study)
    result = {
        "study": made.study.name, "file": str(made.study.path), "site": made.site.site,
        "jobs": len(made.jobs), "tasks": sum(job.tasks for job in made.jobs),
        "arms": list(made.study.arms), "arms_differ_in": differing,
        "claims": len(made.study.document.claims),
    }  # fmt: skip
    if as_json:
        _json(result)
        return
    click.echo(f"{made.study.path}: holds together on site {made.site.site}.")
    click.echo(f"{result['jobs']} jobs, {result['tasks']} tasks, arms: {', '.join(made.study.arms)}.")
    if len(made.study.arms) > 1:
        click.echo(f"The arms differ in: {', '.join(differing) or 'nothing'}.")
    if made.study.document.claims:
        click.echo(f"{result['claims']} claims are recorded; this version does not compute them.")


def diffs(found: Sequence[tuple[str, str, str]]) -> None:
    """Unified differences between what was submitted last and what would be now."""
    for name, before, after in found:
        if not before:
            click.echo(f"{name}: never submitted")
        elif before == after:
            click.echo(f"{name}: as submitted")
        else:
            lines = difflib.unified_diff(
                before.splitlines(), after.splitlines(), f"{name} (submitted)", name, lineterm=""
            )
            click.echo("\n".join(lines))


# ---- submit, resubmit, cancel -----------------------------------------------------------------


def outcomes(done: Sequence[Outcome], nothing: str = "Nothing to submit: all is complete or active.") -> None:
    """A line for each job that a command acted on."""
    if not done:
        click.echo(nothing)
    for outcome in done:
        detail = f" tasks {outcome.tasks}" if outcome.tasks not in ("", "1") else ""
        attempt = f" (attempt {outcome.attempt})" if outcome.attempt > 1 else ""
        identity = f" {outcome.id}" if outcome.id else ""
        click.echo(f"{outcome.action} {outcome.job}{detail}{identity}{attempt}{outcome.detail and ' ' + outcome.detail}")


# ---- status -----------------------------------------------------------------------------------


def status(engine: Engine, report: Report, only: Job | None, as_json: bool) -> None:
    """Every job, or the tasks of one."""
    for job in engine.plan.jobs:
        check_outputs(job, report.jobs[job.name], engine.root)
    if as_json:
        _json(_status_json(engine, report, only))
        return
    out = console()
    if only:
        out.print(_tasks_table(report.jobs[only.name]))
    else:
        out.print(_jobs_table(engine.plan, report))
        out.print(_summary(report))
    for name in report.adopted:
        out.print(f"Adopted {name}: an interrupted command had submitted it.", style="yellow")
    for job_id, reason in report.silent.items():
        out.print(f"No answer about {job_id}: {reason}", style="magenta")


def _status_json(engine: Engine, report: Report, only: Job | None) -> dict[str, Any]:
    jobs = [report.jobs[only.name]] if only else list(report.jobs.values())
    return {
        "study": engine.plan.study.name,
        "run": engine.plan.study.run_name,
        "site": engine.plan.site.site,
        "scheduler": engine.plan.site.scheduler,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "summary": {str(k): v for k, v in sorted(report.counts().items())},
        "jobs": [_job_json(job, detail=only is not None) for job in jobs],
        "silent": report.silent,
        "adopted": report.adopted,
        "scheduler_calls": report.scheduler_calls,
    }


def _job_json(job: JobStatus, detail: bool) -> dict[str, Any]:
    states: dict[str, str] = {str(s): to_ranges(job.of(s)) for s in State if job.of(s)}
    found: dict[str, Any] = {
        "name": job.name, "stage": job.stage, "arm": job.arm, "state": str(job.state),
        "tasks": states, "id": job.id, "attempt": job.attempt, "progress": job.progress,
        "missing_outputs": to_ranges(t.task for t in job.tasks.values() if t.output is False),
    }  # fmt: skip
    if detail:
        found["details"] = [_task_json(task) for task in job.tasks.values()]
    return found


def _task_json(task: TaskStatus) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(task, enc_hook=str)
    content = _content(task)
    found["host"] = task.host or content.get("host", "")
    found["signal"] = content.get("signal")
    found["elapsed_s"] = _elapsed(task, content)
    return found


def _content(task: TaskStatus) -> dict[str, Any]:
    """The receipt behind a task's state; empty where there is none."""
    if task.receipt is None:
        return {}
    try:
        content = json.loads(Path(task.receipt).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _elapsed(task: TaskStatus, content: dict[str, Any]) -> int | None:
    if task.elapsed_s is not None:
        return task.elapsed_s
    start, end = content.get("start"), content.get("end", time.time())
    numbers = isinstance(start, int | float) and isinstance(end, int | float)
    return int(end - start) if numbers else None


def _jobs_table(made: Plan, report: Report) -> Table:
    table = _table("job", "state", "tasks", "id", "attempt", "evidence", "")
    for job in made.jobs:
        found = report.jobs[job.name]
        table.add_row(
            job.name, _styled(found.state), _task_counts(found), found.id,
            str(found.attempt or ""), _evidence(found), _remark(found),
        )  # fmt: skip
    return table


def _styled(state: State) -> Text:
    return Text(str(state), style=STYLES[state])


def _task_counts(job: JobStatus) -> str:
    done = len(job.of(State.COMPLETED))
    return f"{done}/{len(job.tasks)}"


def _evidence(job: JobStatus) -> str:
    kinds = {t.evidence for t in job.tasks.values() if t.evidence != "none"}
    if any(t.output for t in job.tasks.values()):
        kinds.add("output")  # type: ignore[arg-type]
    return "+".join(sorted(kinds, key=["receipt", "output", "scheduler", "manifest"].index))


def _remark(job: JobStatus) -> str:
    """The one thing more that is worth a line: progress, or what is wrong."""
    missing = [t.task for t in job.tasks.values() if t.output is False]
    if missing:
        return f"output missing: task {to_ranges(missing)}"
    if job.state == State.RUNNING and job.progress:
        return progress(job.progress)
    bad = [t for t in job.tasks.values() if t.state not in (State.COMPLETED, State.PLANNED) and t.reason]
    if bad:
        tasks = f"task {to_ranges(t.task for t in bad if t.state == bad[0].state)}: " if len(job.tasks) > 1 else ""
        return f"{tasks}{bad[0].reason}"
    return ""


def progress(values: dict[str, Any]) -> str:
    """`60/120 steps, 5,310 tokens/s, loss 5.31` of what running tasks wrote."""
    parts = []
    if values.get("total"):
        parts.append(f"{values.get('done', 0):,.0f}/{values['total']:,.0f} {values.get('unit', '')}".strip())
    if values.get("rate"):
        parts.append(f"{values['rate']:,.0f} {values.get('rate_unit', '')}".strip())
    if isinstance(values.get("loss"), int | float):
        parts.append(f"loss {values['loss']:.3f}")
    return ", ".join(parts) or str(values.get("message", ""))


def _summary(report: Report) -> Text:
    text = Text()
    counts = report.counts()
    for state in State:
        if state in counts:
            text.append(f"{', ' if text else ''}{counts[state]} {state}", style=STYLES[state])
    return text


def _tasks_table(job: JobStatus) -> Table:
    table = _table("task", "state", "evidence", "id", "attempt", "host", "elapsed", "exit", "")
    for task in job.tasks.values():
        content = _content(task)
        elapsed = _elapsed(task, content)
        table.add_row(
            str(task.task), _styled(task.state), _task_evidence(task), task.id,
            str(task.attempt or ""), task.host or str(content.get("host", "")),
            format_walltime(elapsed) if elapsed is not None else "",
            "" if task.exit_code is None else str(task.exit_code), task.reason,
        )  # fmt: skip
    return table


def _task_evidence(task: TaskStatus) -> str:
    return f"{task.evidence}+output" if task.output else task.evidence


# ---- run --------------------------------------------------------------------------------------


def follow(engine: Engine, interval: float | None) -> Report:
    """Shows the run until nothing is active: a live table on a terminal, lines elsewhere."""
    pause = interval or (1.0 if engine.plan.site.scheduler == "local" else 60.0)
    started = time.monotonic()
    if not console().is_terminal:
        return _follow_in_lines(engine, pause, interval is None)
    with Live(console=console(), auto_refresh=False, transient=True) as live:
        while True:
            report = engine.status()
            live.update(_live_view(engine.plan, report, time.monotonic() - started), refresh=True)
            if _ended(report):
                return report
            _sleep(pause, interval is None)


def _sleep(pause: float, jitter: bool) -> None:
    # Many users who follow their runs should not ask the scheduler in the same second.
    time.sleep(pause * random.uniform(0.8, 1.2) if jitter and pause > 5 else pause)


def _ended(report: Report) -> bool:
    """Whether nothing more will happen by itself. UNKNOWN may still become something."""
    return not any(state in ACTIVE or state == State.UNKNOWN for state in report.counts())


def _follow_in_lines(engine: Engine, pause: float, jitter: bool) -> Report:
    seen: dict[str, str] = {}
    while True:
        report = engine.status()
        for job in report.jobs.values():
            line = f"{job.name}: {job.state} {_task_counts(job)}"
            if seen.get(job.name) != line and (job.name in seen or job.state != State.PLANNED):
                stamp = datetime.now().strftime("%H:%M:%S")
                remark = _remark(job)
                click.echo(f"{stamp} {line}{' ' + remark if remark else ''}")
            seen[job.name] = line
        if _ended(report):
            return report
        _sleep(pause, jitter)


def _live_view(made: Plan, report: Report, elapsed: float) -> RenderableType:
    """Stages down, arms across; below, what runs now."""
    arms = list(made.study.arms)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    for arm in arms or [""]:
        table.add_column(arm)
    running = []
    for stage in dict.fromkeys(job.stage for job in made.jobs):
        cells = {job.arm: report.jobs[job.name] for job in made.jobs if job.stage == stage}
        row = [_cell(cells[arm]) if arm in cells else Text("") for arm in arms or [""]]
        if "" in cells and arms:
            row[0] = _cell(cells[""])
        table.add_row(stage, *row)
        running += [job for job in cells.values() if job.state == State.RUNNING and job.progress]
    lines = [Text(f"{job.name}: {progress(job.progress)}", style="cyan") for job in running]
    footer = _summary(report).append(f"   {format_walltime(int(elapsed))}", style="dim")
    return Group(table, *lines, footer)


def _cell(job: JobStatus) -> Text:
    counts = job.counts()
    if len(job.tasks) == 1 or len(counts) == 1 and State.PLANNED in counts:
        return _styled(job.state)
    done = len(job.of(State.COMPLETED))
    width = 12
    filled = round(width * done / len(job.tasks))
    bar = Text("━" * filled, style="green").append("━" * (width - filled), style="dim")
    return bar.append(f" {done}/{len(job.tasks)} ").append_text(_styled(job.state))


def ending(engine: Engine, report: Report) -> None:
    """After a run: what failed and why, or the comparison and where everything lies."""
    out = console()
    out.print(_jobs_table(engine.plan, report))
    failed = [j for j in report.jobs.values() if j.state in FINAL and j.state != State.COMPLETED]
    for job in failed[:3]:
        task = next(t for t in job.tasks.values() if t.state == job.state)
        why([diagnose.why(engine.plan.job(job.name), task, engine.root)], as_json=False)
    if failed:
        click.echo("Mend it and run `pipeline resubmit --failed` with the same options.")
        return
    for made in engine.plan.jobs:
        if made.kind == "analyze":
            comparison(engine.root / made.config["parameters"]["analyze"]["results_dir"])
    study = engine.plan.study
    for what in ("data", "results", "state"):
        click.echo(f"{what}: {study.directory(what)}/")  # type: ignore[arg-type]


def comparison(folder: Path) -> None:
    """The table that analysis left: arms down, metrics across."""
    path = folder / "comparison.json"
    try:
        found = json.loads(path.read_bytes())
        columns, rows = found["columns"], found["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        click.echo(f"{path}: holds no comparison", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(str(column), justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(_figure(row.get(column)) for column in columns))
    out = console()
    out.print()
    out.print(table)
    for note in found.get("notes", []):
        out.print(f"  {note}", style="dim")
    out.print()


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


# ---- logs, why --------------------------------------------------------------------------------


def logs(job: Job, root: Path, tasks: Sequence[int], follow_on: bool, lines: int | None) -> None:
    """Prints the newest log of each task; with `follow_on`, what is added until interrupted."""
    paths = {task: found[-1] for task in tasks if (found := diagnose.log_files(job, root, task))}
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
        text = path.read_text("utf-8", "replace")
        positions[path] = path.stat().st_size
        click.echo("".join(text.splitlines(keepends=True)[-lines:] if lines else text), nl=False)
    if follow_on:
        _tail(job, root, tasks, positions)


def _tail(job: Job, root: Path, tasks: Sequence[int], positions: dict[Path, int]) -> None:
    try:
        while True:
            for task in tasks:
                for path in diagnose.log_files(job, root, task)[-1:]:
                    start = positions.get(path, 0)
                    with path.open("rb") as file:
                        file.seek(start)
                        added = file.read()
                    positions[path] = start + len(added)
                    click.echo(added.decode("utf-8", "replace"), nl=False)
            time.sleep(0.5)
    except KeyboardInterrupt:
        return


def why(found: Sequence[diagnose.Diagnosis], as_json: bool) -> None:
    """The reason for a task's state, the line that shows it, the remedy."""
    if as_json:
        _json([msgspec.to_builtins(d) for d in found])
        return
    out = console()
    for d in found:
        head = Text(f"{d.job} task {d.task}: ").append_text(_styled(d.state))
        out.print(head.append(f" (evidence: {d.evidence})"))
        for label, value in (
            ("reason", d.reason), ("cause", d.cause), ("line", d.line), ("remedy", d.advice),
            ("host", d.receipt.get("host", "")), ("log", d.log),
        ):  # fmt: skip
            if value:
                out.print(Text(f"  {label}: ", style="bold").append(str(value), style=""))


# ---- doctor, sites ----------------------------------------------------------------------------


def doctor(found: Sequence[Check], as_json: bool) -> None:
    """A line a check; failing ones with their remedy."""
    if as_json:
        _json([msgspec.to_builtins(check) for check in found])
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
    table = _table("site", "scheduler", "queue", "GPUs", "cores", "walltime", "")
    for name, one in found:
        d = one.defaults
        walltime = "" if d.walltime is None else str(d.walltime)
        table.add_row(
            name, one.scheduler, d.queue or "", str(d.gpus or 0), str(d.cpus or ""), walltime,
            "default" if name == default else "",
        )  # fmt: skip
    console().print(table)


def site(one: Site) -> None:
    """A site with all its values."""
    click.echo(dump(msgspec.to_builtins(one)), nl=False)


