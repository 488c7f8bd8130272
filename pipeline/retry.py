"""Runs again what failed for a reason that may pass by itself, a few times and not at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection

from pipeline import causes, diagnose
from pipeline.attempts import Outcome
from pipeline.ranges import from_ranges
from pipeline.report import Report
from pipeline.states import RESUBMITTED
from pipeline.submit import Engine

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
        if self.most:
            self._judge(report)
        due: dict[str, list[int]] = {}
        waiting = False
        for status in report.jobs.values():
            for task in status.of(*RESUBMITTED) if self.most else ():
                at = self._due[status.name, task, status.tasks[task].attempt]
                if at is not None and at <= self.clock():
                    due.setdefault(status.name, []).append(task)
                waiting |= at is not None
        return (self.engine.retry(due) if due else []), waiting

    def _judge(self, report: Report) -> None:
        """Decides about the failures that are new since the last look."""
        new = [
            (status, task)
            for status in report.jobs.values()
            for task in status.of(*RESUBMITTED)
            if (status.name, task, status.tasks[task].attempt) not in self._due
        ]
        tried = self._tried({status.name for status, _ in new})
        for status, task in new:
            times = tried[status.name][task]
            job = self.engine.plan.job(status.name)
            why = diagnose.why(job, status.tasks[task], self.engine.root, self._rows)
            passes = why.transient and 0 < times <= self.most
            self._due[status.name, task, status.tasks[task].attempt] = (
                self.clock() + self.pause * 2 ** (times - 1) if passes else None
            )

    def _tried(self, names: Collection[str]) -> dict[str, Counter[int]]:
        """How many attempts have held each task of some jobs."""
        manifest = self.engine.store.read() if names else None
        found: dict[str, Counter[int]] = {name: Counter() for name in names}
        for name, counts in found.items():
            entry = manifest.jobs.get(name) if manifest else None
            for attempt in entry.live() if entry else ():
                if attempt.link < 2:  # a chain is one attempt, however many links it has
                    counts.update(from_ranges(attempt.tasks))
        return found
