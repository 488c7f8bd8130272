"""What the fake PBS knows, in one JSON file under a lock, and the words that all commands share.

Settings, read from the environment by each command (the daemon has those of its first client):
  FAKEPBS_DIR      where the state is; the daemon ends when it goes
  FAKEPBS_SLOTS    tasks that run at once (4)
  FAKEPBS_NCPUS    what a job may ask for at most; more is accepted and never runs (128)
  FAKEPBS_HISTORY  0: finished jobs are forgotten, as by a PBS that was never configured (1)
  FAKEPBS_DOWN     1: nobody answers (0)
  FAKEPBS_PATH     PATH of the jobs (/usr/local/bin:/usr/bin:/bin)
  FAKEPBS_MAX_ARRAY, FAKEPBS_KILL_DELAY, FAKEPBS_STAGEOUT  10000, and seconds: 1.0, 1.0
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

Job = dict[str, Any]
Task = dict[str, Any]  # a plain job has one, under ""; an array one under each index
State = dict[str, Any]

SERVER = "fake"
ID = re.compile(r"(\d+)(\[([^\]]*)\])?(?:\.(\w+))?")
FINAL = frozenset("XF")


def home() -> Path:
    """The directory of this fake's state. It must be there: no command comes after its end."""
    path = Path(os.environ.get("FAKEPBS_DIR", ""))
    if not os.environ.get("FAKEPBS_DIR") or not path.is_dir():
        fail(1, "fakepbs: FAKEPBS_DIR names no directory")
    return path


def setting(name: str, default: float) -> float:
    """A number from the environment."""
    return float(os.environ.get(f"FAKEPBS_{name}", "") or default)


def history() -> bool:
    """Whether finished jobs are remembered; the real default is no."""
    return os.environ.get("FAKEPBS_HISTORY", "1") != "0"


def fail(code: int, *lines: str) -> NoReturn:
    """Ends a command in the way that the real ones do."""
    for line in lines:
        print(line, file=sys.stderr)
    sys.stdout.flush()
    sys.exit(code)


@contextmanager
def locked(directory: Path) -> Iterator[State]:
    """The state, for reading and changing; written back when the block ends well."""
    with (directory / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = directory / "state.json"
        text = path.read_text() if path.exists() else '{"next": 1, "jobs": {}}'
        state: State = json.loads(text)
        yield state
        after = json.dumps(state)
        if after != text:
            part = directory / "state.part"
            part.write_text(after)
            part.rename(path)


def started(directory: Path) -> None:
    """Makes sure that the daemon runs. Called with the state locked."""
    with (directory / "daemon.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    with (directory / "daemon.log").open("a") as log:
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fake_server.py")), str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def find(state: State, text: str) -> tuple[Job | None, str | None]:
    """(job, what stands between its brackets) of an id: None for a plain job, "" for an array."""
    match = ID.fullmatch(text)
    job: Job | None = state["jobs"].get(match[1]) if match else None
    if match is None or job is None or (match[2] is None) != (job["indices"] is None):
        return None, None
    return job, match[3]


def indices(text: str) -> list[int]:
    """The indices of `3-7:2`, or of `3`."""
    span, _, step = text.partition(":")
    first, _, last = span.partition("-")
    return list(range(int(first), int(last or first) + 1, int(step or 1)))


def condensed(numbers: list[int]) -> str:
    """`10-12,15` of a list; `-` of an empty one."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts) or "-"


def of(job: Job, key: str) -> str:
    """A task's own id: `2[7].fake` for task 7 of `2[].fake`."""
    return str(job["id"]).replace("[]", f"[{key}]") if key else str(job["id"])


def stamp(moment: float) -> str:
    """`Sat Nov 21 01:43:00 2026`, PBS's way of giving a time."""
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(moment))
