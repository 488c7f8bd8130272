"""What a plan asks for in GPU-hours, core-hours and money, and whether its budget holds it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pipeline import receipts, space, timeline, validate
from pipeline.job import Job
from pipeline.manifest import Manifest, seconds
from pipeline.plan import Plan
from pipeline.report import Report
from pipeline.states import ACTIVE
from pipeline.timeline import Span

HOUR = 3600


class Quote(msgspec.Struct, frozen=True):
    """Hours and money, each from its low to its high end."""

    gpu_hours: Span = (0.0, 0.0)
    core_hours: Span = (0.0, 0.0)
    cost: Span = (0.0, 0.0)

    def plus(self, other: Quote, share: float = 1.0) -> Quote:
        """With a share of another one, end by end."""
        return Quote(*(
            (getattr(self, key)[0] + share * getattr(other, key)[0],
             getattr(self, key)[1] + share * getattr(other, key)[1])
            for key in KEYS
        ))  # fmt: skip


KEYS = ("gpu_hours", "core_hours", "cost")  # of a quote, and of a budget
NAMES = {"gpu_hours": "GPU-hours", "core_hours": "core-hours"}


def stated(plan: Plan, job: Job) -> bool:
    """Whether the study says how long a job takes."""
    hours = plan.study.stages[job.stage].hours
    return hours is not None and (not isinstance(hours, dict) or job.arm in hours)


def task_hours(plan: Plan, job: Job) -> Span:
    """Hours of all its tasks together. An array's hours are those until its last task ends: at the
    low end its tasks ran one after the other, at the high end all that may at once. Never more than
    all tasks' walltime, which is also the high end where the study does not say."""
    links = job.chain.links if job.chain else 1
    most = job.tasks * links * job.resources.walltime_s / HOUR
    if not stated(plan, job):
        return 0.0, most
    side_by_side = min(job.tasks, job.throttle or job.tasks)
    return min(job.hours[0], most), min(job.hours[1] * side_by_side, most)


def of_job(plan: Plan, job: Job) -> Quote:
    """What one job asks for."""
    low, high = (_charged(plan, job, hours) for hours in task_hours(plan, job))
    return Quote(*zip(low, high, strict=True))


def of_jobs(plan: Plan, jobs: Iterable[Job]) -> Quote:
    """What several ask for together."""
    found = Quote()
    for job in jobs:
        found = found.plus(of_job(plan, job))
    return found


def _charged(plan: Plan, job: Job, hours: float) -> tuple[float, float, float]:
    """GPU-hours, core-hours and cost of so many hours of one of its tasks."""
    r, queue = job.resources, plan.site.queues.get(job.queue)
    charge = (queue.charge if queue else None) or plan.site.charge
    nodes, gpus, cores = (hours * r.nodes * each for each in (1, r.gpus, r.cpus))
    return gpus, cores, charge.of(nodes, gpus, cores)


def spent(plan: Plan, root: Path, report: Report) -> dict[str, float]:
    """Job -> hours that its ended tasks took, every attempt by its receipt; of one that was lost,
    until now or its walltime."""
    found = {}
    for job in plan.jobs:
        active = set(report.jobs[job.name].of(*ACTIVE))
        folder = receipts.directory(root / plan.state_dir, job.name)
        hours = sum(
            _taken(job, receipt)
            for task, own in receipts.scan(folder).items()
            for receipt in own
            if receipt.kind != "run" or task not in active
        )
        if hours:
            found[job.name] = hours
    return found


def _taken(job: Job, receipt: receipts.Receipt) -> float:
    """Hours of one attempt of a task."""
    told = receipts.read(receipt.path)
    start, end = told.get("start"), told.get("end", time.time())
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        return 0.0
    # A script is ended some time after its walltime, and clocks differ.
    return min(max(0.0, end - start), 1.1 * job.resources.walltime_s) / HOUR


class Account(msgspec.Struct, frozen=True):
    """What a run has taken, and what it still asks for with a submission, at the high end."""

    spent: Quote
    asked: Quote
    disk: int  # bytes of all that was ever submitted, as far as they are known
    hours: float  # since the first submission, and of the critical path that is left


def account(
    plan: Plan, root: Path, report: Report, manifest: Manifest | None,
    work: Sequence[tuple[Job, Sequence[int]]],
) -> Account:  # fmt: skip
    """A run's, with `work` about to be submitted."""
    hours = spent(plan, root, report)
    wanted = {job.name: set(tasks) for job, tasks in work}
    taken, asked, left, disk = Quote(), Quote(), [], 0
    entries = manifest.jobs if manifest else {}
    for job in plan.jobs:
        done = hours.get(job.name, 0.0)
        taken = taken.plus(Quote(*((each, each) for each in _charged(plan, job, done))))
        open_tasks = wanted.get(job.name, set()) | set(report.jobs[job.name].of(*ACTIVE))
        if open_tasks or (job.name in entries and entries[job.name].live()):
            disk += space.written(job, space.corpus_bytes(job, root)) or 0
        if not open_tasks:
            continue
        most = task_hours(plan, job)[1] * len(open_tasks) / job.tasks
        # A chain goes on from where it is, anything else begins anew.
        most = max(0.0, most - done) if job.chain else most
        asked = asked.plus(Quote(*((each, each) for each in _charged(plan, job, most))))
        high = max(job.hours) if stated(plan, job) else job.resources.walltime_s / HOUR
        left.append(msgspec.structs.replace(job, hours=(high, high)))
    starts = [seconds(one.time) for entry in entries.values() for one in entry.attempts[:1]]
    since = (time.time() - min(starts)) / HOUR if starts else 0.0
    return Account(taken, asked, disk, since + timeline.critical_path(left)[1])


def beyond(plan: Plan, found: Account) -> list[str]:
    """What of it is more than the study's budget, each in words; empty where all is within."""
    budget, told = plan.study.document.budget, []
    for key in KEYS:
        limit = getattr(budget, key)
        was, more = (getattr(quote, key)[1] for quote in (found.spent, found.asked))
        if limit is not None and was + more > limit:
            name = NAMES.get(key, plan.site.charge.unit)
            told.append(
                f"{was:.4g} {name} are spent and up to {more:.4g} are asked for, which is more "
                f"than budget.{key}: {limit:g}"
            )
    limit = budget.deadline_hours
    if limit is not None and found.hours > limit:
        told.append(
            f"it may end {found.hours:.4g} h after the first submission, later than "
            f"budget.deadline_hours: {limit:g}"
        )
    if budget.disk is not None and found.disk > validate.parse_size(budget.disk):
        told.append(
            f"{found.disk / 1e9:.4g} GB will be on disk, more than budget.disk: {budget.disk}"
        )
    return told


def limited(plan: Plan) -> bool:
    """Whether the study has a budget at all."""
    budget = plan.study.document.budget
    return any(getattr(budget, key) is not None for key in (*KEYS, "disk", "deadline_hours"))
