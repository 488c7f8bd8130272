"""PBS on recordings of a real OpenPBS: argv out, text in."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError, Rejected, Unreachable
from pipeline.schedulers.base import Answer, Completed, Submission, TaskReport
from pipeline.schedulers.pbs import PBS
from pipeline.schedulers.pbs_json import decode
from pipeline.schedulers.pbs_states import STATES, report, reports
from pipeline.states import State
from tests.pipeline.schedulers.recorded import load, names

pbs = PBS()
C, F, X = State.COMPLETED, State.FAILED, State.CANCELLED
Q, H, R = State.QUEUED, State.HELD, State.RUNNING


def history(name: str, *ids: str) -> Answer:
    return pbs.parse_history(ids, [load("openpbs", name)])


def answer(text: str, code: int = 0, stderr: str = "", past: bool = False) -> Answer:
    result = Completed(("qstat",), code, text, stderr)
    return (pbs.parse_history if past else pbs.parse_query)(["1.vm"], [result])


# ---- submission

SENT = Submission(script="/p/jobs/x.pbs", name="x", token="tabc1234", attempt=3)


@pytest.mark.parametrize(
    ("submission", "argv"),
    [
        (SENT, ["qsub", "-v", "PIPELINE_TOKEN=tabc1234,PIPELINE_ATTEMPT=3", "/p/jobs/x.pbs"]),
        (
            Submission("-x.pbs", "x", "t1", 1, array=5, after=("1.vm", "2[].vm")),
            ["qsub", "-v", "PIPELINE_TOKEN=t1,PIPELINE_ATTEMPT=1",
             "-W", "depend=afterany:1.vm:2[].vm", "./-x.pbs"],
        ),
    ],
    ids=["plain", "after-and-dash"],
)  # fmt: skip
def test_submit_argv(submission: Submission, argv: list[str]) -> None:
    assert pbs.submit_argv(submission) == argv


@pytest.mark.parametrize(
    ("name", "job_id"),
    [("01-qsub-basic", "1.vm"), ("10-qsub-array", "2[].vm"), ("31-dep-afterok-unknown", "27.vm"),
     ("60-err-empty-script", "193.vm"), ("62-nohistory-dep-on-finished", "213.vm")],
)  # fmt: skip
def test_accepted(name: str, job_id: str) -> None:
    assert pbs.parse_submit(load("openpbs", name)) == job_id


@pytest.mark.parametrize("text", ["", "Welcome to n1\n", "2[7].vm\n", "12 jobs\nare queued"])
def test_an_answer_without_an_id_may_still_be_a_job(text: str) -> None:
    with pytest.raises(Unreachable, match="no job id"):
        pbs.parse_submit(Completed(("qsub",), 0, text, ""))


def test_an_id_among_a_sites_own_words() -> None:
    assert pbs.parse_submit(Completed(("qsub",), 0, "Charging ab12.\n77.pbs-1\n", "")) == "77.pbs-1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("17-qsub-array-list", "illegal -J value"),
        ("18h-qsub-array-too-big", r"queue size limit\. .*`max_array` in the site's file"),
        ("31-dep-afterok-subjob", "illegal -W value"),
        ("60-err-bad-directive", "directive error: --zzz"),
        ("60-err-bad-option", "invalid option -- 'Y'"),
        ("60-err-bad-resource-name", r"Unknown resource: nosuchres\. .*no such resource"),
        ("60-err-bad-resource-value", r"select\.ncpus\. Correct the value"),
        ("60-err-bad-walltime", r"Resource_List\.walltime\. Correct the value"),
        ("60-err-no-script", "No such file or directory"),
        ("60-err-root-submit-no-acl", "Bad UID"),
        ("60-err-unknown-queue", r"Unknown queue\. `qstat -Q`"),
        ("61-err-queue-disabled", r"not enabled\. .*choose another"),
        ("61-err-queue-limit", r"per-user limit\. Wait"),
        ("61-err-exceeds-queue-max", r"resource limits\. Ask for less"),
        ("61-err-exceeds-walltime", r"resource limits\. Ask for less"),
    ],
)
def test_rejected(name: str, words: str) -> None:
    with pytest.raises(Rejected, match=words) as error:
        pbs.parse_submit(load("openpbs", name))
    assert "\n" not in str(error.value)
    assert "-A account_string" not in str(error.value)  # qsub's usage text


@pytest.mark.parametrize(
    "result",
    [
        load("openpbs", "92-down-qsub"),
        load("openpbs", "92-down-qsub-bg"),
        Completed(("qsub",), 255, "", ""),
        Completed(("qsub",), 1, "", "qsub: cannot connect to server pbs (errno=15010)"),
        Completed(("qsub",), 212, "", "qsub: Server is shutting down"),
        Completed(("qsub",), -15, "", ""),
    ],
    ids=["down", "down-background", "255", "words", "shutdown", "killed"],
)
def test_nobody_answered_a_submission(result: Completed) -> None:
    with pytest.raises(Unreachable):
        pbs.parse_submit(result)


# ---- plain jobs


def test_one_command_a_job() -> None:
    assert pbs.query_argvs(["1.vm", "2[].vm"]) == [
        ["qstat", "-t", "-f", "-F", "json", "1.vm"], ["qstat", "-t", "-f", "-F", "json", "2[].vm"],
    ]  # fmt: skip
    assert pbs.history_argvs(["2[].vm"]) == [["qstat", "-x", "-t", "-f", "-F", "json", "2[].vm"]]


PLAIN = [
    ("52-qstat-held-json", "178.vm", H, None, None, "held by its owner"),
    ("52-qstat-queued-cannot-run-json", "181.vm", Q, None, None, "Can Never Run"),
    ("03-qstat-f-json-running", "1.vm", R, None, None, "^$"),
    ("56-qstat-x-json-170.vm", "170.vm", C, 0, None, "^$"),
    ("56-qstat-x-json-171.vm", "171.vm", F, 5, None, "^$"),
    ("56-qstat-x-json-172.vm", "172.vm", F, 255, None, "^$"),
    ("56-qstat-x-json-173.vm", "173.vm", F, 137, 9, "SIGKILL"),
    ("56-qstat-x-json-174.vm", "174.vm", F, 143, 15, "SIGTERM"),
    ("56-qstat-x-json-175.vm", "175.vm", F, 139, 11, "SIGSEGV"),
    ("56-qstat-x-json-176.vm", "176.vm", State.TIMEOUT, None, None, "walltime"),
    ("56-qstat-x-json-177.vm", "177.vm", C, 0, None, "^$"),
    ("56-qstat-x-json-178.vm", "178.vm", C, 0, None, "^$"),
    ("56-qstat-x-json-179.vm", "179.vm", X, None, 15, "^terminated by user@vm$"),
    ("56-qstat-x-json-180.vm", "180.vm", X, None, 15, "^terminated by user@vm$"),
    ("56-qstat-x-json-181.vm", "181.vm", X, None, None, "Can Never Run"),
    ("56-qstat-x-json-182.vm", "182.vm", F, 127, None, "^$"),
    ("56-qstat-x-json-183.vm", "183.vm", C, 0, None, "^$"),
    ("59-qstat-x-json-184.vm", "184.vm", State.OOM, None, None, "memory"),
    ("59-qstat-x-json-185.vm", "185.vm", State.TIMEOUT, None, None, "walltime"),
    ("59-qstat-x-json-186.vm", "186.vm", State.TIMEOUT, None, None, "walltime"),
    ("59-qstat-x-json-187.vm", "187.vm", X, None, 9, "terminated"),
    ("59-qstat-x-json-188.vm", "188.vm", F, None, 9, "SIGKILL"),
    ("59-qstat-x-json-189.vm", "189.vm", R, None, None, "run 2 of it"),
    ("102-json-300.vm", "300.vm", R, None, None, "^$"),
    ("102-json-301.vm", "301.vm", H, None, None, "waits for other jobs"),
    ("102-json-302.vm", "302.vm", H, None, None, "waits for other jobs"),
    ("102-json-303.vm", "303.vm", R, None, None, "^$"),
    ("102-json-304.vm", "304.vm", X, None, None, "deleted, never run"),
    ("102-json-305.vm", "305.vm", H, None, None, "waits for other jobs"),
    ("105-json-300", "300.vm", X, None, 15, "terminated by user@vm"),
    ("105-json-301", "301.vm", X, None, None, "depends on failed"),
    ("105-json-302", "302.vm", C, 0, None, "^$"),
    ("105-json-306", "306.vm", H, None, None, "waits for other jobs"),
    ("106-json-312.vm", "312.vm", X, None, None, "Can Never Run"),
    ("106-json-313.vm", "313.vm", H, None, None, "waits for other jobs"),
    ("106-json-318.vm", "318.vm", X, None, None, "depends on failed"),
    ("106-json-319.vm", "319.vm", C, 0, None, "^$"),
    ("107-json-323.vm", "323.vm", F, 1, None, "^$"),
    ("107-json-324.vm", "324.vm", X, None, None, "depends on failed"),
    ("107-json-326.vm", "326.vm", X, None, None, "depends on failed"),
    ("107-json-327.vm", "327.vm", X, None, None, "depends on failed"),
    ("108-json-329.vm", "329.vm", R, None, None, "run 2 of it"),
    ("108-json-330.vm", "330.vm", F, None, None, "daemon restarted"),
    ("55-json-two-ids", "170.vm", C, 0, None, "^$"),
]


@pytest.mark.parametrize(
    ("name", "job_id", "state", "code", "signal", "reason"), PLAIN, ids=[row[0] for row in PLAIN]
)
def test_a_plain_job(
    name: str, job_id: str, state: State, code: int | None, signal: int | None, reason: str
) -> None:
    found = history(name, job_id)
    assert found.silent == {}
    assert list(found.jobs) == [job_id]
    said = found.jobs[job_id][0]
    assert (said.state, said.exit_code, said.signal) == (state, code, signal)
    assert re.search(reason, said.reason), said.reason


def test_where_and_how_long() -> None:
    said = history("56-qstat-x-json-176.vm", "176.vm").jobs["176.vm"][0]
    assert (said.host, said.elapsed_s) == ("vm", 17)
    hosts = {"job_state": "R", "exec_host": "n1/0*4+n2/1*4+n1/5"}
    assert report(hosts) == TaskReport(R, host="n1,n2")


# From a listing of everything, so 45 jobs more, each as its own attributes have it.
EVERYTHING = json.loads(load("openpbs", "36-qstat-x-json-after-deps-on-finished").stdout)["Jobs"]
NEVER_RAN = {"17.vm", "20.vm", "22.vm", "27.vm", "29.vm", "33.vm"}


@pytest.mark.parametrize("job_id", [key for key in EVERYTHING if "[" not in key])
def test_every_job_of_a_listing(job_id: str) -> None:
    found = reports(job_id, EVERYTHING, history=True)
    assert found is not None
    assert list(found) == [0]
    if job_id in NEVER_RAN:
        assert (found[0].state, found[0].exit_code) == (X, None)
        assert "depends on" in found[0].reason
    else:
        code = EVERYTHING[job_id]["Exit_status"]
        assert (found[0].state, found[0].exit_code) == (C if code == 0 else F, code)


@pytest.mark.parametrize("letter", [*STATES, "?", "", "QQ"])
def test_every_letter_has_a_state(letter: str) -> None:
    said = report({"job_state": letter})
    assert said.state == STATES.get(letter, State.UNKNOWN)
    assert said.state != State.COMPLETED


@pytest.mark.parametrize("code", [*range(-40, 300), "7", 7.5, True, None, [], "x", 10**30])
def test_only_an_exit_status_of_zero_is_success(code: object) -> None:
    said = report({"job_state": "F", "stime": "x", "substate": 93, "Exit_status": code})
    assert (said.state == C) == (code == 0 and code is not False)
    assert said.exit_code is None or 0 <= said.exit_code < 256
    assert said.signal is None or 1 <= said.signal <= 64


@pytest.mark.parametrize(
    ("code", "state"), [(71, State.OOM), (78, State.BLOCKED), (65, F), (70, F), (75, F)]
)
def test_a_payloads_own_codes(code: int, state: State) -> None:
    assert report({"job_state": "F", "Exit_status": code}).state == state


# ---- arrays

PARTIAL = {1: R, 2: X, 3: X, 4: X, **dict.fromkeys(range(5, 11), R), 12: Q}
ARRAYS = [
    ("13-qstat-array-t-running-json", "2[].vm",
     {**dict.fromkeys(range(1, 10), R), 7: F, **dict.fromkeys(range(10, 21), Q)}),
    ("12-qstat-array-parent-running-json", "2[].vm", dict.fromkeys(range(10, 21), Q)),
    ("71-json-max", "215[].vm", {9: Q, 10: Q}),
    ("21-qstat-x-t-array-finished-json", "2[].vm", {**dict.fromkeys(range(1, 21), C), 7: F}),
    ("58-qstat-array-partial-json", "190[].vm", {**PARTIAL, 11: X}),
    ("58-qstat-array-qdeleted-json", "190[].vm", dict.fromkeys(range(1, 13), X)),
    ("70-final-array-partial-del-json", "214[].vm",
     {**dict.fromkeys(range(1, 13), C), 2: X, 11: X}),
    ("73-final-rerun-json", "217[].vm", dict.fromkeys((1, 2, 3), C)),
    ("93-json-after-restart", "257[].vm",
     {**dict.fromkeys(range(1, 10), C), 2: F, **dict.fromkeys(range(10, 18), R),
      **dict.fromkeys(range(18, 25), Q)}),
    ("109-json-after-crash", "331[].vm", {**dict.fromkeys(range(1, 13), C), 3: F}),
    ("106-json-317_arr.vm", "317[].vm", dict.fromkeys((1, 2, 3), X)),
    ("107-json-328_arr.vm", "328[].vm", dict.fromkeys((1, 2, 3), X)),
    ("106-json-320_arr.vm", "320[].vm", {}),
    ("100-json", "293[].vm", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "job_id", "states"), ARRAYS, ids=[row[0] for row in ARRAYS])
def test_an_array(name: str, job_id: str, states: dict[int, State]) -> None:
    found = history(name, job_id)
    assert found.silent == {}
    assert {i: r.state for i, r in found.jobs.get(job_id, {}).items()} == states


def test_thousands_of_tasks_are_taken_from_the_parents_ranges() -> None:
    result = load("openpbs", "82-qstat-parent-only-1000-running-json")
    job_id = next(iter(decode(result.stdout)["Jobs"]))
    found = pbs.parse_query([job_id], [result]).jobs[job_id]
    assert len(found) > 500
    assert {said.state for said in found.values()} == {Q}


def test_without_history_an_ended_subjob_without_a_record_is_not_reported() -> None:
    """It may have run (history off, as recorded) or have been deleted in the queue."""
    name, job_id = "62-nohistory-array-json", "212[].vm"
    found = pbs.parse_query([job_id], [load("openpbs", name)])
    assert {i: r.state for i, r in found.jobs[job_id].items()} == {1: R, 3: R}
    partial = pbs.parse_query(["190[].vm"], [load("openpbs", "58-qstat-array-partial-json")])
    assert {i: r.state for i, r in partial.jobs["190[].vm"].items()} == PARTIAL


def test_the_parents_false_exit_status_is_never_a_tasks() -> None:
    for name in names("openpbs", "*json*"):
        for key, attributes in _jobs(name).items():
            if "array_index" not in attributes and re.search(r"\[\d+\]", key):
                parent = re.sub(r"\[\d+\]", "[]", key)
                found = reports(parent, {key: attributes}, history=True) or {}
                assert all(said.state in (Q, X) for said in found.values()), (name, key)


def _jobs(name: str) -> dict[str, dict[str, object]]:
    try:
        found = decode(load("openpbs", name).stdout).get("Jobs", {})
    except ValueError:
        return {}
    return dict(found)


def test_a_held_arrays_tasks_are_held() -> None:
    jobs = {
        "2[].vm": {"job_state": "H", "Hold_Types": "u", "array_indices_remaining": "1-3"},
        "2[1].vm": {"job_state": "Q", "Hold_Types": "u"},
    }
    found = reports("2[].vm", jobs, history=False)
    assert found == {i: TaskReport(H, reason="held by its owner") for i in (1, 2, 3)}


def test_an_id_matches_whatever_name_the_server_gives_itself() -> None:
    jobs = {"12.pbs-1.site.org": {"job_state": "R"}}
    assert reports("12.pbs-1", jobs, history=False) == {0: TaskReport(R)}
    assert reports("1.pbs-1", jobs, history=False) is None


# ---- known to nobody, or no answer


@pytest.mark.parametrize(
    "name",
    ["60-err-qstat-unknown-json", "60-err-qstat-x-unknown-json", "60-err-qstat-unknown-subjob",
     "60-err-qstat-finished-no-x-json", "62-nohistory-qstat-x-json-finished",
     "97-old-qstat-unknown"],
)  # fmt: skip
def test_a_job_that_pbs_does_not_know(name: str) -> None:
    assert history(name, "170.vm") == Answer({}, {})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("92-down-qstat-json", "cannot connect to server"),
        ("92-down-qstat", "cannot connect to server"),
        ("60-err-qstat-unknown-server", "illegally formed"),
        ("60-err-qstat-malformed", "Unknown queue"),
        ("104-qstat-u-json", "said nothing|cannot be read"),
        ("97-old-qstat-empty", "said nothing of it"),
        ("55-json-two-ids", "said nothing of it"),
    ],
)
def test_silence_has_a_reason(name: str, words: str) -> None:
    found = history(name, "999.vm")
    assert found.jobs == {}
    assert re.search(words, found.silent["999.vm"])


def test_each_id_has_its_own_answer() -> None:
    results = [
        load("openpbs", "56-qstat-x-json-170.vm"),
        load("openpbs", "60-err-qstat-x-unknown-json"),
        load("openpbs", "92-down-qstat-json"),
    ]
    found = pbs.parse_history(["170.vm", "99999.vm", "3.vm", "4.vm"], results)
    assert list(found.jobs) == ["170.vm"]
    assert set(found.silent) == {"3.vm", "4.vm"}


@pytest.mark.parametrize("part", range(0, 100, 3))
def test_half_an_answer_is_none(part: int) -> None:
    text = load("openpbs", "21-qstat-x-t-array-finished-json").stdout
    result = Completed(("qstat",), 0, text[: len(text) * part // 100], "")
    found = pbs.parse_query(["2[].vm"], [result])
    assert found.jobs == {}
    assert set(found.silent) == {"2[].vm"}


# ---- the JSON that is none


def test_a_released_clients_listing_is_read() -> None:
    """Raw control characters, `\\x`, bare 1e5 and all: every job of it."""
    text = load("openpbs", "98-old-qstat-json-backslash").stdout
    with pytest.raises(ValueError, match="Invalid"):
        json.loads(text, strict=False)
    jobs = decode(text)["Jobs"]
    assert len(jobs) == len(re.findall(r'^        "\d+(?:\[\])?\.vm":', text, re.MULTILINE))
    assert jobs["291.vm"]["Account_Name"] == 'acct "q" \\x'
    assert jobs["284.vm"]["Job_Name"] == 1e5
    assert {jobs[key]["job_state"] for key in jobs} <= {"F", "Q", "R", "H"}


def test_a_released_client_on_an_array() -> None:
    found = history("97-old-qstat-array", "257[].vm").jobs["257[].vm"]
    assert len(found) == 24
    assert found[2].state == F


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 007}', {"a": "007"}),
        ('{"a": 1e5, "b": 1e5x}', {"a": 1e5, "b": "1e5x"}),
        ('{"a": "x\ny\t\\q\\"z\\u00e9"}', {"a": 'x\ny\t\\q"zé'}),
        ('{"a": , "b": }', {"a": None, "b": None}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"a": {"b": 1}, "a": {"c": 2}}', {"a": {"b": 1, "c": 2}}),
        ('{"a": [1, x, "\\q"], }', {"a": [1, "x", "\\q"]}),
        ('motd\n{"a": 1}\ntrailing', {"a": 1}),
        ("{}", {}),
    ],
)
def test_the_tolerant_decoder(text: str, value: object) -> None:
    assert decode(text) == value


@pytest.mark.parametrize(
    "text", ["", "no", "[1]", "{", '{"a"', '{"a":', '{"a": "b', '{"a": {"b": 1}', '{"a": 1 2',
             "{" * 500, '{"a":' * 500, '{"a": [' + "[" * 100_000]
)  # fmt: skip
def test_what_the_decoder_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)


# ---- tokens


def listing(**jobs: object) -> Completed:
    return Completed(
        ("qstat",), 0, json.dumps({"Jobs": {f"{k[1:]}.vm": v for k, v in jobs.items()}}), ""
    )


def test_tokens_are_found_wherever_the_client_puts_them() -> None:
    result = listing(
        j1={"Variable_List": {"PIPELINE_TOKEN": "t0000001"}},
        j2={"Variable_List": {"EMPTY": ",PIPELINE_TOKEN=t0000002,X=1"}},
        j3={"Variable_List": {}, "Submit_arguments": "-v PIPELINE_TOKEN=t0000003,A=1 x.pbs"},
        j4={"Variable_List": {"PIPELINE_TOKEN": 12345678}},
        j5={"Variable_List": "A=1,PIPELINE_TOKEN=t0000005"},
        j6={"Variable_List": None},
        j7="odd",
    )
    found = pbs.parse_find([result])
    assert found == {f"t000000{n}": f"{n}.vm" for n in (1, 2, 3, 5)}


@pytest.mark.parametrize(
    "name",
    ["36-qstat-x-json-after-deps-on-finished", "98-old-qstat-json-backslash",
     "03-qstat-f-json-running", "97-old-qstat-empty", "62-nohistory-qstat-x-json-finished"],
)  # fmt: skip
def test_listings_without_our_jobs(name: str) -> None:
    assert pbs.parse_find([load("openpbs", name)]) == {}


@pytest.mark.parametrize(
    "result",
    [load("openpbs", "92-down-qstat-json"), Completed(("qstat",), 0, "", ""),
     Completed(("qstat",), 0, '{"Jobs": {"1.vm": {', "")],
    ids=["down", "empty", "half"],
)  # fmt: skip
def test_no_listing_is_no_absence(result: Completed) -> None:
    with pytest.raises(Unreachable):
        pbs.parse_find([listing(), result])


def test_both_listings_are_asked_for() -> None:
    assert pbs.find_argvs() == [
        ["qstat", "-f", "-F", "json"], ["qstat", "-x", "-f", "-F", "json"],
    ]  # fmt: skip


# ---- deletion and ids


@pytest.mark.parametrize(
    ("job_id", "indices", "argvs"),
    [
        ("12.vm", None, [["qdel", "12.vm"]]),
        ("12[].vm", None, [["qdel", "12[].vm"]]),
        ("12.vm", [0], [["qdel", "12.vm"]]),
        ("12[].vm", [7], [["qdel", "12[7].vm"]]),
        ("12[].vm", [3, 4, 7], [["qdel", "12[3-4].vm"], ["qdel", "12[7].vm"]]),
        ("12[].vm", [], []),
    ],
)
def test_cancel_argvs(job_id: str, indices: Sequence[int] | None, argvs: list[list[str]]) -> None:
    assert pbs.cancel_argvs(job_id, indices) == argvs


@pytest.mark.parametrize(
    "name",
    ["58-qdel-array", "58-qdel-subjob", "58-qdel-subjob-range", "60-err-qdel-finished",
     "60-err-qdel-finished-array", "60-err-qdel-unknown"],
)  # fmt: skip
def test_deleted_or_already_over(name: str) -> None:
    pbs.parse_cancel(load("openpbs", name))


def test_not_deleted() -> None:
    with pytest.raises(Unreachable, match="Couldn't connect"):
        pbs.parse_cancel(load("openpbs", "92-down-qdel"))
    with pytest.raises(Rejected, match="illegally formed"):
        pbs.parse_cancel(load("openpbs", "58-qdel-subjob-list"))


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("12[7].server", ("12[].server", 7)), ("12.server", ("12.server", 0)),
        ("12[].server", ("12[].server", 0)), ("12[7]", ("12[]", 7)),
        ("12[70000].a.b.c", ("12[].a.b.c", 70000)), ("manual-n1-4242", ("", 0)),
        ("L12_7", ("", 0)), ("", ("", 0)), ("12[x].s", ("", 0)),
    ],
)  # fmt: skip
def test_owner(text: str, owner: tuple[str, int]) -> None:
    assert pbs.owner(text) == owner


# ---- anything at all

RESULTS = st.builds(
    Completed,
    argv=st.just(("qstat",)),
    returncode=st.sampled_from([0, 1, 2, 35, 153, 162, 255, -9]),
    stdout=st.text() | st.text(alphabet='{}[]":,\\1e.n Jobs'),
    stderr=st.text(),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["job_state", "substate", "Exit_status", "array_index", "stime", "comment", "Hold_Types",
     "depend", "exec_host", "resources_used", "array_indices_remaining", "run_count",
     "array_indices_submitted", "Variable_List", "Submit_arguments"]
)  # fmt: skip
LETTERS = st.sampled_from([*STATES, "F", "X", "?"])
JOBS = st.dictionaries(
    st.sampled_from(["1.vm", "1[].vm", "1[2].vm", "1[3].vm", "2.vm", "x"]),
    st.dictionaries(KEYS, VALUES | LETTERS, max_size=8) | VALUES,
    max_size=5,
)


@given(RESULTS)
def test_any_text_is_an_answer_or_a_pipeline_error(result: Completed) -> None:
    for parse in (pbs.parse_submit, pbs.parse_cancel):
        with contextlib.suppress(PipelineError):
            parse(result)
    with contextlib.suppress(PipelineError):
        pbs.parse_find([result, result])
    for past in (False, True):
        found = answer(result.stdout, result.returncode, result.stderr, past)
        assert set(found.jobs) | set(found.silent) <= {"1.vm"}
    pbs.owner(result.stdout)


@given(JOBS, st.booleans())
def test_any_attributes_are_read(jobs: dict[str, object], past: bool) -> None:
    text = json.dumps({"Jobs": jobs})
    for job_id in ("1.vm", "1[].vm"):
        results = [Completed(("qstat",), 0, text, "")]
        found = (pbs.parse_history if past else pbs.parse_query)([job_id], results)
        for said in found.jobs.get(job_id, {}).values():
            assert isinstance(said, TaskReport)
    pbs.parse_find([Completed(("qstat",), 0, text, "")])


@given(VALUES.filter(lambda value: isinstance(value, dict)))
def test_the_decoder_reads_what_json_writes(value: dict[str, object]) -> None:
    text = json.dumps(value, allow_nan=False) if _finite(value) else "{}"
    assert decode(text) == json.loads(text)


def _finite(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
