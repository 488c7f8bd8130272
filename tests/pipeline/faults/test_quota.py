"""Quotas of bytes and of files, on the login node and on the node: said clearly, nothing lost."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.schedulers.slurm import Slurm
from tests.pipeline.faults.test_kill import (
    ALL_ONCE,
    Place,
    failed,
    fresh,
    lost,
    queued,
    under_way,
)
from tests.require import require

CASES: dict[str, tuple[Callable[[Place], None], tuple[str, ...]]] = {
    "submit": (fresh, ("submit", "all")),
    "status": (under_way, ("status",)),
    "resubmit": (failed, ("resubmit", "--failed")),
    "cancel": (queued, ("cancel", "--all")),
    "repair": (lost, ("repair",)),
}


@contextlib.contextmanager
def small(folder: Path, limit: str) -> Iterator[None]:
    """A file system of 2 MB or 200 files over a folder, with what was in it."""
    require("root", os.geteuid() == 0, "mounting a small file system needs root")
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.mkdir()
    options = {"bytes": "size=2m", "files": "size=64m,nr_inodes=200"}[limit]
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    require("mount", done.returncode == 0, f"no tmpfs can be mounted here: {done.stderr}")
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, limit: str) -> None:
    """Until nothing more fits."""
    ballast = folder / "ballast"
    ballast.mkdir()
    with contextlib.suppress(OSError):
        if limit == "files":
            for number in range(1000):
                (ballast / str(number)).touch()
        with (ballast / "data").open("wb", buffering=0) as file:
            while limit == "bytes":
                file.write(b"x" * 4096)


@pytest.mark.parametrize("limit", ["bytes", "files"])
@pytest.mark.parametrize("command", CASES)
def test_a_full_login_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, limit: str
) -> None:
    monkeypatch.setattr(Slurm, "adopt_after_s", 0.0)
    prepare, words = CASES[command]
    place = Place(tmp_path)
    prepare(place)
    jobs = place.root / "jobs"
    jobs.mkdir(exist_ok=True)
    with small(jobs, limit):
        before = {p: p.read_bytes() for p in jobs.rglob("manifest.yaml")}
        queue = place.slurm.queued()
        fill(jobs, limit)
        code, said = place.run(*words)
        assert "No space left" in said, said
        assert re.search(r"[Ff]ree (some )?space", said), said
        if command != "status":  # which says what it saw and could not write down
            assert code == 2, said
        assert [p.read_bytes() for p in before] == list(before.values()), "the old one is whole"
        if command != "cancel":
            assert place.slurm.queued() == queue, "nothing was queued"
        shutil.rmtree(jobs / "ballast")
        if command in ("resubmit", "cancel"):
            place.good(*words)
        place.finish()
        wanted = sorted([*ALL_ONCE, "cut 2 fail-1"]) if command == "resubmit" else ALL_ONCE
        assert place.slurm.ran() == wanted
        assert not list(jobs.rglob(".*.tmp")), "no half file is left"


@pytest.mark.parametrize("limit", ["bytes", "files"])
def test_a_full_file_system_on_the_node(tmp_path: Path, limit: str) -> None:
    place = Place(tmp_path)
    place.good("submit", "make")
    receipts = place.state_dir / "receipts/make"
    script = ["bash", str(place.state_dir / "attempts/make.1.sbatch")]
    env = {**os.environ, "SLURM_JOB_ID": "1"}
    with small(receipts, limit):
        fill(receipts, limit)
        done = subprocess.run(
            script, env=env, cwd=place.root, capture_output=True, text=True, check=False
        )
        log = (place.state_dir / "logs/jobs/make/1.1.log").read_text()
        assert done.returncode == 74, done.stderr + log
        assert "cannot be written" in log and "Free some space" in log
        shutil.rmtree(receipts / "ballast")
        assert [p.name for p in receipts.iterdir()] == [], "no half receipt"
        subprocess.run(script, env=env, cwd=place.root, check=True)
        assert [p.name for p in receipts.iterdir()] == ["1.1.ok"]
