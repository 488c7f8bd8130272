"""Which tasks a submission is to hold: decisions on a run's state, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline import receipts
from pipeline.errors import StateError
from pipeline.job import Job, Upstream
from pipeline.ranges import to_ranges
from pipeline.report import JobStatus, Report, TaskStatus
from pipeline.states import ACTIVE, RESUBMITTED, State
from pipeline.track import made_by_hand
from pipeline.transport import Transport

Work = list[tuple[Job, list[int]]]  # jobs in the plan's order, each with its tasks

# What a run that goes on leaves alone.
_KEPT = {State.COMPLETED, State.UNKNOWN, *ACTIVE}


def new_work(
    jobs: Sequence[Job], report: Report, transport: Transport, force: bool, whole: bool
) -> Work:
    """The tasks of some jobs that may be submitted. `whole`: those that are neither complete nor
    active, where a job named alone would be refused. Raises StateError with the reason."""
    chosen: list[tuple[Job, list[int]]] = []
    names: set[str] = set()
    for job in jobs:
        status = report.jobs[job.name]
        tasks = list(range(1, job.tasks + 1))
        if whole and not force:
            tasks = [t for t in tasks if status.tasks[t].state not in _KEPT]
        elif refusal := _refusal(job, status, force):
            raise StateError(refusal)
        if not tasks:
            names.add(job.name)
            continue
        others = [u for u in job.upstream if u.job not in names]
        missing = [u.job for u in others if not _usable(u, report.jobs[u.job], transport)]
        if missing:
            raise StateError(
                f"{job.name} needs {', '.join(missing)}, which is neither complete nor queued. "
                f"Submit it first, or everything with `pipeline submit all`"
            )
        names.add(job.name)
        chosen.append((job, tasks))
    return chosen


def _usable(upstream: Upstream, status: JobStatus, transport: Transport) -> bool:
    """Whether a dependent may be queued behind a job: every task done, or still to end, or
    all of it done by hand."""
    states = set(status.counts())
    if states == {State.PLANNED}:
        return made_by_hand(upstream, transport)
    return states <= {State.COMPLETED, *ACTIVE}


def _refusal(job: Job, status: JobStatus, force: bool) -> str:
    """Why a job is not submitted anew; empty where it may be."""
    active = status.of(*ACTIVE)
    if active:
        what = f"{len(active)} of {job.tasks} tasks" if job.array else "it"
        rest = "`pipeline submit all` queues the others" if status.of(State.PLANNED) else "Wait"
        return (
            f"{job.name} is active: {what} queued or running "
            f"({status.tasks[active[0]].id or status.tasks[active[0]].reason}). "
            f"{rest}, or `pipeline cancel {job.name}`"
        )
    unknown = status.of(State.UNKNOWN)
    if unknown and not force:
        return (
            f"{job.name}: the state of {len(unknown)} tasks is unknown "
            f"({status.tasks[unknown[0]].reason}). Wait until `pipeline status` knows it, or "
            "submit with --force if you are sure that it does not run"
        )
    if force:
        return ""
    if len(status.of(State.COMPLETED)) == job.tasks:
        return f"{job.name} is complete. To run it again: --force"
    ended = status.of(*RESUBMITTED, State.CANCELLED, State.BLOCKED)
    if ended and status.of(State.COMPLETED):
        return (
            f"{job.name}: {len(status.of(State.COMPLETED))} tasks are complete and "
            f"{len(ended)} are not. `pipeline resubmit {job.name}` runs just those; --force "
            "runs all again"
        )
    return ""


def old_work(jobs: Sequence[Job], wanted: Mapping[str, list[int]], report: Report) -> Work:
    """The wanted tasks of each job; then, down the plan, the dependents that they blocked, and
    those that are queued behind the attempts that failed, and would be blocked next."""
    again: dict[str, list[int]] = {}
    for job in jobs:
        status = report.jobs[job.name]
        tasks = wanted.get(job.name, [])
        if any(u.job in again for u in job.upstream):
            tasks = sorted({*tasks, *status.of(State.BLOCKED), *_queued(status)})
        elif job.name in wanted and all(_complete(report.jobs[u.job]) for u in job.upstream):
            waited = [t for t in status.of(State.BLOCKED) if not closed(job, status.tasks[t])]
            tasks = sorted({*tasks, *waited})
        if tasks:
            again[job.name] = tasks
    return [(job, again[job.name]) for job in jobs if job.name in again]


def overtaken(work: Work, report: Report) -> dict[str, list[int]]:
    """Job -> those tasks of some work that are queued now: to be cancelled before they are
    submitted anew."""
    found = {}
    for job, tasks in work:
        if own := set(tasks) & {*report.jobs[job.name].of(State.QUEUED, State.HELD)}:
            found[job.name] = sorted(own)
    return found


def _queued(status: JobStatus) -> list[int]:
    """The tasks of a job that wait in the queue; none where any runs, or was queued by hand."""
    waiting = status.of(State.QUEUED, State.HELD)
    if status.of(State.RUNNING, State.SUBMITTING, State.UNKNOWN):
        return []
    return waiting if all(status.tasks[task].attempt for task in waiting) else []


def closed(job: Job, task: TaskStatus) -> bool:
    """Whether a task ran, and its own checks closed its gate: running it again finds the same."""
    if not job.config.get("gate") or task.state != State.BLOCKED or not task.receipt:
        return False
    return "checks" in receipts.read(task.receipt)


def active_ids(status: JobStatus) -> dict[str, str]:
    """The scheduler's ids under which tasks may still run, and those tasks; never an id that is
    another job's by now. Of a chain, the last link first."""
    found: dict[str, list[int]] = {job_id: [1] for job_id in reversed(status.waiting)}
    for task in status.of(State.UNKNOWN, *ACTIVE):
        if status.tasks[task].id not in status.strangers:
            found.setdefault(status.tasks[task].id, []).append(task)
    return {job_id: to_ranges(tasks) for job_id, tasks in found.items()}


def _complete(status: JobStatus) -> bool:
    return all(task.state == State.COMPLETED for task in status.tasks.values())
