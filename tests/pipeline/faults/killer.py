"""Runs a `pipeline` command in a process that records its every write, or dies before one of them.

Python's audit hooks tell of every open, rename, folder, removal and program; `fsync`, of which they
do not tell, is wrapped. A process that SIGKILL ends between two such events has done exactly what
those before it did, so that to die before each of them is to die at every moment that matters.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import (  # noqa: F401 - what a command imports is here before the first fork
    causes,
    diagnose,
    patches,
    retry,
    schedulers,
    submit,
    transport,
    yamlio,
)
from pipeline.cli import cli
from pipeline.view import run as _run  # noqa: F401
from pipeline.view import status as _status  # noqa: F401

PACKAGE = str(Path(__file__).parents[3] / "pipeline") + os.sep
_OTHERS = {
    "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod",
    "os.truncate",
}  # fmt: skip
Event = dict[str, Any]


class Recorder:
    """Notes each event in a file and, at the given one, kills the process instead."""

    def __init__(self, log: Path, kill_at: int | None) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self.kill_at, self.count = kill_at, 0
        self.busy = False  # what this class itself does is no event

    def event(self, name: str, paths: Sequence[str]) -> None:
        if self.busy:
            return
        self.busy = True
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        row = {"event": name, "paths": list(paths), "site": _site()}
        os.write(self.log, json.dumps(row).encode() + b"\n")
        self.busy = False

    def audit(self, name: str, args: tuple[Any, ...]) -> None:
        if name == "open":
            flags = args[2] if isinstance(args[2], int) else 0
            writes, path = flags & (os.O_WRONLY | os.O_RDWR), str(args[0])
            if writes and path.startswith("/") and not path.startswith("/dev/"):
                self.event("open", [path])
        elif name == "os.mkdir" and os.path.isdir(args[0]):
            pass  # it is there already
        elif name == "subprocess.Popen":
            self.event(name, [str(word) for word in args[1]])
        elif name in _OTHERS:
            paths = [_path(a) for a in args[:2] if isinstance(a, str | bytes | int | os.PathLike)]
            self.event(name, paths)


def _path(value: Any) -> str:
    return _of(value) if isinstance(value, int) else os.fsdecode(value)


def _of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def _site() -> list[str]:
    """The lines of this package that led here."""
    found = []
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            found.append(f"{name[len(PACKAGE) :]}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return found


def install(recorder: Recorder) -> None:
    """Patches this process; there is no way back, so it must be one of its own."""
    sys.addaudithook(recorder.audit)
    fsync, fdopen = os.fsync, os.fdopen

    def noted_fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        recorder.event("fsync", [_of(number)])
        fsync(descriptor)

    def noted_fdopen(descriptor: int, *args: Any, **options: Any) -> Any:
        recorder.event("opened", [_of(descriptor)])  # the file is there and still empty
        return fdopen(descriptor, *args, **options)

    os.fsync, os.fdopen = noted_fsync, noted_fdopen  # type: ignore[assignment]
    start = subprocess.Popen.__init__

    def noted_start(self: Any, *args: Any, **options: Any) -> None:
        start(self, *args, **options)
        recorder.event("started", [str(self.pid)])

    subprocess.Popen.__init__ = noted_start  # type: ignore[method-assign]


def run(
    folder: Path, words: Sequence[str], env: Mapping[str, str], log: Path | None = None,
    kill_at: int | None = None, uid: int | None = None,
) -> tuple[int, str]:  # fmt: skip
    """(exit code, minus the signal where one ended it; what it printed) of a command, forked from
    this process, which has all modules loaded."""
    output = folder.parent / "output"
    recorder = Recorder(log, kill_at) if log else None
    pid = os.fork()
    if pid == 0:
        _child(folder, words, env, output, recorder, uid)
    _, status = os.waitpid(pid, 0)
    if recorder:
        os.close(recorder.log)
    return os.waitstatus_to_exitcode(status), output.read_text()


def _child(
    folder: Path, words: Sequence[str], env: Mapping[str, str], output: Path,
    recorder: Recorder | None, uid: int | None,
) -> None:  # fmt: skip
    code = 99
    try:
        os.chdir(folder)
        os.environ.update(env)
        out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - pytest has replaced it
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        if recorder:
            install(recorder)
        try:
            cli(args=list(words), prog_name="pipeline")
        except SystemExit as error:
            code = int(error.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def events(log: Path) -> list[Event]:
    return [json.loads(line) for line in log.read_text().splitlines()]
