"""The fake PBS against what a real OpenPBS was recorded to do.

With PIPELINE_TEST_PBS=1 and a qsub on PATH the same tests run on that PBS (job history on).
"""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path

import pytest

from pipeline.schedulers.base import Completed, Submission
from pipeline.schedulers.pbs import PBS
from pipeline.states import State
from tests.fakepbs.cluster import Cluster
from tests.fakepbs.fixture import FakePBS

RECORDINGS = Path(__file__).parents[1] / "recordings/openpbs"


def recorded(name: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a recording."""
    text = (RECORDINGS / f"{name}.txt").read_text()
    head, _, rest = text.partition("--- stdout\n")
    stdout, _, stderr = rest.partition("--- stderr\n")
    code = re.search(r"rc=(\d+)", head)
    assert code
    return int(code[1]), stdout, stderr


# ---- submission


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["-J", "3,7,9"], "17-qsub-array-list"),
        (["-J", "1-3,7-9"], "17b-qsub-array-multirange"),
        (["-J", "5-5"], "18-qsub-array-single"),
        (["-J", "5"], "18b-qsub-array-onlynum"),
        (["-J", "9-3"], "18f-qsub-array-reverse"),
        (["-J", "1-20000"], "18h-qsub-array-too-big"),
        (["-Y", "x"], "60-err-bad-option"),
        (["-q", "nosuch"], "60-err-unknown-queue"),
        (["-l", "select=1:nosuchres=4"], "60-err-bad-resource-name"),
        (["-l", "select=1:ncpus=abc"], "60-err-bad-resource-value"),
        (["-l", "walltime=1h"], "60-err-bad-walltime"),
        (["-W", "depend=afterok:15[2].vm"], "31-dep-afterok-subjob"),
        (["-v", "A1"], "41-qsub-v-raw7"),
        (["-v", 'A1=a"b,B1=3'], "41-qsub-v-raw8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rejected_submission_ends_as_recorded(pbs: Cluster, argv: list[str], name: str) -> None:
    done = pbs.run("qsub", *argv, pbs.script("true"))
    code, _, stderr = recorded(name)
    if name.startswith("41-"):  # recorded through a wrapper that printed the exit code
        code, stderr = 1, "qsub: cannot send environment with the job\n"
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.split() == stderr.split()


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["-q", "off"], "61-err-queue-disabled"),
        (["-q", "small", "-l", "walltime=60", "-J", "1-5"], "61-err-queue-limit"),
        (["-q", "small", "-l", "walltime=02:00:00"], "61-err-exceeds-walltime"),
        (["-q", "small", "-l", "select=1:ncpus=4"], "61-err-exceeds-queue-max"),
    ],
    ids=["disabled", "per-user", "walltime", "ncpus"],
)
def test_a_queue_refuses_as_recorded(
    pbs: Cluster, fake: FakePBS, argv: list[str], name: str
) -> None:
    done = pbs.run("qsub", *argv, pbs.script("true"))
    code, _, stderr = recorded(name)
    assert (done.returncode, done.stderr) == (code, stderr)


def test_a_script_that_is_not_there(pbs: Cluster) -> None:
    done = pbs.run("qsub", "nosuch.sh")
    code, _, stderr = recorded("60-err-no-script")
    assert (done.returncode, done.stderr) == (code, stderr)


def test_a_directive_that_is_none(pbs: Cluster) -> None:
    done = pbs.run("qsub", text="#!/bin/bash\n#PBS --zzz\necho\n")
    code, _, stderr = recorded("60-err-bad-directive")
    assert (done.returncode, done.stderr) == (code, stderr)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1-20:2", 10), ("0-2", 3), ("1-20:3%2", 7), ("001-003", 3), ("5-6:2", 1), ("7-19:12", 2)],
)
def test_array_ranges_that_are_accepted(pbs: Cluster, text: str, count: int) -> None:
    job_id = pbs.qsub("-h", "-J", text, pbs.script("true"))
    assert re.fullmatch(r"\d+\[\]\.\w+", job_id)
    assert len(pbs.jobs("-x", "-t", job_id)) == count + 1
    assert pbs.run("qdel", job_id).returncode == 0


def test_ids_count_up(pbs: Cluster) -> None:
    first, second = (pbs.qsub(pbs.script("true")) for _ in range(2))
    assert re.fullmatch(r"\d+\.\w+", first)
    assert int(second.partition(".")[0]) > int(first.partition(".")[0])


def test_argv_wins_over_directives(pbs: Cluster) -> None:
    script = pbs.script("true", "-N scripted", "-l walltime=00:01:00", "-h")
    found = pbs.job(pbs.qsub("-N", "given", "-l", "walltime=00:02:00", script))
    assert (found["Job_Name"], found["job_state"]) == ("given", "H")
    assert found["Resource_List"]["walltime"] == "00:02:00"


# ---- what a job sees and leaves


def test_a_script_starts_at_home_with_its_variables(pbs: Cluster) -> None:
    body = 'pwd; env | grep ^PBS_ ; echo "[$A][$B]"'
    job_id = pbs.qsub("-N", "seen", "-v", 'A=a\\,b,B="x,y"', pbs.script(body))
    assert pbs.ended(job_id)["Exit_status"] == 0
    log = pbs.log(job_id)
    own = dict(line.split("=", 1) for line in log.splitlines() if line.startswith("PBS_"))
    assert own["PBS_O_WORKDIR"] == str(pbs.folder)
    assert log.splitlines()[0] == own["PBS_O_HOME"] != own["PBS_O_WORKDIR"]
    assert (own["PBS_JOBID"], own["PBS_JOBNAME"]) == (job_id, "seen")
    assert own["PBS_ENVIRONMENT"] == "PBS_BATCH"
    assert "PBS_ARRAY_INDEX" not in own
    assert "[a,b][x,y]" in log


def test_a_subjob_knows_its_index_and_has_its_own_log(pbs: Cluster) -> None:
    body = "echo $PBS_ARRAY_INDEX $PBS_JOBID $PBS_ARRAY_ID"
    job_id = pbs.qsub("-J", "1-3", pbs.script(body))
    pbs.ended(job_id)
    second = job_id.replace("[]", "[2]")
    assert pbs.log(second).split() == ["2", second, job_id]
    mode = (pbs.folder / "logs" / f"{second}.OU").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_umask_and_array_index_in_the_log_name(pbs: Cluster) -> None:
    options = ["-W", "umask=022", "-o", "logs/x.^array_index^.out"]
    pbs.ended(pbs.qsub("-J", "1-2", *options, pbs.script("echo hello")))
    path = pbs.folder / "logs/x.2.out"
    assert path.read_text() == "hello\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_log_that_cannot_be_written_loses_the_exit_code(pbs: Cluster) -> None:
    pbs.script("")
    found = pbs.ended(pbs.qsub("-o", "/nonexistent/x/", pbs.script("exit 3")))
    assert (found["Exit_status"], found["Stageout_status"]) == (0, 0)


# ---- exit statuses


@pytest.mark.parametrize(
    ("body", "code", "substate"),
    [
        ("exit 0", 0, 92),
        ("exit 5", 5, 93),
        ("exit 255", 255, 93),
        ("kill -9 $$", 137, 93),
        ("kill -15 $$", 143, 93),
        ("kill -11 $$", 139, 93),
    ],
    ids=["ok", "5", "255", "SIGKILL", "SIGTERM", "SIGSEGV"],
)
def test_exit_status(pbs: Cluster, body: str, code: int, substate: int) -> None:
    found = pbs.ended(pbs.qsub(pbs.script(body)))
    assert (found["Exit_status"], found["substate"]) == (code, substate)
    words = "finished" if code == 0 else "failed"
    assert re.match(rf"Job run at .* on \(.*\) and {words}$", found["comment"])


def test_walltime(pbs: Cluster) -> None:
    body = "trap 'echo caught' TERM; sleep 60 & wait; sleep 60"
    job_id = pbs.qsub("-l", "walltime=1", pbs.script(body))
    found = pbs.ended(job_id)
    assert (found["Exit_status"], found["substate"]) == (-29, 93)
    assert found["comment"].endswith("and exceeded resource walltime")
    assert "caught" in pbs.log(job_id)


def test_a_request_too_large_is_accepted_and_never_runs(pbs: Cluster) -> None:
    job_id = pbs.qsub("-l", "select=1:ncpus=100000", pbs.script("true"))
    found = pbs.wait(job_id, lambda job: "comment" in job)
    assert found["job_state"] == "Q"
    assert found["comment"].startswith("Can Never Run: Insufficient amount of resource: ncpus")
    pbs.run("qdel", job_id)
    found = pbs.ended(job_id)
    assert found["substate"] == 91
    assert "Exit_status" not in found
    assert "stime" not in found


def test_deleting_a_running_job(pbs: Cluster) -> None:
    job_id = pbs.qsub(pbs.script("sleep 60"))
    pbs.wait(job_id, lambda job: job["job_state"] == "R")
    start = time.monotonic()
    done = pbs.run("qdel", job_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - start < 5
    found = pbs.ended(job_id)
    assert found["substate"] == 91
    assert found["Exit_status"] in (271, 143, 0)
    assert re.search(r"and terminated by \S+@\S+$", found["comment"])


# ---- arrays


def test_a_living_array(pbs: Cluster) -> None:
    script = pbs.script('[ "$PBS_ARRAY_INDEX" = 2 ] && exit 7; sleep 60')
    job_id = pbs.qsub("-J", "1-4%2", script)
    third = job_id.replace("[]", "[3]")
    pbs.wait(job_id, lambda job: job["array_indices_remaining"] == 4)
    found = pbs.jobs("-t", job_id)
    parent, failed, queued = (found[job_id.replace("[]", f"[{i}]")] for i in ("", 2, 4))
    assert (parent["job_state"], parent["substate"], parent["array"]) == ("B", 70, "True")
    assert parent["Exit_status"] == 1  # the failed subjob's, as far as the parent tells it
    assert (failed["job_state"], failed["Exit_status"], failed["array_index"]) == ("X", 7, 2)
    assert failed["array_id"] == job_id
    assert queued["job_state"] == "Q"
    assert queued["Exit_status"] == 1  # a copy of its parent's, without having run
    assert "array_index" not in queued
    assert found[third]["job_state"] == "R"
    assert re.fullmatch(r"Queued:1 Running:2 Exiting:0 Expired:1", parent["array_state_count"])
    assert parent["array_indices_submitted"] == "1-4"
    pbs.run("qdel", job_id)


def test_an_array_with_a_failure_shows_the_exit_status_of_another_task(pbs: Cluster) -> None:
    job_id = pbs.qsub("-J", "1-2", pbs.script("[ $PBS_ARRAY_INDEX = 1 ] && exit 7; sleep 2"))
    found = pbs.ended(job_id)
    assert found["substate"] == 93
    assert found["comment"].endswith("and failed")
    assert pbs.jobs("-x", "-t", job_id)[job_id.replace("[]", "[1]")]["Exit_status"] == 7


def test_deleting_parts_of_an_array(pbs: Cluster) -> None:
    job_id = pbs.qsub("-J", "1-6%1", pbs.script("sleep 60"))
    pbs.wait(job_id, lambda job: job["job_state"] == "B")
    part = job_id.replace("[]", "[3-4]")
    assert pbs.run("qdel", part).returncode == 0
    pbs.wait(job_id, lambda job: job["array_indices_remaining"] == "2,5-6")
    found = pbs.jobs("-x", "-t", job_id)[job_id.replace("[]", "[3]")]
    assert (found["job_state"], found["comment"]) == ("X", "Subjob finished")
    assert "array_index" not in found
    listed = job_id.replace("[]", "[2,5]")
    done = pbs.run("qdel", listed)
    assert (done.returncode, done.stderr) == (
        1, f"qdel: illegally formed job identifier: {listed}\n"
    )  # fmt: skip
    pbs.run("qdel", job_id)
    parent = pbs.ended(job_id)
    assert parent["substate"] == 91
    assert parent["comment"].endswith("and terminated")
    pieces = pbs.jobs("-x", "-t", job_id)
    assert {job["job_state"] for job in pieces.values()} == {"F"}
    assert {job["substate"] for job in pieces.values()} == {91}


# ---- dependencies


@pytest.mark.parametrize(
    ("kind", "code", "runs"),
    [
        ("afterok", 0, True), ("afterok", 3, False), ("afternotok", 0, False),
        ("afternotok", 3, True), ("afterany", 0, True), ("afterany", 3, True),
    ],
    ids=str,
)  # fmt: skip
def test_a_dependency_on_a_job(pbs: Cluster, kind: str, code: int, runs: bool) -> None:
    parent = pbs.qsub(pbs.script(f"{pbs.gate()}; exit {code}"))
    child = pbs.qsub("-W", f"depend={kind}:{parent}", pbs.script("true"))
    waiting = pbs.job(child)
    assert (waiting["job_state"], waiting["substate"], waiting["Hold_Types"]) == ("H", 22, "s")
    assert pbs.job(parent)["depend"].startswith(f"{kind.replace('after', 'before')}:{child}@")
    pbs.open_gate()
    _check(pbs, child, runs)


@pytest.mark.parametrize("kind", ["afterok", "afternotok", "afterany"])
@pytest.mark.parametrize("code", [0, 3])
def test_a_dependency_on_a_finished_job(pbs: Cluster, kind: str, code: int) -> None:
    parent = pbs.qsub(pbs.script(f"exit {code}"))
    pbs.ended(parent)
    child = pbs.qsub("-W", f"depend={kind}:{parent}", pbs.script("true"))
    _check(pbs, child, kind == "afterany" or (kind == "afterok") == (code == 0))


def _check(pbs: Cluster, child: str, runs: bool) -> None:
    found = pbs.ended(child)
    assert ("stime" in found) == runs
    if runs:
        assert found["Exit_status"] == 0
        return
    assert (found["substate"], found["Hold_Types"]) == (92, "s")
    assert "depend" in found
    assert "Exit_status" not in found
    assert "comment" not in found


@pytest.mark.parametrize(
    ("failing", "runs"), [(1, True), (2, False)], ids=["first-fails", "last-fails"]
)
def test_afterok_follows_the_last_finisher_of_an_array(
    pbs: Cluster, failing: int, runs: bool
) -> None:
    body = f"[ $PBS_ARRAY_INDEX = 2 ] && sleep 2; [ $PBS_ARRAY_INDEX != {failing} ]"
    parent = pbs.qsub("-J", "1-2", pbs.script(body))
    child = pbs.qsub("-W", f"depend=afterok:{parent}", pbs.script("true"))
    found = pbs.ended(parent)
    assert (found["Exit_status"] == 0) or failing == 1
    assert found["substate"] == 93
    _check(pbs, child, runs)


def test_a_failed_dependency_takes_its_dependents_along(pbs: Cluster) -> None:
    parent = pbs.qsub(pbs.script(f"{pbs.gate()}; exit 1"))
    child = pbs.qsub("-W", f"depend=afterok:{parent}", pbs.script("true"))
    below = [
        pbs.qsub("-W", f"depend={kind}:{child}", pbs.script("true"))
        for kind in ("afterok", "afterany", "afternotok")
    ]
    pbs.open_gate()
    for job_id in [child, *below]:
        _check(pbs, job_id, runs=False)
    # Asked for now, a job that was deleted so holds nobody back.
    _check(pbs, pbs.qsub("-W", f"depend=afterok:{child}", pbs.script("true")), runs=True)


def test_an_unknown_dependency_is_accepted_and_deletes(pbs: Cluster) -> None:
    _check(pbs, pbs.qsub("-W", "depend=afterok:99999", pbs.script("true")), runs=False)


def test_dependents_of_a_deleted_queued_job_wait_for_ever(pbs: Cluster) -> None:
    parent = pbs.qsub("-h", pbs.script("true"))
    child = pbs.qsub("-W", f"depend=afterany:{parent}", pbs.script("true"))
    pbs.run("qdel", parent)
    pbs.ended(parent)
    time.sleep(1)
    assert pbs.job(child)["job_state"] == "H"
    pbs.run("qdel", child)


def test_dependents_of_a_deleted_queued_array_do_not(pbs: Cluster) -> None:
    parent = pbs.qsub("-h", "-J", "1-3", pbs.script("true"))
    kinds = ("afterok", "afterany")
    good, any_ = (pbs.qsub("-W", f"depend={k}:{parent}", pbs.script("true")) for k in kinds)
    pbs.run("qdel", parent)
    _check(pbs, good, runs=False)
    _check(pbs, any_, runs=True)


# ---- qstat


def test_the_shape_of_the_json(pbs: Cluster) -> None:
    done = pbs.run("qstat", "-f", "-F", "json")
    assert done.returncode == 0
    assert "pbs_server" in json.loads(done.stdout)
    job_id = pbs.qsub("-h", "-v", "A=007,B=1e400,C=true,D=12345678,E=t1234567", pbs.script("true"))
    _, text, _ = recorded("52-qstat-held-json")
    real = next(iter(json.loads(text)["Jobs"].values()))
    mine = pbs.job(job_id)
    assert set(real) - set(mine) <= {"Checkpoint", "Mail_Points", "mtime"}
    variables = mine["Variable_List"]
    assert [variables[key] for key in "ABCDE"] == [7, None, True, 12345678, "t1234567"]
    assert '\n\t"timestamp":\t' in pbs.run("qstat", "-f", "-F", "json").stdout
    pbs.run("qdel", job_id)


def test_of_two_ids_the_json_holds_the_first(pbs: Cluster) -> None:
    ids = [pbs.qsub("-h", pbs.script("true")) for _ in range(2)]
    assert list(json.loads(pbs.run("qstat", "-f", "-F", "json", *ids).stdout)["Jobs"]) == ids[:1]
    assert all(job_id in pbs.run("qstat", *ids).stdout for job_id in ids)
    for job_id in ids:
        pbs.run("qdel", job_id)


def test_no_jobs_no_key(pbs: Cluster) -> None:
    done = pbs.run("qstat", "-f", "-F", "json", "99999")
    assert done.returncode == 153
    assert re.fullmatch(r"qstat: Unknown Job Id 99999\.\S+\n", done.stderr)
    assert "Jobs" not in json.loads(done.stdout)


def test_finished_jobs_need_x(pbs: Cluster) -> None:
    job_id = pbs.qsub(pbs.script("true"))
    pbs.ended(job_id)
    done = pbs.run("qstat", "-f", "-F", "json", job_id)
    words = "Job has finished, use -x or -H to obtain historical job information"
    assert (done.returncode, done.stderr.strip()) == (35, f"qstat: {job_id} {words}")
    assert "Jobs" not in json.loads(done.stdout)
    assert pbs.run("qdel", job_id).returncode == 35


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["qstat", "abc"], 170, "qstat: Unknown queue destination abc"),
        (["qstat", "1.otherhost"], 1, "qstat: illegally formed job identifier: 1.otherhost"),
        (["qdel", "99999"], 153, "qdel: Unknown Job Id 99999."),
    ],
    ids=["queue", "server", "qdel"],
)
def test_what_is_not_there(pbs: Cluster, argv: list[str], code: int, words: str) -> None:
    done = pbs.run(*argv)
    assert done.returncode == code
    assert done.stderr.startswith(words)


# ---- what only a fake can be told


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["qsub", "job0.sh"], "92-down-qsub"),
        (["qdel", "1"], "92-down-qdel"),
        (["qstat", "1"], "92-down-qstat"),
        (["qstat", "-x", "-f", "-F", "json", "1"], "92-down-qstat-json"),
    ],
    ids=["qsub", "qdel", "qstat", "qstat-json"],
)
def test_a_server_that_is_down(pbs: Cluster, fake: FakePBS, argv: list[str], name: str) -> None:
    pbs.script("true")
    done = fake.run(*argv, cwd=pbs.folder, DOWN="1")
    code, stdout, stderr = recorded(name)
    assert (done.returncode, done.stderr) == (code, re.sub(r"\bvm\b", "fake", stderr))
    assert bool(done.stdout) == bool(stdout)


def test_a_server_without_history(pbs: Cluster, fake: FakePBS) -> None:
    fake.env["FAKEPBS_HISTORY"] = "0"
    job_id = pbs.qsub(pbs.script("true"))
    end = time.monotonic() + 10
    while (done := pbs.run("qstat", job_id)).returncode == 0 and time.monotonic() < end:
        time.sleep(0.05)
    assert (done.returncode, done.stderr) == (153, f"qstat: Unknown Job Id {job_id}\n")
    code, _, stderr = recorded("62-nohistory-qstat-x-json-finished")
    done = pbs.run("qstat", "-x", "-f", "-F", "json", job_id)
    assert (done.returncode, done.stderr) == (code, stderr.replace("211.vm", job_id))
    assert "Jobs" not in json.loads(done.stdout)
    child = pbs.qsub("-h", "-W", f"depend=afterok:{job_id}", pbs.script("true"))
    assert "depend" not in pbs.jobs(child)[child]


def test_a_living_array_without_history_forgets_its_exit_codes(pbs: Cluster, fake: FakePBS) -> None:
    fake.env["FAKEPBS_HISTORY"] = "0"
    job_id = pbs.qsub("-J", "1-3", pbs.script("[ $PBS_ARRAY_INDEX = 2 ] && exit 7; sleep 60"))
    second, end = job_id.replace("[]", "[2]"), time.monotonic() + 10
    while pbs.jobs("-t", job_id)[second]["job_state"] != "X" and time.monotonic() < end:
        time.sleep(0.05)
    _, text, _ = recorded("62-nohistory-array-json")
    real = json.loads(text)["Jobs"]["212[2].vm"]
    mine = pbs.jobs("-t", job_id)[second]
    keys = ("job_state", "substate", "Exit_status", "comment")
    assert [mine.get(key) for key in keys] == [real.get(key) for key in keys]
    assert "array_index" not in mine
    assert "array_index" not in real


def test_slots_bound_what_runs(pbs: Cluster, fake: FakePBS) -> None:
    fake.env["FAKEPBS_SLOTS"] = "2"
    job_id = pbs.qsub("-J", "1-5", pbs.script("sleep 60"))
    pbs.wait(job_id, lambda job: "Running:2" in job["array_state_count"])
    assert pbs.job(job_id)["array_indices_remaining"] == "3-5"


def test_nothing_outlives_the_fake(tmp_path: Path) -> None:
    fake = FakePBS(tmp_path)
    script = fake.home / "job.sh"
    script.write_text(f"#!/bin/bash\necho $$ > {fake.home}/pid\nsleep 300\n")
    assert fake.run("qsub", str(script)).returncode == 0
    pid, end = fake.home / "pid", time.monotonic() + 10
    while not (pid.exists() and pid.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    process = Path(f"/proc/{pid.read_text().strip()}")
    assert process.exists()
    fake.stop()
    while process.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not process.exists()


# ---- the scheduler module on top of it


def test_the_scheduler_module_speaks_to_it(pbs: Cluster) -> None:
    scheduler = PBS()

    def ask(argv: list[str]) -> Completed:
        done = pbs.run(*argv)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    body = 'echo "$PIPELINE_TOKEN $PIPELINE_ATTEMPT"; [ $PBS_ARRAY_INDEX = 2 ] && exit 71; true'
    script = pbs.script(body, "-J 1-3")
    gate = pbs.qsub(pbs.script(pbs.gate()))
    sent = Submission(script=script, name="x", token="tabc1234", attempt=2, array=3, after=(gate,))
    job_id = scheduler.parse_submit(ask(scheduler.submit_argv(sent)))
    answer = scheduler.parse_query([job_id], [ask(a) for a in scheduler.query_argvs([job_id])])
    assert {i: r.state for i, r in answer.jobs[job_id].items()} == dict.fromkeys(
        (1, 2, 3), State.HELD
    )
    found = scheduler.parse_find([ask(argv) for argv in scheduler.find_argvs()])
    assert found["tabc1234"] == job_id
    pbs.open_gate()
    pbs.ended(job_id)
    answer = scheduler.parse_query([job_id], [ask(a) for a in scheduler.query_argvs([job_id])])
    assert (answer.jobs, answer.silent) == ({}, {})
    answer = scheduler.parse_history([job_id], [ask(a) for a in scheduler.history_argvs([job_id])])
    assert {i: (r.state, r.exit_code) for i, r in answer.jobs[job_id].items()} == {
        1: (State.COMPLETED, 0), 2: (State.OOM, 71), 3: (State.COMPLETED, 0),
    }  # fmt: skip
    assert pbs.log(job_id.replace("[]", "[1]")) == "tabc1234 2\n"
    for argv in scheduler.cancel_argvs(job_id, None):
        scheduler.parse_cancel(ask(argv))
