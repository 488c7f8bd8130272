"""Why a task is in its state: the evidence, the log line that shows it, what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline import causes, receipts
from pipeline.errors import plain
from pipeline.job import Job, seen
from pipeline.report import TaskStatus
from pipeline.states import EXIT_MEANINGS, State

TAIL_BYTES = 64_000  # of a log; its end says why it ended


class Diagnosis(msgspec.Struct):
    """Everything known of why a task is as it is."""

    job: str
    task: int
    state: State
    evidence: str
    reason: str
    cause: str = ""
    advice: str = ""
    changes: list[causes.Change] = msgspec.field(default_factory=list)
    transient: bool = False
    line: str = ""
    log: str = ""
    receipt: dict[str, Any] = msgspec.field(default_factory=dict)


def log_files(job: Job, root: Path) -> dict[int, Path]:
    """Task -> its newest log, `<log_dir>/<task>.<scheduler job id>.log`. One listing for all."""
    found: dict[int, tuple[float, Path]] = {}
    for path in seen(job, root, job.log_dir).glob("*.log"):
        task = path.name.partition(".")[0]
        if task.isdecimal() and path.is_file():
            found[int(task)] = max(found.get(int(task), (0.0, path)), (path.stat().st_mtime, path))
    return {task: path for task, (_, path) in found.items()}


def scheduler_files(job: Job, root: Path) -> list[Path]:
    """What the scheduler itself wrote for a job, oldest first: messages from before the script's
    own log."""
    found = [p for p in (seen(job, root, job.log_dir) / "scheduler").glob("*") if p.is_file()]
    return sorted(found, key=lambda p: p.stat().st_mtime)


def _log_of(job: Job, root: Path, status: TaskStatus) -> Path | None:
    """The log of the very run that a task's state speaks of, else the scheduler's own file."""
    run = status.id  # 12[].server and 4 of an array are 12[7].server and 4_7 of its task 7
    if status.receipt:
        run = Path(status.receipt).name.partition(".")[2].rpartition(".")[0]
    elif status.index:
        run = run.replace("[]", f"[{status.index}]") if "[]" in run else f"{run}_{status.index}"
    own = seen(job, root, job.log_dir) / f"{status.task}.{run}.log"
    # `12[7].server.OU`, `4_7.out`; the local queue puts the job's name before it.
    names = {f"{run}.OU", f"{run}.out", f"{job.name}.{run}.out"}
    return next(
        (path for path in (own, *(own.parent / "scheduler" / n for n in names)) if path.is_file()),
        None,
    )


def tail(path: Path, most: int = TAIL_BYTES) -> str:
    """The end of a file, however large, with what is no UTF-8 replaced."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - most))
        return file.read().decode("utf-8", "replace")


def why(job: Job, status: TaskStatus, root: Path, rows: Sequence[causes.Cause] = ()) -> Diagnosis:
    """Puts together receipt, scheduler and log of one task; `rows` are the table of causes, read
    where it is not given."""
    found = Diagnosis(job.name, status.task, status.state, status.evidence, status.reason)
    if status.receipt:
        found.receipt = receipts.read(status.receipt)
    meaning = EXIT_MEANINGS.get(status.exit_code or 0)
    if meaning:
        found.reason = f"{found.reason + ': ' if found.reason else ''}{meaning}"
    if gate := found.receipt.get("gate"):
        found.reason = str(gate)
    if status.state in (State.COMPLETED, State.PLANNED):
        return found
    log = _log_of(job, root, status)
    text = tail(log) if log else ""
    found.log = str(log or "")
    if status.state in (State.RUNNING, State.QUEUED, State.HELD):
        found.line = plain(_last_error(text))
        return found
    row, line = causes.find(rows or causes.load(root), status.state, status.exit_code, text)
    found.line = plain(line or _last_error(text))
    if row:
        found.cause, found.advice = row.cause, row.advice.replace("<stage>", job.stage)
        found.changes, found.transient = causes.changes(row, job), row.transient
    return found


def _last_error(text: str) -> str:
    def lines() -> Iterator[str]:
        yield from (line.strip() for line in reversed(text.splitlines()) if line.strip())

    for line in lines():
        if re.search(r"\b(?:error|Error|Exception|Killed|fatal)\b", line):
            return line[:300]
    return next(lines(), "")[:300]
