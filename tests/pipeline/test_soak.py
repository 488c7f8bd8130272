"""A thousand tasks on a real Slurm, with failures, kills and cancellations: all end, once each.

What happens is drawn from a seed, which stands in every message of a failed assertion.
PIPELINE_TEST_SEED chooses another one.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline import receipts
from pipeline.manifest import Manifest, Store
from pipeline.ranges import from_ranges
from pipeline.receipts import Receipt
from pipeline.states import ACTIVE, RESUBMITTED, State
from tests.cluster.fixture import Slurm
from tests.pipeline.clusters import Project, end_group, site_yaml

SEED = int(os.environ.get("PIPELINE_TEST_SEED", "20"))
ARMS = "abcd"
TASKS = 250  # of each arm
ALL = f"1-{TASKS}"
CODES = ("1", "7", "65", "70", "71", "75", "126")
SECONDS = 600  # to the end of all; it takes about 60 on two idle cores
KILLS = 12  # pipeline commands killed with signal 9
CANCELS = 20  # tasks cancelled by hand, one at a time
ENDED = RESUBMITTED | {State.CANCELLED}
STUDY = f"""
study: small
state_dir: jobs/small
arms: {{a: {{}}, b: {{}}, c: {{}}, d: {{}}}}
stages:
  part: {{kind: command, arms: all, run: [bash, soak.sh, "${{arm}}", "{{task}}"],
         array: {{over: chunks, count: {TASKS}, throttle: 4}}}}
resources: {{gpus: 0, cpus: 1, mem: 100MB, walltime: "00:10:00"}}
"""
# Takes the first fate that is left for its task. A line in out/ran is written at once and whole.
SOAK = r"""
id=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
for fate in fates/"$1.$2".[0-9]; do
  [ -e "$fate" ] || break
  what=$(<"$fate")
  rm "$fate"
  case $what in
    kill) kill -9 0 ;; # the script around this with it: it writes no last receipt
    hang) >"hang/$id"; exec sleep 600 ;; # until somebody cancels it
    *) exit "$what" ;;
  esac
done
echo "$1 $2 $id" >>out/ran
"""
# A busy controller: kills fall before a submission, into it, and between it and its answer.
SBATCH = """#!/bin/bash
: >"$0.called"
sleep 0.$((RANDOM % 4))
{sbatch} "$@"
code=$?
sleep 0.$((RANDOM % 4))
exit "$code"
"""


class Soak:
    """The project, the cluster, and the dice."""

    def __init__(self, project: Project, slurm: Slurm, dice: random.Random) -> None:
        self.project, self.slurm, self.dice = project, slurm, dice
        self.calls: list[int] = []  # of the scheduler, of each status
        self.cancelled: set[str] = set()  # ids of tasks, `12_7`
        self.kills = 0

    def deal(self) -> None:
        """Every tenth task fails once or twice, every fiftieth is killed, some hang."""
        folder = self.project.root / "fates"
        folder.mkdir()
        (self.project.root / "hang").mkdir()
        for arm in ARMS:
            for task in range(1, TASKS + 1):
                for number in range(2):
                    chance = self.dice.random()
                    fate = (
                        self.dice.choice(CODES) if chance < 0.10
                        else "kill" if chance < 0.12
                        else "hang" if chance < 0.123
                        else ""
                    )  # fmt: skip
                    if not fate:
                        break
                    (folder / f"{arm}.{task}.{number}").write_text(fate)

    def kill_a_command(self, *words: str) -> None:
        """Starts a command and kills it: at any moment, or around a submission."""
        called = self.project.root.parent / "home/sbatch.called"
        called.unlink(missing_ok=True)
        process = self.project.start(*words)
        if self.dice.random() < 0.3:
            time.sleep(self.dice.uniform(0.1, 1.5))
        while process.poll() is None and not called.exists():
            time.sleep(0.02)
        time.sleep(self.dice.uniform(0, 0.6))
        end_group(process)
        self.kills += 1

    def cancel_a_task(self) -> None:
        """`scancel` of any task that runs or waits, as a person would."""
        said = self.slurm.run("squeue", "-h", "-r", "-o", "%i %t %j").splitlines()
        tokens = {a.token for entry in self.manifest().jobs.values() for a in entry.attempts}
        rows = [row.split(maxsplit=2) for row in said]
        ours = [row for row in rows if len(row) == 3 and row[2].rpartition(".")[2] in tokens]
        if ours:
            self.cancel(self.dice.choice(ours)[0])

    def cancel(self, name: str) -> None:
        self.cancelled.add(name)
        self.slurm.run("scancel", name, check=False)

    def manifest(self) -> Manifest:
        found = Store(self.project.root / "jobs/small").read()
        assert found is not None
        return found

    def states(self) -> dict[str, dict[str, str]]:
        found = self.project.status()
        self.calls.append(found["scheduler_calls"])
        return {job["name"]: job["tasks"] for job in found["jobs"]}

    def run(self) -> None:
        """Submits, breaks things while there are any left to break, and resubmits to the end."""
        until = time.monotonic() + SECONDS
        self.kill_a_command("submit", "all")
        self.project.run("submit", "all", code=None)
        while True:
            if self.kills < KILLS and self.dice.random() < 0.6:
                self.kill_a_command(self.dice.choice(["status", "resubmit", "resubmit"]))
            for _ in range(self.dice.randint(0, 2) if len(self.cancelled) < CANCELS else 0):
                self.cancel_a_task()
            states = self.states()
            if all(set(tasks) == {"completed"} for tasks in states.values()):
                return
            assert time.monotonic() < until, f"seed {SEED}: not done in {SECONDS} s: {states}"
            for path in (self.project.root / "hang").iterdir():
                self.cancel(path.name)
                path.unlink()
            found = {state for tasks in states.values() for state in tasks}
            if found & ENDED and (self.dice.random() < 0.2 or not found & ACTIVE):
                self.project.run("resubmit", code=None)
            time.sleep(1)


@pytest.fixture
def soak(slurm: Slurm, tmp_path: Path) -> Soak:
    folder = tmp_path / "p"
    # Scripts start login shells: what a developer's profile does would be done a thousand times.
    home = tmp_path / "home"
    home.mkdir()
    sbatch = home / "sbatch"
    sbatch.write_text(SBATCH.format(sbatch=shutil.which("sbatch")))
    sbatch.chmod(0o755)
    env = {
        "SLURM_CONF": slurm.env["SLURM_CONF"], "HOME": str(home),
        "PATH": f"{home}:{os.environ['PATH']}",
    }  # fmt: skip
    project = Project(folder, site_yaml("slurm", folder), env, STUDY)
    (folder / "soak.sh").write_text(SOAK)
    return Soak(project, slurm, random.Random(SEED))


def test_a_thousand_tasks_complete_exactly_once(soak: Soak) -> None:
    soak.deal()
    soak.run()
    check_receipts(soak)
    check_manifest(soak)
    check_scheduler(soak)
    assert max(soak.calls) <= 2, f"seed {SEED}: a squeue, and a sacct where one left: {soak.calls}"
    assert soak.project.status()["scheduler_calls"] == 0, "the receipts tell it all"
    soak.project.run("status", code=0)
    assert "Nothing to resubmit" in soak.project.run("resubmit")


def check_receipts(soak: Soak) -> None:
    """One receipt of success a task, none newer than it, and a payload that ended behind each."""
    ran = Counter((soak.project.root / "out/ran").read_text().splitlines())
    assert set(ran.values()) == {1}, f"seed {SEED}: {ran.most_common(3)}"
    proved = set()
    for arm in ARMS:
        folder = receipts.directory(soak.project.root / "jobs/small", f"part_{arm}")
        found = receipts.scan(folder)
        assert sorted(found) == list(range(1, TASKS + 1))
        for task, own in found.items():
            kinds = [receipt.kind for receipt in own]
            assert kinds.count("ok") == 1 and kinds[-1] == "ok", f"seed {SEED}: {arm} {task} {own}"
            proved.add(f"{arm} {task} {own[-1].id}")
    assert proved <= set(ran), f"seed {SEED}: success without work: {proved - set(ran)}"
    # Work without a receipt of success is what a person cancelled between the two.
    unproved = {line.split()[2] for line in set(ran) - proved}
    assert unproved <= soak.cancelled, f"seed {SEED}: worked twice: {unproved}"


def check_manifest(soak: Soak) -> None:
    """What it says of states, attempts and ids agrees with the receipts."""
    for name, entry in soak.manifest().jobs.items():
        assert dict(entry.states) == {"completed": ALL}, f"seed {SEED}: {name}: {entry.states}"
        live = entry.live()
        assert all(a.state == "submitted" and a.id for a in live), f"seed {SEED}: {name}: {live}"
        assert len({a.id for a in live}) == len(live), f"seed {SEED}: {name}: {live}"
        folder = receipts.directory(soak.project.root / "jobs/small", name)
        for receipt in [r for own in receipts.scan(folder).values() for r in own]:
            assert receipt.task in known_tasks(live, receipt), f"seed {SEED}: {receipt}"


def known_tasks(live: list[Any], receipt: Receipt) -> list[int]:
    """The tasks of the attempt that a receipt's id belongs to."""
    job_id = receipt.id.partition("_")[0]
    return [task for a in live if a.id == job_id for task in from_ranges(a.tasks)]


def check_scheduler(soak: Soak) -> None:
    """Slurm knows each attempt's token once: nothing was submitted twice or left behind."""
    ids: dict[str, set[str]] = {}
    tokens = {a.token: a.id for entry in soak.manifest().jobs.values() for a in entry.attempts}
    rows = soak.slurm.run("sacct", "-X", "-n", "-P", "-S", "now-1hours", "-o", "JobID,JobName")
    for row in rows.splitlines():
        printed, _, job_name = row.partition("|")
        token = job_name.rpartition(".")[2]
        if token in tokens:
            ids.setdefault(token, set()).add(printed.partition("_")[0])
    for token, known in ids.items():
        assert known == {tokens[token]}, f"seed {SEED}: {token} is {known}, not {tokens[token]}"
    left = soak.slurm.run("squeue", "-h", "-o", "%j").split()
    assert not [name for name in left if name.rpartition(".")[2] in tokens]
