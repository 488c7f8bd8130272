"""Finds out the state of a run, with the fewest questions to the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline import receipts
from pipeline.errors import StateError, Unreachable
from pipeline.evidence import Removed, View
from pipeline.job import Job, Upstream, host_path
from pipeline.manifest import Manifest, Store
from pipeline.report import Report
from pipeline.schedulers.base import WAITS_FOR_JOBS, Answer, Scheduler
from pipeline.states import ACTIVE, State
from pipeline.transport import Transport

SKEW_S = 900  # by which the clocks of machines and file systems may differ


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
        left = sorted({job_id for view in views for job_id in view.left_ids(answer)})
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

    def _removed(self, manifest: Manifest) -> list[Removed]:
        """Jobs that the study has no more, while something of them may still run."""
        names = {job.name for job in self.jobs}
        return [
            Removed(name, entry.stage, entry.arm, entry.tasks)
            for name, entry in manifest.jobs.items()
            if name not in names and entry.states.keys() & {State.UNKNOWN, *ACTIVE}
        ]

    def _view(self, job: Job | Removed, manifest: Manifest) -> View:
        folder = receipts.directory(self.store.state_dir, job.name)
        entry = manifest.jobs.get(job.name)
        names = receipts.listing(folder)
        found = receipts.scan(folder, names)
        return View(job, entry, names, found, self.scheduler, self.store.state_dir)

    def _again(self, view: View, manifest: Manifest) -> View:
        """The job as it is now; the same view where no receipt came or went."""
        folder = receipts.directory(self.store.state_dir, view.job.name)
        if not view.open_tasks() or receipts.listing(folder) == view.names:
            return view
        return self._view(view.job, manifest)


def _open_ids(views: Sequence[View]) -> list[str]:
    return sorted({job_id for view in views for job_id in view.open_ids()} - {""})


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
