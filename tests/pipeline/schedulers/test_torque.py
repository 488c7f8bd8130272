"""Torque: argv out, text in. The texts are written after its manual; no real one was at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError, Rejected, Unreachable
from pipeline.schedulers.base import Completed, Submission, TaskReport
from pipeline.schedulers.torque import Torque
from pipeline.site import Site
from pipeline.states import State
from pipeline.view.site import _notes

torque = Torque()

ARRAY = """Job Id: 5[1].host
    Job_Name = preprocess_patok-1
    Job_Owner = me@login
    resources_used.walltime = 00:01:10
    job_state = C
    exec_host = n1/0+n1/1
    exit_status = 0
    Variable_List = PBS_O_QUEUE=batch,PBS_O_HOME=/home/me,
\tPIPELINE_TOKEN=tabc1234,PIPELINE_ATTEMPT=1,
\tPBS_O_HOST=login
    job_array_id = 1

Job Id: 5[2].host
    job_state = C
    exit_status = 71
    exec_host = n2/0

Job Id: 5[3].host
    job_state = R
    exec_host = n2/1

Job Id: 5[4].host
    job_state = Q
    comment = Not Running: Not enough of the right type of nodes are available

"""
PARENT = ARRAY[: ARRAY.index("Job Id: 5[2]")].replace("5[1].host", "5[].host").replace("= C", "= R")


def one(body: str, job_id: str = "7.host", code: int = 0, stderr: str = "") -> TaskReport | str:
    text = f"Job Id: {job_id}\n{body}" if body else ""
    answer = torque.parse_query([job_id], [Completed(("qstat",), code, text, stderr)])
    if job_id in answer.jobs:
        return answer.jobs[job_id][0]
    return answer.silent.get(job_id, "unknown")


def test_that_it_was_never_run_is_said_wherever_it_is_chosen() -> None:
    notes = list(_notes("old", Site("old", "torque"), "other"))
    assert notes == ["untested: from Torque's manual"]
    docs = Path(__file__).parents[3] / "docs"
    assert "never run against one" in (docs / "sites.md").read_text()
    assert "Torque has never been run" in (docs / "schedulers.md").read_text()


@pytest.mark.parametrize(
    ("submission", "argv"),
    [
        (Submission("/p/x.pbs", "x", "t1", 3),
         ["qsub", "-v", "PIPELINE_TOKEN=t1,PIPELINE_ATTEMPT=3", "/p/x.pbs"]),
        (Submission("-x.pbs", "x", "t1", 1, array=5, after=("1.h", "2[].h", "3.h")),
         ["qsub", "-v", "PIPELINE_TOKEN=t1,PIPELINE_ATTEMPT=1", "-W",
          "depend=afterany:1.h:3.h,afteranyarray:2[].h", "./-x.pbs"]),
    ],
    ids=["plain", "after"],
)  # fmt: skip
def test_submit_argv(submission: Submission, argv: list[str]) -> None:
    assert torque.submit_argv(submission) == argv


@pytest.mark.parametrize("said", ["12.host", "12[].host", "12", "warning: x\n12[].host\n"])
def test_the_id_is_read(said: str) -> None:
    done = Completed(("qsub",), 0, said, "")
    assert torque.parse_submit(done) == said.split()[-1]


@pytest.mark.parametrize(
    ("code", "out", "err", "kind"),
    [(0, "thanks", "", Unreachable), (0, "12[3].host", "", Unreachable),
     (1, "", "qsub: cannot connect to server host (errno=111) Connection refused", Unreachable),
     (170, "", "qsub: Unknown queue MSG=cannot locate queue", Rejected), (-9, "", "", Unreachable)],
)  # fmt: skip
def test_a_refusal_is_no_silence(code: int, out: str, err: str, kind: type[PipelineError]) -> None:
    with pytest.raises(kind):
        torque.parse_submit(Completed(("qsub",), code, out, err))


def test_an_array_is_told_by_its_tasks() -> None:
    answer = torque.parse_query(["5[].host"], [Completed(("qstat",), 0, ARRAY, "")])
    reports = answer.jobs["5[].host"]
    assert {i: r.state for i, r in reports.items()} == {
        1: State.COMPLETED, 2: State.OOM, 3: State.RUNNING, 4: State.QUEUED
    }  # fmt: skip
    assert (reports[1].host, reports[1].elapsed_s, reports[2].exit_code) == ("n1", 70, 71)
    assert reports[4].reason.startswith("Not Running")
    only_parent = torque.parse_query(["5[].host"], [Completed(("qstat",), 0, PARENT, "")])
    assert "5[].host" in only_parent.silent


@pytest.mark.parametrize(
    ("status", "state", "signal"),
    [("0", State.COMPLETED, None), ("3", State.FAILED, None), ("78", State.BLOCKED, None),
     ("271", State.CANCELLED, 15), ("265", State.CANCELLED, 9), ("267", State.FAILED, 11),
     ("-11", State.TIMEOUT, None), ("-10", State.OOM, None), ("-3", State.FAILED, None),
     ("-8", State.FAILED, None), ("x", State.CANCELLED, None)],
)  # fmt: skip
def test_how_it_ended(status: str, state: State, signal: int | None) -> None:
    report = one(f"    job_state = C\n    exit_status = {status}\n")
    assert isinstance(report, TaskReport)
    assert (report.state, report.signal) == (state, signal)


@pytest.mark.parametrize(
    ("letter", "state"),
    [("Q", State.QUEUED), ("H", State.HELD), ("E", State.RUNNING), ("Z", State.UNKNOWN)],
)
def test_states(letter: str, state: State) -> None:
    report = one(f"    job_state = {letter}\n")
    assert isinstance(report, TaskReport) and report.state == state


def test_a_job_that_is_gone_is_not_one_that_nobody_answers_for() -> None:
    assert one("", code=153, stderr="qstat: Unknown Job Id Error 7.host") == "unknown"
    assert "does not answer" in str(one("", code=1, stderr="qstat: cannot connect to server"))
    assert "said nothing" in str(one(""))
    assert torque.parse_query(["1", "2"], []).silent == {"1": "not asked", "2": "not asked"}


def test_a_token_is_found_across_lines() -> None:
    done = Completed(("qstat",), 0, PARENT, "")
    assert torque.parse_find([done]) == {"tabc1234": "5[].host"}
    assert torque.parse_find([Completed(("qstat",), 0, ARRAY, "")]) == {"tabc1234": "5[].host"}
    with pytest.raises(Unreachable):
        torque.parse_find([Completed(("qstat",), 1, "", "cannot connect to server")])


def test_cancel() -> None:
    assert torque.cancel_argvs("5[].host", [3, 4, 9]) == [["qdel", "-t", "3-4,9", "5[].host"]]
    assert torque.cancel_argvs("5.host", None) == [["qdel", "5.host"]]
    torque.parse_cancel(Completed(("qdel",), 153, "", "qdel: Unknown Job Id"))
    with pytest.raises(Rejected):
        torque.parse_cancel(Completed(("qdel",), 159, "", "qdel: Unauthorized Request"))
    with pytest.raises(Unreachable):
        torque.parse_cancel(Completed(("qdel",), 1, "", "qdel: cannot connect to server"))


@pytest.mark.parametrize(
    ("receipt", "owner"),
    [("5[7].host", ("5[].host", 7)), ("5-7.host", ("5[].host", 7)), ("5.host", ("5.host", 0)),
     ("5", ("5", 0)), ("hand-3", ("", 0)), ("L3", ("", 0)), ("5_7", ("", 0))],
)  # fmt: skip
def test_owner(receipt: str, owner: tuple[str, int]) -> None:
    assert torque.owner(receipt) == owner


@given(text=st.text(max_size=200), code=st.integers(-15, 255))
def test_no_text_is_too_much_for_it(text: str, code: int) -> None:
    done = Completed(("qstat",), code, text, text)
    torque.parse_query(["5[].host", "6.host"], [done, done])
    for parse in (torque.parse_submit, torque.parse_cancel):
        try:
            parse(done)
        except PipelineError:
            continue
