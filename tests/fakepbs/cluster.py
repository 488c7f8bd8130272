"""A PBS to test with, the fake or a real one: a folder to submit from, and three commands."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakepbs.fixture import FakePBS

Attributes = dict[str, Any]


class Cluster:
    """A folder to submit from, and the three commands."""

    def __init__(self, folder: Path, fake: FakePBS | None) -> None:
        self.folder, self.fake = folder, fake
        self.patience = 20.0 if fake else 120.0
        (folder / "logs").mkdir()

    def run(self, *argv: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        if self.fake:
            return self.fake.run(*argv, cwd=self.folder, text=text)
        return subprocess.run(
            argv, cwd=self.folder, input=text or "", capture_output=True, text=True, check=False
        )

    def script(self, body: str, *directives: str) -> str:
        """A script of these commands, its log in `logs/`."""
        lines = ["#!/bin/bash", "#PBS -j oe", "#PBS -o logs/", *(f"#PBS {d}" for d in directives)]
        path = self.folder / f"job{len(list(self.folder.glob('job*')))}.sh"
        path.write_text("\n".join([*lines, body, ""]))
        return path.name

    def gate(self) -> str:
        """A command that waits for `open_gate`."""
        return f"while [ ! -e '{self.folder}/open' ]; do sleep 0.05; done"

    def open_gate(self) -> None:
        (self.folder / "open").touch()

    def qsub(self, *argv: str) -> str:
        done = self.run("qsub", *argv)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self, *argv: str) -> dict[str, Attributes]:
        """What `qstat ... -f -F json` prints of jobs."""
        done = self.run("qstat", *argv[:-1], "-f", "-F", "json", argv[-1])
        found: dict[str, Attributes] = json.loads(done.stdout).get("Jobs", {})
        return found

    def job(self, job_id: str) -> Attributes:
        return self.jobs("-x", job_id)[job_id]

    def wait(self, job_id: str, good: Callable[[Attributes], bool]) -> Attributes:
        """Looks until the job is as wanted."""
        end = time.monotonic() + self.patience
        while True:
            found = self.job(job_id)
            if good(found):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)

    def ended(self, job_id: str) -> Attributes:
        return self.wait(job_id, lambda found: found["job_state"] == "F")

    def log(self, job_id: str) -> str:
        return (self.folder / "logs" / f"{job_id}.OU").read_text()
