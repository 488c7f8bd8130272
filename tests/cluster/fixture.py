"""The fixture `slurm`: the real cluster of `slurm.sh`, found running or started for the tests."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.require import require

SCRIPT = Path(__file__).with_name("slurm.sh")
DAEMONS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sshd")


@dataclass(frozen=True)
class Slurm:
    """A cluster with partitions `main` and `short` on nodes n1 to n4 (64 CPUs, 8 GPUs each)."""

    env: dict[str, str]  # of this process, and what leads Slurm's commands to the cluster
    ssh_config: Path  # for `ssh -F`; its host is `pipeline-slurm`, where the same commands work

    def run(self, *argv: str, check: bool = True) -> str:
        """A Slurm command's output."""
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout


def _script(word: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PIPELINE_TEST_SLURM_STATE": str(state)} if state else None
    return subprocess.run([str(SCRIPT), word], env=env, capture_output=True, text=True, timeout=600)


def _installed() -> bool:
    return all(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in DAEMONS)


@contextmanager
def _shared(folder: Path) -> Iterator[None]:
    """Starts the cluster unless it runs, and stops it after the last process of a test run that
    shares it. One that was running before them is left running."""
    ours = folder / "slurm.ours"
    with (folder / "slurm.starts").open("w") as starts, (folder / "slurm.used").open("w") as used:
        fcntl.flock(starts, fcntl.LOCK_EX)
        fcntl.flock(used, fcntl.LOCK_SH)
        if not _script("env").stdout.strip():
            require("slurm", _installed(), "Slurm is not installed: see tests/cluster/slurm.sh")
            require("slurm", os.getuid() == 0, "starting a Slurm cluster needs root")
            ours.touch()
        started = _script("up") if os.getuid() == 0 else None
        if started and started.returncode:
            reason = started.stderr.strip().splitlines()[-1:]
            require("slurm", False, f"the Slurm cluster does not start: {reason}")
        fcntl.flock(starts, fcntl.LOCK_UN)
        yield
        fcntl.flock(used, fcntl.LOCK_EX)  # once no other process of this run uses it
        if ours.exists():
            _script("down")
            ours.unlink()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """The cluster of all processes of this test run."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with _shared(run):
        yield _read(_script("env").stdout.strip())


@pytest.fixture(scope="module")
def own_slurm() -> Iterator[Slurm]:
    """A second cluster, for tests that stop its daemons; gone with the tests of the module."""
    require("slurm", _installed(), "Slurm is not installed: see tests/cluster/slurm.sh")
    require("slurm", os.getuid() == 0, "starting a Slurm cluster needs root")
    base = Path("/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else "/tmp")
    state = base / f"pipeline-slurm-{os.getpid()}"
    try:
        started = _script("up", state)
        reason = started.stderr.strip().splitlines()[-1:]
        require("slurm", started.returncode == 0, f"a second Slurm does not start: {reason}")
        yield _read(str(state / "env.sh"))
    finally:
        _script("down", state)


def _read(path: str) -> Slurm:
    values = dict(re.findall(r"^export (\w+)=(.*)$", Path(path).read_text(), re.MULTILINE))
    ssh_config = Path(values["PIPELINE_TEST_SSH_CONFIG"])
    return Slurm({**os.environ, "SLURM_CONF": values["SLURM_CONF"]}, ssh_config)
