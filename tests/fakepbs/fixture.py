"""The `fakepbs` fixture: qsub, qstat and qdel on PATH, their own home, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BIN = Path(__file__).parent / "bin"


class FakePBS:
    """A PBS of one's own. `env` is what its commands need; a test may add settings to it."""

    def __init__(self, folder: Path) -> None:
        self.state, self.home = folder / "fakepbs", folder / "home"
        self.state.mkdir(parents=True)
        self.home.mkdir()
        self.env = {
            "FAKEPBS_DIR": str(self.state),
            # This interpreter's folder too: `env python3` may be a slow shim elsewhere on PATH.
            "PATH": f"{BIN}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
        }

    def run(
        self, *argv: str, cwd: Path | None = None, text: str | None = None, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command here; `settings` are FAKEPBS_* for this call (`DOWN="1"`)."""
        own = {f"FAKEPBS_{name}": value for name, value in settings.items()}
        return subprocess.run(
            argv,
            cwd=cwd or self.home,
            env={**os.environ, **self.env, **own},
            input=text or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self) -> None:
        """Kills the daemon, which kills its jobs."""
        path = self.state / "daemon.pid"
        pid = int(path.read_text()) if path.exists() else 0
        shutil.rmtree(self.state, ignore_errors=True)  # no client can start another one
        for number in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + 5
            if _alive(pid):
                os.kill(pid, number)
            while _alive(pid) and time.monotonic() < end:
                time.sleep(0.02)


def _alive(pid: int) -> bool:
    """Whether the process is this fake's daemon still (pids are used again)."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"fake_server.py" in command


@pytest.fixture
def fakepbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePBS]:
    """A running fake PBS, its commands on this process's PATH too."""
    fake = FakePBS(tmp_path / "pbs")
    for name, value in fake.env.items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.stop()
