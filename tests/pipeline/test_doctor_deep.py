"""`--deep`: held jobs that are gone afterwards whatever happens, test submissions, checksums."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from corpus.split import split
from pipeline import doctor
from pipeline.doctor import deep
from pipeline.doctor.check import Check, Scope
from pipeline.errors import Unreachable
from pipeline.schedulers.base import Completed
from pipeline.site import Environment
from pipeline.study import ResourceSpec
from pipeline.transport import Here
from tests.cluster.fixture import Slurm
from tests.fakepbs.fixture import FakePBS
from tests.pipeline.clusters import Project, site_yaml
from tests.pipeline.doctored import ROOT, asked, bad, by_name, said, scope


@pytest.fixture
def fakepbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePBS]:
    """A fake PBS whose commands are on this process's PATH."""
    fake = FakePBS(tmp_path / "pbs")
    for name, value in fake.env.items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.stop()


def quiet(text: str) -> None:
    """Nobody watches."""


def pbs_scope(*stages: str, queue: str = "workq", **more: Any) -> Scope:
    asked_for = ResourceSpec(gpus=8, cpus=2, mem="1GB", walltime="00:10:00", queue=queue)
    sets = more.pop("sets", ("batch.micro=1",))
    return scope(*stages, scheduler="pbs", defaults=asked_for, sets=sets, **more)


def states(fake: FakePBS) -> list[str]:
    """States of all jobs that the server remembers."""
    told = json.loads(fake.run("qstat", "-x", "-t", "-f", "-F", "json").stdout)
    return [job["job_state"] for job in told.get("Jobs", {}).values()]


def deeply(of: Scope, transport: Any) -> list[Check]:
    return list(deep.submissions(of, transport, quiet))


def test_a_held_job_of_each_shape_is_taken_and_gone(fakepbs: FakePBS) -> None:
    of = pbs_scope("download", "split", "preprocess")
    found = deeply(of, Here(str(fakepbs.home)))
    assert [check.status for check in found] == ["ok", "ok"]  # three arms are one shape
    assert found[0].needed_by == ("download", "split") and "1.fake" in found[0].fact
    assert "2[].fake" in found[1].fact
    assert set(states(fakepbs)) <= {"F", "X"} and states(fakepbs)
    assert not list(fakepbs.home.iterdir())


def test_an_array_is_tried_as_large_as_it_will_be_submitted(fakepbs: FakePBS) -> None:
    of = pbs_scope("preprocess", sets=("corpus.chunks=20000",), max_array=10000)
    assert [check.status for check in deeply(of, Here(str(fakepbs.home)))] == ["ok"]


@pytest.mark.parametrize(
    ("of", "words", "remedy"),
    [
        ({"queue": "nosuch"}, "Unknown queue", "qstat -Q"),
        ({"queue": "off"}, "not enabled", "choose another"),
        ({"directives": ("-l nosuch=1",)}, "Unknown resource", "resource names"),
        ({"sets": ("corpus.chunks=20000",)}, "exceeds server", "max_array"),
    ],
)
def test_what_pbs_refuses_comes_with_its_remedy(
    fakepbs: FakePBS, of: dict[str, Any], words: str, remedy: str
) -> None:
    stage = "preprocess" if "sets" in of else "split"
    [check] = deeply(pbs_scope(stage, **of), Here(str(fakepbs.home)))
    assert check.status == "fail" and words in check.fact and remedy in check.remedy
    assert states(fakepbs) == []


def test_a_server_that_is_down(fakepbs: FakePBS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKEPBS_DOWN", "1")
    [check] = deeply(pbs_scope("split"), Here(str(fakepbs.home)))
    assert check.status == "silent" and doctor.exit_code([check]) == 3


class Cut(Here):
    """A connection that ends after the command ran there, so that its answer is lost."""

    def __init__(self, folder: Path, again: int = 0) -> None:
        super().__init__(str(folder))
        self.again = again  # how many later calls fail as well

    def run_all(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        results = super().run_all(argvs)
        if any("qsub -h" in word for argv in argvs for word in argv):
            raise Unreachable("the connection ended")
        if self.again:
            raise Unreachable("no connection")
        return results


def keeping(fakepbs: FakePBS, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A qdel before the fake's own on PATH."""
    folder = fakepbs.home.parent / "own"
    folder.mkdir()
    (folder / "qdel").write_text(f"#!/bin/bash\n{body}\n")
    (folder / "qdel").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def late(fakepbs: FakePBS, monkeypatch: pytest.MonkeyPatch) -> None:
    """A qdel that works at the fourth time only, so not for the command that submitted."""
    counter, real = fakepbs.home / "tries", Path(__file__).parents[1] / "fakepbs/bin/qdel"
    few = f'(($(wc -l <"{counter}") > 3)) || exit 1'
    keeping(fakepbs, monkeypatch, f'echo x >>"{counter}"; {few}; exec "{real}" "$@"')


def test_a_lost_answer_leaves_no_job(fakepbs: FakePBS, monkeypatch: pytest.MonkeyPatch) -> None:
    late(fakepbs, monkeypatch)
    [check] = deeply(pbs_scope("split"), Cut(fakepbs.home))
    assert (check.status, check.fact) == ("silent", "the connection ended")
    assert states(fakepbs) == ["F"]


def test_a_job_that_could_not_be_deleted_at_first(
    fakepbs: FakePBS, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(fakepbs, monkeypatch)
    [check] = deeply(pbs_scope("split"), Here(str(fakepbs.home)))
    assert check.status == "ok" and states(fakepbs) == ["F"]


def test_a_job_that_cannot_be_deleted_is_named_with_the_command(
    fakepbs: FakePBS, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping(fakepbs, monkeypatch, "echo 'qdel: Server is full' >&2; exit 4")
    found = by_name(deeply(pbs_scope("split"), Here(str(fakepbs.home))))
    left = found["submit split: not deleted"]
    assert left.status == "fail" and left.remedy == "qdel 1.fake"
    assert "1.fake may be left, held" in left.fact and states(fakepbs) == ["H"]


def test_a_connection_that_stays_away_is_told_with_the_token(fakepbs: FakePBS) -> None:
    found = by_name(deeply(pbs_scope("split"), Cut(fakepbs.home, again=9)))
    left = found["submit split: not deleted"]
    assert "PIPELINE_TOKEN=d" in left.fact and "qselect" in left.remedy


# --- the command


def study_at(folder: Path, scheduler: str, env: dict[str, str], more: str = "") -> Project:
    project = Project(folder, site_yaml(scheduler, folder, more), env)
    (folder / "jobs").mkdir()
    return project


def test_the_command_on_pbs(tmp_path: Path, pbs_env: dict[str, str]) -> None:
    project = study_at(tmp_path / "p", "pbs", pbs_env)
    out = project.run("doctor", "--deep", "make", "cut", code=None)
    assert "submit make" in out and "was taken and held" in out, out
    assert not list((project.root / "jobs").iterdir())  # no script of it stays


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_interrupted_between_qsub_and_qdel_no_job_is_left(
    tmp_path: Path, fakepbs: FakePBS, number: signal.Signals
) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    real = Path(__file__).parents[1] / "fakepbs/bin"
    # qsub's answer comes late: the job is there and its id is not known yet.
    (slow / "qsub").write_text(f'#!/bin/bash\n"{real}/qsub" "$@"; touch "{slow}/there"; sleep 2\n')
    (slow / "qsub").chmod(0o755)
    env = {**fakepbs.env, "PATH": f"{slow}:{fakepbs.env['PATH']}"}
    project = study_at(tmp_path / "p", "pbs", env)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "doctor", "--deep", "make"], cwd=project.root,
        env=project.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (slow / "there").exists():
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal does: to all of them
    process.communicate(timeout=60)
    assert process.returncode in (130, -number)
    assert states(fakepbs) == ["F"]


def test_the_command_on_slurm(tmp_path: Path, slurm: Slurm) -> None:
    queue = "defaults: {queue: main}\n"
    project = study_at(tmp_path / "p", "slurm", {"SLURM_CONF": slurm.env["SLURM_CONF"]}, queue)
    done = project.run("doctor", "--deep", "--json", "make", "cut", code=None)
    found = {check["name"]: check for check in json.loads(done[: done.rindex("]") + 1])}
    assert found["answer"]["fact"].startswith("Slurm "), found["answer"]
    assert found["queue main"]["status"] == "ok"
    assert (
        found["submit make"]["status"] == "ok" and "would be taken" in found["submit make"]["fact"]
    )
    assert found["submit cut_a"]["needed_by"] == ["cut_a", "cut_b"]
    assert not list((project.root / "jobs").iterdir())
    assert str(project.root) not in slurm.run("squeue", "-h", "-t", "all", "-o", "%Z")


def test_the_command_over_ssh(tmp_path: Path, slurm: Slurm) -> None:
    more = "host: pipeline-slurm\ndefaults: {queue: main}\n"
    env = {"PIPELINE_SSH": f"ssh -F {slurm.ssh_config}"}
    project = study_at(tmp_path / "p", "slurm", env, more)
    done = project.run("doctor", "--deep", "--json", "make", code=None)
    found = {check["name"]: check for check in json.loads(done[: done.rindex("]") + 1])}
    assert found["answer"]["fact"].startswith("Slurm "), found["answer"]
    assert found["project_dir writable"]["status"] == "ok"
    assert found["light: python"]["status"] == "ok", found["light: python"]
    assert "would be taken" in found["submit make"]["fact"]


def test_what_slurm_refuses(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    for queue, mem, words in (("nosuch", "1GB", "partition"), ("main", "900GB", "configuration")):
        asked_for = ResourceSpec(gpus=8, cpus=1, mem=mem, walltime="00:10:00", queue=queue)
        of = scope("download", scheduler="slurm", defaults=asked_for)
        [check] = deeply(of, Here(str(ROOT)))
        assert check.status == "fail" and words in check.fact and check.remedy


# --- checksums


def test_checksums_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "SLICE_S", 0)
    (tmp_path / "corpus").symlink_to(ROOT / "corpus")
    here = Environment(python=sys.executable)
    site: dict[str, Any] = {"environments": {"light": here, "hf": here, "nemo": here}}
    of = scope("split", project=tmp_path, sets=("corpus.chunks=3",), **site)
    folder = tmp_path / "data/chunks"
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'{"text": "x"}\n' * 9)
    split(source, folder, 3)
    transport, told = Here(str(tmp_path)), []
    facts = asked(doctor.data.questions(of), tmp_path)
    found = list(deep.digests(of, transport, facts, told.append))
    assert bad(found) == [] and found[0].fact == "3 chunks were read"
    assert told[1] == f"reading {folder}: 1 of 3 chunks"
    (folder / "chunk_0002.jsonl").write_bytes(b'{"text": "y"}\n' * 3)
    [line] = bad(deep.digests(of, transport, facts, quiet))
    assert line.startswith("fail checksum of data/chunks/chunk_0002.jsonl: does not match")


def test_checksums_are_not_read_where_nothing_answered(tmp_path: Path) -> None:
    from tests.pipeline.doctored import facts

    of = scope("split")
    assert list(deep.digests(of, Here(), facts(verify=said(code=127)), quiet)) == []
