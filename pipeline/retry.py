"""Runs again what failed for a reason that may pass by itself, a few times and not at once."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline import causes, diagnose
from pipeline.ranges import from_ranges
from pipeline.states import RESUBMITTED
from pipeline.submit import Engine, Outcome
from pipeline.track import JobStatus, Report

FIRST_PAUSE_S = 60.0  # doubled with every attempt; 1 s where the queue is this machine's own


class Retries:
    """Decides when failed tasks of a run are submitted again; asked after every look at it."""

    def __init__(
        self, engine: Engine, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.engine, self.most, self.clock = engine, most, clock
        self.pause = 1.0 if engine.plan.site.scheduler == "local" else FIRST_PAUSE_S
        # (job, task, attempt) -> when it is due; None: its cause is not one that passes
        self._due: dict[tuple[str, int, int], float | None] = {}
        self._rows = causes.load(engine.root)

    def act(self, report: Report) -> tuple[list[Outcome], bool]:
        """Submits again what is due; what was submitted, and whether anything still waits."""
        due: dict[str, list[int]] = {}
        waiting = False
        for status in report.jobs.values():
            for task in status.of(*RESUBMITTED) if self.most else ():
                at = self._when(status, task)
                if at is not None and at <= self.clock():
                    due.setdefault(status.name, []).append(task)
                waiting |= at is not None
        return (self.engine.retry(due) if due else []), waiting

    def _when(self, status: JobStatus, task: int) -> float | None:
        found = status.tasks[task]
        key = (status.name, task, found.attempt)
        if key not in self._due:
            tried = self._tried(status.name, task)
            job = self.engine.plan.job(status.name)
            why = diagnose.why(job, found, self.engine.root, self._rows)
            passes = why.transient and 0 < tried <= self.most
            self._due[key] = self.clock() + self.pause * 2 ** (tried - 1) if passes else None
        return self._due[key]

    def _tried(self, name: str, task: int) -> int:
        """How many attempts have held the task."""
        manifest = self.engine.store.read()
        entry = manifest.jobs.get(name) if manifest else None
        return sum(task in from_ranges(a.tasks) for a in entry.live()) if entry else 0
