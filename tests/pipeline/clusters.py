"""Real commands on a real scheduler: the same small study on this machine, on PBS, on Slurm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

# `work.sh` does what the files in control/ say, so that a test decides how each task ends.
STUDY = """
study: small
state_dir: jobs/small
arms: {a: {}, b: {}}
stages:
  make: {kind: command, run: [bash, work.sh, make, "1"]}
  cut: {kind: command, arms: all, needs: [make], run: [bash, work.sh, "cut_${arm}", "{task}"],
        array: {over: chunks, count: 4}, outputs: ["out/cut_${arm}_${task}"]}
  fit: {kind: command, arms: all, needs: [cut], run: [bash, work.sh, "fit_${arm}", "1"]}
  tell: {kind: command, needs: [fit], run: [bash, work.sh, tell, "1"]}
resources: {gpus: 0, cpus: 1, mem: 100MB, walltime: "00:10:00"}
profiles:
  short: {resources: {walltime: "00:00:03"}}
"""
WORK = r"""
echo "$1 $2 on $HOSTNAME says: it's \"here\""
[ ! -e "control/sleep_$1" ] || sleep "$(cat "control/sleep_$1")"
code="control/exit_$1_$2"
[ ! -e "$code" ] || { echo "error: told to fail" >&2; exit "$(cat "$code")"; }
printf -v four '%04d' "$2"
echo done > "out/$1_$four"
echo "$1 $2" >> "out/ran"
"""


class Project:
    """A project folder, and `pipeline` run in it as a user would."""

    def __init__(self, folder: Path, site: str, env: dict[str, str], study: str = STUDY) -> None:
        self.root = folder
        for name in ("studies", "sites", "control", "out"):
            (folder / name).mkdir(parents=True)
        (folder / "job_templates").symlink_to(ROOT / "job_templates")
        (folder / "studies/small.yaml").write_text(study)
        (folder / "sites/default.yaml").write_text(site)
        (folder / "work.sh").write_text(WORK)
        self.env = {
            **os.environ, **env, "PYTHONPATH": str(ROOT), "PIPELINE_STUDY": "small",
            "COLUMNS": "200",
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A `pipeline` command, not waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words], cwd=self.root, env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, code: int | None = 0) -> str:
        """A `pipeline` command's output; its exit code must be `code`."""
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in err, err
        if code is not None:
            assert process.returncode == code, f"{words}: exit {process.returncode}\n{out}\n{err}"
        return out + err

    def status(self, *words: str) -> dict[str, Any]:
        """`status --json`."""
        process = self.start("status", "--json", *words)
        out, err = process.communicate(timeout=120)
        assert process.returncode in (0, 1, 3), err
        found: dict[str, Any] = json.loads(out)
        return found

    def states(self, *words: str) -> dict[str, dict[str, str]]:
        """Job -> state -> ranges of tasks."""
        return {job["name"]: job["tasks"] for job in self.status(*words)["jobs"]}

    def wait(
        self, good: Callable[[dict[str, dict[str, str]]], bool], *words: str, seconds: float = 120
    ) -> dict[str, dict[str, str]]:
        """Looks until the states are as wanted; fails with what they were."""
        until = time.monotonic() + seconds
        while True:
            states = self.states(*words)
            if good(states):
                return states
            assert time.monotonic() < until, states
            time.sleep(0.5)

    def control(self, name: str, text: str) -> None:
        (self.root / "control" / name).write_text(text)

    def ran(self) -> list[str]:
        """What ran to its end, once an entry a time."""
        path = self.root / "out/ran"
        return sorted(path.read_text().splitlines()) if path.exists() else []


def site_yaml(scheduler: str, folder: Path, more: str = "") -> str:
    """A site file for tests: this interpreter, receipts shown at once."""
    here = f"{{python: {json.dumps(sys.executable)}}}"
    return (
        f"site: default\nscheduler: {scheduler}\nproject_dir: {json.dumps(str(folder))}\n"
        f"receipt_grace: 4\nenvironments: {{light: {here}, hf: {here}}}\n{more}"
    )


def end_group(process: subprocess.Popen[str]) -> None:
    """kill -9, as a closed laptop would."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
