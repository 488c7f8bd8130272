"""A project on a scheduler that is simulated: small programs that print what stands in files.

They answer at once and in full, as Slurm or PBS would with that many tasks, so that what is
measured is `pipeline`; what they cost themselves is measured apart and taken off.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FIRST = 4701  # number of the first job
SCRIPT = "from pipeline.cli import main; main()"  # what the installed `pipeline` runs
RUNNING = 256  # tasks at most that run at a time

PROGRAMS = {
    "slurm": {
        "sbatch": 'read -r n <"$SIM/next"; echo $((n + 1)) >"$SIM/next"; echo "$n"',
        "squeue": 'exec cat "$SIM/squeue"',
        "sacct": ":",
    },
    "pbs": {
        "qsub": 'read -r n <"$SIM/next"; echo $((n + 1)) >"$SIM/next"; echo "$n[].vm"',
        "qstat": 'for id; do :; done; exec cat "$SIM/$id.json"',
    },
}
RECEIPT = {
    "job": "part", "task": 1, "id": "4701_1", "token": "t1234567", "attempt": 1,
    "digest": "a" * 64, "host": "n1", "pid": 4242, "start": 1, "walltime": 3600, "end": 2,
    "exit": 0, "signal": None,
}  # fmt: skip


class Cost(NamedTuple):
    """What one command cost, its children included."""

    cpu: float  # seconds, user and system
    wall: float  # seconds
    peak: float  # MB, of its largest process
    calls: dict[str, int]  # of the scheduler's programs
    code: int


def measure(argv: Sequence[str], cwd: Path, env: dict[str, str], counter: Path | None) -> Cost:
    """Runs a command as a process of its own."""
    if counter:
        counter.write_text("")
    start = time.perf_counter()
    process = subprocess.Popen(
        list(argv), cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr
    errors = process.stderr.read().decode()
    process.stderr.close()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1) or "Traceback" in errors:
        raise SystemExit(f"{' '.join(argv)}: exit {process.returncode}: {errors}")
    calls: dict[str, int] = {}
    for name in counter.read_text().split() if counter else ():
        calls[name] = calls.get(name, 0) + 1
    peak = used.ru_maxrss * 1024 / 1e6
    return Cost(used.ru_utime + used.ru_stime, wall, peak, calls, process.returncode)


def environment(folder: Path) -> dict[str, str]:
    """For `pipeline`: compiled modules are kept, as on any login node, but not in the project."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "PYTHON"))}
    return env | {
        "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
        "PIPELINE_STUDY": "scale", "COLUMNS": "200",
    }  # fmt: skip


class Project:
    """A project folder with a study of some arms, each an array of some tasks."""

    def __init__(
        self, folder: Path, scheduler: str, arms: int, tasks: int, directives: str = ""
    ) -> None:
        self.root, self.scheduler, self.tasks = folder / "project", scheduler, tasks
        self.arms = [f"a{arm:02d}" for arm in range(1, arms + 1)]
        for name in ("studies", "sites", "out"):
            (self.root / name).mkdir(parents=True)
        (self.root / "job_templates").symlink_to(ROOT / "job_templates")
        (self.root / "studies/scale.yaml").write_text(self._study())
        python = json.dumps(sys.executable)
        (self.root / "sites/default.yaml").write_text(
            f"site: default\nscheduler: {scheduler}\nproject_dir: {json.dumps(str(self.root))}\n"
            f"environments: {{light: {{python: {python}}}}}\ndirectives: [{directives}]\n"
        )
        self.env = environment(folder)
        self.counter: Path | None = None

    def _study(self) -> str:
        arms = ", ".join(f"{arm}: {{}}" for arm in self.arms)
        return (
            f"study: scale\nstate_dir: jobs/scale\narms: {{{arms}}}\nstages:\n"
            '  part: {kind: command, arms: all, run: [bash, work.sh, "{task}"],\n'
            f"         array: {{over: chunks, count: {self.tasks}}},\n"
            '         outputs: ["out/${arm}_${task}"]}\n'
            'resources: {gpus: 0, cpus: 1, mem: 100MB, walltime: "01:00:00"}\n'
        )

    def pipeline(self, *words: str) -> Cost:
        """What a command costs."""
        argv = [sys.executable, "-c", SCRIPT, *words]
        return measure(argv, self.root, self.env, self.counter)

    def raw(self, *argv: str) -> Cost:
        """What a command of the scheduler costs by itself."""
        return measure(argv, self.root, self.env, self.counter)


class Simulated(Project):
    """The first `done` tasks of each job have ended, the next ones run, the others wait."""

    def __init__(self, folder: Path, scheduler: str, arms: int, tasks: int) -> None:
        super().__init__(folder, scheduler, arms, tasks)
        self.sim = folder / "sim"
        bin_folder = self.sim / "bin"
        bin_folder.mkdir(parents=True)
        for name, body in PROGRAMS[scheduler].items():
            program = bin_folder / name
            program.write_text(f'#!/bin/sh\necho {name} >>"$SIM/calls"\n{body}\n')
            program.chmod(0o755)
        (self.sim / "next").write_text(f"{FIRST}\n")
        self.counter = self.sim / "calls"
        self.done = [0] * arms
        self.env |= {"SIM": str(self.sim), "PATH": f"{bin_folder}:{os.environ['PATH']}"}

    def forget(self) -> None:
        """As if nothing had been submitted."""
        shutil.rmtree(self.root / "jobs", ignore_errors=True)
        (self.sim / "next").write_text(f"{FIRST}\n")

    def advance(self, job: int, tasks: int, failed: Collection[int] = ()) -> None:
        """The next tasks of a job end: receipts, and outputs of those that ended well."""
        first = self.done[job] + 1
        self.done[job] += tasks
        for task in range(first, self.done[job] + 1):
            kind = "fail-1" if task in failed else "ok"
            self._end(job, task, self.task_id(FIRST + job, task), kind)

    def finish_again(self, attempts: Sequence[tuple[int, Sequence[int]]]) -> None:
        """The second attempts, over some tasks of some jobs in the order submitted, end well."""
        for number, (job, tasks) in enumerate(attempts, FIRST + len(self.arms)):
            for index, task in enumerate(tasks, 1):
                self._end(job, task, self.task_id(number, index), "ok")

    def _end(self, job: int, task: int, own: str, kind: str) -> None:
        arm = self.arms[job]
        folder = self.root / f"jobs/scale/receipts/part_{arm}"
        (folder / f"{task}.{own}.{kind}").write_text(json.dumps(RECEIPT))
        if kind == "ok":
            (self.root / f"out/{arm}_{task:04d}").touch()

    def task_id(self, number: int, index: int) -> str:
        """As a task's own script sees it."""
        return f"{number}_{index}" if self.scheduler == "slurm" else f"{number}[{index}].vm"

    def show(self) -> None:
        """The scheduler says from now on what has ended, what runs and what waits."""
        writer: Callable[[int, str, str, range], None]
        writer = self._write_qstat if self.scheduler == "pbs" else self._write_squeue
        (self.sim / "squeue").write_text("")
        manifest = (self.root / "jobs/scale/manifest.yaml").read_text()
        tokens = re.findall(r"attempt: 1,?\s+token: (\w+)", manifest)
        most = RUNNING // len(self.arms)
        for job, (arm, token) in enumerate(zip(self.arms, tokens, strict=True)):
            done = self.done[job]
            running = range(done + 1, min(done + most, self.tasks) + 1)
            writer(FIRST + job, f"part_{arm}", token, running)

    def _write_squeue(self, number: int, name: str, token: str, running: range) -> None:
        """A row for each task that ever ran, as Slurm shows them for MinJobAge, 5 minutes."""
        end = f"|{name}.{token}\n"
        with (self.sim / "squeue").open("a") as file:
            for task in range(1, running.start):
                file.write(f"{number}_{task}|COMPLETED|0|None|n{task % 50}|0:{task % 60:02d}{end}")
            for task in running:
                file.write(f"{number}_{task}|RUNNING|0|None|n{task % 50}|0:{task % 60:02d}{end}")
            if running.stop <= self.tasks:
                rest = f"{running.stop}-{self.tasks}"
                file.write(f"{number}_[{rest}]|PENDING|0|JobArrayTaskLimit||0:00{end}")

    def _write_qstat(self, number: int, name: str, token: str, running: range) -> None:
        """The parent and a record of 1.5 KB for every subjob, as `qstat -t -f -F json` prints."""
        with (self.sim / f"{number}[].vm.json").open("w") as file:
            file.write('{"timestamp":1,"pbs_version":"23.06.06","pbs_server":"vm","Jobs":{')
            comma = ""
            for record in self._records(number, name, token, running):
                file.write(comma + record)
                comma = ","
            file.write("}}\n")

    def _records(self, number: int, name: str, token: str, running: range) -> Iterator[str]:
        variables = dict(PBS_VARIABLES, PIPELINE_TOKEN=token)
        every = dict(PBS_RECORD, Job_Name=name, Variable_List=variables)
        common = dict(every, job_state="B", array="True")
        common["array_indices_submitted"] = f"1-{self.tasks}"
        common["array_indices_remaining"] = f"{running.stop}-{self.tasks}"
        yield f'"{number}[].vm":{json.dumps(common, indent=1)}'
        own = dict(every, array_id=f"{number}[].vm", exec_host="vm/0")
        for task in range(1, self.tasks + 1):
            record = dict(own, array_index=task, job_state="X" if task < running.start else "R")
            if task >= running.stop:
                record = dict(every, job_state="Q")
            elif task < running.start:
                record["Exit_status"] = 0
            yield f'"{number}[{task}].vm":{json.dumps(record, indent=1)}'


PBS_RECORD: dict[str, object] = {
    "Job_Owner": "user@vm", "queue": "workq", "server": "vm",
    "Checkpoint": "u", "ctime": "Sat Nov 21 01:43:35 2026",
    "Error_Path": "vm:/home/user/project/part_a01.e4701.1", "Hold_Types": "n", "Join_Path": "oe",
    "Keep_Files": "n", "Mail_Points": "a", "mtime": "Sat Nov 21 01:43:37 2026",
    "Output_Path": "vm:/home/user/project/logs/", "Priority": 0,
    "qtime": "Sat Nov 21 01:43:35 2026", "Rerunable": "True",
    "Resource_List": {"mem": "100mb", "ncpus": 1, "nodect": 1, "place": "free",
                      "select": "1:ncpus=1:mem=100mb", "walltime": "01:00:00"},
    "stime": "Sat Nov 21 01:43:35 2026", "substate": 42,
    "etime": "Sat Nov 21 01:43:35 2026", "project": "_pbs_project_default", "Submit_Host": "vm",
}  # fmt: skip
PBS_VARIABLES: dict[str, object] = {
    "PBS_O_HOME": "/home/user", "PBS_O_LOGNAME": "user", "PBS_O_SHELL": "/bin/bash",
    "PBS_O_PATH": "/usr/pbs/bin:/usr/bin:/bin", "PBS_O_WORKDIR": "/home/user/project",
    "PBS_O_SYSTEM": "Linux", "PIPELINE_ATTEMPT": 1, "PBS_O_QUEUE": "workq", "PBS_O_HOST": "vm",
}  # fmt: skip
