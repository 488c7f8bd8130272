"""Rendered scripts, run by bash for real: receipts, gate, signals, environment, full disks."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.job import Job, Resources, Runtime, Upstream
from pipeline.render import render
from tests.golden.cases import make_job
from tests.require import require

HOSTILE = """-d it's "x" é $(touch pwned)`touch pwned`;&|*#"""


class Script:
    """A job in a project of its own, and what it left behind."""

    def __init__(self, root: Path, *argv: str, **changes: Any) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {
            "scheduler": "local", "project_dir": str(root), "log_dir": "logs",
            "site_log_dir": "logs", "argv": argv or ("true",), "runtime": Runtime(),
        }  # fmt: skip
        self.job: Job = make_job(**(values | changes))
        self.file = root.parent / "job.sh"
        self.file.write_text(render(self.job))

    def start(
        self, preexec_fn: Callable[[], None] | None = None, **env: str
    ) -> subprocess.Popen[str]:
        def prepare() -> None:
            # Tests that run in the background inherit these ignored, and bash cannot undo that.
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            if preexec_fn:
                preexec_fn()

        return subprocess.Popen(
            ["bash", str(self.file)], cwd="/", stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=prepare,
            env={"PATH": os.environ["PATH"], "HOSTNAME": "n1", "PIPELINE_GATE_WAIT": "0", **env},
        )  # fmt: skip

    def run(self, preexec_fn: Callable[[], None] | None = None, **env: str) -> tuple[int, str, str]:
        """(exit code, output, messages); under a scheduler's id both are in the task's log."""
        process = self.start(preexec_fn, **env)
        out, err = process.communicate(timeout=60)
        log = "".join(p.read_text() for p in (self.root / self.job.log_dir).glob("*.log"))
        return process.returncode, out + log, err + log

    @property
    def receipts(self) -> Path:
        return self.root / self.job.state_dir / "receipts" / self.job.name

    def names(self) -> list[str]:
        return sorted(p.name for p in self.receipts.iterdir())

    def receipt(self, name: str) -> dict[str, Any]:
        content = json.loads((self.receipts / name).read_text())
        assert isinstance(content, dict)
        return content

    def upstream(self, job: str, *names: str) -> None:
        """Receipts of an upstream job, the oldest first."""
        folder = self.root / self.job.state_dir / "receipts" / job
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).touch()
            self.clock += 1
            os.utime(folder / name, (self.clock, self.clock))

    clock = 1_700_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


def array(root: Path, *argv: str, **changes: Any) -> Script:
    return Script(root, *argv, name="cut", array=True, **{"tasks": 20, **changes})


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


# --- receipts


def test_success_leaves_one_receipt(root: Path) -> None:
    script = Script(root, "bash", "-c", "ls jobs/receipts/split; echo in $PWD")
    code, out, err = script.run(LOCAL_JOB_ID="L12", PIPELINE_TOKEN="t0", PIPELINE_ATTEMPT="3")
    assert code == 0 and "error" not in err
    assert out == f"1.L12.run\nin {root}\n"
    assert script.names() == ["1.L12.ok"]
    receipt = script.receipt("1.L12.ok")
    assert receipt.pop("end") >= receipt.pop("start") > time.time() - 60
    assert len(receipt.pop("digest")) == 64
    assert receipt.pop("pid") > 0
    assert receipt == {
        "job": "split", "task": 1, "id": "L12", "token": "t0", "attempt": 3, "host": "n1",
        "walltime": 5400, "exit": 0, "signal": None,
    }  # fmt: skip


@pytest.mark.parametrize("code", [1, 65, 75, 255])
def test_a_failure_keeps_its_exit_code(root: Path, code: int) -> None:
    script = Script(root, "bash", "-c", f"exit {code}")
    assert script.run(LOCAL_JOB_ID="L1")[0] == code
    assert script.names() == [f"1.L1.fail-{code}"]
    assert script.receipt(f"1.L1.fail-{code}")["signal"] is None


def test_a_payload_killed_by_a_signal_says_so(root: Path) -> None:
    script = Script(root, "bash", "-c", "kill -9 $$")
    assert script.run(LOCAL_JOB_ID="L1")[0] == 137
    assert script.receipt("1.L1.fail-137")["signal"] == 9


def test_a_missing_program_is_named(root: Path) -> None:
    script = Script(root, "no-such-program")
    code, _, err = script.run(LOCAL_JOB_ID="L1")
    assert code == 127
    assert "error: no-such-program is not on n1" in err
    assert script.names() == ["1.L1.fail-127"]


def test_by_hand_the_id_is_the_host_and_pid(root: Path) -> None:
    script = Script(root)
    process = script.start()
    process.communicate(timeout=60)
    assert script.names() == [f"1.manual-n1-{process.pid}.ok"]
    receipt = script.receipt(script.names()[0])
    assert (receipt["token"], receipt["attempt"]) == ("", 0)


def test_a_requeued_job_replaces_its_receipt(root: Path) -> None:
    script = Script(root, "bash", "-c", "test -e again")
    assert script.run(LOCAL_JOB_ID="L1[2].x")[0] == 1
    (root / "again").touch()
    assert script.run(LOCAL_JOB_ID="L1[2].x")[0] == 0
    assert script.names() == ["1.L1[2].x.ok"]


def test_a_receipt_is_json_whatever_the_host_is_called(root: Path) -> None:
    script = Script(root)
    host = 'a"b\\c\td&e'
    assert script.run(LOCAL_JOB_ID="L/1", PIPELINE_TOKEN='"', HOSTNAME=host)[0] == 0
    receipt = script.receipt("1.L_1.ok")
    assert (receipt["host"], receipt["token"]) == ('a"b\\c d&e', '"')


def test_a_missing_project_directory_is_named(root: Path) -> None:
    script = Script(root)
    root.rmdir()
    code, _, err = script.run()
    assert code == 65
    assert f"n1 cannot enter the project directory {root}" in err


def test_hostile_paths_and_words(tmp_path: Path) -> None:
    state = f"jobs/{HOSTILE}".replace("/t", "t")
    words = (HOSTILE, "", "-n", "*", "a\nb", "{a,b}", "[0]=1")
    script = Script(
        tmp_path / HOSTILE, sys.executable, "-c", "import sys; print(sys.argv[1:])", *words,
        state_dir=state, name=f"x {HOSTILE}", env_file=HOSTILE,
        upstream=(Upstream(HOSTILE[1:], 1),),
    )  # fmt: skip
    env = tmp_path / HOSTILE / HOSTILE
    env.write_text("A=1\n")
    env.chmod(0o600)
    script.upstream(HOSTILE[1:], "1.L1.ok")
    code, out, _err = script.run(LOCAL_JOB_ID="L1")
    assert (code, out) == (0, f"{list(words)}\n")
    assert script.names() == ["1.L1.ok"]
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("/pwned").exists()


# --- identity


def test_an_array_takes_its_task_from_the_index(root: Path) -> None:
    script = array(root, "echo", "{task}", "chunk_{task4}.jsonl")
    code, out, _ = script.run(LOCAL_JOB_ID="L2_7", LOCAL_ARRAY_INDEX="7")
    assert (code, out) == (0, "7 chunk_0007.jsonl\n")
    assert script.names() == ["7.L2_7.ok"]
    assert script.receipt("7.L2_7.ok")["task"] == 7


@pytest.mark.parametrize("index", [None, "", "0", "21", "x", "-1", "1 2", "08", "9" * 30])
def test_an_array_without_a_right_index_refuses(root: Path, index: str | None) -> None:
    script = array(root, "touch", "ran")
    env = {} if index is None else {"LOCAL_ARRAY_INDEX": index}
    code, _, err = script.run(None, **env)
    assert code == 65
    assert "an array of 20 and LOCAL_ARRAY_INDEX says none of them" in err
    assert not (root / "ran").exists()
    assert not (root / "jobs").exists()


def test_an_attempt_looks_its_index_up(root: Path) -> None:
    script = array(root, "echo", "{task}")
    script.file.write_text(render(script.job, attempt_tasks=[3, 7, 19]))
    assert script.run(LOCAL_JOB_ID="L2_2", LOCAL_ARRAY_INDEX="2")[1] == "7\n"
    assert script.names() == ["7.L2_2.ok"]
    assert script.run(LOCAL_ARRAY_INDEX="4")[0] == 65


def test_an_attempt_over_one_task_needs_no_index(root: Path) -> None:
    script = array(root, "echo", "{task4}")
    script.file.write_text(render(script.job, attempt_tasks=[7]))
    assert script.run(LOCAL_JOB_ID="L3")[1] == "0007\n"
    assert script.names() == ["7.L3.ok"]


@pytest.mark.parametrize(
    ("scheduler", "env", "name"),
    [
        ("pbs", {"PBS_JOBID": "12[7].server", "PBS_ARRAY_INDEX": "7"}, "7.12[7].server.ok"),
        ("slurm", {"SLURM_JOB_ID": "19", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "7"},
         "7.12_7.ok"),
    ],
    ids=["pbs", "slurm"],
)  # fmt: skip
def test_ids_of_other_schedulers(
    root: Path, scheduler: str, env: dict[str, str], name: str
) -> None:
    script = array(root, scheduler=scheduler)
    assert script.run(None, **env)[0] == 0
    assert script.names() == [name]


def test_a_plain_slurm_job_ignores_the_array_it_was_submitted_from(root: Path) -> None:
    script = Script(root, scheduler="slurm")
    env = {"SLURM_JOB_ID": "20", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "7"}
    assert script.run(None, **env)[0] == 0
    assert script.names() == ["1.20.ok"]


# --- the gate


def gated(root: Path, tasks: int = 5, **changes: Any) -> Script:
    return Script(root, "touch", "ran", **{"upstream": (Upstream("cut", tasks),), **changes})


def test_an_open_gate_lets_through(root: Path) -> None:
    script = gated(root, 3)
    script.upstream("cut", "1.9.ok", "2.9.ok", "3.9.ok", "4.9.fail-1", "x.ok", "1.9.tmp", "2")
    assert script.run()[0] == 0
    assert (root / "ran").exists()


@pytest.mark.parametrize(
    ("there", "receipts", "code"),
    [
        (["out 1/0001", "out 1/0002", "all"], [], 0),
        (["out 1/0001", "all"], [], 78),
        (["out 1/0001", "out 1/0002"], [], 78),
        (["out 1/0001", "out 1/0002", "all"], ["1.9.fail-1"], 78),
        (["out 1/0001", "out 1/0002", "all"], ["1.9.run"], 78),
    ],
    ids=["all there", "a task's missing", "the one missing", "failed since", "running"],
)
def test_a_job_done_by_hand_is_known_by_its_outputs(
    root: Path, there: list[str], receipts: list[str], code: int
) -> None:
    script = gated(root, upstream=(Upstream("cut", 2, ("out 1/{task4}", "all")),))
    (root / "out 1").mkdir()
    for name in there:
        (root / name).touch()
    script.upstream("cut", *receipts)
    assert script.run()[0] == code


def test_a_closed_gate_names_what_is_missing(root: Path) -> None:
    script = gated(root, upstream=(Upstream("cut", 9), Upstream("tell", 1)))
    script.upstream("cut", "1.9.ok", "2.9.run", "4.9.fail-1", "5.9.ok", "9.9.fail-137")
    code, _, err = script.run(LOCAL_JOB_ID="L5")
    assert code == 78
    assert "no receipt of success of cut (task 2-4,6-9 of 9); tell (task 1 of 1)." in err
    assert not (root / "ran").exists()
    assert script.names() == ["1.L5.fail-78"]
    assert script.receipt("1.L5.fail-78")["gate"] == "cut (task 2-4,6-9 of 9); tell (task 1 of 1)"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("1.8.fail-1", "1.9.ok"), 0),
        (("1.8.ok", "1.9.fail-1"), 78),
        (("1.8.ok", "1.9.run"), 78),
        (("1.9.run", "1.8.ok"), 0),
        (("1.12[7].a.ok",), 0),
    ],
    ids=[
        "success after failure",
        "failure after success",
        "runs again",
        "success after run",
        "dots",
    ],
)
def test_the_newest_receipt_counts(root: Path, names: tuple[str, ...], code: int) -> None:
    script = gated(root, 1)
    script.upstream("cut", *names)
    assert script.run()[0] == code


def test_at_equal_times_the_end_is_newer_than_the_start(root: Path) -> None:
    script = gated(root, 1)
    script.upstream("cut", "1.9.ok", "1.9.run")
    for path in (root / "jobs/receipts/cut").iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert script.run()[0] == 0


def test_a_receipt_that_shows_late_opens_the_gate(root: Path) -> None:
    script = gated(root, 1)
    process = script.start(PIPELINE_GATE_WAIT="30")
    wait_for(lambda: script.receipts.exists() and bool(script.names()))
    time.sleep(0.3)
    assert process.poll() is None
    script.upstream("cut", "1.9.ok")
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_signal_at_the_gate_ends_the_script(root: Path) -> None:
    script = gated(root, 1)
    process = script.start(PIPELINE_GATE_WAIT="30", LOCAL_JOB_ID="L1")
    wait_for(lambda: script.receipts.exists() and script.names() == ["1.L1.run"])
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert script.names() == ["1.L1.fail-143"]


def test_a_gate_over_ten_thousand_tasks_is_quick(root: Path) -> None:
    script = gated(root, 10_000)
    script.upstream("cut", *(f"{t}.9_{t}.ok" for t in range(1, 10_001) if t != 5000))
    start = time.monotonic()
    code, _, err = script.run()
    assert code == 78
    assert "(task 5000 of 10000)" in err
    assert time.monotonic() - start < 15


# --- signals

SLEEP = ("bash", "-c", "echo $$ >pid; exec sleep 60")
CHECKPOINT = (
    "bash",
    "-c",
    "trap 'sleep 0.3; exit 75' {0}; echo $$ >pid; while :; do sleep 0.05; done",
)


def started(script: Script, **env: str) -> tuple[subprocess.Popen[str], int]:
    process = script.start(None, LOCAL_JOB_ID="L1", **env)
    pid = script.root / "pid"
    wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
    return process, int(pid.read_text())


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_term_ends_the_payload_and_is_in_the_receipt(root: Path) -> None:
    script = Script(root, *SLEEP)
    process, pid = started(script)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert gone(pid)
    assert script.names() == ["1.L1.fail-143"]
    assert script.receipt("1.L1.fail-143")["signal"] == 15


@pytest.mark.parametrize(
    ("number", "at_payload"),
    [(signal.SIGTERM, "TERM"), (signal.SIGINT, "TERM"), (signal.SIGHUP, "HUP"),
     (signal.SIGUSR1, "USR1"), (signal.SIGUSR2, "USR2")],
    ids=lambda v: getattr(v, "name", v),
)  # fmt: skip
def test_the_payload_gets_the_signal_and_its_own_code_counts(
    root: Path, number: signal.Signals, at_payload: str
) -> None:
    script = Script(root, *(word.replace("{0}", at_payload) for word in CHECKPOINT))
    process, pid = started(script)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert gone(pid)
    assert script.receipt("1.L1.fail-75")["signal"] == number


def test_a_second_signal_does_not_lose_the_exit_code(root: Path) -> None:
    script = Script(root, *(word.replace("{0}", "TERM") for word in CHECKPOINT))
    process, _ = started(script)
    for _ in range(5):
        process.terminate()
        time.sleep(0.03)
    process.communicate(timeout=60)
    assert process.returncode == 75


def test_a_quick_end_after_a_signal_keeps_its_code(root: Path) -> None:
    """The payload may be gone before bash has left the `wait` that the signal interrupted."""
    script = Script(root, "bash", "-c", "trap 'exit 75' TERM; echo $$ >pid; while :; do :; done")
    for _ in range(10):
        process, _ = started(script)
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 75
        (root / "pid").unlink()


def test_a_payload_that_ends_well_after_a_signal_is_a_success(root: Path) -> None:
    script = Script(
        root, "bash", "-c", "trap 'exit 0' TERM; echo $$ >pid; while :; do sleep 0.05; done"
    )
    process, _ = started(script)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert script.names() == ["1.L1.ok"]


# --- full disks and unwritable folders


def test_a_file_size_limit_is_no_silent_success(root: Path) -> None:
    """Receipts that cannot be written fail the task, with a message, before anything runs."""
    script = Script(root, "touch", "ran")
    code, _, err = script.run(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert code == 74
    assert "cannot be written on n1" in err
    assert not (root / "ran").exists()
    assert not [name for name in script.names() if name.endswith((".ok", ".run"))]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = os.geteuid() == 0 and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)],
            capture_output=True, check=False,
        ).returncode == 0
    )  # fmt: skip
    require("mount", mounted, "mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    ("payload", "code"), [("true", 74), ("exit 3", 3)], ids=["success", "failure"]
)
def test_a_disk_that_fills_up_is_no_silent_success(
    small_disk: Path, tmp_path: Path, payload: str, code: int
) -> None:
    script = Script(
        tmp_path / "project", "bash", "-c", f"cat /dev/zero >jobs/fill 2>/dev/null; {payload}"
    )
    (script.root / "jobs").symlink_to(small_disk)
    got, _, err = script.run(LOCAL_JOB_ID="L1")
    assert got == code
    assert f"jobs/receipts/split/1.L1.{'ok' if code == 74 else 'fail-3'} cannot be written" in err
    assert script.names() == ["1.L1.run"]


# --- the environment


def test_env_file_is_read_and_not_evaluated(root: Path) -> None:
    script = Script(
        root, sys.executable, "-c", "import os, json; print(json.dumps(dict(os.environ)))"
    )
    (root / ".env").write_text(
        "# comment\n\n  export A=1\nB='two words' # why\nC=\"it's\"\nD=$(touch pwned)`x`$HOME\r\n"
        "E=a#b # c\nPATH=/nowhere\nSET=file\nEMPTY=\nnot a line with sentinel\nF==x=y\nG=last"
    )
    (root / ".env").chmod(0o600)
    code, out, err = script.run(SET="environment")
    assert code == 0
    found = json.loads(out)
    assert {key: found.get(key) for key in "ABCDEFG"} == {
        "A": "1", "B": "two words", "C": "it's", "D": "$(touch pwned)`x`$HOME", "E": "a#b",
        "F": "=x=y", "G": "last",
    }  # fmt: skip
    assert found["SET"] == "environment"
    assert "/nowhere" not in found["PATH"]
    assert "EMPTY" not in found
    assert err == "warning: line 11 of .env is not KEY=VALUE and is passed over\n"
    assert not list(root.rglob("pwned"))


@pytest.mark.parametrize(
    ("mode", "code"), [(0o600, 0), (0o400, 0), (0o644, 65), (0o660, 65)], ids=oct
)
def test_env_file_must_be_private(root: Path, mode: int, code: int) -> None:
    script = Script(root, "printenv", "HF_TOKEN")
    (root / ".env").write_text("HF_TOKEN=sentinel\n")
    (root / ".env").chmod(mode)
    got, out, err = script.run(LOCAL_JOB_ID="L1")
    assert got == code
    assert ("sentinel" in out) == (code == 0)
    assert ("Run: chmod 600 .env" in err) == bool(code)
    assert script.names() == ["1.L1.fail-65" if code else "1.L1.ok"]


def test_no_key_gets_into_a_trace(root: Path) -> None:
    script = Script(root)
    (root / ".env").write_text("HF_TOKEN=sentinel\n")
    (root / ".env").chmod(0o600)
    traced = subprocess.run(
        ["bash", "-x", str(script.file)], capture_output=True, text=True, check=True
    )
    assert "+ " in traced.stderr
    assert "sentinel" not in traced.stdout + traced.stderr
    assert "sentinel" not in (script.receipts / script.names()[0]).read_text()


def test_progress_threads_and_activation(root: Path) -> None:
    runtime = Runtime(activate=("false", "export ACTIVE=$undefined-1"))
    script = Script(
        root, "printenv", "OMP_NUM_THREADS", "PIPELINE_PROGRESS", "ACTIVE", runtime=runtime
    )
    old = root / "jobs" / "progress" / "split" / "1.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    code, out, _ = script.run()
    assert code == 0
    assert out.splitlines() == ["8", str(old), "-1"]
    assert not old.exists()
    assert old.parent.is_dir()


# --- GPUs and torchrun

TORCHRUN = """#!/bin/bash
# Stands in for torchrun: two processes at once, and 1 for every failure.
printf '%s\\n' "$@" >torchrun
while [ "$1" != --no-python ]; do shift; done
shift
trap 'kill -TERM $a $b' TERM
RANK=0 "$@" & a=$!
RANK=1 "$@" & b=$!
for n in 1 2 3 4; do wait $a; x=$?; wait $b; y=$?; done
exit $((x || y))
"""


def train(
    root: Path, tmp_path: Path, payload: str, gpus: int = 2, listed: int = 2, **changes: Any
) -> Script:
    tools = tmp_path / "tools"
    tools.mkdir()
    lines = "".join(f"echo 'GPU {n}: A100'\n" for n in range(listed))
    for name, text in (("nvidia-smi", f"#!/bin/sh\n{lines}"), ("python3", TORCHRUN)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    values: dict[str, Any] = {
        "kind": "train", "launcher": "torchrun",
        "resources": Resources(nodes=1, gpus=gpus, cpus=8, mem_bytes=2**30, walltime_s=60),
        "runtime": Runtime(activate=(f"PATH={tools}:$PATH",)),
    }  # fmt: skip
    return Script(root, "bash", "-c", payload, **(values | changes))


def test_torchrun_starts_a_process_a_gpu(root: Path, tmp_path: Path) -> None:
    script = train(
        root, tmp_path, "echo $RANK $OMP_NUM_THREADS $NCCL_SOCKET_IFNAME", network_interface="lo"
    )
    code, out, _ = script.run()
    assert code == 0
    assert sorted(out.splitlines()) == ["0 4 lo", "1 4 lo"]
    assert "--nproc-per-node=2" in (root / "torchrun").read_text()


@pytest.mark.parametrize("code", [71, 75, 1])
def test_the_exit_code_of_a_rank_comes_through_torchrun(
    root: Path, tmp_path: Path, code: int
) -> None:
    script = train(root, tmp_path, f"[ $RANK = 0 ] || exit {code}")
    assert script.run(LOCAL_JOB_ID="L1")[0] == code
    assert script.names() == [f"1.L1.fail-{code}"]
    assert [p.name for p in script.receipts.iterdir()] == script.names(), "no helper file is left"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
def test_a_signal_reaches_the_ranks(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    script = train(
        root,
        tmp_path,
        "trap 'sleep 0.2; exit 75' TERM; touch up$RANK; while :; do sleep 0.05; done",
    )
    process = script.start(LOCAL_JOB_ID="L1")
    wait_for(lambda: (root / "up0").exists() and (root / "up1").exists())
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert script.names() == ["1.L1.fail-75"]


def test_missing_gpus_are_counted(root: Path, tmp_path: Path) -> None:
    script = train(root, tmp_path, "touch ran", gpus=8, listed=7)
    code, _, err = script.run()
    assert code == 65
    assert "n1 shows 7 GPUs of the 8" in err
    assert not (root / "ran").exists()


def test_a_wrong_network_interface_is_named(root: Path, tmp_path: Path) -> None:
    require("sysfs", Path("/sys/class/net").is_dir(), "no /sys here")
    script = train(root, tmp_path, "true", network_interface="ib77")
    code, _, err = script.run()
    assert code == 65
    assert "n1 has no network interface ib77, but" in err


# --- containers


def test_apptainer_gets_keys_by_name_and_not_in_argv(root: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apptainer").write_text(
        '#!/bin/sh\necho "$@"\nenv | grep ^APPTAINERENV_HF_TOKEN >env\n'
    )
    (tools / "apptainer").chmod(0o755)
    (tmp_path / "x.sif").touch()
    runtime = Runtime(
        activate=(f"PATH={tools}:$PATH",), container="apptainer", image=f"{tmp_path}/x.sif"
    )
    script = Script(root, "prog", "a b", runtime=runtime)
    code, out, _ = script.run(HF_TOKEN="sentinel")
    assert code == 0
    assert out == (
        f"exec --cleanenv --pwd /workspace --bind {root}:/workspace --bind {root}/logs:/logs "
        f"{tmp_path}/x.sif prog a b\n"
    )
    assert (root / "env").read_text() == "APPTAINERENV_HF_TOKEN=sentinel\n"
    (tmp_path / "x.sif").unlink()
    code, _, err = script.run()
    assert code == 65
    assert "x.sif is not on n1" in err


def test_a_script_needs_no_more_than_bash_and_coreutils(root: Path, tmp_path: Path) -> None:
    """With nothing on the PATH but what the document allows."""
    tools = tmp_path / "few"
    tools.mkdir()
    for name in ("bash", "date", "mkdir", "mv", "rm", "sync", "ls", "sleep", "stat", "true", "env"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    script = Script(root, "true", upstream=(Upstream("cut", 1),))
    script.upstream("cut", "1.9.ok")
    (root / ".env").write_text("A=1\n")
    (root / ".env").chmod(0o600)
    code, _, err = script.run(PATH=str(tools))
    assert (code, err) == (0, "")
