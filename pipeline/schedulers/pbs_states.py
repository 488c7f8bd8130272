"""From the attributes that PBS prints of a job to reports: the tables, and the traps.

An array's parent says nothing of its tasks: every subjob overwrites its `Exit_status`. A subjob
that never ran, or whose record the server has dropped, is printed as a copy of the parent, a false
`Exit_status` included; only `array_index` tells a record of its own from such a copy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.schedulers.base import WAITS_FOR_JOBS, TaskReport
from pipeline.schedulers.indices import expand
from pipeline.schedulers.words import seconds, signal_name
from pipeline.states import EXIT_STATES, State

Attributes = Mapping[str, Any]

# `12`, `12[]` or `12[7]`, each with or without its server.
JOB_ID = re.compile(r"(\d+)(\[(\d*)\])?(\.\S+)?", re.ASCII)

STATES = {  # PBS Reference Guide, "Job States"; X and F: see _ended
    "Q": State.QUEUED,
    "W": State.QUEUED,  # waits for its start time or its files
    "T": State.QUEUED,  # on its way to another queue
    "H": State.HELD,
    "S": State.HELD,  # suspended by the server
    "U": State.HELD,  # suspended, the workstation is in use
    "B": State.QUEUED,  # an array that has begun; its subjobs say the rest
    "R": State.RUNNING,
    "E": State.RUNNING,  # its output is being delivered
    "M": State.UNKNOWN,  # moved to another server
}
ENDED = frozenset("XF")
DELETED = 91  # substate, whoever deleted it

EXITS = {  # PBS Administrator's Guide, "Job Exit Codes"; the others are failures to start
    -4: (State.FAILED, "the node's daemon restarted and the job could not be run again"),
    -24: (State.FAILED, "used more CPUs than it asked for"),
    -25: (State.FAILED, "used more CPUs than it asked for"),
    -26: (State.OOM, "exceeded its virtual memory"),
    -27: (State.OOM, "exceeded its memory"),
    -28: (State.TIMEOUT, "exceeded its CPU time"),
    -29: (State.TIMEOUT, "exceeded its walltime"),
}

_HOLDS = {"u": "by its owner", "o": "by an operator", "s": "by the system"}
_COMMENT = re.compile(r"Job (?:run|Array Began) at .*? and (.*)", re.DOTALL)


def reports(job_id: str, jobs: Attributes, history: bool) -> dict[int, TaskReport] | None:
    """What an answer about one job says, per index; None where the job is not in it.

    `history`: the answer covers finished jobs, so that a subjob without a record never ran. Without
    it (or with history switched off at the server) it may have run, and nothing is said of it.
    """
    asked = JOB_ID.fullmatch(job_id)
    parent: Attributes | None = None
    subjobs: dict[int, Attributes] = {}
    for key, attributes in jobs.items():
        match = JOB_ID.fullmatch(key)
        if not match or not asked or match[1] != asked[1] or not isinstance(attributes, Mapping):
            continue
        if match[3]:
            subjobs[int(match[3][:9])] = attributes
        else:
            parent = attributes
    if asked and asked[2] is None:
        return None if parent is None else {0: report(parent)}
    if parent is None and not subjobs:
        return None
    return _array(parent or {}, subjobs, history)


def _array(
    parent: Attributes, subjobs: Mapping[int, Attributes], history: bool
) -> dict[int, TaskReport]:
    found: dict[int, TaskReport] = {}
    over = _letter(parent) in ENDED
    held = _letter(parent) == "H"
    waiting = TaskReport(State.HELD if held else State.QUEUED, reason=_waits(parent))
    never = TaskReport(State.CANCELLED, reason=_why_never(parent) if over else "deleted")
    for index, attributes in subjobs.items():
        if "array_index" in attributes:
            found[index] = report(attributes)
        elif not over and _letter(attributes) not in ENDED:
            found[index] = waiting
        elif history:
            found[index] = never
    if not over:
        for index in expand(_text(parent, "array_indices_remaining")) or ():
            found.setdefault(index, waiting)
    elif history and "stime" not in parent:
        for index in expand(_text(parent, "array_indices_submitted")) or ():
            found.setdefault(index, never)
    return found


def report(attributes: Attributes) -> TaskReport:
    """What PBS says of a plain job, or of a subjob with a record of its own."""
    letter = _letter(attributes)
    if letter in ENDED:
        return _ended(attributes)
    state = STATES.get(letter, State.UNKNOWN)
    reason = ""
    if state in (State.QUEUED, State.HELD):
        reason = _waits(attributes)
    elif state == State.UNKNOWN:
        reason = "moved to another server" if letter == "M" else f"PBS says state {letter!r}"
    elif (_number(attributes, "run_count") or 1) > 1:
        reason = f"run {_number(attributes, 'run_count')} of it, PBS started it again"
    return TaskReport(state, reason=reason, host=_host(attributes), elapsed_s=_elapsed(attributes))


def _ended(attributes: Attributes) -> TaskReport:
    code = _number(attributes, "Exit_status")
    state, signal, reason = _verdict(attributes, code)
    return TaskReport(
        state,
        exit_code=code if code is not None and 0 <= code < 256 else None,
        signal=signal,
        reason=reason,
        host=_host(attributes),
        elapsed_s=_elapsed(attributes),
    )


def _verdict(attributes: Attributes, code: int | None) -> tuple[State, int | None, str]:
    """(state, signal, reason) of a job that has ended."""
    signal = _signal(code)
    # A deleted job's code is any of 271, 143 and 0: a script may trap the signal and end well.
    if _number(attributes, "substate") == DELETED:
        return State.CANCELLED, signal, _comment(attributes) or _deleted(attributes)
    if code is None:
        if "stime" not in attributes:
            return State.CANCELLED, None, _why_never(attributes)
        return State.FAILED, None, _comment(attributes) or "ended without an exit status"
    if code < 0:
        state, reason = EXITS.get(code, (State.FAILED, f"PBS could not run it (status {code})"))
        return state, None, reason
    if signal:
        return State.FAILED, signal, f"killed by {signal_name(signal)}"
    return EXIT_STATES.get(code, State.FAILED), None, ""


def _signal(code: int | None) -> int | None:
    """256 + n: PBS saw signal n end the job's shell. 128 + n: the shell saw it end the script."""
    if code is None or code <= 128 or code == 256:
        return None
    number = code - 256 if code > 256 else code - 128
    return number if number <= 64 else None


def _why_never(attributes: Attributes) -> str:
    if "s" in _text(attributes, "Hold_Types") and "depend" in attributes:
        return "never run: a job that it depends on failed or is gone"
    return _deleted(attributes)


def _deleted(attributes: Attributes) -> str:
    return "deleted" if "stime" in attributes else "deleted, never run"


def _waits(attributes: Attributes) -> str:
    """Why a job is not running yet, in PBS's words where it has some."""
    if _letter(attributes) != "H":
        comment = _text(attributes, "comment")
        return "" if comment.startswith("Job Array Began") else comment
    if _text(attributes, "depend") and "s" in _text(attributes, "Hold_Types"):
        return WAITS_FOR_JOBS
    holders = [words for key, words in _HOLDS.items() if key in _text(attributes, "Hold_Types")]
    return f"held {' and '.join(holders)}" if holders else "held"


def _comment(attributes: Attributes) -> str:
    """The end of `Job run at <time> on <nodes> and <what happened>`."""
    text = _text(attributes, "comment")
    match = _COMMENT.fullmatch(text)
    return match[1].rpartition(") and ")[2] if match else text


def _host(attributes: Attributes) -> str:
    """`n1,n2` of `n1/0*4+n2/1`."""
    chunks = [chunk.partition("/")[0] for chunk in _text(attributes, "exec_host").split("+")]
    return ",".join(dict.fromkeys(filter(None, chunks)))


def _elapsed(attributes: Attributes) -> int | None:
    used = attributes.get("resources_used")
    return seconds(_text(used, "walltime")) if isinstance(used, Mapping) else None


def _letter(attributes: Attributes) -> str:
    return _text(attributes, "job_state")


def _text(attributes: Attributes, key: str) -> str:
    """An attribute as text: PBS prints what looks like a number as one (`12` for `12-12`)."""
    value = attributes.get(key, "")
    return str(value) if isinstance(value, str | int) else ""


def _number(attributes: Attributes, key: str) -> int | None:
    match = re.fullmatch(r"-?\d{1,9}", _text(attributes, key), re.ASCII)
    return int(match[0]) if match else None
