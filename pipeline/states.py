"""The states of a task: one closed set for manifest, status, schedulers and `--json`."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What is known of one task."""

    PLANNED = "planned"  # never submitted
    SUBMITTING = "submitting"  # the intent is on disk, the scheduler's answer is not
    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    COMPLETED = "completed"  # only ever on the word of a receipt
    FAILED = "failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"  # by its gate: an upstream task without success, or a check of its own
    LOST = "lost"  # the scheduler no longer knows the job and no final receipt came
    UNKNOWN = "unknown"  # nobody answered

    __hash__ = str.__hash__  # Enum's own is written in Python, and each task's state is counted


ACTIVE = frozenset({State.SUBMITTING, State.QUEUED, State.HELD, State.RUNNING})
FINAL = frozenset(
    {
        State.COMPLETED,
        State.FAILED,
        State.TIMEOUT,
        State.OOM,
        State.CANCELLED,
        State.BLOCKED,
        State.LOST,
    }
)
# What `resubmit --failed` takes up; the blocked dependents of these are added to them.
RESUBMITTED = frozenset({State.FAILED, State.TIMEOUT, State.OOM, State.LOST})

# A payload's exit codes (docs/payloads.md) that are not plain failures.
EXIT_STATES = {0: State.COMPLETED, 71: State.OOM, 78: State.BLOCKED}
EXIT_MEANINGS = {
    65: "bad input",
    70: "training diverged",
    71: "out of memory",
    74: "its receipt could not be written",
    75: "stopped by a signal after a checkpoint",
    78: "gate closed: an upstream task without success, or a check that its results did not pass",
    126: "the program could not be executed",
    127: "command not found",
}
