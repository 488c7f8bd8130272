"""A PBS that answers wrongly, is reset, moves jobs, and a user who helps by hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakepbs.fixture import FakePBS
from tests.pipeline.clusters import Project, site_yaml

ALL_ONCE = sorted(
    ["make 1", "tell 1", "fit_a 1", "fit_b 1"] + [f"cut_{a} {t}" for a in "ab" for t in range(1, 5)]
)
# `fault` in the project says what this qsub or qstat does to the real one's answer.
WRAPPER = r"""#!/bin/bash
name=${0##*/}
fault=$(cat "$FAULTS/$name" 2>/dev/null)
real() { "$REAL/$name" "$@"; }
case $fault in
  id-then-1) real "$@"; exit 1 ;;
  id-then-killed) real "$@"; kill -9 $$ ;;
  nothing) real "$@" >/dev/null ;;
  killed) real "$@" >/dev/null; kill -9 $$ ;;
  half) text=$(real "$@"); printf '%s' "${text:0:${#text}/2}" ;;
  half-then-1) text=$(real "$@"); printf '%s' "${text:0:${#text}/2}"; exit 1 ;;
  *) real "$@" ;;
esac
"""


@pytest.fixture
def pbs(tmp_path: Path) -> Iterator[FakePBS]:
    fake = FakePBS(tmp_path / "pbs")
    yield fake
    fake.stop()


@pytest.fixture
def project(pbs: FakePBS, tmp_path: Path) -> Project:
    faults = tmp_path / "faults"
    (faults / "bin").mkdir(parents=True)
    for name in ("qsub", "qstat"):
        (faults / "bin" / name).write_text(WRAPPER)
        (faults / "bin" / name).chmod(0o755)
    real, _, rest = pbs.env["PATH"].partition(":")
    env = {**pbs.env, "PATH": f"{faults}/bin:{real}:{rest}", "REAL": real, "FAULTS": str(faults)}
    env["FAKEPBS_SLOTS"] = "8"
    made = Project(tmp_path / "p", site_yaml("pbs", tmp_path / "p"), env)
    work = made.root / "work.sh"
    work.write_text('while [ -e "control/hold_$1" ]; do sleep 0.1; done\n' + work.read_text())
    return made


def release(project: Project, job: str) -> None:
    """Lets the tasks of a job go on that `control("hold_<job>")` stopped at their start."""
    (project.root / f"control/hold_{job}").unlink()


def fault(project: Project, name: str, what: str) -> None:
    (Path(project.env["FAULTS"]) / name).write_text(what)


def accepted(pbs: FakePBS) -> dict[str, dict[str, Any]]:
    """The jobs that the server knows, by number."""
    text = (pbs.state / "state.json").read_text() if (pbs.state / "state.json").exists() else "{}"
    found: dict[str, dict[str, Any]] = json.loads(text).get("jobs", {})
    return found


def change(pbs: FakePBS, number: str, **attributes: Any) -> None:
    """Edits a job at the server, under its lock, as an operator's command would."""
    from tests.fakepbs.fixture import BIN

    code = (
        "import sys, json; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "import fake_store as s\n"
        "with s.locked(Path(sys.argv[2])) as state:\n"
        "    job, new = state['jobs'][sys.argv[3]], json.loads(sys.argv[4])\n"
        "    tasks = new.pop('tasks', {})\n"
        "    job.update(new)\n"
        "    [task.update(tasks) for task in job['tasks'].values()]\n"
    )
    argv = ["python3", "-c", code, str(BIN), str(pbs.state), number, json.dumps(attributes)]
    subprocess.run(argv, check=True, env={**os.environ, **pbs.env})


@pytest.mark.parametrize("what", ["id-then-1", "id-then-killed", "nothing", "killed"])
def test_a_qsub_that_queues_and_does_not_say_so(project: Project, pbs: FakePBS, what: str) -> None:
    fault(project, "qsub", what)
    said = project.run("submit", "make", code=3)
    assert "nothing is submitted twice" in said
    fault(project, "qsub", "")
    project.run("run", "--interval", "0.5")
    assert project.ran() == ALL_ONCE
    names = [job["name"] for job in accepted(pbs).values()]
    assert len(names) == len(set(names)) == 6, names


@pytest.mark.parametrize("what", ["half", "half-then-1"])
def test_half_an_answer_is_no_answer(project: Project, what: str) -> None:
    project.control("hold_make", "")
    project.run("submit", "make", "cut")
    fault(project, "qstat", what)
    time.sleep(5)  # as long as the grace of a job that the server does not know
    found = project.status()
    states = {job["name"]: job["tasks"] for job in found["jobs"]}
    assert states["cut_a"] == {"unknown": "1-4"} and len(found["silent"]) >= 2
    reason = next(iter(found["silent"].values()))
    assert "cannot be read" in reason or "does not answer" in reason
    assert "is unknown" in project.run("submit", "cut", code=2)
    assert "Nothing to resubmit" in project.run("resubmit", "--failed")
    fault(project, "qstat", "")
    release(project, "make")
    project.run("run", "--interval", "1")
    assert project.ran() == ALL_ONCE


def reset(pbs: FakePBS) -> None:
    """The server comes back with an empty database and counts from 1 again."""
    pbs.stop()
    shutil.rmtree(pbs.state, ignore_errors=True)
    pbs.state.mkdir()


def test_an_id_that_is_another_jobs_after_a_reset(
    project: Project, pbs: FakePBS, tmp_path: Path
) -> None:
    project.control("hold_make", "")
    project.run("submit", "make")
    project.wait(lambda s: s["make"] == {"running": "1"})
    old = next(job["id"] for job in project.status()["jobs"] if job["name"] == "make")
    reset(pbs)
    stranger = tmp_path / "stranger.sh"
    stranger.write_text("#!/bin/bash\nsleep 60\n")
    assert pbs.run("qsub", "-N", "other", str(stranger)).stdout.strip() == old
    assert project.states()["make"] == {"unknown": "1"}, "the stranger runs, this job does not"
    details = project.status("make")["jobs"][0]["details"][0]
    assert "another job under its id" in details["reason"]
    assert "Nothing is queued or running" in project.run("cancel", "--all")
    assert accepted(pbs)["1"]["tasks"][""]["kill"] == "", "nobody asked to delete the stranger"
    time.sleep(5)
    assert project.states()["make"] == {"lost": "1"}
    release(project, "make")
    project.run("resubmit", "--failed")
    project.run("run", "--interval", "0.5")
    assert project.ran() == ALL_ONCE
    assert accepted(pbs)["1"]["state"] == "R", "the stranger was left alone"


def test_an_attempt_that_gets_the_id_of_an_earlier_one(project: Project, pbs: FakePBS) -> None:
    project.run("submit", "make")
    project.wait(lambda s: s["make"] == {"completed": "1"})
    reset(pbs)
    project.control("hold_make", "")
    project.run("submit", "make", "--force")
    attempts = project.status("make")["jobs"][0]
    assert (attempts["id"], attempts["attempt"]) == ("1.fake", 2)
    assert "completed" not in project.states()["make"], "that was the earlier attempt's receipt"
    release(project, "make")
    project.wait(lambda s: s["make"] == {"completed": "1"})
    assert project.ran() == ["make 1", "make 1"]


def test_a_job_that_was_moved_to_another_queue_is_the_same(project: Project, pbs: FakePBS) -> None:
    project.control("hold_make", "")
    project.run("submit", "make", "cut")
    for number, job in accepted(pbs).items():
        if job["name"] != "make":
            change(pbs, number, queue="small")
    release(project, "make")
    project.run("run", "--interval", "0.5")
    assert project.ran() == ALL_ONCE


def test_a_job_that_was_moved_to_another_server_is_unknown_until_its_receipt(
    project: Project, pbs: FakePBS
) -> None:
    project.control("hold_make", "")
    project.run("submit", "make", "cut")
    number = next(n for n, job in accepted(pbs).items() if job["name"] == "cut_a")
    change(pbs, number, state="M", tasks={"state": "M"})
    time.sleep(5)
    assert project.states()["cut_a"] == {"unknown": "1-4"}, "never lost: it is somewhere"
    assert "is unknown" in project.run("submit", "cut", "--variant", "a", code=2)
    release(project, "make")
    script = project.root / "jobs/small/attempts/cut_a.1.pbs"
    project.wait(lambda s: s["make"] == {"completed": "1"})
    for index in range(1, 5):  # the other server runs it under the id that it has
        own = {"PBS_JOBID": f"{number}[{index}].fake", "PBS_ARRAY_INDEX": str(index)}
        env = {**project.env, **own, "PBS_O_WORKDIR": str(project.root)}
        subprocess.run(["bash", str(script)], env=env, cwd=project.root, check=True)
    assert project.states()["cut_a"] == {"completed": "1-4"}


def test_a_user_who_deletes_by_hand(project: Project, pbs: FakePBS) -> None:
    project.control("hold_cut_a", "")
    project.run("submit", "make", "cut")
    project.wait(lambda s: s["cut_a"] == {"running": "1-4"})
    number = next(n for n, job in accepted(pbs).items() if job["name"] == "cut_a")
    pbs.run("qdel", f"{number}[2].fake")
    states = project.wait(lambda s: len(s["cut_a"]) == 2)
    assert "completed" not in states["cut_a"] and "lost" not in states["cut_a"]
    pbs.run("qdel", f"{number}[].fake")
    project.wait(lambda s: "running" not in s["cut_a"])
    release(project, "cut_a")
    project.run("resubmit", "cut_a")
    project.run("run", "--interval", "0.5")
    assert project.ran() == ALL_ONCE


def test_a_node_that_dies_under_a_task_costs_one_more_run_of_it(
    project: Project, pbs: FakePBS
) -> None:
    """Everything of the task is gone at once, and a server without history says nothing of it."""
    project.env["FAKEPBS_HISTORY"] = pbs.env["FAKEPBS_HISTORY"] = "0"
    project.control("hold_cut_a", "")
    project.run("submit", "make", "cut")
    folder = project.root / "jobs/small/receipts/cut_a"
    project.wait(lambda s: s["cut_a"] == {"running": "1-4"} and any(folder.glob("3.*.run")))
    receipt = next(folder.glob("3.*.run"))
    pid = json.loads(receipt.read_text())["pid"]
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    release(project, "cut_a")
    states = project.wait(lambda s: "lost" in s["cut_a"] and "running" not in s["cut_a"])
    assert states["cut_a"] == {"completed": "1-2,4", "lost": "3"}
    assert "resubmit" in project.run("why", "cut_a", "3")
    project.run("resubmit", "--failed")
    project.run("run", "--interval", "0.5")
    assert project.ran() == ALL_ONCE
    assert re.search(r"cut_a\.2\.pbs", str(list((project.root / "jobs/small/attempts").iterdir())))
