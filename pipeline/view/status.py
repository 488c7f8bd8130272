"""`status`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pipeline import receipts
from pipeline.errors import plain
from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.ranges import to_ranges
from pipeline.report import JobStatus, Report, TaskStatus
from pipeline.states import State
from pipeline.track import check_outputs
from pipeline.validate import format_walltime
from pipeline.view.common import STYLES, paint, print_json, say, table_lines

if TYPE_CHECKING:
    from pipeline.submit import Engine


def status(engine: Engine, report: Report, only: Job | None, as_json: bool) -> None:
    """Every job, or the tasks of one."""
    check_outputs(engine.plan.jobs, report, engine.transport)
    if as_json:
        print_json(_status_json(engine, report, only))
        return
    if report.unsaved:
        click.echo(f"warning: {report.unsaved}", err=True)
    if only:
        for line in _tasks_lines(report.jobs[only.name]):
            say(line)
    else:
        print_jobs(engine.plan, report)
        say(", ".join(paint(text, style) for text, style in summary(report)))
    for name, left in report.removed.items():
        said = f"{name} is no longer in the study but {left.state} as {left.id}"
        say(plain(f"{said}. `pipeline cancel --all` ends it."), "yellow")
    for name in report.adopted:
        say(plain(f"Adopted {name}: an interrupted command had submitted it."), "yellow")
    for link in report.dropped:
        say(plain(f"Cancelled {link}: nothing is left for it to do."), "yellow")
    for job_id, reason in report.silent.items():
        say(plain(f"No answer about {job_id}: {reason}"), "magenta")


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
        "removed": [_job_json(job, detail=False) for job in report.removed.values()],
        "silent": report.silent,
        "adopted": report.adopted,
        "dropped": report.dropped,
        "scheduler_calls": report.scheduler_calls,
    }


def _job_json(job: JobStatus, detail: bool) -> dict[str, Any]:
    states: dict[str, str] = {str(s): to_ranges(job.of(s)) for s in State if job.of(s)}
    found: dict[str, Any] = {
        "name": job.name, "stage": job.stage, "arm": job.arm, "state": str(job.state),
        "tasks": states, "id": job.id, "attempt": job.attempt, "progress": job.progress,
        "missing_outputs": to_ranges(t.task for t in job.tasks.values() if t.output is False),
    }  # fmt: skip
    if job.links:
        found |= {"link": job.link, "links": job.links, "waiting": job.waiting}
    if detail:
        found["details"] = [_task_json(task) for task in job.tasks.values()]
    return found


def _task_json(task: TaskStatus) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(task, enc_hook=str)
    content = receipts.read(task.receipt) if task.receipt else {}
    found["host"] = task.host or content.get("host", "")
    found["signal"] = content.get("signal")
    found["elapsed_s"] = _elapsed(task, content)
    return found


def _elapsed(task: TaskStatus, content: dict[str, Any]) -> int | None:
    if task.elapsed_s is not None:
        return task.elapsed_s
    start, end = content.get("start"), content.get("end", time.time())
    numbers = isinstance(start, int | float) and isinstance(end, int | float)
    return int(end - start) if numbers else None


def print_jobs(made: Plan, report: Report) -> None:
    """A line a job, as the plan orders them."""
    rows, styles = [], []
    for job in made.jobs:
        found = report.jobs[job.name]
        rows.append((
            job.name, str(found.state), task_counts(found), found.id, str(found.attempt or ""),
            _evidence(found), remark(found),
        ))  # fmt: skip
        styles.append(STYLES[found.state])
    columns = ("job", "state", "tasks", "id", "attempt", "evidence", "")
    for line in table_lines(columns, rows, styles):
        say(line)


def task_counts(job: JobStatus) -> str:
    done = len(job.of(State.COMPLETED))
    return f"{done}/{len(job.tasks)}"


def _evidence(job: JobStatus) -> str:
    kinds = {t.evidence for t in job.tasks.values() if t.evidence != "none"}
    if any(t.output for t in job.tasks.values()):
        kinds.add("output")  # type: ignore[arg-type]
    return "+".join(sorted(kinds, key=["receipt", "output", "scheduler", "manifest"].index))


def remark(job: JobStatus) -> str:
    """The one thing more that is worth a line: progress, or what is wrong; of a chain, its link."""
    link = f"link {job.link} of {job.links}" if job.links else ""
    return ", ".join(filter(None, (link, _remark(job))))


def _remark(job: JobStatus) -> str:
    missing = [t.task for t in job.tasks.values() if t.output is False]
    if missing:
        return f"output missing: task {to_ranges(missing)}"
    if job.state == State.RUNNING and job.progress:
        return progress(job.progress)
    fine = (State.COMPLETED, State.PLANNED)
    bad = [t for t in job.worst_first() if t.state not in fine and t.reason]
    if not bad:
        return ""
    alike = to_ranges(t.task for t in bad if t.state == bad[0].state)
    return f"task {alike}: {bad[0].reason}" if len(job.tasks) > 1 else bad[0].reason


def progress(values: dict[str, Any]) -> str:
    """`60/120 steps, 5,310 tokens/s, loss 5.31` of what running tasks wrote."""
    parts = []
    if values.get("total"):
        done, unit = values.get("done", 0), values.get("unit", "")
        parts.append(f"{done:,.0f}/{values['total']:,.0f} {unit}".strip())
    if values.get("rate"):
        parts.append(f"{values['rate']:,.0f} {values.get('rate_unit', '')}".strip())
    if isinstance(values.get("loss"), int | float):
        parts.append(f"loss {values['loss']:.3f}")
    return ", ".join(parts) or str(values.get("message", ""))


def summary(report: Report) -> list[tuple[str, str]]:
    """`3 running` and its style for every state that any task is in."""
    counts = report.counts()
    return [(f"{counts[state]} {state}", STYLES[state]) for state in State if state in counts]


def _tasks_lines(job: JobStatus) -> Iterator[str]:
    """A line a task, never folded: a program may read them."""
    rows = [("task", "state", "evidence", "id", "attempt", "host", "elapsed", "exit", "")]
    for task in job.tasks.values():
        content = receipts.read(task.receipt) if task.receipt else {}
        elapsed = _elapsed(task, content)
        rows.append((
            str(task.task), str(task.state), _task_evidence(task), task.id,
            str(task.attempt or ""), task.host or str(content.get("host", "")),
            format_walltime(elapsed) if elapsed is not None else "",
            "" if task.exit_code is None else str(task.exit_code), task.reason,
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    styles = ["bold", *(STYLES[task.state] for task in job.tasks.values())]
    for row, style in zip(rows, styles, strict=True):
        cells = (plain(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        number, state, *rest = cells
        if style == "bold":
            number = paint(number, style)
        yield f"{number}  {paint(state, style)}  {'  '.join(rest)}".rstrip()


def _task_evidence(task: TaskStatus) -> str:
    return f"{task.evidence}+output" if task.output else task.evidence
