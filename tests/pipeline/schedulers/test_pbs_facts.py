"""What a real OpenPBS does, a test a fact, and that what we render and ask takes it into account.

docs/schedulers.md lists the facts. What an answer means is tested in test_pbs.py, the fake PBS
against the same recordings in tests/fakepbs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.attempts import new_token
from pipeline.errors import Rejected
from pipeline.render import _short_name, render
from pipeline.schedulers.base import WAITS_FOR_JOBS, Completed, Submission, TaskReport
from pipeline.schedulers.pbs import PBS
from pipeline.schedulers.pbs_json import decode
from pipeline.schedulers.pbs_states import report, reports
from pipeline.schedulers.slurm import Slurm
from pipeline.schedulers.torque import Torque
from pipeline.states import State
from tests.golden.cases import array_job, make_job
from tests.pipeline.schedulers.recorded import command, load, names

pbs = PBS()
EVERYTHING = decode(load("openpbs", "36-qstat-x-json-after-deps-on-finished").stdout)["Jobs"]


def said(name: str, job_id: str) -> TaskReport:
    """What a recorded answer says of a plain job."""
    return pbs.parse_history([job_id], [load("openpbs", name)]).jobs[job_id][0]


# ---- qsub -J


def takes(text: str) -> bool:
    """The rule that the recordings show: a range of two or more, a step, a limit."""
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", text)
    return match is not None and int(match[1]) < int(match[2])


SUBMITTED = [n for n in names("openpbs") if re.search(r"qsub .*?-J \S+ ", command("openpbs", n))]


@pytest.mark.parametrize("name", SUBMITTED)
def test_which_forms_of_j_are_taken(name: str) -> None:
    found = re.search(r"-J (\S+)", command("openpbs", name))
    assert found
    refused = load("openpbs", name).returncode == 2
    assert takes(found[1]) == (not refused), found[1]


def test_the_recordings_of_j_are_there() -> None:
    assert len(SUBMITTED) >= 14


@given(
    st.sets(st.integers(1, 40), min_size=1, max_size=40),
    st.sampled_from([0, 1, 4]),
    st.sampled_from(["pbs", "torque", "slurm"]),
)
def test_any_set_of_tasks_is_one_submission(tasks: set[int], throttle: int, scheduler: str) -> None:
    """A dense array with a map in its script, or a plain job: no scheduler sees a list."""
    chosen = sorted(tasks)
    job = array_job(scheduler=scheduler, tasks=40, throttle=throttle)
    text = render(job, attempt_tasks=chosen)
    option = {"pbs": "#PBS -J ", "torque": "#PBS -t ", "slurm": "#SBATCH --array="}[scheduler]
    lines = [line.removeprefix(option) for line in text.splitlines() if line.startswith(option)]
    frozen = re.search(r"^INDEX_MAP=\([^\n]*\n(.*?)\)$", text, re.MULTILINE | re.DOTALL)
    if len(chosen) == 1:
        assert (lines, frozen) == ([], None)
        assert f"\nTASK={chosen[0]}\n" in text
        return
    assert lines == [f"1-{len(chosen)}" + (f"%{throttle}" if throttle else "")]
    assert takes(lines[0])
    assert len(chosen) == 40 or (frozen and [int(word) for word in frozen[1].split()] == chosen)


def test_an_array_over_the_limit_is_refused_with_the_key_to_set() -> None:
    with pytest.raises(Rejected, match="queue size limit.*`max_array` in the site's file"):
        pbs.parse_submit(load("openpbs", "18h-qsub-array-too-big"))


def test_jobs_over_a_users_limit_are_refused_one_by_one() -> None:
    """Three of four are queued, the fourth is not: recorded in one go."""
    result = load("openpbs", "61-err-queue-limit2")
    assert re.findall(r"rc=(\d+)", result.stdout) == ["0", "0", "0", "38"]
    with pytest.raises(Rejected, match=r"per-user limit\. Wait until some of your jobs"):
        pbs.parse_submit(Completed(("qsub",), 38, "", result.stderr))


# ---- qsub -v, -N


def test_what_v_takes_unharmed_is_all_that_we_send() -> None:
    """A quote gives `cannot send environment`, a comma needs a backslash: we send neither."""
    sent = load("openpbs", "42-qsub-v-each-bs").stdout
    refused = re.findall(r"^bs \w+ (.*) arg .* rc 1 qsub: cannot send", sent, re.MULTILINE)
    assert refused == ["'quote\"x'", '"sin\'gle"']
    values = pbs.submit_argv(Submission("x.pbs", "x", new_token(), 12))[2]
    assert re.fullmatch(r"PIPELINE_TOKEN=t[0-9a-f]{7},PIPELINE_ATTEMPT=12", values)


def test_what_looks_like_a_number_comes_back_as_one() -> None:
    """So a token starts with a letter: as a number it would not be found again."""
    job = EVERYTHING["2[].vm"]
    assert "-v SLEEP=4,FAILIDX=7" in job["Submit_arguments"]
    assert (job["Variable_List"]["SLEEP"], job["Variable_List"]["FAILIDX"]) == (4, 7)
    for _ in range(200):
        with pytest.raises(ValueError, match="Expecting value"):
            json.loads(new_token())


NAMES = re.findall(r"qsub -N (\"[^\"]*\"|\S+) follow", command("openpbs", "45-jobname-numeric"))
REFUSED = {'"a b"', '"é"', '"a/b"'}


def test_which_names_are_taken() -> None:
    result = load("openpbs", "45-jobname-numeric")
    taken = [name for name in NAMES if name not in REFUSED and "printf" not in name]
    assert len(result.stdout.split()) == len(taken) == 6
    assert result.stderr.count("illegal -N value") == len(REFUSED)
    assert "too long" in result.stderr


@pytest.mark.parametrize("name", [*NAMES, "x" * 236, "", "a\tb"])
def test_any_job_gets_a_name_that_is_taken(name: str) -> None:
    word = _short_name(name.strip('"'), 230)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.+-]*", word)
    assert len(word) <= 230


# ---- qstat


def test_an_id_is_named_whenever_subjobs_are_asked_for() -> None:
    """`qstat -t -x` without one did not end on a server with many: 124 is `timeout`'s."""
    assert load("openpbs", "84-qstat-all-x-t-json").returncode == 124
    ids = ["1[].vm", "2.vm"]
    for argv in [*pbs.query_argvs(ids), *pbs.history_argvs(ids), *pbs.find_argvs()]:
        assert "-t" not in argv or argv[-1] in ids
        assert "-u" not in argv, "it conflicts with -f"
        assert sum(word.endswith(".vm") for word in argv) <= 1, "of two, the second is left out"


@pytest.mark.parametrize("job_id", ["286.vm", "287.vm"])
def test_a_released_client_prints_both_of_two(job_id: str) -> None:
    assert said("97-old-qstat-two-ids", job_id).state == State.COMPLETED


def test_both_clients_tell_the_same() -> None:
    """Of one server, by the current client and by 23.06's, whose JSON is none."""
    new, old = (
        decode(load("openpbs", f"98-{which}-qstat-json-backslash").stdout)["Jobs"]
        for which in ("new", "old")
    )
    assert set(new) == set(old)
    assert len(new) > 50
    for job_id in new:
        assert reports(job_id, new, True) == reports(job_id, old, True), job_id


def test_a_deleted_job_still_runs_for_a_while() -> None:
    """qdel returns at once; the comment says `terminated` before the job has gone."""
    result = load("openpbs", "53-qstat-E-state")
    assert decode(result.stdout)["Jobs"]["179.vm"]["comment"].endswith("terminated by user@vm")
    assert said("53-qstat-E-state", "179.vm").state == State.RUNNING


def test_a_code_tells_nothing_of_a_deletion_the_substate_does() -> None:
    jobs = decode(load("openpbs", "58-qstat-array-partial-json").stdout)["Jobs"]
    jobs |= {k: v for k, v in _jobs("58-qstat-array-qdeleted-json").items() if k not in jobs}
    jobs["190[10].vm"] = _jobs("58-qstat-array-qdeleted-json")["190[10].vm"]
    deleted = [v for v in jobs.values() if v["substate"] == 91 and "array_index" in v]
    assert {v["Exit_status"] for v in deleted} == {0, 143, 271}
    assert {report(v).state for v in deleted} == {State.CANCELLED}


def _jobs(name: str) -> dict[str, dict[str, object]]:
    return dict(decode(load("openpbs", name).stdout)["Jobs"])


def test_a_log_that_was_lost_leaves_an_exit_status_of_zero() -> None:
    """Its script ended with 1: what the server says proves no success, and the log is our own."""
    lost = _jobs("56-qstat-x-json-183.vm")["183.vm"]
    assert (lost["Exit_status"], lost["Stageout_status"]) == (0, 0)
    text = render(make_job())
    assert 'exec >>"$LOGS/$TASK.$JOB_ID.log" 2>&1' in text
    assert "#PBS -W umask=022" in text


# ---- dependencies


def parent_of(kind: str, parent: str) -> TaskReport:
    """The job that was submitted with this dependency."""
    wanted = f"depend={kind}:{parent} "
    job_id = next(k for k, v in EVERYTHING.items() if wanted in v.get("Submit_arguments", ""))
    found = reports(job_id, EVERYTHING, history=True)
    assert found
    return found[0]


def test_afterok_on_an_array_follows_the_last_to_finish() -> None:
    """13[] failed first, 14[] last; both show Exit_status 0 and `failed`."""
    for parent in ("13[].vm", "14[].vm"):
        assert EVERYTHING[parent]["Exit_status"] == 0
        assert EVERYTHING[parent]["comment"].endswith("and failed")
    assert parent_of("afterok", "13[].vm").state == State.COMPLETED, "it ran in spite of a failure"
    assert parent_of("afterok", "14[].vm").state == State.CANCELLED


@pytest.mark.parametrize("scheduler", [PBS(), Torque(), Slurm()], ids=lambda one: one.name)
def test_we_never_trust_afterok(scheduler: PBS | Torque | Slurm) -> None:
    """afterany, and a gate in the script that looks for the receipts of success itself."""
    ids = {"pbs": ("1.vm", "2[].vm"), "torque": ("1.h", "2[].h"), "slurm": ("1", "2")}
    sent = Submission("x", "x", "t1", 1, after=ids[scheduler.name])
    assert not re.search("afterok|aftercorr|afternotok", " ".join(scheduler.submit_argv(sent)))
    folder = Path(__file__).parents[3] / "job_templates"
    for path in folder.rglob("*.j2"):
        assert "after" + "ok" not in path.read_text(), path


@pytest.mark.parametrize("parent", ["12.vm", "14[].vm", "17.vm"])
def test_afterany_runs_whatever_became_of_the_other(parent: str) -> None:
    """Failed, an array's last task failed, deleted by its own dependency."""
    assert parent_of("afterany", parent).state == State.COMPLETED


def test_an_unknown_id_is_taken_and_the_job_then_deleted() -> None:
    assert pbs.parse_submit(load("openpbs", "31-dep-afterok-unknown")) == "27.vm"
    found = parent_of("afterok", "99999.vm")
    assert (found.state, found.exit_code) == (State.CANCELLED, None)
    assert "depends on failed or is gone" in found.reason


@pytest.mark.parametrize("name", ["107-json-326.vm", "107-json-327.vm"])
def test_the_deletion_goes_down_to_afterany_grandchildren(name: str) -> None:
    assert said(name, f"{name[9:12]}.vm").state == State.CANCELLED


@pytest.mark.parametrize("name", ["105-json-306", "106-json-314.vm"])
def test_dependents_of_a_deleted_queued_job_wait_for_ever(name: str) -> None:
    """Recorded long after the other had been deleted, afterany both; track says so of them."""
    job_id = re.sub(r"\d+-json-(\d+).*", r"\1.vm", name)
    assert "afterany:" in str(_jobs(name)[job_id]["depend"])
    assert said(name, job_id) == TaskReport(State.HELD, reason=WAITS_FOR_JOBS)


# ---- without history, which is the default


def test_a_listing_without_history_is_an_empty_one() -> None:
    live = load("openpbs", "03-qstat-f-json-running")
    assert pbs.parse_find([live, load("openpbs", "62-nohistory-qstat-x-all")]) == {}


def test_a_dependency_on_what_was_forgotten_vanishes() -> None:
    assert pbs.parse_submit(load("openpbs", "62-nohistory-dep-on-finished")) == "213.vm"
    gone = load("openpbs", "62-nohistory-dep-on-finished-qstat")
    assert pbs.parse_query(["213.vm"], [gone]).jobs == {}
