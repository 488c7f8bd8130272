"""Whose a job is: every scheduler's answer shows the token that it was submitted with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.errors import Rejected, Unreachable
from pipeline.schedulers.base import Completed, Scheduler
from pipeline.schedulers.local import Local
from pipeline.schedulers.pbs import PBS
from pipeline.schedulers.slurm import Slurm
from pipeline.schedulers.torque import Torque
from pipeline.states import State
from tests.pipeline.world import World

TOKEN = "tabc1234"


def said(text: str, code: int = 0, stderr: str = "") -> Completed:
    return Completed(("x",), code, text, stderr)


def pbs(variables: str, job_id: str = "12.s") -> str:
    job = {"Job_Name": "make", "job_state": "R", "Variable_List": json.loads(variables)}
    return json.dumps({"Jobs": {job_id: job}})


def torque(variables: str) -> str:
    return (
        f"Job Id: 12.s\n    Job_Name = make\n    job_state = R\n    Variable_List = {variables}\n\n"
    )


def local(token: str) -> str:
    tasks = {"0": {"state": "running"}}
    return json.dumps({"jobs": [{"id": "L12", "token": token, "tasks": tasks, "waits_for": []}]})


def slurm(name: str) -> str:
    return f"12|RUNNING|0|None|n1|1:00|{name}\n"


CASES: list[tuple[Scheduler, str, str, str]] = [
    (PBS(), "12.s", pbs(f'{{"A": "b", "PIPELINE_TOKEN": "{TOKEN}"}}'), TOKEN),
    (PBS(), "12.s", pbs('{"A": "b"}'), ""),
    (Torque(), "12.s", torque(f"A=b,PIPELINE_TOKEN={TOKEN},\n\tPBS_O_HOME=/h"), TOKEN),
    (Torque(), "12.s", torque("A=b"), ""),
    (Slurm(), "12", slurm(f"make.{TOKEN}"), TOKEN),
    (Slurm(), "12", slurm("some|body's"), ""),
    (Slurm(), "12", slurm(""), ""),
    (Local("/s"), "L12", local(TOKEN), TOKEN),
    (Local("/s"), "L12", local(""), ""),
]


@pytest.mark.parametrize(
    ("scheduler", "job_id", "text", "token"), CASES,
    ids=[f"{case[0].name}-{case[3] or 'none'}-{n}" for n, case in enumerate(CASES)],
)  # fmt: skip
def test_an_answer_shows_the_token(
    scheduler: Scheduler, job_id: str, text: str, token: str
) -> None:
    answer = scheduler.parse_query([job_id], [said(text)])
    assert answer.jobs[job_id][0].state == State.RUNNING
    assert answer.tokens == {job_id: token}


def test_a_pbs_that_shows_no_variables_says_nothing_of_it() -> None:
    text = json.dumps({"Jobs": {"12.s": {"Job_Name": "make", "job_state": "R"}}})
    answer = PBS().parse_query(["12.s"], [said(text)])
    assert answer.jobs and answer.tokens == {}, "so it is taken for ours"


def test_of_an_array_the_parents_token_counts() -> None:
    tasks = {"12[].s": {"job_state": "B", "Variable_List": {"PIPELINE_TOKEN": TOKEN}},
             "12[1].s": {"job_state": "R", "array_index": 1}}  # fmt: skip
    answer = PBS().parse_query(["12[].s"], [said(json.dumps({"Jobs": tasks}))])
    assert answer.tokens == {"12[].s": TOKEN}


@pytest.mark.parametrize(
    ("scheduler", "text", "refusal"),
    [
        (PBS(), "12.s\n", "qsub: Unknown queue"), (Torque(), "12.s\n", "qsub: Unknown queue"),
        (Slurm(), "12\n", "sbatch: error: invalid partition"), (Local("/s"), "L12\n", "localq: no"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_an_id_and_a_failure_may_be_a_job(scheduler: Scheduler, text: str, refusal: str) -> None:
    with pytest.raises(Rejected):
        scheduler.parse_submit(said("", 1, refusal))
    with pytest.raises(Unreachable):
        scheduler.parse_submit(said(text, 1, refusal))


def test_a_stranger_is_neither_followed_nor_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "p")
    world.engine.submit([world.plan.job("make")])
    parse = world.scheduler.parse_query

    def reset(ids: Sequence[str], results: Sequence[Completed]) -> object:
        answer = parse(ids, results)
        return type(answer)(answer.jobs, answer.silent, {"F1": "t0000000"})

    monkeypatch.setattr(world.scheduler, "parse_query", reset)
    assert world.states("make") == {"unknown": "1"}
    assert world.engine.cancel(list(world.plan.jobs)) == []
    assert world.scheduler.cancelled == []
