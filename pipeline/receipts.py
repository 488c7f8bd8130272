"""Receipts: what each task's own script wrote at its start and its end.

`<state_dir>/receipts/<job>/<task>.<scheduler job id>.{run,ok,fail-N}`. One listing of names gives
the states. Times are looked up only where a task has several receipts, and contents are read only
where a person asks or a state needs them: ten thousand tasks cost one listing.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline.errors import plain
from pipeline.states import EXIT_STATES, State

_NAME = re.compile(r"(\d+)\.(.+)\.(run|ok|fail-(\d+))")
MAX_BYTES = 100_000  # of a file that a script wrote in one line
MAX_NUMBER = 1e18
_TERM = 15  # what schedulers send first, when a job is cancelled or its walltime is over


class Receipt(msgspec.Struct, frozen=True):
    """One file, by its name."""

    path: str
    task: int
    id: str  # the id that the script saw, e.g. 12[7].server
    kind: Literal["run", "ok", "fail"]
    exit_code: int | None

    @property
    def written(self) -> float:
        """Seconds since the epoch, by the file system's clock; now, of a `.run` that its script
        has replaced in the meantime."""
        found = _written(self.path)
        return time.time() if found is None else found


def directory(state_dir: Path, job: str) -> Path:
    """The folder of a job's receipts."""
    return state_dir / "receipts" / job


def listing(folder: Path) -> frozenset[str]:
    """The names of all that is in a folder; none where there is no folder."""
    try:
        return frozenset(os.listdir(folder))
    except FileNotFoundError:
        return frozenset()


def scan(folder: Path, names: Collection[str] | None = None) -> dict[int, list[Receipt]]:
    """Task -> its receipts, oldest first. Names that are no receipts are passed over.

    `names`: the folder's listing, where the caller has one.
    """
    found: dict[int, list[Receipt]] = {}
    for name in listing(folder) if names is None else names:
        match = _NAME.fullmatch(name)
        if not match:
            continue
        number, job_id, kind, code = match.groups()
        task = int(number)
        receipt = Receipt(
            path=f"{folder}/{name}",
            task=task,
            id=job_id,
            kind="fail" if code is not None else kind,  # type: ignore[arg-type]
            exit_code=(0 if kind == "ok" else None) if code is None else int(code),
        )
        found.setdefault(task, []).append(receipt)
    for task, receipts in found.items():
        if len(receipts) > 1:
            found[task] = _by_age(receipts)
    return found


def _by_age(receipts: list[Receipt]) -> list[Receipt]:
    """Oldest first, without those `.run` that their scripts replaced while we looked."""
    times = [(_written(receipt.path), receipt) for receipt in receipts]
    # A script ends after it starts: at equal times the final one is the newer.
    known = [(when, r.kind != "run", r) for when, r in times if when is not None]
    return [receipt for *_, receipt in sorted(known, key=lambda row: row[:2])]


def _written(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def read(path: str) -> dict[str, Any]:
    """A receipt's content; empty where it was cut off in the middle or is no JSON object.

    Any program on a node may write there: what no script writes, lists, numbers without bounds,
    characters that steer a terminal, is left away.
    """
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(MAX_BYTES), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {plain(key): _scalar(value) for key, value in content.items() if _is_scalar(value)}


def _is_scalar(value: Any) -> bool:
    if isinstance(value, int | float):
        return abs(value) <= MAX_NUMBER
    return value is None or isinstance(value, str)


def _scalar(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def state_of(receipt: Receipt, cancelled: bool) -> tuple[State, str]:
    """The state that a receipt proves, and why. `cancelled`: its attempt was cancelled here."""
    if receipt.kind == "run":
        return State.RUNNING, ""
    code = receipt.exit_code or 0
    if EXIT_STATES.get(code) == State.BLOCKED:
        return State.BLOCKED, str(read(receipt.path).get("gate") or "")
    if code in EXIT_STATES:
        return EXIT_STATES[code], ""
    content = read(receipt.path)
    signal = content.get("signal") or (code - 128 if 128 < code <= 192 else None)
    if signal and cancelled:
        return State.CANCELLED, f"cancelled (signal {signal})"
    if signal == _TERM and _ran_out(content):
        return State.TIMEOUT, "terminated when its walltime was over"
    return State.FAILED, f"signal {signal}" if signal else f"exit code {code}"


def _ran_out(content: Mapping[str, Any]) -> bool:
    """Whether a terminated task had used up its walltime; schedulers differ by some seconds."""
    try:
        used = float(content["end"]) - float(content["start"])
        return used >= float(content["walltime"]) - 15 - 0.02 * float(content["walltime"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
