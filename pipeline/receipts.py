"""Receipts: what each task's own script wrote at its start and its end.

`<state_dir>/receipts/<job>/<task>.<scheduler job id>.{run,ok,fail-N}`. One listing of names and
times gives the states; contents are read only where a person asks or a state needs them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline.states import EXIT_STATES, State

_NAME = re.compile(r"(\d+)\.(.+)\.(run|ok|fail-(\d+))")
_TERM = 15  # what schedulers send first, when a job is cancelled or its walltime is over


class Receipt(msgspec.Struct, frozen=True):
    """One file's name and time."""

    path: Path
    task: int
    id: str  # the id that the script saw, e.g. 12[7].server
    kind: Literal["run", "ok", "fail"]
    exit_code: int | None
    written: float  # seconds since the epoch, by the file system's clock


def directory(state_dir: Path, job: str) -> Path:
    """The folder of a job's receipts."""
    return state_dir / "receipts" / job


def scan(folder: Path) -> dict[int, list[Receipt]]:
    """Task -> its receipts, oldest first. Names that are no receipts are passed over."""
    found: dict[int, list[Receipt]] = {}
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return found
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        if not match or entry.name.startswith("."):
            continue
        try:
            written = entry.stat().st_mtime
        except FileNotFoundError:  # a .run that its script replaced while we looked
            continue
        kind, code = match[3], match[4]
        receipt = Receipt(
            path=Path(entry.path),
            task=int(match[1]),
            id=match[2],
            kind="fail" if code is not None else kind,  # type: ignore[arg-type]
            exit_code=int(code) if code is not None else (0 if kind == "ok" else None),
            written=written,
        )
        found.setdefault(receipt.task, []).append(receipt)
    for receipts in found.values():
        # A script ends after it starts: at equal times the final one is the newer.
        receipts.sort(key=lambda r: (r.written, r.kind != "run"))
    return found


def read(path: Path) -> dict[str, Any]:
    """A receipt's content; empty where it was cut off in the middle or is no JSON object."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def state_of(receipt: Receipt, cancelled: bool) -> tuple[State, str]:
    """The state that a receipt proves, and why. `cancelled`: its attempt was cancelled here."""
    if receipt.kind == "run":
        return State.RUNNING, ""
    code = receipt.exit_code or 0
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
    except (KeyError, TypeError, ValueError):
        return False
