"""From the words of squeue and sacct to reports: the tables, and the two ways of exit codes."""

from __future__ import annotations

import functools
import re

from pipeline.schedulers.base import TaskReport
from pipeline.schedulers.indices import expand
from pipeline.schedulers.words import seconds, signal_name
from pipeline.states import EXIT_STATES, State

STATES = {  # squeue(1) and sacct(1), "JOB STATE CODES"
    "PENDING": State.QUEUED,
    "REQUEUED": State.QUEUED,
    "REQUEUE_FED": State.QUEUED,
    "CONFIGURING": State.QUEUED,  # its nodes are booting
    "REQUEUE_HOLD": State.HELD,
    "SPECIAL_EXIT": State.HELD,
    "RESV_DEL_HOLD": State.HELD,
    "SUSPENDED": State.HELD,
    "STOPPED": State.HELD,
    "RUNNING": State.RUNNING,
    "COMPLETING": State.RUNNING,
    "RESIZING": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "STAGE_OUT": State.RUNNING,
    "COMPLETED": State.COMPLETED,
    "FAILED": State.FAILED,
    "NODE_FAIL": State.FAILED,
    "BOOT_FAIL": State.FAILED,
    "LAUNCH_FAILED": State.FAILED,
    "RECONFIG_FAIL": State.FAILED,
    "PREEMPTED": State.FAILED,  # not its fault, and to be run again like one that failed
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "OUT_OF_MEMORY": State.OOM,
    "CANCELLED": State.CANCELLED,
    "REVOKED": State.CANCELLED,  # another cluster of the federation runs it
}
ENDED = frozenset(
    {State.COMPLETED, State.FAILED, State.TIMEOUT, State.OOM, State.CANCELLED}
)  # fmt: skip
HOLDS = frozenset({"JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "ReservationDeleted"})
_TOO_MUCH = (
    "its partition gives less than it asks for, so it does not start. Cancel it, ask for less"
)
_NEVER = {  # squeue's reasons of jobs that wait for ever
    "PartitionNodeLimit": _TOO_MUCH,
    "PartitionTimeLimit": _TOO_MUCH,
    "PartitionConfig": _TOO_MUCH,
    "DependencyNeverSatisfied": "will not start. Cancel it and submit it again",
}
REASONS = {  # where the state alone says too little
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "PREEMPTED": "preempted by another job",
    "TIMEOUT": "exceeded its walltime",
    "DEADLINE": "missed its deadline",
    "OUT_OF_MEMORY": "exceeded its memory",
}
NOTHING = frozenset({"", "None", "NonZeroExitCode", "(null)"})
UNWRITABLE = 53  # not a signal: slurmd's own word for a file or folder that it cannot open
NO_SIGNAL = 64  # above it no signals: 125 comes with OUT_OF_MEMORY

# `12`, `12_7` or `12_[5-20%4]`
JOB_ID = re.compile(r"(\d+)(?:_(?:(\d+)|\[([^\]]*)(\]?)))?", re.ASCII)


def split_id(text: str) -> tuple[str, list[int] | None] | None:
    """(job id, indices) of an id as Slurm prints it, [0] for a plain job.

    The indices are None where the list was cut short. None for anything that is no id.
    """
    match = JOB_ID.fullmatch(text.strip())
    if not match:
        return None
    if match[3] is not None:
        return match[1], expand(match[3]) if match[4] else None
    return match[1], [int(match[2][:9])] if match[2] else [0]


@functools.lru_cache(maxsize=1000)  # thousands of rows of an array say the same
def report(state: str, exit_code: str, reason: str, host: str, elapsed: str) -> TaskReport:
    """One row of squeue (`exit_code`: a wait status) or of sacct (`code:signal`)."""
    words = state.split()  # "CANCELLED by 1000"
    word = words[0] if words else ""
    found = STATES.get(word, State.UNKNOWN)
    reason = "" if reason in NOTHING else reason
    host = "" if host in ("None assigned", "(null)") else host
    if found == State.UNKNOWN:
        return TaskReport(found, reason=f"Slurm says state {word!r}")
    if found not in ENDED:
        if found == State.QUEUED and reason in HOLDS:
            found = State.HELD
        shown = reason if found != State.RUNNING else ""
        shown += f": {_NEVER[shown]}" if shown in _NEVER else ""
        return TaskReport(found, reason=shown, host=host, elapsed_s=seconds(elapsed))
    code, signal = exit_status(exit_code)
    if found == State.FAILED and word == "FAILED":
        found, reason = _failure(code, signal)
    elif found == State.CANCELLED:
        reason = f"by uid {words[2]}" if words[1:2] == ["by"] and len(words) == 3 else ""
    else:
        reason = REASONS.get(word, "")
    # Only of one that ended by itself does a code of 0 mean anything.
    known = code is not None and (code > 0 or found == State.COMPLETED)
    return TaskReport(
        found,
        exit_code=code if known else None,
        signal=signal if signal and signal != UNWRITABLE and signal <= NO_SIGNAL else None,
        reason=reason,
        host=host,
        elapsed_s=seconds(elapsed),
    )


def _failure(code: int | None, signal: int | None) -> tuple[State, str]:
    if signal == UNWRITABLE:
        return State.FAILED, "not started: its output file or work directory cannot be written"
    if signal:
        return State.FAILED, f"killed by {signal_name(signal)}"
    return (EXIT_STATES.get(code, State.FAILED) if code else State.FAILED), ""


def exit_status(text: str) -> tuple[int | None, int | None]:
    """(exit code, signal) of sacct's `3:0` or squeue's wait status 768; None where not known."""
    match = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", text.strip(), re.ASCII)
    if not match:
        return None, None
    if match[2] is not None:
        code, signal = int(match[1]), int(match[2])
    else:
        code, signal = int(match[1]) >> 8 & 0xFF, int(match[1]) & 0x7F
    return (None, signal) if signal else (code, None)
