"""What a command said when it failed, short enough for one line of a status."""

from __future__ import annotations

import re
import signal

from pipeline.errors import plain
from pipeline.schedulers.base import Completed

_USAGE = re.compile(r"^\s*(usage:|Try [\"'])", re.IGNORECASE)


def complaint(result: Completed) -> str:
    """The command's own words: stderr up to its usage text, else stdout, else its exit code."""
    for text in (result.stderr, result.stdout):
        lines: list[str] = []
        for line in text.splitlines():
            if _USAGE.match(line):
                break
            if line.strip():
                lines.append(line.strip())
        if lines:
            return plain("; ".join(lines[-3:])[:500])
    return f"{result.argv[0] if result.argv else 'the command'} exited with {result.returncode}"


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `signal 75` for one that this system has no name for."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def seconds(text: str) -> int | None:
    """`17`, `0:03`, `1:02:03` or `2-03:04:05` in seconds; None for anything else."""
    match = re.fullmatch(r"(?:(\d{1,6})-)?((?:\d{1,9}:){0,2}\d{1,9})", text.strip(), re.ASCII)
    if not match:
        return None
    total = 0
    for part in match[2].split(":"):
        total = total * 60 + int(part)
    return total + 86400 * int(match[1] or 0)
