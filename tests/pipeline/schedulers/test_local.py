"""The `local` scheduler: argv out, text in; and once for real, against `localq.py`."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Rejected, Unreachable
from pipeline.schedulers.base import Answer, Completed, Scheduler, Submission
from pipeline.schedulers.local import LOCALQ, Local
from pipeline.states import State

LOCAL: Scheduler = Local("/the spool", python="py", localq="q.py")


def said(stdout: str = "", stderr: str = "", code: int = 0) -> Completed:
    return Completed(("py",), code, stdout, stderr)


def stat(*jobs: dict[str, Any]) -> Completed:
    return said(json.dumps({"jobs": jobs}))


def job(job_id: str, tasks: dict[int, dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"id": job_id, "token": "", "tasks": {str(i): t for i, t in tasks.items()}, **more}


def test_submit_argv() -> None:
    submission = Submission(
        script="-odd name.sh", name="-x 'y'", token="3fa9c2d1", attempt=2,
        array=4, after=("L3", "L4"),
    )  # fmt: skip
    assert LOCAL.submit_argv(submission) == [
        "py", "q.py", "submit", "--spool=/the spool", "--name=-x 'y'", "--token=3fa9c2d1",
        "--attempt=2", "--array=4", "--after=L3", "--after=L4", "--", "-odd name.sh",
    ]  # fmt: skip


def test_submit_argv_of_a_plain_job() -> None:
    argv = LOCAL.submit_argv(Submission(script="s", name="n", token="t", attempt=1))
    assert not [word for word in argv if word.startswith(("--array", "--after"))]


def test_the_sites_slots_reach_the_queue() -> None:
    argv = Local("/s", slots=3).submit_argv(Submission(script="s", name="n", token="t", attempt=1))
    assert "--slots=3" in argv


def test_a_queue_whose_program_never_came_knows_no_jobs() -> None:
    said_so = (
        "python3: can't open file \"/a/it's/localq.py\": [Errno 2] No such file or directory\n"
    )
    assert LOCAL.parse_find([said("", said_so, 2)]) == {}


def test_parse_submit() -> None:
    assert LOCAL.parse_submit(said("L12\n")) == "L12"
    assert LOCAL.parse_submit(said("L12\n", "localq: L12 is queued, but ...")) == "L12"


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (said("", "localq: --array is 'x'\n", 1), Rejected, "--array is 'x'"),
        (said("", "usage: localq ...\nlocalq: error: what\n", 2), Rejected, "error: what"),
        (said("", "Traceback ...\nBrokenPipeError: x\n", 1), Unreachable, "BrokenPipeError: x"),
        (said("", "", -9), Unreachable, "exit -9, no message"),
        (said("", "python3: not found", 127), Unreachable, "not found"),
        (said("Welcome!\n"), Unreachable, "Welcome!"),
    ],
    ids=["refused", "usage", "traceback", "killed", "no-python", "no-id"],
)
def test_parse_submit_errors(result: Completed, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LOCAL.parse_submit(result)


def test_query_is_one_command_whatever_the_number_of_jobs() -> None:
    assert LOCAL.query_argvs(["L1", "L2"]) == [
        ["py", "q.py", "stat", "--spool=/the spool", "--", "L1", "L2"]
    ]
    assert LOCAL.query_argvs([]) == []
    assert LOCAL.history_argvs(["L1"]) == []
    assert LOCAL.parse_history(["L1"], []) == Answer({})


def test_parse_query_maps_every_state() -> None:
    tasks: dict[int, dict[str, Any]] = {
        1: {"state": "queued"},
        2: {"state": "running", "host": "n1", "elapsed": 7},
        3: {"state": "completed", "exit": 0, "elapsed": 3},
        4: {"state": "failed", "exit": 71},
        5: {"state": "failed", "signal": 9},
        6: {"state": "cancelled", "exit": 143},
        7: {"state": "timeout", "reason": "exceeded its walltime of 1 s"},
        8: {"state": "gone"},
    }
    answer = LOCAL.parse_query(["L1", "L9"], [stat(job("L1", tasks), job("L2", {}))])
    assert list(answer.jobs) == ["L1"]  # L9 it does not know, L2 nobody asked for
    assert not answer.silent
    reports = answer.jobs["L1"]
    assert {i: r.state for i, r in reports.items()} == {
        1: State.QUEUED,
        2: State.RUNNING,
        3: State.COMPLETED,
        4: State.FAILED,
        5: State.FAILED,
        6: State.CANCELLED,
        7: State.TIMEOUT,
    }
    assert (reports[2].host, reports[2].elapsed_s) == ("n1", 7)
    assert (reports[4].exit_code, reports[5].exit_code, reports[5].signal) == (71, None, 9)
    assert reports[7].reason == "exceeded its walltime of 1 s"


def test_a_queued_job_says_what_it_waits_for() -> None:
    waiting = job("L3", {0: {"state": "queued"}}, waits_for=["L1", "L2"])
    report = LOCAL.parse_query(["L3"], [stat(waiting)]).jobs["L3"][0]
    assert (report.state, report.reason) == (State.QUEUED, "waits for L1, L2")


@pytest.mark.parametrize(
    "result",
    [said(code=255, stderr="ssh: no route"), said("half a docu"), said("[]"), said("{}")],
    ids=["unreachable", "cut", "list", "empty"],
)
def test_no_answer_is_silence_not_absence(result: Completed) -> None:
    answer = LOCAL.parse_query(["L1", "L2"], [result])
    assert not answer.jobs
    assert set(answer.silent) == {"L1", "L2"}
    with pytest.raises(Unreachable):
        LOCAL.parse_find([result])


def test_find_by_token() -> None:
    assert LOCAL.find_argvs() == [["py", "q.py", "stat", "--spool=/the spool"]]
    listing = stat(job("L1", {}, token="aa"), job("L2", {}), job("L3", {}, token="bb"))
    assert LOCAL.parse_find([listing]) == {"aa": "L1", "bb": "L3"}
    with pytest.raises(Unreachable):
        LOCAL.parse_find([])


def test_cancel() -> None:
    assert LOCAL.cancel_argvs("L12", None) == [
        ["py", "q.py", "cancel", "--spool=/the spool", "--", "L12"]
    ]
    assert LOCAL.cancel_argvs("L12", [3, 4, 7]) == [
        ["py", "q.py", "cancel", "--spool=/the spool", "--index=3-4,7", "--", "L12"]
    ]
    LOCAL.parse_cancel(said())
    with pytest.raises(Rejected, match="no job L9"):
        LOCAL.parse_cancel(said(stderr="localq: no job L9 in /s\n", code=1))
    with pytest.raises(Unreachable):
        LOCAL.parse_cancel(said(code=255))


@pytest.mark.parametrize(
    ("receipt_id", "owner"),
    [
        ("L12", ("L12", 0)),
        ("L12_7", ("L12", 7)),
        ("manual-n1-4242", ("", 0)),
        ("12[7].server", ("", 0)),
        ("L12_", ("", 0)),
        ("L0", ("", 0)),
    ],
)
def test_owner(receipt_id: str, owner: tuple[str, int]) -> None:
    assert LOCAL.owner(receipt_id) == owner


def test_for_real(tmp_path: Path) -> None:
    scheduler = Local(str(tmp_path / "the 'spool'"))
    assert LOCALQ.is_file()

    def run(argv: Sequence[str]) -> Completed:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    def ask(*ids: str) -> Answer:
        return scheduler.parse_query(ids, [run(argv) for argv in scheduler.query_argvs(ids)])

    script = tmp_path / "job.sh"
    script.write_text(
        "case $LOCAL_ARRAY_INDEX in 2) exit 3 ;; 3 | 4) sleep 120 ;; *) sleep 1 ;; esac\n"
    )
    plan = Submission(script=str(script), name="n", token="3fa9c2d1", attempt=1, array=4)
    first = scheduler.parse_submit(run(scheduler.submit_argv(plan)))
    after = Submission(script=str(script), name="m", token="x", attempt=1, after=(first,))
    second = scheduler.parse_submit(run(scheduler.submit_argv(after)))
    assert ask(second, "L77").jobs[second][0].reason == f"waits for {first}"
    found = scheduler.parse_find([run(argv) for argv in scheduler.find_argvs()])
    assert found == {"3fa9c2d1": first, "x": second}
    for argv in scheduler.cancel_argvs(first, [3, 4]) + scheduler.cancel_argvs(second, None):
        scheduler.parse_cancel(run(argv))
    end = time.monotonic() + 30
    while any(r.state in (State.QUEUED, State.RUNNING) for r in ask(first).jobs[first].values()):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert {i: r.state for i, r in ask(first).jobs[first].items()} == {
        1: State.COMPLETED,
        2: State.FAILED,
        3: State.CANCELLED,
        4: State.CANCELLED,
    }
    with pytest.raises(Rejected):
        scheduler.parse_cancel(run(scheduler.cancel_argvs("L77", None)[0]))
