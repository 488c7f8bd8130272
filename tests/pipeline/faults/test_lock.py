"""The run's lock: who holds it is said, and nobody breaks it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline import lock
from pipeline.errors import StateError
from pipeline.manifest import Store

ROOT = Path(__file__).parents[3]
HOLD = """
import subprocess, sys, time
from pathlib import Path
from pipeline.manifest import Store
store = Store(Path(sys.argv[1]))
with store.locked():
    if sys.argv[2] == "child":
        subprocess.Popen(["sleep", "60"], pass_fds=(store.lock_fd,))
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TIMEOUT_S", 0.2)


def holder(folder: Path, what: str = "itself") -> subprocess.Popen[str]:
    """Another command that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), what], text=True, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def complaint(folder: Path) -> str:
    with pytest.raises(StateError) as error, Store(folder).locked():
        raise AssertionError("two hold the lock")
    return str(error.value)


@pytest.mark.usefixtures("impatient")
def test_a_living_holder_is_named(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        said = complaint(tmp_path)
        assert f"{tmp_path}/.lock: held by `pipeline {tmp_path}" in said
        assert f"pid {process.pid} on {os.uname().nodename}, since 20" in said
        assert "Wait for it" in said and "no longer runs" not in said
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("impatient")
def test_a_dead_holders_command_that_still_runs_is_named(tmp_path: Path) -> None:
    process = holder(tmp_path, "child")
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        said = complaint(tmp_path)
        assert f"pid {process.pid} " in said and "which no longer runs" in said
        found = said.partition("has not ended (")[2]
        assert found.endswith("sleep). Wait for it, or end it, and run this again")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    with Store(tmp_path).locked():
        pass


def test_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.kill()
    process.communicate()
    started = json.loads((tmp_path / ".lock").read_text())["pid"]
    with Store(tmp_path).locked():
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid() != started


def taken_from(folder: Path, text: str) -> int:
    """A lock that somebody of whom only this text is known holds."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    os.pwrite(handle, text.encode(), 0)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


@pytest.mark.usefixtures("impatient")
def test_a_holder_on_another_host_that_may_be_dead(tmp_path: Path) -> None:
    who = {"host": "node7", "pid": 1, "ticks": 1, "command": "pipeline submit all",
           "since": "2026-11-21T10:00:00+00:00"}  # fmt: skip
    handle = taken_from(tmp_path, json.dumps(who))
    said = complaint(tmp_path)
    assert "`pipeline submit all` (pid 1 on node7, since 2026-11-21T10:00:00+00:00)" in said
    assert "If node7 is dead" in said and "remove .lock" in said
    (tmp_path / ".lock").unlink()  # as it says; the server never gave the lock back
    with Store(tmp_path).locked():
        pass
    os.close(handle)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 3}', "\x00\xff"], ids=repr)
def test_a_lock_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    handle = taken_from(tmp_path, text)
    assert "another pipeline command has held it" in complaint(tmp_path)
    os.close(handle)


def test_a_file_that_is_removed_between_opening_and_locking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = lock._open
    inodes: list[int] = []

    def removed_at_once(path: Path) -> int:
        handle = opened(path)
        inodes.append(os.fstat(handle).st_ino)
        if len(inodes) == 1:
            path.rename(tmp_path / "removed")
        return handle

    monkeypatch.setattr(lock, "_open", removed_at_once)
    with Store(tmp_path).locked():
        assert inodes == [inodes[0], (tmp_path / ".lock").stat().st_ino]


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path: Path) -> None:
    """Who waited on the removed file takes the new one, so that two never hold `the` lock."""
    handle = taken_from(tmp_path, "")
    inode = os.fstat(handle).st_ino
    found: list[int] = []

    def wait() -> None:
        with Store(tmp_path).locked():
            found.append((tmp_path / ".lock").stat().st_ino)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.2)
    (tmp_path / ".lock").rename(tmp_path / "removed")  # keeps the inode's number taken
    waiter.join(30)
    os.close(handle)
    assert found and found[0] != inode
