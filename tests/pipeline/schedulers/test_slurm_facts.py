"""What a real Slurm does, a test a fact, on what it printed. docs/schedulers.md lists the facts.

Some were recorded with other columns than those that we ask for; `rows` puts them into ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from pipeline.errors import Rejected, Unreachable
from pipeline.render import render
from pipeline.schedulers.base import Answer, Completed, Submission, TaskReport
from pipeline.schedulers.slurm import SACCT_FIELDS, SQUEUE_FIELDS, Slurm
from pipeline.schedulers.slurm_states import report, split_id
from pipeline.schedulers.torque import Torque
from pipeline.states import State
from tests.golden.cases import array_job, make_job
from tests.pipeline.schedulers.recorded import command, load

slurm = Slurm()
C, F, X = State.COMPLETED, State.FAILED, State.CANCELLED
Q, R = State.QUEUED, State.RUNNING
OURS = ["JobID", "State", "ExitCode", "Reason", "NodeList", "ElapsedRaw"]
LETTERS = {"%i": "JobID", "%T": "State", "%r": "Reason"}  # of `squeue -o`


def rows(name: str) -> Completed:
    """A recording of `sacct -P -o ...` or `squeue -o '%i ...'` with the columns that we ask for."""
    result, typed = load("slurm", name), command("slurm", name)
    if typed.startswith("squeue"):
        form = re.search(r"-o '([^']*)'", typed)
        assert form
        columns, separator = [LETTERS.get(w, w) for w in form[1].split()], " "
    else:
        form = re.search(r"-o (\S+)", typed)
        assert form
        columns, separator = form[1].split(","), "|"
    lines = [line.split(separator) for line in result.stdout.splitlines()]
    found = [dict(zip(columns, line, strict=False)) for line in lines if line != columns]
    text = "\n".join("|".join(row.get(column, "") for column in OURS) for row in found)
    return Completed(result.argv, result.returncode, text, result.stderr)


def accounts(name: str, *ids: str) -> Mapping[str, Mapping[int, TaskReport]]:
    return slurm.parse_history(ids, [rows(name)]).jobs


def states(found: Mapping[int, TaskReport]) -> dict[int, State]:
    return {index: said.state for index, said in found.items()}


# ---- sbatch


def test_a_submission_that_timed_out_was_accepted_all_the_same() -> None:
    """So it is no refusal: the next command looks for its name. 93 is the job of the call."""
    with pytest.raises(Unreachable, match="timed out"):
        slurm.parse_submit(load("slurm", "ctld-hung-sbatch"))
    after = load("slurm", "ctld-hung-after").stdout
    assert command("slurm", "ctld-hung-sbatch").endswith("ok.sh")
    assert re.search(r"^93 ok\.sh RUNNING$", after, re.MULTILINE)


@pytest.mark.parametrize("name", ["err-bad-account", "err-bad-qos", "err-too-many-nodes",
                                  "err-too-many-cpus", "err-time-over-partition"])  # fmt: skip
def test_what_is_taken_though_it_may_never_start(name: str) -> None:
    assert slurm.parse_submit(load("slurm", name)).isdigit()


@pytest.mark.parametrize(
    ("job_id", "reason"),
    [("150", "PartitionNodeLimit"), ("151", "PartitionConfig"), ("152", "PartitionTimeLimit")],
)
def test_a_job_that_never_starts_says_so(job_id: str, reason: str) -> None:
    found = slurm.parse_query([job_id], [load("slurm", "squeue-query-stuck")]).jobs[job_id][0]
    assert found.state == Q
    assert found.reason.startswith(f"{reason}: its partition gives less")


@pytest.mark.parametrize(
    ("name", "code"),
    [("err-bad-option", 255), ("err-bad-mem", 255), ("err-bad-partition", 1),
     ("err-bad-gres-type", 1), ("err-bad-constraint", 1), ("err-too-much-mem", 1)],
)  # fmt: skip
def test_refused_by_the_command_or_by_the_server(name: str, code: int) -> None:
    assert load("slurm", name).returncode == code
    with pytest.raises(Rejected):
        slurm.parse_submit(load("slurm", name))


def test_an_array_over_the_limit_is_refused_with_the_key_to_set() -> None:
    with pytest.raises(Rejected, match=r"`max_array` in the site's file.*MaxArraySize - 1"):
        slurm.parse_submit(load("slurm", "err-array-too-big"))


def test_no_line_of_ours_is_one_of_pbs() -> None:
    """sbatch reads `#PBS` lines too, and they beat its own."""
    for job in (make_job(scheduler="slurm"), array_job(scheduler="slurm")):
        assert not re.search(r"^#PBS", render(job), re.MULTILINE)


# ---- arrays in squeue


def test_lists_of_pending_tasks_are_cut_unless_told_not_to() -> None:
    cut = load("slurm", "squeue-array-truncated2").stdout.split("|")
    assert len(cut[0]) == 31
    assert not cut[0].endswith("...")
    assert split_id(cut[0]) == ("91", None), "in the middle of a number: 77 became 7"
    assert split_id(f"91_[{cut[1]}]") == ("91", None)
    whole = load("slurm", "squeue-array-truncated2-BITSTR0").stdout.split("|")[0]
    found = split_id(whole)
    assert found and found[1] and len(found[1]) == 26 and 77 in found[1]
    for argv in (*slurm.query_argvs(["91"]), *slurm.history_argvs(["91"]), *slurm.find_argvs()):
        assert argv[:2] == ["env", "SLURM_BITSTR_LEN=0"]


@pytest.mark.parametrize(("index", "count"), [(0, 1001), (1, 500)])
def test_steps_and_limits_in_a_list(index: int, count: int) -> None:
    """`90_[0-1000%50]` and `89_[1-999:2]`."""
    found = split_id(load("slurm", "squeue-array-step").stdout.splitlines()[index])
    assert found and found[1] and len(found[1]) == count


def test_an_array_that_runs_and_waits() -> None:
    found = slurm.parse_query(["4"], [rows("squeue-array-j")]).jobs["4"]
    assert states(found) == {**dict.fromkeys(range(1, 5), R), **dict.fromkeys(range(5, 21), Q)}


def test_tasks_cancelled_while_pending_are_known_to_nobody() -> None:
    """4 and 5 of 48: gone from squeue, sacct and scontrol. They end as lost, and can be run again,
    since no scheduler says anything of them."""
    queue = slurm.parse_query(["48"], [rows("squeue-array-cancelled-all")])
    past = slurm.parse_history(["48"], [rows("sacct-array-cancelled-pending-tasks")])
    for answer in (queue, past):
        assert states(answer.jobs["48"]) == {1: X, 2: X, 3: X, 6: X}
        assert answer.silent == {}
    assert slurm.parse_history(["48"], [rows("sacct-array-cancelled-task4")]) == Answer({})
    assert load("slurm", "scontrol-array-cancelled-pending").stdout.strip() == "Job 48_4 not found"


@pytest.mark.parametrize(
    ("name", "job_id"),
    [("sacct-array-cancel-whole", "66"), ("sacct-array-cancel-neverstarted", "69")],
)  # fmt: skip
def test_a_whole_array_that_was_cancelled(name: str, job_id: str) -> None:
    found = accounts(name, job_id)[job_id]
    assert states(found) == dict.fromkeys(range(1, 7), X)
    assert {said.reason for said in found.values()} == {"by uid 0"}


# ---- squeue and sacct


def test_we_never_ask_squeue_about_one_id() -> None:
    """One unknown id fails the whole; of several, all unknown, it says nothing and ends with 0."""
    assert load("slurm", "err-squeue-unknown-job").returncode == 1
    silent = load("slurm", "err-squeue-unknown-job-multi")
    assert (silent.returncode, silent.stdout) == (0, "")
    for argv in slurm.query_argvs(["1", "2"]):
        assert not {"-j", "--jobs", "--json"} & set(argv)
    fields = SQUEUE_FIELDS.split(",")
    assert all(field.endswith(":|") for field in fields[:-1]), "else it is cut at 20 characters"


def test_squeue_ends_well_where_it_did_not_look() -> None:
    """While the directory of users was down: `Invalid user`, exit 0, no line. Nobody is gone."""
    result = load("slurm", "squeue-query-unknown-user")
    assert (result.returncode, result.stdout) == (0, "")
    found = slurm.parse_query(["4"], [result])
    assert found.jobs == {}
    assert "Invalid user" in found.silent["4"]
    with pytest.raises(Unreachable, match="Invalid user"):
        slurm.parse_find([result, load("slurm", "sacct-find")])


@pytest.mark.parametrize("name", ["ctld-down-sacct", "dbd-back-sacct", "sacct-requeue"])
def test_a_stale_word_of_sacct_is_none(name: str) -> None:
    """It goes on saying RUNNING or PENDING of what squeue no longer knows."""
    assert re.search("RUNNING|PENDING", rows(name).stdout)
    assert slurm.parse_history(["92", "94", "16"], [rows(name)]) == Answer({})


def test_steps_are_not_tasks() -> None:
    found = accounts("sacct-states-steps", *map(str, range(47, 62)))
    assert states(found["48"]) == {1: X, 2: X, 3: X, 6: X}
    assert found["51"][0].state == X, "it trapped TERM and ended with 0; its step is COMPLETED"
    said = {
        job_id: (t[0].state, t[0].exit_code, t[0].signal) for job_id, t in found.items() if 0 in t
    }
    assert said == {
        **dict.fromkeys(("47", "49", "50", "51"), (X, None, None)),
        "52": (F, 5, None), "53": (F, None, None), "54": (C, 0, None), "55": (F, None, 9),
        "56": (F, None, 9), "57": (F, None, 11), "58": (C, 0, None), "59": (F, 127, None),
        "60": (F, None, None), "61": (F, None, None),
    }  # fmt: skip
    assert "cannot be written" in found["60"][0].reason
    assert found["53"][0].reason == "its node failed"


@pytest.mark.parametrize(
    ("name", "job_id", "state"),
    [("sacct-timeout", "17", State.TIMEOUT), ("sacct-oom-cgroup", "1", State.OOM),
     ("sacct-oom-cgroup", "2", State.OOM), ("sacct-depnever", "19", X), ("sacct-dep-gone", "80", C),
     ("sacct-requeued-done", "16", C), ("sacct-nodefail-requeue", "11153", C)],
)  # fmt: skip
def test_how_it_ended(name: str, job_id: str, state: State) -> None:
    """Of a job that was requeued, the last row counts (`-D` shows them all, we do not ask so)."""
    assert accounts(name, job_id)[job_id][0].state == state


# ---- dependencies


def test_a_dependency_that_cannot_come_true_is_cancelled_only_when_asked_for() -> None:
    kept = load("slurm", "scontrol-show-job-depnever").stdout
    assert "JobState=PENDING Reason=DependencyNeverSatisfied" in kept
    assert "KillOInInvalidDependent" not in kept
    killed = load("slurm", "scontrol-show-job-depkill").stdout
    assert "JobState=CANCELLED Reason=DependencyNeverSatisfied" in killed
    assert "KillOInInvalidDependent=Yes" in killed
    argv = slurm.submit_argv(Submission("x", "x", "t1", 1, after=("6",)))
    assert "--kill-on-invalid-dep=yes" in argv
    waits = report("PENDING", "0", "DependencyNeverSatisfied", "", "0:00")
    assert "will not start" in waits.reason


def test_afterok_on_an_unknown_id_runs() -> None:
    """One more reason for the gate."""
    assert slurm.parse_submit(load("slurm", "err-bad-dep")) == "80"
    assert accounts("sacct-dep-gone", "80")["80"][0].state == C


# ---- without accounts


@pytest.mark.parametrize("name", ["nodb-sacct", "sacct-missing"])
def test_a_site_without_accounts_has_no_history(name: str) -> None:
    """Not silence: what squeue no longer knows is gone, and its receipts say how."""
    assert slurm.parse_history(["4", "7"], [load("slurm", name)]) == Answer({})


def test_accounts_that_are_down_are_silent() -> None:
    found = slurm.parse_history(["4"], [load("slurm", "dbd-down-sacct")])
    assert "Problem talking to the database" in found.silent["4"]


def test_squeue_alone_tells_how_it_ended_for_some_minutes() -> None:
    found = slurm.parse_query(["1", "2", "3"], [rows("nodb-squeue-all")]).jobs
    assert states(found["1"]) == dict.fromkeys((1, 2, 3), C)
    assert (found["2"][0].state, found["3"][0].state) == (F, X)


def test_completions_on_file_are_not_asked_for() -> None:
    """`sacct -c` has raw ids and no exit codes: the tasks of array 5 cannot be told apart."""
    listed = load("slurm", "sacct-completion-jobcomp")
    assert "Unknown type ArrayTaskId" in listed.stdout + listed.stderr
    assert "-c" not in slurm.history_argvs(["5"])[0]
    assert SACCT_FIELDS.split(",")[: len(OURS)] == OURS


# ---- the Torque commands that Slurm ships


def test_slurms_qstat_is_read_like_torques() -> None:
    """Bare ids, tabs, and no exit status: a job that ran is never taken for a success."""
    torque = Torque()
    assert torque.parse_submit(load("slurm", "qsub-t")) == "8"
    for name, job_id, state in (
        ("qstat-f", "4", Q), ("qstat-f-done", "1", F), ("qstat-f-failed", "37", F),
        ("qstat-f-cancelled", "33", F),
    ):  # fmt: skip
        found = torque.parse_query([job_id], [load("slurm", name)])
        assert found.jobs[job_id][0].state == state, name
    unknown = torque.parse_query(["9"], [load("slurm", "qstat-unknown")])
    assert unknown == Answer({}), "153, like PBS's"
    assert torque.parse_query(["8"], [load("slurm", "qstat-t")]).silent, "it has no -t"
