"""What `run` submits by itself while it follows a run.

What failed for a reason that may pass is run again, a few times and not at once; what had no room
in the queue is submitted as others leave it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection

from pipeline import causes, diagnose, limits
from pipeline.attempts import Outcome
from pipeline.errors import OverBudget, StateError
from pipeline.ranges import from_ranges
from pipeline.report import Report
from pipeline.states import ACTIVE, RESUBMITTED, State
from pipeline.submit import Engine

FIRST_PAUSE_S = 60.0  # doubled with every attempt; 1 s where the queue is this machine's own


class Retries:
    """Decides what is submitted next; asked after every look at a run."""

    def __init__(
        self, engine: Engine, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.engine, self.most, self.clock = engine, most, clock
        self.pause = 1.0 if engine.plan.site.scheduler == "local" else FIRST_PAUSE_S
        # (job, task, attempt) -> when it is due; None: its cause is not one that passes
        self._due: dict[tuple[str, int, int], float | None] = {}
        self._rows = causes.load(engine.root)
        self._limited = limits.limited(engine.plan.site)
        self._active = math.inf  # tasks, at the last look

    def act(self, report: Report) -> tuple[list[Outcome], bool]:
        """Submits what is due; what was submitted again, and whether anything still waits."""
        filled = self._limited and self._fill(report)
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
        return (self.engine.retry(due) if due else []), waiting or filled

    def _fill(self, report: Report) -> bool:
        """Submits what had no room, once something has left the queue; whether there was any."""
        active = sum(len(status.of(*ACTIVE)) for status in report.jobs.values())
        fewer, self._active = active < self._active, active
        if not fewer or State.PLANNED not in report.counts():
            return False
        try:
            done = self.engine.submit(self.engine.plan.jobs, whole=True, fitting=True)
        except OverBudget:
            raise
        except StateError:  # what the rest needs has failed: its failure is what `run` tells of
            return False
        self._active += sum(len(from_ranges(outcome.tasks)) for outcome in done)
        return bool(done)

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
