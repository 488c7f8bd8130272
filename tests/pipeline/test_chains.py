"""Chains of links: cut from a study, submitted, followed, ended; on fake and real schedulers."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import plan, study
from pipeline.errors import ConfigError, Rejected
from pipeline.job import Chain, Resources, Runtime
from pipeline.render import render, script_digest
from pipeline.schedulers.base import TaskReport
from pipeline.site import Environment, Queue, Site
from pipeline.states import State
from pipeline.submit import Engine
from tests.pipeline.clusters import Project, site_yaml
from tests.pipeline.test_scripts_run import Script, gone, wait_for
from tests.pipeline.world import World

STUDY = """
study: long
state_dir: jobs/long
stages:
  train: {kind: command, run: [bash, train.sh], chain: {links: 3},
          resources: {walltime: "60:00:00"}}
  tell: {kind: command, needs: [train], run: [echo, tell]}
resources: {gpus: 0, cpus: 1, mem: 1GB, walltime: "01:00:00"}
"""


# --- cut from a study


def cut(
    tmp_path: Path, *sets: str, most: str | None = None, text: str = STUDY
) -> tuple[int, Chain | None]:
    """The walltime of a link of `train`, and its chain, on a site with one queue."""
    path = tmp_path / "long.yaml"
    path.write_text(text)
    here = Environment()
    site = Site(
        site="here", scheduler="pbs", project_dir="/p", queues={"": Queue(max_walltime=most)},
        environments={"light": here, "hf": here, "nemo": here},
    )  # fmt: skip
    job = plan.make(study.load(path, sets=sets), site).job("train")
    return job.resources.walltime_s, job.chain


@pytest.mark.parametrize(
    ("most", "sets", "walltime_s", "notice_s"),
    [
        (None, [], 60 * 3600, 600),
        ("24:00:00", [], 24 * 3600, 600),
        ("72:00:00", [], 60 * 3600, 600),
        ("24:00:00", ["stages.train.chain.walltime=22:00:00"], 22 * 3600, 600),
        (None, ["stages.train.chain.walltime=90:00:00"], 60 * 3600, 600),
        ("24:00:00", ["stages.train.chain.notice=30"], 24 * 3600, 30),
        (None, ["stages.train.resources.walltime=00:04:00"], 240, 60),
        (None, ["stages.train.resources.walltime=1"], 1, 1),
    ],
    ids=[
        "no limit known", "the queue's", "shorter than the queue's", "its own",
        "its own, but all is shorter", "notice", "short, so a quarter is notice", "no room",
    ],
)  # fmt: skip
def test_a_link_asks_for_no_more_than_it_may(
    tmp_path: Path, most: str | None, sets: list[str], walltime_s: int, notice_s: int
) -> None:
    if walltime_s == 1:
        with pytest.raises(ConfigError, match="1 s are no less than a link's 00:00:01"):
            cut(tmp_path, *sets, most=most)
        return
    found, chain = cut(tmp_path, *sets, most=most)
    assert chain is not None
    assert (found, chain.notice_s, chain.links) == (walltime_s, notice_s, 3)


def test_a_chain_by_set_alone(tmp_path: Path) -> None:
    plain = STUDY.replace(", chain: {links: 3}", "")
    with pytest.raises(ConfigError, match="60:00:00 is over queue"):
        cut(tmp_path, text=plain, most="24:00:00")
    found = cut(tmp_path, "stages.train.chain.links=3", text=plain, most="24:00:00")
    assert found == (24 * 3600, Chain(3, 600, 60 * 3600))


def test_too_few_links_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 of 24:00:00 are too few .*chain\.links=3 or more"):
        cut(tmp_path, "stages.train.chain.links=2", most="24:00:00")
    # 48 hours are two links' walltime, but not two links' work.
    sets = ("stages.train.resources.walltime=48:00:00", "stages.train.chain.links=2")
    with pytest.raises(ConfigError, match=r"chain\.links=3"):
        cut(tmp_path, *sets, most="24:00:00")


def test_a_link_beyond_the_queue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="30:00:00 is over queue"):
        cut(tmp_path, "stages.train.chain.walltime=30:00:00", most="24:00:00")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("stages.train.array={over: chunks, count: 3}", "an array is no chain"),
        ("stages.train.kind=split", "split does not go on from a checkpoint"),
        ("stages.train.chain.links=0", "stages.train.chain.links"),
        ("stages.train.chain.notice=65536", "stages.train.chain.notice"),
        ("stages.train.chain.walltime=soon", "'soon' is no walltime"),
        ("stages.train.chain.link=3", "unknown key"),
    ],
    ids=["array", "kind", "links", "notice", "walltime", "key"],
)
def test_what_is_no_chain_is_refused(tmp_path: Path, change: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cut(tmp_path, change)
    assert problem in str(caught.value)


# --- a link's script

TRAIN = """
trap 'kill "$nap"; echo $((from + 5)) >"$PIPELINE_CHECKPOINT"; exit 75' USR1 TERM
from=0
[ ! -e "$PIPELINE_CHECKPOINT" ] || read -r from <"$PIPELINE_CHECKPOINT"
echo "from $from"; echo $$ >pid
sleep 60 & nap=$!
wait
"""


class Links:
    """Links of one chain, their scripts run by bash one after another."""

    def __init__(self, root: Path, *argv: str, links: int = 4, **changes: Any) -> None:
        resources = Resources(nodes=1, gpus=0, cpus=1, mem_bytes=2**30, walltime_s=3600)
        self.script = Script(
            root, *(argv or ("bash", "-c", TRAIN)),
            **{"chain": Chain(links, 600, 9000), "resources": resources, **changes},
        )  # fmt: skip
        self.done: list[str] = []

    def place(self, link: int) -> dict[str, str]:
        """Makes the script of a link; returns what it is started with."""
        before = [f"L{n}" for n in range(link - 1, 0, -1)]
        self.script.file.write_text(render(self.script.job, link=link, before=before))
        return {"LOCAL_JOB_ID": f"L{link}", "PIPELINE_ATTEMPT": str(link)}

    def run(self, link: int) -> tuple[int, str, str]:
        return self.script.run(None, **self.place(link))

    def receipt(self, link: int) -> dict[str, Any]:
        names = [n for n in self.script.names() if n.startswith(f"1.L{link}.")]
        assert len(names) == 1, names
        return {"name": names[0], **self.script.receipt(names[0])}

    @property
    def checkpoint(self) -> Path:
        return self.script.root / "jobs/progress/split/1.checkpoint"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


def saving(code: int, *numbers: int) -> tuple[str, ...]:
    """A program that writes checkpoints and ends."""
    writes = "".join(f'echo {n} >"$PIPELINE_CHECKPOINT"; ' for n in numbers)
    return ("bash", "-c", f"echo ran >>ran; {writes}exit {code}")


def ran(root: Path) -> int:
    path = root / "ran"
    return len(path.read_text().split()) if path.exists() else 0


@pytest.mark.parametrize("code", [75, 137, 143])
def test_a_link_goes_on_behind_one_that_made_progress(root: Path, code: int) -> None:
    links = Links(root, *saving(code, 100))
    assert links.run(1)[0] == code
    first = links.receipt(1)
    assert (first["link"], first["links"], first["from"], first["checkpoint"]) == (1, 4, 0, 100)
    assert links.run(2)[0] == code
    second = links.receipt(2)
    assert (second["link"], second["from"]) == (2, 100)
    assert ran(root) == 2


@pytest.mark.parametrize(
    ("code", "numbers", "why"),
    [
        (75, (), "link 1 ended with code 75 and wrote no checkpoint after number 0"),
        (75, (0,), "link 1 ended with code 75 and wrote no checkpoint after number 0"),
        (137, (), "link 1 ended with code 137 and wrote no checkpoint"),
        (70, (100,), "link 1 ended with code 70, which the next one would not mend"),
        (65, (100,), "link 1 ended with code 65"),
        (71, (100,), "link 1 ended with code 71"),
        (78, (100,), "link 1 ended with code 78"),
        (1, (100,), "link 1 ended with code 1,"),
        (255, (100,), "link 1 ended with code 255"),
    ],
    ids=[
        "no checkpoint", "the first one again", "killed", "diverged", "bad input", "memory",
        "its gate", "any other", "out of range",
    ],
)  # fmt: skip
def test_a_chain_ends_behind_what_another_link_would_not_mend(
    root: Path, code: int, numbers: tuple[int, ...], why: str
) -> None:
    links = Links(root, *saving(code, *numbers))
    assert links.run(1)[0] == code
    ended, _, err = links.run(2)
    assert ended == 78
    assert f"error: the chain ends before link 2 of 4: {why}" in err
    found = links.receipt(2)
    assert found["stopped"] is True and why in found["gate"]
    assert ran(root) == 1


def test_no_progress_in_a_later_link_ends_the_chain(root: Path) -> None:
    links = Links(root, *saving(75, 100))
    links.run(1)
    links.run(2)
    assert "link 2 ended with code 75 and wrote no checkpoint after number 100" in links.run(3)[2]
    assert links.run(4)[0] == 78, "the link behind one that ended the chain does not start either"
    assert ran(root) == 2


@pytest.mark.parametrize(("number", "code"), [(5, 75), (0, 78)], ids=["progress", "none"])
def test_a_link_that_was_killed_leaves_its_start(root: Path, number: int, code: int) -> None:
    links = Links(root)
    process = links.script.start(None, **links.place(1))
    pid = root / "pid"
    wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
    links.checkpoint.write_text(f"{number}\n")
    process.kill()
    process.wait(timeout=30)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    process.communicate(timeout=30)
    assert links.receipt(1)["name"] == "1.L1.run"
    links.script.job = msgspec.structs.replace(links.script.job, argv=saving(75, 10))
    assert links.run(2)[0] == code
    assert ran(root) == (code == 75)
    if code == 78:
        assert "link 1 was killed and wrote no checkpoint" in links.receipt(2)["gate"]


def test_a_chain_that_is_done_runs_nothing_more(root: Path) -> None:
    links = Links(root, *saving(0, 100))
    assert links.run(1)[0] == 0
    code, out, _ = links.run(2)
    assert code == 0 and "link 2 of 4: link 1 has done it all, so nothing is left to do" in out
    assert links.receipt(2)["name"] == "1.L2.ok"
    assert "nothing is left to do" in links.receipt(2)["note"]
    assert links.run(3)[0] == 0
    assert ran(root) == 1


def test_links_that_never_started_are_passed_over(root: Path) -> None:
    links = Links(root, *saving(75, 100))
    links.run(1)
    assert links.run(4)[0] == 75, "links 2 and 3 were cancelled in the queue"
    assert links.receipt(4)["from"] == 100


def test_behind_no_receipt_at_all_nothing_runs(root: Path) -> None:
    links = Links(root, *saving(0))
    code, _, err = links.run(2)
    assert code == 78 and "no link before it left a receipt" in err
    assert ran(root) == 0


def test_a_task_that_was_started_anew_is_left_alone(root: Path) -> None:
    links = Links(root, *saving(75, 100))
    links.run(1)
    links.script.upstream("split", "1.L9.run")
    newer = time.time() + 5
    os.utime(links.script.receipts / "1.L9.run", (newer, newer))
    code, _, err = links.run(2)
    assert code == 78 and "started anew" in err
    assert links.script.names() == ["1.L1.fail-75", "1.L9.run"], "no receipt hides the newer run"
    assert ran(root) == 1


def test_clocks_of_two_nodes_may_differ(root: Path) -> None:
    links = Links(root)
    for link in (1, 2):
        links.script.job = msgspec.structs.replace(links.script.job, argv=saving(75, link))
        links.run(link)
    newer = time.time() + 600
    os.utime(links.script.receipts / "1.L1.fail-75", (newer, newer))
    links.script.job = msgspec.structs.replace(links.script.job, argv=saving(75, 3))
    assert links.run(3)[0] == 75


def test_a_new_chain_starts_from_nothing(root: Path) -> None:
    """The number of an old chain would make the first link of a new one look idle."""
    links = Links(root, *saving(75, 100))
    links.run(1)
    for path in links.script.receipts.iterdir():
        path.unlink()
    links.run(1)
    assert links.receipt(1)["from"] == 0


def test_a_requeued_link_keeps_what_it_had_done(root: Path) -> None:
    links = Links(root, *saving(75, 100))
    links.run(1)
    links.script.job = msgspec.structs.replace(links.script.job, argv=saving(143))
    links.run(1)
    assert links.receipt(1)["name"] == "1.L1.fail-143"
    assert (links.receipt(1)["from"], links.receipt(1)["checkpoint"]) == (0, 100)
    assert links.run(2)[0] == 143, "it goes on"


@pytest.mark.parametrize("text", ["", "x\n", "12 \n", "-3\n", "99999999999999999999\n", "007\n"])
def test_a_checkpoint_number_that_is_none(root: Path, text: str) -> None:
    links = Links(root, "bash", "-c", f"printf '{text}' >\"$PIPELINE_CHECKPOINT\"; exit 75")
    links.run(1)
    assert links.receipt(1)["checkpoint"] == {"007\n": 7, "12 \n": 12}.get(text, 0)


def test_the_last_link_says_that_it_was_the_last(root: Path) -> None:
    links = Links(root, *saving(75, 100), links=1)
    code, _, err = links.run(1)
    assert code == 75
    assert "link 1 of 1 was the last of its chain, and the work is not done" in err
    assert "checkpoint 100" in err


def test_the_digest_is_the_chains_not_the_links(root: Path) -> None:
    links = Links(root, *saving(75, 100))
    links.run(1)
    links.run(2)
    assert links.receipt(1)["digest"] == links.receipt(2)["digest"]
    assert links.receipt(1)["digest"] == script_digest(links.script.job)


# --- the signal before the end


def short(root: Path, walltime_s: int, notice_s: int, **changes: Any) -> Links:
    resources = Resources(nodes=1, gpus=0, cpus=1, mem_bytes=2**30, walltime_s=walltime_s)
    chain = Chain(4, notice_s, 9000)
    return Links(root, resources=resources, chain=chain, **changes)


@pytest.mark.parametrize("scheduler", ["local", "pbs", "torque"])
def test_the_program_is_told_before_its_walltime_is_over(root: Path, scheduler: str) -> None:
    links = short(root, 3602, 3600, scheduler=scheduler)
    env = links.place(1)
    env["PBS_JOBID"] = "L1"
    code, _, _ = links.script.run(None, **env)
    assert code == 75
    found = links.receipt(1)
    assert (found["signal"], found["checkpoint"]) == (signal.SIGUSR1, 5)


def test_by_hand_nobody_is_told(root: Path) -> None:
    links = short(root, 3601, 3600)
    process = links.script.start()
    pid = root / "pid"
    wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
    time.sleep(2)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)


def test_the_signal_comes_through_the_real_torchrun(root: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text("#!/bin/sh\necho GPU 0\necho GPU 1\n")
    (tools / "nvidia-smi").chmod(0o755)
    program = (
        "trap 'sleep 1; [ $RANK = 1 ] || echo 7 >\"$PIPELINE_CHECKPOINT\"; exit 75' TERM; "
        "touch up$RANK; while :; do sleep 0.1; done"
    )
    links = Links(
        root, "bash", "-c", program, kind="train", launcher="torchrun", scheduler="slurm",
        resources=Resources(nodes=1, gpus=2, cpus=2, mem_bytes=2**30, walltime_s=3600),
        runtime=Runtime(python=sys.executable, activate=(f"PATH={tools}:$PATH",)),
    )  # fmt: skip
    links.place(1)
    process = links.script.start(None, SLURM_JOB_ID="L1")
    wait_for(lambda: (root / "up0").exists() and (root / "up1").exists(), seconds=90)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=90)
    found = links.receipt(1)
    assert (found["name"], found["signal"]) == ("1.L1.fail-75", signal.SIGUSR1)
    assert found["checkpoint"] == 7


def timers(process_id: int) -> list[int]:
    """Children of a process that are not its program."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children")
    return [int(word) for word in children.read_text().split()]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_the_timer_goes_with_the_script(root: Path, end: signal.Signals) -> None:
    links = short(root, 3600, 600)
    process = links.script.start(None, **links.place(1))
    pid = root / "pid"
    wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
    program = int(pid.read_text())
    own = [p for p in timers(process.pid) if p != program]
    assert len(own) == 1
    sleeping = timers(own[0])
    process.send_signal(end)
    process.wait(timeout=30)
    # It looks after the script every ten seconds; at an end in order it goes at once.
    wait_for(lambda: all(map(gone, [*own, *sleeping])), seconds=6 if end == signal.SIGTERM else 20)
    if end == signal.SIGTERM:
        process.communicate(timeout=5)
        assert links.receipt(1)["name"] == "1.L1.fail-75"
    else:
        os.kill(program, signal.SIGTERM)
        process.communicate(timeout=30)


def test_the_timer_delays_no_end(root: Path) -> None:
    links = Links(root, "true")
    process = links.script.start(None, **links.place(1))
    out, err = process.communicate(timeout=30)  # it would wait for who holds the output open
    assert process.returncode == 0 and (out, err) == ("", "")


# --- submitted and followed


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "project", STUDY.replace("long", "small"))


def submitted(world: World, *stages: str) -> World:
    world.engine.submit(world.plan.select(stages or ("all",)), whole="all" in (stages or ("all",)))
    return world


def at(world: World, job: str = "train") -> tuple[str, int, str, list[str]]:
    """(state, link, id, ids behind it) of a chain, as a fresh status finds them."""
    found = world.engine.status().jobs[job]
    return str(found.state), found.link, found.id, found.waiting


def end(world: World, job_id: str, kind: str, **content: Any) -> None:
    """A link ends and leaves its receipt; the scheduler forgets it."""
    world.receipt("train", 1, job_id, kind, **content)
    world.scheduler.jobs.pop(job_id, None)


def start(world: World, job_id: str) -> None:
    world.receipt("train", 1, job_id, "run")
    world.scheduler.jobs[job_id] = {0: TaskReport(State.RUNNING)}


def attempts(world: World) -> list[tuple[int, int, int, str]]:
    """(attempt, link, chain, state) of the chain's job."""
    manifest = world.engine.store.read()
    assert manifest is not None
    return [(a.attempt, a.link, a.chain, a.state) for a in manifest.jobs["train"].attempts]


def test_each_link_is_an_attempt_behind_the_one_before(world: World) -> None:
    done = world.engine.submit(world.plan.select(["all"]), whole=True)
    assert [(o.job, o.id, o.link, o.links) for o in done] == [
        ("train", "F1", 1, 3), ("train", "F2", 2, 3), ("train", "F3", 3, 3), ("tell", "F4", 0, 0),
    ]  # fmt: skip
    after = [s.after for s in world.scheduler.submitted]
    assert after == [(), ("F1",), ("F2",), ("F1", "F2", "F3")]
    assert len({s.token for s in world.scheduler.submitted}) == 4
    assert attempts(world) == [(n, n, 1, "submitted") for n in (1, 2, 3)]
    scripts = [(world.state_dir / f"attempts/train.{n}.sbatch").read_text() for n in (1, 2, 3)]
    assert "BEFORE=" not in scripts[0]
    assert "  'F1'\n)" in scripts[1] and "  'F2'\n  'F1'\n)" in scripts[2]
    assert (world.root / "jobs/small/scripts/train.sbatch").read_text() == scripts[0]
    assert world.engine.diffs([world.plan.job("train")])[0][1] == scripts[0]


def test_a_dry_run_says_how_many_links(world: World) -> None:
    done = world.engine.submit(world.plan.select(["train"]), dry_run=True)
    assert [(o.action, o.links) for o in done] == [("would submit", 3)]
    assert world.scheduler.submitted == []


def test_where_a_chain_stands(world: World) -> None:
    submitted(world)
    assert at(world) == ("queued", 1, "F1", ["F2", "F3"])
    start(world, "F1")
    assert at(world) == ("running", 1, "F1", ["F2", "F3"])
    end(world, "F1", "fail-75", signal=10)
    assert at(world) == ("queued", 2, "F2", ["F3"]), "not failed: it goes on"
    start(world, "F2")
    assert at(world) == ("running", 2, "F2", ["F3"])
    end(world, "F2", "fail-137")
    start(world, "F3")
    assert at(world) == ("running", 3, "F3", [])
    end(world, "F3", "ok")
    assert at(world) == ("completed", 3, "F3", [])


def test_a_link_that_the_scheduler_killed_hands_over(world: World) -> None:
    submitted(world)
    start(world, "F1")
    world.scheduler.jobs["F1"] = {0: TaskReport(State.TIMEOUT)}
    assert at(world) == ("queued", 2, "F2", ["F3"])
    world.scheduler.jobs.pop("F1")
    assert at(world) == ("queued", 2, "F2", ["F3"]), "forgotten, and no receipt: the next one tells"
    start(world, "F2")
    assert at(world) == ("running", 2, "F2", ["F3"])


def test_the_last_link_killed_without_a_word_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.engine.tracker.grace_s = 0
    submitted(world)
    for job_id in ("F1", "F2", "F3"):
        start(world, job_id)
        world.scheduler.jobs.pop(job_id)
    assert at(world) == ("lost", 3, "F3", [])


def test_a_chain_that_used_up_its_links_has_failed(world: World) -> None:
    submitted(world)
    for job_id in ("F1", "F2", "F3"):
        end(world, job_id, "fail-75", signal=10)
    assert at(world) == ("failed", 3, "F3", [])
    reason = world.engine.status().jobs["train"].tasks[1].reason
    assert reason == "signal 10; no link is left to go on from its checkpoint"


def test_a_failure_ends_the_chain_and_the_rest_is_cancelled(world: World) -> None:
    submitted(world)
    start(world, "F1")
    end(world, "F1", "fail-70")
    report = world.engine.status()
    assert report.jobs["train"].state == State.FAILED
    assert report.dropped == ["link 3 of train (F3)", "link 2 of train (F2)"]
    assert world.scheduler.cancelled == ["F3", "F2"], "none may start as the one before it goes"
    assert [state for *_, state in attempts(world)] == ["submitted", "cancelled", "cancelled"]
    assert at(world) == ("failed", 1, "F1", [])
    assert world.engine.status().dropped == [] and len(world.scheduler.cancelled) == 2


def test_a_chain_done_early_cancels_what_is_left(world: World) -> None:
    submitted(world)
    end(world, "F1", "fail-75")
    end(world, "F2", "ok")
    assert at(world) == ("completed", 2, "F2", [])
    assert world.scheduler.cancelled == ["F3"]


def test_without_progress_the_link_behind_says_why(world: World) -> None:
    submitted(world)
    end(world, "F1", "fail-75", signal=10)
    end(world, "F2", "fail-78", stopped=True, gate="the chain ends before link 2 of 3: why")
    found = world.engine.status().jobs["train"].tasks[1]
    assert (found.state, found.reason) == (State.FAILED, "the chain ends before link 2 of 3: why")
    assert world.scheduler.cancelled == ["F3"]


def test_a_gate_closed_in_a_later_link_blocks(world: World) -> None:
    submitted(world)
    end(world, "F1", "fail-75")
    end(world, "F2", "fail-78", gate="make (task 1 of 1)")
    assert at(world)[:2] == ("blocked", 2)


def test_where_cancelling_frees_nobody_leftovers_are_kept_for_dependents(world: World) -> None:
    world.scheduler.cancel_releases = False  # as in PBS
    submitted(world)
    end(world, "F1", "ok")
    assert at(world) == ("completed", 1, "F1", ["F2", "F3"])
    assert world.scheduler.cancelled == []
    world.receipt("tell", 1, "F4", "ok")
    world.scheduler.jobs.pop("F4")
    assert world.engine.status().dropped == ["link 3 of train (F3)", "link 2 of train (F2)"]


def test_a_leftover_that_cannot_be_cancelled_is_told(world: World) -> None:
    submitted(world)
    end(world, "F1", "ok")
    world.scheduler.cancels = 1
    report = world.engine.status()
    assert report.jobs["train"].state == State.COMPLETED
    assert "links that have nothing left to do are still queued: no answer" in report.unsaved
    world.scheduler.cancels = -1
    assert world.engine.status().dropped == ["link 2 of train (F2)"]


def test_cancel_takes_every_link_the_last_one_first(world: World) -> None:
    submitted(world)
    start(world, "F1")
    done = world.engine.cancel(world.plan.select(["train"]))
    assert [o.id for o in done] == ["F4", "F3", "F2", "F1"]
    end(world, "F1", "fail-75", signal=15)
    assert at(world)[:2] == ("cancelled", 1)


def test_cancel_between_links(world: World) -> None:
    submitted(world)
    end(world, "F1", "fail-75", signal=10)
    done = world.engine.cancel(world.plan.select(["train"]))
    assert [o.id for o in done] == ["F4", "F3", "F2"]
    assert at(world)[:2] == ("cancelled", 2)


def test_resubmit_makes_a_new_chain(world: World) -> None:
    submitted(world)
    end(world, "F1", "fail-1")
    done = world.engine.resubmit(list(world.plan.jobs), only_failed=True)
    assert [(o.action, o.id) for o in done] == [
        ("cancelled", "F3"), ("cancelled", "F2"), ("cancelled", "F4"),
        ("submitted", "F5"), ("submitted", "F6"), ("submitted", "F7"), ("submitted", "F8"),
    ]  # fmt: skip
    assert world.scheduler.submitted[-1].after == ("F5", "F6", "F7"), "what waits, waits anew"
    assert [(n, link, chain) for n, link, chain, _ in attempts(world)[3:]] == [
        (4, 1, 4), (5, 2, 4), (6, 3, 4),
    ]  # fmt: skip
    assert at(world) == ("queued", 1, "F5", ["F6", "F7"])
    end(world, "F5", "ok")
    assert at(world)[0] == "completed"


def test_an_interrupted_submission_is_completed_by_the_next(world: World) -> None:
    def refuse(*_: Any) -> str:
        raise Rejected("too many jobs")

    submit = world.scheduler.parse_submit
    calls = iter([submit, submit, refuse])
    world.scheduler.parse_submit = lambda result: next(calls)(result)  # type: ignore[method-assign]
    with pytest.raises(Rejected, match=r"too many jobs. Before that: submitted train F1"):
        submitted(world)
    assert at(world) == ("queued", 1, "F1", ["F2"])
    world.scheduler.parse_submit = submit  # type: ignore[method-assign]
    submitted(world)
    assert at(world) == ("queued", 1, "F1", ["F2", "F3"])
    assert world.scheduler.submitted[2].after == ("F2",)
    assert world.scheduler.submitted[3].after == ("F1", "F2", "F3"), "what waits, waits for it too"


def test_a_killed_command_leaves_a_link_that_is_adopted(world: World) -> None:
    submit = world.scheduler.parse_submit

    def lose(result: Any) -> str:
        submit(result)
        raise KeyboardInterrupt

    calls = iter([submit, lose])
    world.scheduler.parse_submit = lambda result: next(calls)(result)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        submitted(world)
    world.scheduler.parse_submit = submit  # type: ignore[method-assign]
    submitted(world)
    assert at(world) == ("queued", 1, "F1", ["F2", "F3"])
    assert [s.after for s in world.scheduler.submitted] == [
        (), ("F1",), ("F2",), ("F1", "F2", "F3"),
    ]  # fmt: skip


def test_a_running_chain_grows_with_its_study(world: World) -> None:
    submitted(world)
    start(world, "F1")
    path = world.root / "studies/small.yaml"
    more = study.load(path, sets=["stages.train.chain.links=4"])
    world.plan = plan.make(more, world.plan.site)
    engine = Engine(world.plan, world.root, world.scheduler, world.transport)
    done = engine.submit(world.plan.jobs, whole=True)
    assert [(o.id, o.link) for o in done] == [("F5", 4)]
    assert world.scheduler.submitted[-1].after == ("F3",)
    assert at(world) == ("running", 1, "F1", ["F2", "F3", "F5"])


def test_repair_brings_the_chain_back(world: World) -> None:
    submitted(world)
    end(world, "F1", "fail-75")
    (world.state_dir / "manifest.yaml").unlink()
    world.engine.repair()
    assert at(world) == ("queued", 2, "F2", ["F3"])


# --- on real schedulers

# It saves and ends when it is told to; it is through at its n-th start, n in control/starts.
PROGRAM = r"""
stop=
trap 'stop=1' USR1
echo start >>out/starts
[ "$(wc -l <out/starts)" -lt "$(cat control/starts)" ] || { echo trained >>out/ran; exit 0; }
step=0
[ ! -e out/checkpoint ] || read -r step <out/checkpoint
while [ -z "$stop" ]; do sleep 0.1; step=$((step + 1)); done
[ -e control/stuck ] || { echo "$step" >out/checkpoint; echo "$step" >"$PIPELINE_CHECKPOINT"; }
exit 75
"""
REAL = """
study: small
state_dir: jobs/small
stages:
  train: {{kind: command, run: [bash, train.sh], chain: {{links: 4, notice: {notice}}},
           resources: {{walltime: {walltime}}}}}
  tell: {{kind: command, needs: [train], run: [bash, work.sh, tell, "1"]}}
resources: {{gpus: 0, cpus: 1, mem: 100MB, walltime: "00:10:00"}}
"""


@pytest.fixture(params=["local", "pbs", "slurm"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    folder = tmp_path / "a project"
    env = {} if request.param == "local" else request.getfixturevalue(f"{request.param}_env")
    # Slurm counts walltimes in minutes, looks at them every half a minute, and may tell a job up to
    # a minute early: here never before its script has begun.
    walltime, notice = (120, 57) if request.param == "slurm" else (6, 4)
    text = REAL.format(walltime=walltime, notice=notice)
    made = Project(folder, site_yaml(request.param, folder), env, text)
    (folder / "train.sh").write_text(PROGRAM)
    made.control("starts", "3")
    return made


def lines(project: Project, name: str) -> list[str]:
    path = project.root / "out" / name
    return path.read_text().split() if path.exists() else []


def test_a_chain_ends_in_its_third_link_and_its_dependents_start(project: Project) -> None:
    out = project.run("run", "--interval", "0.5")
    assert lines(project, "ran") == ["trained", "tell", "1"]
    assert len(lines(project, "starts")) == 3
    found = project.status()
    train = next(job for job in found["jobs"] if job["name"] == "train")
    assert (train["state"], train["link"], train["links"]) == ("completed", 3, 4)
    names = sorted(p.name for p in (project.root / "jobs/small/receipts/train").iterdir())
    kinds = [name.rpartition(".")[2] for name in names]
    assert kinds[:3] == ["fail-75", "fail-75", "ok"], names
    assert "link 3 of 4" in out and "failed" not in out
    notices = [
        json.loads((project.root / "jobs/small/receipts/train" / name).read_text())
        for name in names[:2]
    ]
    assert [n["signal"] for n in notices] == [signal.SIGUSR1] * 2
    assert 0 < notices[0]["checkpoint"] == notices[1]["from"] < notices[1]["checkpoint"]


def test_a_chain_without_progress_ends(project: Project) -> None:
    project.control("stuck", "")
    project.run("run", "--interval", "0.5", code=1)
    assert len(lines(project, "starts")) == 1
    states = project.wait(lambda s: "blocked" in s["tell"])
    assert states["train"] == {"failed": "1"}
    why = project.run("why", "train")
    assert "link 1 ended with code 75 and wrote no checkpoint after number 0" in why
    assert "resubmit" in why
    (project.root / "control/stuck").unlink()
    project.control("starts", "2")
    project.run("resubmit", "--failed")
    project.wait(lambda s: s["tell"] == {"completed": "1"}, seconds=240)
    assert lines(project, "ran") == ["trained", "tell", "1"]


def test_a_chain_done_in_its_first_link(project: Project) -> None:
    project.control("starts", "1")
    project.run("submit", "all")
    project.wait(lambda s: s["tell"] == {"completed": "1"})
    assert len(lines(project, "starts")) == 1
    assert project.status()["jobs"][0]["link"] == 1


def test_cancel_ends_a_chain_and_resubmit_goes_on(project: Project) -> None:
    long = ("--set", "stages.train.resources.walltime=00:20:00")
    project.run("submit", "all", *long)
    project.wait(lambda s: s["train"] == {"running": "1"} and bool(lines(project, "starts")))
    project.run("cancel", "train")
    states = project.wait(lambda s: all(set(t) == {"cancelled"} for t in s.values()))
    assert set(states) == {"train", "tell"}
    before = len(lines(project, "starts"))
    time.sleep(2)
    assert len(lines(project, "starts")) == before == 1, "no link behind it started"
    project.control("starts", "2")
    project.run("resubmit")
    project.wait(lambda s: s["tell"] == {"completed": "1"})
