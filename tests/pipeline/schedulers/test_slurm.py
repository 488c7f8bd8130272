"""Slurm on recordings of a real 22.05: argv out, text in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError, Rejected, Unreachable
from pipeline.schedulers.base import Answer, Completed, Submission, TaskReport
from pipeline.schedulers.indices import expand, runs
from pipeline.schedulers.slurm import Slurm
from pipeline.schedulers.slurm_states import STATES, exit_status, report, split_id
from pipeline.schedulers.words import complaint, seconds
from pipeline.states import FINAL, State
from tests.pipeline.schedulers.recorded import load, names

slurm = Slurm()
C, F, X = State.COMPLETED, State.FAILED, State.CANCELLED
Q, H, R = State.QUEUED, State.HELD, State.RUNNING
QUEUE_IDS = [str(n) for n in (12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 28, 29, 30, 31)]


def queue(name: str, *ids: str) -> Answer:
    return slurm.parse_query(ids, [load("slurm", name)])


def accounts(text: str, *ids: str) -> Mapping[str, Mapping[int, TaskReport]]:
    return slurm.parse_history(ids, [Completed(("sacct",), 0, text, "")]).jobs


# ---- submission


def test_submit_argv() -> None:
    sent = Submission("/p/jobs/x.sbatch", "preprocess_patok", "t3fa9c2d", 2)
    assert slurm.submit_argv(sent) == [
        "env", "PIPELINE_TOKEN=t3fa9c2d", "PIPELINE_ATTEMPT=2", "sbatch", "--parsable",
        "--job-name=preprocess_patok.t3fa9c2d", "--export=ALL", "/p/jobs/x.sbatch",
    ]  # fmt: skip


def test_no_sbatch_on_this_machine() -> None:
    with pytest.raises(Rejected, match="sbatch: no such command here"):
        slurm.parse_submit(Completed(("env",), 127, "", "env: 'sbatch': No such file"))


def test_submit_argv_with_dependencies_and_a_dash() -> None:
    sent = Submission("-x.sbatch", "x", "t1", 1, array=4, after=("4", "7"))
    assert slurm.submit_argv(sent)[7:] == [
        "--dependency=afterany:4:7", "--kill-on-invalid-dep=yes", "./-x.sbatch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "job_id"),
    [("sbatch-parsable", "2"), ("sbatch-M", "11148"), ("sbatch-plain", "3"),
     ("sbatch-token", "33"), ("dbd-down-sbatch", "94"), ("err-too-many-nodes", "72"),
     ("err-bad-qos", "70"), ("sbatch-array-1-20-4", "4")],
)  # fmt: skip
def test_accepted(name: str, job_id: str) -> None:
    assert slurm.parse_submit(load("slurm", name)) == job_id


@pytest.mark.parametrize("text", ["", "sbatch: ok\n", "4_7\n", "job 12\n"])
def test_an_answer_without_an_id_may_still_be_a_job(text: str) -> None:
    with pytest.raises(Unreachable, match="no job id"):
        slurm.parse_submit(Completed(("sbatch",), 0, text, ""))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("err-array-garbage", "Invalid job array specification"),
        ("err-array-too-big", "MaxArraySize"),
        ("err-bad-constraint", r"Invalid feature specification\. .*features"),
        ("err-bad-dep-syntax", "Job dependency problem"),
        ("err-bad-directive", "unrecognized option '--nosuchopt'"),
        ("err-bad-gres-type", r"not available\. No node has"),
        ("err-bad-mem", "Invalid --mem specification"),
        ("err-bad-option", "unrecognized option"),
        ("err-bad-partition", r"Invalid partition name specified\. `sinfo -s`"),
        ("err-bad-partition-parsable", "invalid partition specified: nosuch"),
        ("err-bad-time", "Invalid --time specification"),
        ("err-crlf", r"DOS line breaks .*Render the script again"),
        ("err-empty-script", "Batch script is empty"),
        ("err-no-script", "Unable to open file nosuch.sh"),
        ("err-no-shebang", "does not look like a batch script"),
        ("err-too-many-gpus", "not available"),
        ("err-too-much-mem", "can not be satisfied"),
    ],
)
def test_rejected(name: str, words: str) -> None:
    with pytest.raises(Rejected, match=words) as error:
        slurm.parse_submit(load("slurm", name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["ctld-down-sbatch", "ctld-hung-sbatch", "munge-down-sbatch"])
def test_nobody_answered_a_submission(name: str) -> None:
    with pytest.raises(Unreachable):
        slurm.parse_submit(load("slurm", name))


# ---- squeue


def test_one_command_however_many_jobs() -> None:
    assert slurm.query_argvs(["4", "7"]) == [
        ["env", "SLURM_BITSTR_LEN=0", "squeue", "-h", "--me", "-t", "all", "-O",
         "JobArrayID:|,State:|,exit_code:|,Reason:|,NodeList:|,TimeUsed:|,Name:"]
    ]  # fmt: skip


SQUEUE = [
    ("12", C, 0, None, "^$"),
    ("13", F, 3, None, "^$"),
    ("14", F, None, 9, "SIGKILL"),
    ("15", F, None, None, "output file or work directory"),
    ("16", State.OOM, 71, None, "^$"),
    ("17", State.BLOCKED, 78, None, "^$"),
    ("19", R, None, None, "^$"),
    ("20", H, None, None, "JobHeldUser"),
    ("21", Q, None, None, "DependencyNeverSatisfied"),
    ("22", X, None, None, "^$"),
    ("23", X, None, 15, "^$"),
    ("29", R, None, None, "^$"),
    ("30", Q, None, None, "^Dependency$"),
    ("31", H, None, None, "^$"),
]


@pytest.mark.parametrize(
    ("job_id", "state", "code", "signal", "reason"), SQUEUE, ids=[row[0] for row in SQUEUE]
)
def test_squeue_of_a_plain_job(
    job_id: str, state: State, code: int | None, signal: int | None, reason: str
) -> None:
    said = queue("squeue-query", *QUEUE_IDS).jobs[job_id][0]
    assert (said.state, said.exit_code, said.signal) == (state, code, signal)
    assert re.search(reason, said.reason), said.reason


SPARSE = [n * n for n in range(1, 40)]
SQUEUE_ARRAYS = [
    ("squeue-query", "18", {1: R, 2: F, 3: R, 4: R, **dict.fromkeys(range(5, 11), Q)}),
    ("squeue-query-after-cancel", "18", {1: R, 2: F, 3: R, 4: R, 5: Q, 6: Q}),
    ("squeue-query-late", "18", {1: C, 2: F, 3: C, 4: C, 5: C, 6: C}),
    ("squeue-query", "24", dict.fromkeys(range(1, 6), X)),
    ("squeue-query", "28", dict.fromkeys(SPARSE, H)),
]


@pytest.mark.parametrize(
    ("name", "job_id", "states"), SQUEUE_ARRAYS, ids=[f"{row[0]}-{row[1]}" for row in SQUEUE_ARRAYS]
)
def test_squeue_of_an_array(name: str, job_id: str, states: dict[int, State]) -> None:
    found = queue(name, job_id)
    assert found.silent == {}
    assert {i: said.state for i, said in found.jobs[job_id].items()} == states


def test_a_walltime_in_squeue() -> None:
    said = queue("squeue-query-late", "19").jobs["19"][0]
    assert (said.state, said.host, said.elapsed_s) == (State.TIMEOUT, "n1", 89)
    assert said.reason == "exceeded its walltime"


def test_other_jobs_and_unknown_ids_are_left_out() -> None:
    found = queue("squeue-query", "13", "999")
    assert (list(found.jobs), found.silent) == (["13"], {})


def test_a_list_that_was_cut_short_is_no_answer() -> None:
    """Without SLURM_BITSTR_LEN: `28_[1,4,9,16,25,36,49,64,81,100`, in the middle of a number."""
    found = queue("squeue-query-cut", "28", "18")
    assert list(found.jobs) == ["18"]
    assert "short" in found.silent["28"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("ctld-down-squeue", "Unable to contact"), ("ctld-hung-squeue", "timed out"),
     ("munge-down-squeue", "authentication"), ("noconf-squeue", "configuration"),
     ("err-squeue-unknown-job", "Invalid job id")],
)  # fmt: skip
def test_silence_has_a_reason(name: str, words: str) -> None:
    found = queue(name, "4", "7")
    assert found.jobs == {}
    assert set(found.silent) == {"4", "7"}
    assert words in found.silent["4"]


# ---- sacct


def test_one_sacct_for_all() -> None:
    assert slurm.history_argvs(["4", "7"]) == [
        ["env", "SLURM_BITSTR_LEN=0", "sacct", "-X", "-n", "-P", "-o",
         "JobID,State,ExitCode,Reason,NodeList,ElapsedRaw,JobName", "-j", "4,7"]
    ]  # fmt: skip


SACCT = [
    ("12", 0, C, 0, None, "^$"),
    ("13", 0, F, 3, None, "^$"),
    ("14", 0, F, None, 9, "SIGKILL"),
    ("15", 0, F, None, None, "output file or work directory"),
    ("16", 0, State.OOM, 71, None, "^$"),
    ("17", 0, State.BLOCKED, 78, None, "^$"),
    ("19", 0, State.TIMEOUT, None, None, "walltime"),
    ("22", 0, X, None, None, "^$"),
    ("23", 0, X, None, None, "by uid 0"),
    ("29", 0, C, 0, None, "^$"),
    ("18", 2, F, 7, None, "^$"),
    ("18", 4, C, 0, None, "^$"),
    ("24", 3, X, None, None, "by uid 0"),
]


@pytest.mark.parametrize(
    ("job_id", "index", "state", "code", "signal", "reason"),
    SACCT,
    ids=[f"{row[0]}-{row[1]}" for row in SACCT],
)
def test_sacct(
    job_id: str, index: int, state: State, code: int | None, signal: int | None, reason: str
) -> None:
    found = slurm.parse_history(QUEUE_IDS, [load("slurm", "sacct-history-late")])
    said = found.jobs[job_id][index]
    assert (said.state, said.exit_code, said.signal) == (state, code, signal)
    assert re.search(reason, said.reason), said.reason


@pytest.mark.parametrize("name", ["sacct-history", "sacct-history-late"])
def test_of_history_only_what_has_ended_counts(name: str) -> None:
    """A job that squeue no longer knows does not run, whatever sacct has not heard yet."""
    found = slurm.parse_history([*QUEUE_IDS, "999999"], [load("slurm", name)])
    states = {said.state for tasks in found.jobs.values() for said in tasks.values()}
    assert states <= FINAL
    assert not {"20", "21", "28", "31", "999999"} & set(found.jobs)
    assert found.silent == {}


STATE_ROWS = [
    ("52|FAILED|5:0|None|n1|1", F, 5, None, ""),
    ("53|NODE_FAIL|0:0|None|n4|1", F, None, None, "its node failed"),
    ("54|COMPLETED|0:0|None|n4|1", C, 0, None, ""),
    ("55|FAILED|0:9|None|n1|1", F, None, 9, "killed by SIGKILL"),
    ("57|FAILED|0:11|None|n1|1", F, None, 11, "killed by SIGSEGV"),
    ("59|FAILED|127:0|None|n1|1", F, 127, None, ""),
    ("1|OUT_OF_MEMORY|0:125|None|n1|1", State.OOM, None, None, "exceeded its memory"),
    ("17|TIMEOUT|0:0|None|n1|60", State.TIMEOUT, None, None, "exceeded its walltime"),
    ("47|CANCELLED by 1000|0:0|None|n1|1", X, None, None, "by uid 1000"),
    ("47|CANCELLED|0:15|None|n1|1", X, None, 15, ""),
    ("8|PREEMPTED|0:0|None|n1|1", F, None, None, "preempted by another job"),
    ("8|DEADLINE|0:0|None|n1|1", State.TIMEOUT, None, None, "missed its deadline"),
    ("8|BOOT_FAIL|0:0|None|n1|1", F, None, None, "its node did not boot"),
]


@pytest.mark.parametrize(
    ("row", "state", "code", "signal", "reason"), STATE_ROWS, ids=[r[0] for r in STATE_ROWS]
)
def test_sacct_states(
    row: str, state: State, code: int | None, signal: int | None, reason: str
) -> None:
    job_id = row.partition("|")[0]
    said = accounts(row, job_id)[job_id][0]
    assert (said.state, said.exit_code, said.signal, said.reason) == (state, code, signal, reason)
    assert said.host != "None assigned"


def test_a_cancelled_array_and_its_tasks_that_ran() -> None:
    text = (
        "66_[3-6%2]|CANCELLED by 0|0:0|None|None assigned|0\n"
        "66_1|FAILED|3:0|None|n1|3\n66_4|COMPLETED|0:0|None|n1|3\n"
    )
    found = accounts(text, "66")["66"]
    assert {i: said.state for i, said in found.items()} == {1: F, 3: X, 4: C, 5: X, 6: X}


@pytest.mark.parametrize(
    ("name", "words"),
    [("dbd-down-sacct", "Problem talking to the database"), ("err-sacct-bad-id", "Bad job/step")],
)
def test_accounts_that_do_not_answer_are_silence(name: str, words: str) -> None:
    found = slurm.parse_history(["4"], [load("slurm", name)])
    assert found.jobs == {}
    assert words in found.silent["4"]


def test_a_job_that_sacct_does_not_know() -> None:
    result = load("slurm", "err-sacct-unknown-job")
    assert slurm.parse_history(["999999"], [result]) == Answer({}, {})


def test_a_list_that_sacct_cut_short() -> None:
    text = load("slurm", "sacct-array-truncated2").stdout + "|0:0|None||0"
    found = slurm.parse_history(["91"], [Completed(("sacct",), 0, text, "")])
    assert (found.jobs, list(found.silent)) == ({}, ["91"])


# ---- tokens


def test_tokens_are_in_the_names() -> None:
    results = [load("slurm", "squeue-find"), load("slurm", "sacct-find")]
    # Of `tabc1234` only sacct knows; `tok000001` has nine characters, so it is no token.
    assert slurm.parse_find(results) == {"tarr0001": "18", "tabc1234": "1", "tdeadbee": "11"}


@pytest.mark.parametrize("name", ["nodb-sacct", "dbd-down-sacct", "sacct-missing"])
def test_tokens_without_accounts(name: str) -> None:
    found = slurm.parse_find([load("slurm", "squeue-find"), load("slurm", name)])
    assert found["tarr0001"] == "18"


@pytest.mark.parametrize("name", ["ctld-down-squeue", "ctld-hung-squeue", "munge-down-squeue"])
def test_no_listing_is_no_absence(name: str) -> None:
    with pytest.raises(Unreachable):
        slurm.parse_find([load("slurm", name), load("slurm", "sacct-find")])


# ---- cancellation and ids


@pytest.mark.parametrize(
    ("job_id", "indices", "argvs"),
    [
        ("4", None, [["scancel", "4"]]),
        ("4", [0], [["scancel", "4"]]),
        ("4", [7], [["scancel", "4_7"]]),
        ("4", [3, 4, 7], [["scancel", "4_[3-4,7]"]]),
        ("4", [], []),
    ],
)
def test_cancel_argvs(job_id: str, indices: Sequence[int] | None, argvs: list[list[str]]) -> None:
    assert slurm.cancel_argvs(job_id, indices) == argvs


@pytest.mark.parametrize("name", [n for n in names("slurm", "scancel-*") if n != "scancel-bad-id"])
def test_cancelled_or_already_over(name: str) -> None:
    slurm.parse_cancel(load("slurm", name))


def test_not_cancelled() -> None:
    with pytest.raises(Unreachable, match="Unable to contact"):
        slurm.parse_cancel(load("slurm", "ctld-down-scancel"))
    with pytest.raises(Rejected, match="Invalid job id abc"):
        slurm.parse_cancel(load("slurm", "scancel-bad-id"))


@pytest.mark.parametrize(
    ("text", "owner"),
    [("4_7", ("4", 7)), ("4", ("4", 0)), ("4_[1-3]", ("", 0)), ("12[7].server", ("", 0)),
     ("manual-n1-4242", ("", 0)), ("L4_7", ("", 0)), ("", ("", 0)), ("4_", ("", 0))],
)  # fmt: skip
def test_owner(text: str, owner: tuple[str, int]) -> None:
    assert slurm.owner(text) == owner


# ---- the small parts


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("5-9%4", [5, 6, 7, 8, 9]), ("1-9:4", [1, 5, 9]), ("3,1-2", [1, 2, 3]), ("7", [7]),
     ("1-2,...", None), ("", None), ("-", None), ("a", None), ("1-999999999", None),
     ("9-3", []), ("1-3:0", [1, 2, 3])],
)  # fmt: skip
def test_expand(text: str, numbers: list[int] | None) -> None:
    assert expand(text) == numbers


@pytest.mark.parametrize("name", ["squeue-array-j", "squeue-array-truncated2-BITSTR0"])
def test_recorded_ids(name: str) -> None:
    first = load("slurm", name).stdout.split("|")[0].split()[0]
    found = split_id(first)
    assert found
    assert found[1]


def test_runs() -> None:
    assert runs([7, 3, 4]) == ["3-4", "7"]
    assert runs([]) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("3:0", (3, None)), ("0:9", (None, 9)), ("0:0", (0, None)), ("768", (3, None)),
     ("9", (None, 9)), ("4021", (None, 53)), ("18176", (71, None)), ("0", (0, None)),
     ("", (None, None)), ("x", (None, None)), ("-1", (None, None))],
)  # fmt: skip
def test_exit_status(text: str, found: tuple[int | None, int | None]) -> None:
    assert exit_status(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("0:03", 3), ("1:02:03", 3723), ("2-03:04:05", 183845), ("17", 17), ("INVALID", None),
     ("", None), ("1:2:3:4", None)],
)  # fmt: skip
def test_seconds(text: str, found: int | None) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize("word", [*STATES, "NEW_STATE", "", "COMPLETED "])
def test_every_word_has_a_state(word: str) -> None:
    said = report(word, "0:0", "None", "n1", "0:01")
    assert said.state == STATES.get(word.strip(), State.UNKNOWN)
    assert (said.state == C) == (word.strip() == "COMPLETED")


def test_a_complaint_is_one_line_without_the_usage() -> None:
    said = complaint(load("openpbs", "60-err-bad-option"))
    assert said == "qsub: invalid option -- 'Y'"
    assert complaint(Completed(("squeue",), 3, "", "")) == "squeue exited with 3"


# ---- anything at all

LINES = st.builds(
    "|".join,
    st.lists(
        st.sampled_from([*STATES, "4", "4_7", "4_[1-3%2]", "4_[1,...]", "0:9", "768", "n1", ""])
        | st.text(max_size=9),
        max_size=8,
    ),
)
RESULTS = st.builds(
    Completed,
    argv=st.just(("squeue",)),
    returncode=st.sampled_from([0, 1, 8, 127, 255, -9]),
    stdout=st.text() | st.lists(LINES, max_size=6).map("\n".join),
    stderr=st.text(),
)


@given(RESULTS)
def test_any_text_is_an_answer_or_a_pipeline_error(result: Completed) -> None:
    for parse in (slurm.parse_submit, slurm.parse_cancel):
        with contextlib.suppress(PipelineError):
            parse(result)
    with contextlib.suppress(PipelineError):
        slurm.parse_find([result, result])
    for ask in (slurm.parse_query, slurm.parse_history):
        found = ask(["4", "5"], [result])
        assert set(found.jobs) | set(found.silent) <= {"4", "5"}
    slurm.owner(result.stdout)
