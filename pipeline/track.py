"""What is known of every task, and on whose word: receipts first, then the scheduler.

Only a receipt makes a task COMPLETED. A scheduler that does not answer makes it UNKNOWN; one that
answers that it does not know the job makes it LOST, after the file system has had time to show a
late receipt.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline import receipts
from pipeline.errors import StateError, Unreachable
from pipeline.job import Job, Upstream, host_path
from pipeline.manifest import Attempt, Entry, Manifest, Store, now, seconds
from pipeline.ranges import from_ranges, to_ranges
from pipeline.receipts import Receipt
from pipeline.schedulers.base import Answer, Completed, Scheduler, TaskReport
from pipeline.states import ACTIVE, FINAL, State
from pipeline.transport import Transport

Evidence = Literal["receipt", "scheduler", "manifest", "none"]


class TaskStatus(msgspec.Struct):
    """One task: its state, the evidence for it, and what else is known."""

    task: int
    state: State
    evidence: Evidence = "none"
    reason: str = ""
    exit_code: int | None = None
    attempt: int = 0
    id: str = ""  # the scheduler's; of a task with a final receipt, the one in its name
    index: int = 0  # in the scheduler's array; 0: a plain job
    host: str = ""
    elapsed_s: int | None = None
    receipt: Path | None = None
    output: bool | None = None  # whether a completed task's outputs are there; None: not looked


class JobStatus(msgspec.Struct):
    """A job with its tasks."""

    name: str
    stage: str
    arm: str
    tasks: dict[int, TaskStatus]
    id: str = ""
    attempt: int = 0
    progress: dict[str, Any] = msgspec.field(default_factory=dict)

    def counts(self) -> dict[State, int]:
        """How many tasks are in each state."""
        found: dict[State, int] = {}
        for task in self.tasks.values():
            found[task.state] = found.get(task.state, 0) + 1
        return found

    def of(self, *states: State) -> list[int]:
        """The tasks in any of these states."""
        return [t.task for t in self.tasks.values() if t.state in states]

    def worst_first(self) -> list[TaskStatus]:
        """The tasks, those first that ended without success."""
        ended = FINAL - {State.COMPLETED}
        return sorted(self.tasks.values(), key=lambda task: task.state not in ended)

    @property
    def state(self) -> State:
        """One word for the whole job: what most needs to be known of it."""
        counts = self.counts()
        for state in _ORDER:
            if state in counts:
                return state
        return State.PLANNED


# The state of a job with tasks in several: the first of these that any task is in.
_ORDER = (
    State.RUNNING, State.SUBMITTING, State.UNKNOWN, State.HELD, State.QUEUED, State.LOST,
    State.OOM, State.TIMEOUT, State.FAILED, State.CANCELLED, State.BLOCKED, State.PLANNED,
    State.COMPLETED,
)  # fmt: skip


class Report(msgspec.Struct):
    """The whole run, every job of the plan in its order."""

    jobs: dict[str, JobStatus]
    silent: dict[str, str]  # job id -> why nothing is known of it
    scheduler_calls: int = 0
    adopted: list[str] = msgspec.field(default_factory=list)
    removed: dict[str, JobStatus] = msgspec.field(default_factory=dict)  # no longer in the study
    unsaved: str = ""  # why the manifest could not be brought up to date

    def counts(self) -> dict[State, int]:
        """Tasks of all jobs by state."""
        found: dict[State, int] = {}
        for job in self.jobs.values():
            for state, count in job.counts().items():
                found[state] = found.get(state, 0) + count
        return found


class Tracker:
    """Finds out the state of a run's jobs with the fewest scheduler calls."""

    def __init__(
        self, store: Store, jobs: Sequence[Job], scheduler: Scheduler, transport: Transport,
        grace_s: int = 120,
    ) -> None:  # fmt: skip
        self.store, self.jobs = store, jobs
        self.scheduler, self.transport = scheduler, transport
        self.grace_s = grace_s

    def refresh(self, manifest: Manifest) -> Report:
        """Looks at receipts and scheduler; puts states and departures into `manifest`."""
        calls = self.transport.calls
        views = [self._view(job, manifest) for job in self.jobs]
        views += [self._view(job, manifest) for job in self._removed(manifest)]
        asked = sorted({view.id_of(task) for view in views for task in view.open_tasks()} - {""})
        answer = self._ask(asked, self.scheduler.query_argvs, self.scheduler.parse_query)
        # What ended while the scheduler was asked has its receipt by now.
        views = [self._view(v.job, manifest) if v.open_tasks() else v for v in views]
        left = sorted(
            {v.id_of(t) for v in views for t in v.open_tasks() if v.has_left(t, answer)} - {""}
        )
        history = self._ask(left, self.scheduler.history_argvs, self.scheduler.parse_history)
        report = Report(jobs={}, silent={**answer.silent, **history.silent})
        for view in views:
            status = view.resolve(answer, history, self.grace_s)
            known = report.jobs if isinstance(view.job, Job) else report.removed
            known[status.name] = status
            if view.entry:
                view.entry.set_states({t.task: t.state for t in status.tasks.values()})
        report.scheduler_calls = self.transport.calls - calls
        return report

    def update(self) -> Report:
        """`refresh`, and the manifest brought up to date unless another command got there first."""
        snapshot = self.store.read()
        if snapshot is None:
            return self.refresh(Manifest(study="", site="", scheduler=self.scheduler.name))
        before = msgspec.to_builtins(snapshot)
        report = self.refresh(snapshot)
        if msgspec.to_builtins(snapshot) != before:
            try:
                self._save(snapshot, before)
            except StateError as error:  # a full disk: what was found out is still worth showing
                report.unsaved = str(error)
        return report

    def _save(self, found: Manifest, before: object) -> None:
        with self.store.locked():
            current = self.store.read()
            if current is not None and msgspec.to_builtins(current) == before:
                self.store.write(found)

    def _ask(self, ids: Sequence[str], argvs: Any, parse: Any) -> Answer:
        """One question to the scheduler; no answer at all makes every id silent."""
        if not ids:
            return Answer({})
        results: list[Completed] = []
        try:
            commands = argvs(ids)
            if not commands:
                return Answer({})
            for argv in commands:
                results.append(self.transport.run(argv))
            answer: Answer = parse(ids, results)
            return answer
        except Unreachable as error:
            return Answer({}, dict.fromkeys(ids, str(error)))

    def _removed(self, manifest: Manifest) -> list[_Removed]:
        """Jobs that the study has no more, while something of them may still run."""
        names = {job.name for job in self.jobs}
        return [
            _Removed(name, entry.stage, entry.arm, entry.tasks)
            for name, entry in manifest.jobs.items()
            if name not in names and entry.states.keys() & {State.UNKNOWN, *ACTIVE}
        ]

    def _view(self, job: Job | _Removed, manifest: Manifest) -> _View:
        folder = receipts.directory(self.store.state_dir, job.name)
        entry = manifest.jobs.get(job.name)
        return _View(job, entry, receipts.scan(folder), self.scheduler, self.store.state_dir)


class _Removed(msgspec.Struct):
    """What the manifest knows of a job that is no longer in the study."""

    name: str
    stage: str
    arm: str
    tasks: int


class _View:
    """One job while its state is being found out."""

    def __init__(
        self, job: Job | _Removed, entry: Entry | None, found: dict[int, list[Receipt]],
        scheduler: Scheduler, state_dir: Path,
    ) -> None:  # fmt: skip
        self.job, self.entry, self.scheduler, self.state_dir = job, entry, scheduler, state_dir
        newest = entry.last_attempts() if entry else {}  # of more tasks, where their number shrank
        self.attempts = {task: a for task, a in newest.items() if task <= job.tasks}
        known = {a.id for a in entry.live() if a.id} if entry else set()
        self.newest: dict[int, Receipt] = {}
        for task, own in found.items():
            if 1 <= task <= job.tasks:
                relevant = [r for r in own if self._relevant(r, known)]
                if relevant:
                    self.newest[task] = relevant[-1]
        self._indices: dict[str, dict[int, int]] = {}
        self.now = now()
        self.gone = {  # task -> when the scheduler was first found not to know it any more
            task: when
            for attempt in (entry.live() if entry else ())
            for when, text in attempt.gone.items()
            for task in from_ranges(text)
        }

    def _relevant(self, receipt: Receipt, known: Collection[str]) -> bool:
        """Whether a receipt speaks of its task's newest attempt, or of a later run by hand."""
        attempt = self.attempts.get(receipt.task)
        if attempt is None:
            return True
        owner = self.scheduler.owner(receipt.id)[0]
        if owner and owner == attempt.id:
            return True
        return owner not in known and receipt.written > seconds(attempt.time)

    def open_tasks(self) -> list[int]:
        """Tasks about which the receipts do not say that they have ended."""
        tasks = set(self.attempts) | set(self.newest)
        return [t for t in sorted(tasks) if t not in self.newest or self.newest[t].kind == "run"]

    def place(self, task: int) -> tuple[str, int]:
        """(job id, index) under which the scheduler knows a task; ("", 0) where it does not."""
        receipt, attempt = self.newest.get(task), self.attempts.get(task)
        if receipt is not None:
            owner = self.scheduler.owner(receipt.id)
            if attempt is None or owner[0] != attempt.id:
                return owner if owner[0] else ("", 0)
        if attempt is None or not attempt.id:
            return "", 0
        if attempt.id not in self._indices:
            self._indices[attempt.id] = attempt.indices()
        return attempt.id, self._indices[attempt.id][task]

    def id_of(self, task: int) -> str:
        return self.place(task)[0]

    def has_left(self, task: int, answer: Answer) -> bool:
        job_id, index = self.place(task)
        return job_id not in answer.silent and index not in answer.jobs.get(job_id, {})

    def resolve(self, answer: Answer, history: Answer, grace_s: int) -> JobStatus:
        status = JobStatus(self.job.name, self.job.stage, self.job.arm, {})
        for task in range(1, self.job.tasks + 1):
            status.tasks[task] = self._task(task, answer, history, grace_s)
        self._write_back()
        if self.entry and self.entry.live():
            last = self.entry.live()[-1]
            status.id, status.attempt = last.id, last.attempt
        if status.of(State.RUNNING):
            status.progress = _progress(self.state_dir / "progress" / self.job.name)
        return status

    def _task(self, task: int, answer: Answer, history: Answer, grace_s: int) -> TaskStatus:
        attempt, receipt = self.attempts.get(task), self.newest.get(task)
        base = TaskStatus(task, State.PLANNED, attempt=attempt.attempt if attempt else 0)
        job_id, index = self.place(task)
        base.id, base.index = job_id, index
        base.receipt = receipt.path if receipt else None
        cancelled = attempt is not None and attempt.state == "cancelled"
        if receipt and receipt.kind != "run":
            base.state, base.reason = receipts.state_of(receipt, cancelled)
            base.evidence, base.exit_code, base.id = "receipt", receipt.exit_code, receipt.id
            self.gone.pop(task, None)
            return base
        if attempt is None and receipt is None:
            return base
        if attempt is not None and attempt.state == "submitting" and not attempt.id:
            base.state, base.evidence = State.SUBMITTING, "manifest"
            return base
        report = answer.jobs.get(job_id, {}).get(index) or history.jobs.get(job_id, {}).get(index)
        silent = answer.silent.get(job_id) or (None if report else history.silent.get(job_id))
        if report and report.state != State.COMPLETED:
            return self._by_report(base, report)
        if not job_id:
            base.state, base.evidence = State.RUNNING, "receipt"
            where = f"; if it no longer runs, remove {receipt.path}" if receipt else ""
            base.reason = f"started by hand, outside any scheduler{where}"
            return base
        if silent:
            base.state, base.reason = State.UNKNOWN, silent
            return base
        if cancelled and report is None:
            base.state, base.evidence, base.reason = State.CANCELLED, "manifest", "cancelled"
            return base
        return self._departed(base, report, attempt, grace_s)

    def _by_report(self, base: TaskStatus, report: TaskReport) -> TaskStatus:
        base.state, base.evidence, base.reason = report.state, "scheduler", report.reason
        base.exit_code, base.host, base.elapsed_s = report.exit_code, report.host, report.elapsed_s
        self.gone.pop(base.task, None)
        return base

    def _departed(
        self, base: TaskStatus, report: TaskReport | None, attempt: Attempt | None, grace_s: int
    ) -> TaskStatus:
        """No longer known to the scheduler, or done in its eyes, but no receipt says so."""
        since = self._gone_since(attempt, base.task)
        says = "the scheduler says it ended well" if report else "the scheduler no longer knows it"
        if time.time() - since < grace_s:
            base.state = State.UNKNOWN
            base.reason = f"{says}; waiting up to {grace_s} s for its receipt"
        else:
            base.state, base.evidence = State.LOST, "scheduler"
            base.reason = f"{says}, and it left no final receipt"
        return base

    def _gone_since(self, attempt: Attempt | None, task: int) -> float:
        if attempt is None:
            return self.newest[task].written if task in self.newest else 0.0
        return seconds(self.gone.setdefault(task, self.now))

    def _write_back(self) -> None:
        """Puts the departures, grouped by the time they were seen, into the attempts."""
        groups: dict[int, dict[str, list[int]]] = {}
        for task, when in self.gone.items():
            attempt = self.attempts.get(task)
            if attempt is not None:
                groups.setdefault(attempt.attempt, {}).setdefault(when, []).append(task)
        for attempt in self.entry.live() if self.entry else ():
            found = groups.get(attempt.attempt, {})
            attempt.gone = {when: to_ranges(tasks) for when, tasks in found.items()}


def _progress(folder: Path) -> dict[str, Any]:
    """The sum of the progress files that running tasks write; of a rate, the sum too."""
    total: dict[str, Any] = {}
    try:
        entries = [Path(e.path) for e in os.scandir(folder) if e.name.endswith(".json")]
    except FileNotFoundError:
        return total
    for path in entries:
        try:
            # A loss that diverged is NaN, which `status --json` could not print as JSON.
            content = json.loads(path.read_bytes(), parse_constant=lambda _: None)
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict):
            continue
        for key in ("done", "total", "rate"):
            if isinstance(content.get(key), int | float):
                total[key] = total.get(key, 0) + content[key]
        for key in ("unit", "rate_unit", "loss", "message", "time"):
            if content.get(key) is not None:
                total[key] = content[key]
    return total


def check_outputs(job: Job, status: JobStatus, root: Path) -> None:
    """Says of every completed task whether the outputs that the study names are there.

    One listing a folder, whatever the number of tasks.
    """
    listings: dict[Path, set[str]] = {}
    for task in status.of(State.COMPLETED):
        there = True
        for pattern in job.outputs:
            path = root / host_path(job, pattern.replace("{task4}", f"{task:04d}"))
            if path.parent not in listings:
                listings[path.parent] = _names(path.parent)
            there = there and path.name in listings[path.parent]
        status.tasks[task].output = there if job.outputs else None


def made_by_hand(upstream: Upstream, root: Path) -> bool:
    """Whether all outputs of a job are there that never left a receipt; its gate asks the same."""
    wanted = [
        pattern.replace("{task4}", f"{task:04d}")
        for pattern in upstream.outputs
        for task in (range(1, upstream.tasks + 1) if "{task4}" in pattern else (1,))
    ]
    return bool(wanted) and all((root / path).exists() for path in wanted)


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
