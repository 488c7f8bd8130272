"""What is known of one job's tasks, and on whose word: receipts first, then the scheduler.

Only a receipt makes a task COMPLETED. A scheduler that does not answer makes it UNKNOWN; one that
answers that it does not know the job makes it LOST, after the file system has had time to show a
late receipt.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipeline import chain, receipts
from pipeline.errors import plain
from pipeline.job import Job
from pipeline.lock import hostname
from pipeline.manifest import Attempt, Entry, now, seconds
from pipeline.ranges import from_ranges, to_ranges
from pipeline.receipts import Receipt
from pipeline.report import JobStatus, TaskStatus
from pipeline.schedulers.base import Answer, Scheduler, TaskReport
from pipeline.states import FINAL, State

SKEW_S = 900  # by which the clocks of machines and file systems may differ

# What a scheduler that was asked in time said of a task without a final receipt.
_REMEMBERED = frozenset({State.FAILED, State.TIMEOUT, State.OOM, State.CANCELLED})


class Removed(msgspec.Struct):
    """What the manifest knows of a job that is no longer in the study."""

    name: str
    stage: str
    arm: str
    tasks: int


class View:
    """One job while its state is being found out."""

    def __init__(
        self, job: Job | Removed, entry: Entry | None, names: Collection[str],
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
        self.now, self.host = now(), hostname()
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
            if said.state not in FINAL if said else not self.left_ids(answer):
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

    def left_ids(self, answer: Answer) -> set[str]:
        """The ids of the tasks that the scheduler answered about, but knows no more."""
        said: dict[str, Mapping[int, TaskReport]] = {}
        found = set()
        for task in self.open_tasks():
            job_id, index = self.place(task)
            if job_id not in said:
                said[job_id] = self._said(answer, job_id)
            if index not in said[job_id]:
                found.add(job_id)
        return found - answer.silent.keys() - {""}

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
