"""The lock of a run's state: one command at a time, and whoever waits too long is told for whom.

The kernel, or the file server, gives a lock back when its holder is gone; nothing here ever breaks
one. The file's content only says who took it last.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pipeline.errors import StateError
from pipeline.yamlio import make_directory

TIMEOUT_S = 120


def hostname() -> str:
    """This machine's name, as socket.gethostname() says it."""
    return os.uname().nodename


class Holder(msgspec.Struct, frozen=True):
    """Who took the lock, as that command wrote it."""

    host: str
    pid: int
    ticks: int  # the process's start, clock ticks since boot: pids are used again
    command: str
    since: str

    def __str__(self) -> str:
        return f"`{self.command}` (pid {self.pid} on {self.host}, since {self.since})"


@contextlib.contextmanager
def held(path: Path) -> Iterator[int]:
    """Holds the lock; its descriptor, for commands that must keep it beyond this process's death.

    Raises StateError where the file cannot be opened or locked, or another command keeps it for
    `TIMEOUT_S`.
    """
    handle = _taken(path)
    try:
        _sign(handle)
        yield handle
    finally:
        os.close(handle)


def _taken(path: Path) -> int:
    give_up = time.monotonic() + TIMEOUT_S
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, handle):  # somebody may have removed the file of a dead host's lock
                return handle
        except BlockingIOError:
            if time.monotonic() > give_up:
                said = _complaint(path, handle)
                os.close(handle)
                raise StateError(f"{path}: {said}") from None
        except OSError as error:
            os.close(handle)
            raise StateError(
                f"{path}: cannot be locked: {error.strerror}. "
                "Keep the run's state on a file system that knows flock"
            ) from None
        os.close(handle)
        time.sleep(0.05)


def _open(path: Path) -> int:
    try:
        make_directory(path.parent)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        raise StateError(
            f"{path}: this run is {_owner(path)}'s, and you may not change it. Look at it with "
            "`pipeline status`, or start one of your own from a copy of the project"
        ) from None
    except OSError as error:
        raise StateError(
            f"{path}: cannot be written: {error.strerror}. Free space or fix its permissions"
        ) from None


def _owner(path: Path) -> str:
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            uid = place.stat().st_uid
            try:
                return place.owner()
            except KeyError:
                return f"uid {uid}"
    return "another user"


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    words = " ".join(["pipeline", *sys.argv[1:]])
    since = datetime.now(UTC).isoformat(timespec="seconds")
    me = Holder(hostname(), os.getpid(), _ticks(os.getpid()) or 0, words[:200], since)
    with contextlib.suppress(OSError):  # a full disk: then nobody can be named
        os.ftruncate(handle, 0)
        os.pwrite(handle, msgspec.json.encode(me) + b"\n", 0)


def _complaint(path: Path, handle: int) -> str:
    """What is known of the lock's holder, and what to do about it."""
    wait = "Wait for it, or end it, and run this again"
    try:
        who = msgspec.json.decode(os.pread(handle, 4096, 0), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return f"another pipeline command has held it for {TIMEOUT_S} s. {wait}"
    if who.host != hostname():
        return (
            f"held by {who}. {wait}. If {who.host} is dead, the file server gives the lock back "
            f"by itself, after minutes; where it does not, remove {path.name}"
        )
    if who.pid and _ticks(who.pid) == who.ticks:
        return f"held by {who}. {wait}"
    heirs = ", ".join(_heirs(path)) or "one of another user"
    return (
        f"held by {who}, which no longer runs: a scheduler command that it started has not ended "
        f"({heirs}). {wait}"
    )


def _ticks(pid: int) -> int | None:
    """When a process of this machine started, from proc(5); None where it is no more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] in b"ZX" else int(fields[19])


def _heirs(path: Path) -> Iterator[str]:
    """`pid 12 sbatch`: the processes that hold the lock through a descriptor they inherited."""
    inode = f":{path.stat().st_ino} "
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError):
            if any(
                line.startswith("lock:") and inode in line for line in info.read_text().splitlines()
            ):
                process = info.parents[1]
                yield f"pid {process.name} {(process / 'comm').read_text().strip()}"
