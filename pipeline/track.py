"""What is known of every task, and on whose word: receipts first, then the scheduler.

Only a receipt makes a task COMPLETED. A scheduler that does not answer makes it UNKNOWN; one that
answers that it does not know the job makes it LOST, after the file system has had time to show a
late receipt.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline import chain, receipts
from pipeline.errors import StateError, Unreachable, plain
from pipeline.job import Job, Upstream, host_path
from pipeline.manifest import Attempt, Entry, Manifest, Store, now, seconds
from pipeline.ranges import from_ranges, to_ranges
from pipeline.receipts import Receipt
from pipeline.schedulers.base import WAITS_FOR_JOBS, Answer, Scheduler, TaskReport
from pipeline.states import ACTIVE, FINAL, State
from pipeline.transport import Transport

Evidence = Literal["receipt", "scheduler", "manifest", "none"]
SKEW_S = 900  # by which the clocks of machines and file systems may differ


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
    receipt: str | None = None  # its path
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
    link: int = 0  # of a chain: the one it stands at, 1, 2, ...; 0: it is none
    links: int = 0
    waiting: list[str] = msgspec.field(default_factory=list)  # ids of the links behind that one
    strangers: set[str] = msgspec.field(default_factory=set)  # recorded ids that others have now

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


# What a scheduler that was asked in time said of a task without a final receipt.
_REMEMBERED = frozenset({State.FAILED, State.TIMEOUT, State.OOM, State.CANCELLED})


class Report(msgspec.Struct):
    """The whole run, every job of the plan in its order."""

    jobs: dict[str, JobStatus]
    silent: dict[str, str]  # job id -> why nothing is known of it
    scheduler_calls: int = 0
    adopted: list[str] = msgspec.field(default_factory=list)
    removed: dict[str, JobStatus] = msgspec.field(default_factory=dict)  # no longer in the study
    dropped: list[str] = msgspec.field(default_factory=list)  # links that were cancelled just now
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
        asked = _open_ids(views)
        answer = self._look(asked)
        # What ended while the scheduler was asked has its receipt by now.
        views = [self._again(view, manifest) for view in views]
        answer = self._with_new(answer, asked, _open_ids(views))
        for view in views:
            view.advance(answer)
        left = sorted(
            {v.id_of(t) for v in views for t in v.open_tasks() if v.has_left(t, answer)} - {""}
        )
        history = self._ask(left, self.scheduler.history_argvs, self.scheduler.parse_history)
        report = Report(jobs={}, silent={**answer.silent, **history.silent})
        grace_s = self.grace_s if self.store.writable() else None
        for view in views:
            status = view.resolve(answer, history, grace_s)
            known = report.jobs if isinstance(view.job, Job) else report.removed
            known[status.name] = status
            if view.entry:
                view.entry.set_states({t.task: t.state for t in status.tasks.values()})
        self._mark_stuck(report)
        report.scheduler_calls = self.transport.calls - calls
        return report

    def _mark_stuck(self, report: Report) -> None:
        """Says so where a job is held for others that have all ended: PBS never tells the
        dependents of a job that it was deleted before it ran, so they wait for ever."""
        for job in self.jobs:
            tasks = report.jobs[job.name].tasks.values()
            waiting = [task for task in tasks if task.reason == WAITS_FOR_JOBS]
            if not waiting or any(
                report.jobs[upstream.job].of(State.UNKNOWN, *ACTIVE) for upstream in job.upstream
            ):
                continue
            for task in waiting:
                task.reason = (
                    "waits for jobs that have all ended. If it stays held: "
                    f"`pipeline cancel {job.name}`, then submit it again"
                )

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

    def _look(self, ids: Sequence[str]) -> Answer:
        """Asks the scheduler, and over SSH brings what the tasks wrote, in the same round trip.
        No answer at all makes every id silent."""
        if not ids and not self.transport.host:
            return Answer({})
        commands = self.scheduler.query_argvs(ids) if ids else []
        try:
            return self.scheduler.parse_query(ids, self.transport.look(commands))
        except Unreachable as error:
            return Answer({}, dict.fromkeys(ids or [self.transport.host], str(error)))

    def _with_new(self, answer: Answer, asked: Sequence[str], now_open: Sequence[str]) -> Answer:
        """The answer, and one about jobs that only a receipt made known: submitted by hand."""
        new = [job_id for job_id in now_open if job_id not in asked]
        more = self._ask(new, self.scheduler.query_argvs, self.scheduler.parse_query)
        return Answer(
            {**answer.jobs, **more.jobs},
            {**answer.silent, **more.silent},
            {**answer.tokens, **more.tokens},
        )

    def _ask(self, ids: Sequence[str], argvs: Any, parse: Any) -> Answer:
        """One question to the scheduler; no answer at all makes every id silent."""
        commands = argvs(ids) if ids else []
        if not commands:
            return Answer({})
        try:
            answer: Answer = parse(ids, self.transport.run_all(commands))
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
        names = receipts.listing(folder)
        found = receipts.scan(folder, names)
        return _View(job, entry, names, found, self.scheduler, self.store.state_dir)

    def _again(self, view: _View, manifest: Manifest) -> _View:
        """The job as it is now; the same view where no receipt came or went."""
        folder = receipts.directory(self.store.state_dir, view.job.name)
        if not view.open_tasks() or receipts.listing(folder) == view.names:
            return view
        return self._view(view.job, manifest)


def _open_ids(views: Sequence[_View]) -> list[str]:
    return sorted({job_id for view in views for job_id in view.open_ids()} - {""})


class _Removed(msgspec.Struct):
    """What the manifest knows of a job that is no longer in the study."""

    name: str
    stage: str
    arm: str
    tasks: int


class _View:
    """One job while its state is being found out."""

    def __init__(
        self, job: Job | _Removed, entry: Entry | None, names: Collection[str],
        found: dict[int, list[Receipt]], scheduler: Scheduler, state_dir: Path,
    ) -> None:  # fmt: skip
        self.names = names  # of the files that `found` was read from
        self.job, self.entry, self.scheduler, self.state_dir = job, entry, scheduler, state_dir
        self.remembered = {  # how tasks ended that the scheduler may have forgotten since
            task: state
            for state, tasks in (entry.states.items() if entry else ())
            if state in _REMEMBERED
            for task in from_ranges(tasks)
        }
        newest = entry.last_attempts() if entry else {}  # of more tasks, where their number shrank
        self.attempts = {task: a for task, a in newest.items() if task <= job.tasks}
        live = entry.live() if entry else []
        self.tokens = {a.id: a.token for a in live if a.id}
        known = self.tokens.keys()
        # Ids that a server which was reset gave out twice: of their receipts, the content tells.
        earlier = [a.id for a in live] + [job_id for a in live for job_id in a.before]
        self.reused = {job_id for job_id in known if earlier.count(job_id) > 1}
        self._owners: dict[str, tuple[str, int]] = {}
        self.links, self.at = entry.chain() if entry else [], 0
        self.of_links: dict[str, Receipt] = {}
        if self.links:
            own = [r for r in found.get(1, ()) if self._is_of(r, self._owner(r)[0])]
            self.of_links = {self._owner(receipt)[0]: receipt for receipt in own}
            self.at = chain.current(self.links, self.of_links)
            self.attempts[1] = self.links[self.at]
        self.newest: dict[int, Receipt] = {}
        for task, own in found.items():
            if 1 <= task <= job.tasks:
                relevant = [r for r in own if self._relevant(r, known)]
                if relevant:
                    self.newest[task] = relevant[-1]
        self._indices: dict[str, dict[int, int]] = {}
        # Departures are written as `<time> <host>`: each host counts the grace by its own clock.
        self.now, self.host = now(), socket.gethostname()
        self.strangers: set[str] = set()
        self.gone = {  # task -> when it was first found here that the scheduler knows it no more
            task: when
            for attempt in live
            for key, text in attempt.gone.items()
            for when, _, host in [key.partition(" ")]
            if host in ("", self.host)
            for task in from_ranges(text)
        }

    def _relevant(self, receipt: Receipt, known: Collection[str]) -> bool:
        """Whether a receipt speaks of its task's newest attempt, or of a later run by hand."""
        attempt = self.attempts.get(receipt.task)
        if attempt is None:
            return True
        owner = self._owner(receipt)[0] or receipt.id
        if owner == attempt.id:
            return self._is_of(receipt, owner)
        if owner in known or owner in attempt.before:
            return False
        return receipt.written > seconds(attempt.time) - SKEW_S

    def _is_of(self, receipt: Receipt, job_id: str) -> bool:
        """Whether a receipt under a recorded id is of the newest attempt with that id."""
        if job_id not in self.reused:
            return True
        return receipts.read(receipt.path).get("token") == self.tokens[job_id]

    def _owner(self, receipt: Receipt) -> tuple[str, int]:
        """The job id and index in a receipt's name, taken apart once."""
        if receipt.id not in self._owners:
            self._owners[receipt.id] = self.scheduler.owner(receipt.id)
        return self._owners[receipt.id]

    def open_tasks(self) -> list[int]:
        """Tasks about which the receipts do not say that they have ended."""
        ended = {task for task, receipt in self.newest.items() if receipt.kind != "run"}
        return sorted((self.attempts.keys() | self.newest.keys()) - ended)

    def open_ids(self) -> set[str]:
        """The ids to ask the scheduler about; of a chain, those of the links to come as well."""
        tasks = self.open_tasks()
        ids = {self.id_of(task) for task in tasks if task in self.newest}
        ids |= {attempt.id for task, attempt in self.attempts.items() if task not in self.newest}
        return ids | set(chain.waiting(self.links, self.at, self.of_links)) if tasks else ids

    def advance(self, answer: Answer) -> None:
        """Goes on to a chain's next link where one was killed, so that it left no final receipt."""
        while self.at + 1 < len(self.links) and 1 in self.open_tasks():
            link = self.links[self.at]
            if link.state != "submitted" or self.place(1) != (link.id, 0):
                return
            said = self._said(answer, link.id).get(0)
            if said.state not in FINAL if said else not self.has_left(1, answer):
                return
            self.at += 1
            self.attempts[1] = self.links[self.at]
            self.newest.pop(1, None)

    def place(self, task: int) -> tuple[str, int]:
        """(job id, index) under which the scheduler knows a task; ("", 0) where it does not."""
        receipt, attempt = self.newest.get(task), self.attempts.get(task)
        if receipt is not None:
            owner = self._owner(receipt)
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
        return job_id not in answer.silent and index not in self._said(answer, job_id)

    def _said(self, answer: Answer, job_id: str) -> Mapping[int, TaskReport]:
        """What the scheduler says of a job, unless it shows that the id is another's by now."""
        mine = self.tokens.get(job_id)
        return {} if mine != answer.tokens.get(job_id, mine) else answer.jobs.get(job_id, {})

    def resolve(self, answer: Answer, history: Answer, grace_s: int | None) -> JobStatus:
        """`grace_s`: None for who may not change the run, and may not be told of its jobs."""
        status = JobStatus(self.job.name, self.job.stage, self.job.arm, {})
        status.strangers = self.strangers = {
            job_id
            for said in (answer, history)
            for job_id, token in self.tokens.items()
            if said.tokens.get(job_id, token) != token
        }
        for task in range(1, self.job.tasks + 1):
            status.tasks[task] = self._task(task, answer, history, grace_s)
        self._write_back()
        if self.entry and self.entry.live():
            last = self.entry.live()[-1]
            status.id, status.attempt = last.id, last.attempt
        if self.links:
            link = self.links[self.at]
            status.id, status.attempt = link.id, link.attempt
            status.link, status.links = link.link, self.links[-1].link
            behind = chain.waiting(self.links, self.at, self.of_links)
            status.waiting = [job_id for job_id in behind if job_id not in self.strangers]
        if status.of(State.RUNNING):
            status.progress = _progress(self.state_dir / "progress" / self.job.name)
        return status

    def _task(self, task: int, answer: Answer, history: Answer, grace_s: int | None) -> TaskStatus:
        attempt, receipt = self.attempts.get(task), self.newest.get(task)
        base = TaskStatus(task, State.PLANNED, attempt=attempt.attempt if attempt else 0)
        base.receipt = receipt.path if receipt else None
        cancelled = attempt is not None and attempt.state == "cancelled"
        if receipt and receipt.kind != "run":
            base.state, base.reason = receipts.state_of(receipt, cancelled)
            base.evidence, base.exit_code = "receipt", receipt.exit_code
            base.id, base.index = receipt.id, self._owner(receipt)[1]
            if self.links and not cancelled:
                base.state, base.reason = chain.verdict(receipt, base.state, base.reason)
            self.gone.pop(task, None)
            return base
        if attempt is None and receipt is None:
            return base
        job_id, index = self.place(task)
        base.id, base.index = job_id, index
        if attempt is not None and attempt.state == "submitting" and not attempt.id:
            base.state, base.evidence = State.SUBMITTING, "manifest"
            return base
        report = self._said(answer, job_id).get(index) or self._said(history, job_id).get(index)
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
        if report is None and task in self.remembered:
            base.state, base.evidence = self.remembered[task], "manifest"
            base.reason = "so the scheduler said before it forgot it"
            return base
        return self._departed(base, report, attempt, grace_s)

    def _by_report(self, base: TaskStatus, report: TaskReport) -> TaskStatus:
        base.state, base.evidence, base.reason = report.state, "scheduler", plain(report.reason)
        base.exit_code, base.host, base.elapsed_s = report.exit_code, report.host, report.elapsed_s
        self.gone.pop(base.task, None)
        return base

    def _departed(
        self, base: TaskStatus, report: TaskReport | None, attempt: Attempt | None,
        grace_s: int | None,
    ) -> TaskStatus:  # fmt: skip
        """No longer known to the scheduler, or done in its eyes, but no receipt says so."""
        since = self._gone_since(attempt, base.task)
        says = "the scheduler says it ended well" if report else "the scheduler no longer knows it"
        if base.id in self.strangers:
            says = "the scheduler has another job under its id: it was reset"
        if grace_s is None:
            base.state = State.UNKNOWN
            base.reason = f"{says}, but it may tell this only to the user whose run this is"
        elif time.time() - since < grace_s:
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
            own = groups.get(attempt.attempt, {})
            attempt.gone = self._seen_elsewhere(attempt) | {
                f"{when} {self.host}": to_ranges(tasks) for when, tasks in own.items()
            }

    def _seen_elsewhere(self, attempt: Attempt) -> dict[str, str]:
        """The departures that other hosts saw, of tasks that are gone still."""
        found = {}
        for key, text in attempt.gone.items():
            if key.partition(" ")[2] not in ("", self.host):
                found[key] = to_ranges(self.gone.keys() & from_ranges(text))
        return {key: text for key, text in found.items() if text}


def _progress(folder: Path) -> dict[str, Any]:
    """The sum of the progress files that running tasks write; of a rate, the sum too."""
    total: dict[str, Any] = {}
    try:
        entries = [e.path for e in os.scandir(folder) if e.name.endswith(".json")]
    except FileNotFoundError:
        return total
    for path in entries:
        content = receipts.read(path)
        for key in ("done", "total", "rate"):
            if isinstance(content.get(key), int | float):
                total[key] = total.get(key, 0) + content[key]
        for key in ("unit", "rate_unit", "loss", "message", "time"):
            if content.get(key) is not None:
                total[key] = content[key]
    return total


def check_outputs(jobs: Sequence[Job], report: Report, transport: Transport) -> None:
    """Says of every completed task whether the outputs that the study names are there.

    One listing a folder, whatever the number of tasks; over SSH they came with the last look.
    """
    completed = {job.name: report.jobs[job.name].of(State.COMPLETED) for job in jobs}
    patterns = {job.name: [host_path(job, path) for path in job.outputs] for job in jobs}
    present = transport.present(
        {path: job.tasks for job in jobs if completed[job.name] for path in patterns[job.name]}
    )
    for job in jobs:
        for task in completed[job.name] if job.outputs else ():
            there = all(task in present[path] for path in patterns[job.name])
            report.jobs[job.name].tasks[task].output = there


def made_by_hand(upstream: Upstream, transport: Transport) -> bool:
    """Whether all outputs of a job are there that never left a receipt; its gate asks the same."""
    if not upstream.outputs:
        return False
    present = transport.present(dict.fromkeys(upstream.outputs, upstream.tasks))
    return all(len(tasks) == upstream.tasks for tasks in present.values())
