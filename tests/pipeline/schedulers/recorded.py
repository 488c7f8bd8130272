"""What real schedulers printed, from `tests/recordings`."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.schedulers.base import Completed

FOLDER = Path(__file__).parents[2] / "recordings"


def load(scheduler: str, name: str) -> Completed:
    """One recording: `$ command`, its stdout and stderr, its exit code (before or after them)."""
    text = (FOLDER / scheduler / f"{name}.txt").read_bytes().decode(errors="replace")
    head, _, rest = text.partition("--- stdout\n")
    stdout, mark, stderr = rest.partition("\n--- stderr")
    if not mark:
        stdout, _, stderr = rest.partition("--- stderr")
    stderr, _, tail = stderr.lstrip("\n").partition("--- exit ")
    code = re.match(r"(\d+)", tail) or re.search(r"rc=(\d+)", head)
    assert code, name
    command = head.splitlines()[0].removeprefix("$ ")
    return Completed((command,), int(code[1]), stdout, stderr)


def command(scheduler: str, name: str) -> str:
    """The command of a recording, as it was typed."""
    text = (FOLDER / scheduler / f"{name}.txt").read_bytes().decode(errors="replace")
    return text.partition("\n")[0].removeprefix("$ ")


def names(scheduler: str, pattern: str = "*") -> list[str]:
    """The recordings of a scheduler whose names match."""
    return sorted(path.stem for path in (FOLDER / scheduler).glob(f"{pattern}.txt"))
