"""What is known of tasks, jobs and a whole run: the words of `status`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pipeline.states import FINAL, State

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
