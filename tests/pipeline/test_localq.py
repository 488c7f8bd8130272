"""The local queue with real processes: what it promises when things go wrong."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline import localq

LOCALQ = Path(localq.__file__)
ENDED = ("completed", "failed", "cancelled", "timeout", "gone")


class Queue:
    """A spool, and `localq.py` run on it as a program."""

    def __init__(self, folder: Path, slots: int = 4) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.env = {**os.environ, "LOCALQ_SLOTS": str(slots), "LOCALQ_IDLE": "20"}
        self.scripts = 0

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words), env=self.env, cwd=self.folder, text=True, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=60, check=False, **options,
        )  # fmt: skip

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, str(LOCALQ), words[0], "--spool", str(self.spool), *words[1:]]

    def script(self, body: str) -> str:
        self.scripts += 1
        path = self.folder / f"script{self.scripts}.sh"
        path.write_text(f"#!/bin/bash\n{body}\n")
        return str(path)

    def submit(self, body: str, *words: str) -> str:
        done = self.run("submit", self.script(body), *words)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout.strip()

    def stat(self) -> dict[str, Any]:
        done = self.run("stat")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def tasks(self, job_id: str) -> dict[int, dict[str, Any]]:
        """Straight from the spool: fast, and it wakes nobody."""
        spool = localq.Spool(str(self.spool))
        job = spool.job(job_id)
        assert job
        return {int(i): t for i, t in localq.describe(spool, job, [])["tasks"].items()}

    def states(self, job_id: str) -> dict[int, str]:
        return {i: t["state"] for i, t in self.tasks(job_id).items()}

    def wait(self, job_id: str, state: str | tuple[str, ...] = ENDED, index: int | None = None,
             seconds: float = 30) -> dict[int, dict[str, Any]]:  # fmt: skip
        wanted = (state,) if isinstance(state, str) else state

        def there() -> bool:
            return all(s in wanted for i, s in self.states(job_id).items() if index in (None, i))

        until(there, seconds, lambda: (self.states(job_id), self.log()))
        return self.tasks(job_id)

    def log(self) -> str:
        path = self.spool / "supervisor.log"
        return path.read_text() if path.exists() else ""

    def supervisor(self) -> int:
        return int(json.loads((self.spool / "supervisor.lock").read_text())["pid"])

    def end(self) -> None:
        """Ends what a test left: the supervisor first, so that it starts nothing more."""
        if localq.is_supervised(localq.Spool(str(self.spool))):
            os.kill(self.supervisor(), signal.SIGKILL)
        for job_id in localq.Spool(str(self.spool)).ids():
            for path in (self.spool / "jobs" / job_id).glob("run.*"):
                run = json.loads(path.read_bytes())
                localq.Group(run["pgid"], run["ticks"]).strike(signal.SIGKILL, leader=True)


def until(condition: Callable[[], object], seconds: float = 15,
          explain: Callable[[], object] = lambda: "") -> None:  # fmt: skip
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.03)


def alive(pid: int) -> bool:
    found = localq._stat(pid)
    return found is not None and found[0] not in "ZX"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path)
    yield made
    made.end()


def test_runs_what_was_submitted_not_what_the_file_became(queue: Queue) -> None:
    gate = queue.folder / "gate"
    first = queue.submit(f"while [ ! -e {gate} ]; do sleep 0.05; done", "--name", "first")
    second = queue.submit("echo original; exit 3", "--name", "second", "--after", first)
    Path(queue.folder / "script2.sh").write_text("echo changed\n")
    assert (first, second) == ("L1", "L2")
    answer = queue.stat()
    assert [job["waits_for"] for job in answer["jobs"]] == [[], ["L1"]]
    gate.touch()
    task = queue.wait(second)[0]
    assert (task["state"], task["exit"]) == ("failed", 3)
    assert (queue.folder / "second.L2.out").read_text() == "original\n"


def test_a_task_knows_who_it_is(queue: Queue) -> None:
    queue.env |= {"PIPELINE_TOKEN": "stale", "HF_TOKEN": "secret", "HF_HOME": "/cache"}
    queue.env |= {"https_proxy": "http://me:pass@proxy", "OMP_NUM_THREADS": "3"}
    job = queue.submit(
        'echo "$LOCAL_JOB_ID|${LOCAL_ARRAY_INDEX-none}|$PIPELINE_TOKEN|$PIPELINE_ATTEMPT|'
        '${HF_TOKEN-}|$HF_HOME|${https_proxy-}|$OMP_NUM_THREADS|$PWD"; echo to stderr >&2',
        "--name", "who", "--array", "2", "--token", "3fa9c2d1", "--attempt", "2",
        "--output", "logs/deep",
    )  # fmt: skip
    plain = queue.submit("echo $LOCAL_JOB_ID ${LOCAL_ARRAY_INDEX-none}", "--name", "plain")
    queue.wait(job)
    queue.wait(plain)
    logs = queue.folder / "logs/deep"
    assert (logs / "who.L1_2.out").read_text() == (
        f"L1_2|2|3fa9c2d1|2||/cache||3|{queue.folder}\nto stderr\n"
    )
    assert (queue.folder / "plain.L2.out").read_text() == "L2 none\n"
    shown = queue.stat()["jobs"][0]
    assert (shown["token"], shown["attempt"], shown["array"]) == ("3fa9c2d1", 2, 2)
    assert b"secret" not in (queue.spool / "jobs/L1/job.json").read_bytes()


def test_after_waits_for_every_end(queue: Queue) -> None:
    marks = queue.folder / "marks"
    fails = queue.submit(f"sleep 0.3; echo f >> {marks}; exit 1")
    array = queue.submit(f"sleep 0.5; echo a >> {marks}", "--array", "3")
    last = queue.submit(f"echo last >> {marks}", "--after", fails, "--after", array)
    queue.wait(last)
    assert marks.read_text().split() == ["f", "a", "a", "a", "last"]


def test_slots_are_kept_to_and_order_is_fifo(tmp_path: Path) -> None:
    queue = Queue(tmp_path, slots=2)
    trace = tmp_path / "trace"
    body = f'echo "+$LOCAL_JOB_ID" >> {trace}; sleep 0.15; echo "-$LOCAL_JOB_ID" >> {trace}'
    try:
        queue.submit(body, "--array", "4")
        wide = queue.submit(body, "--cpus", "64")  # capped: it shall run at some time
        last = queue.submit(body)
        queue.wait(last)
    finally:
        queue.end()
    started = []
    active: dict[str, int] = {}
    for line in trace.read_text().split():
        name = line[1:]
        if line[0] == "+":
            started.append(name)
            active[name] = 2 if name == wide else 1
        else:
            del active[name]
        assert sum(active.values()) <= 2, trace.read_text()
    assert sorted(started[:4]) == ["L1_1", "L1_2", "L1_3", "L1_4"]
    assert started[4:] == [wide, last]


def test_directives_and_argv_over_them(queue: Queue) -> None:
    directives = (
        "# A comment first\n#LOCAL --cpus 2 --walltime=600\n\n"
        f"#LOCAL --output '{queue.folder}/my logs' --name here --array 1-3\nset -e\n#LOCAL --cpus 9"
    )
    job = queue.submit(directives + "\necho ran", "--name", "there")
    queue.wait(job)
    shown = queue.stat()["jobs"][0]
    assert [shown[k] for k in ("name", "array", "cpus", "walltime")] == ["there", 3, 2, 600]
    assert (queue.folder / "my logs/there.L1_3.out").read_text() == "ran\n"


@pytest.mark.parametrize(
    ("body", "words", "says"),
    [
        ("#LOCAL --gpus 1", (), "line 2 of the script: '--gpus' is none of --name"),
        ("#LOCAL --cpus", (), "--cpus has no value"),
        ("#LOCAL --name 'x", (), "No closing quotation"),
        ("#LOCAL --array 2-5", (), "--array is '2-5'"),
        ("", ("--array", "0"), "--array is '0'"),
        ("", ("--array", "1000001"), "at most"),
        ("", ("--cpus", "-1"), "--cpus is '-1'"),
        ("", ("--walltime", "1:00"), "--walltime is '1:00'"),
        ("", ("--name", "a/b"), "--name is 'a/b'"),
        ("", ("--name", "a\nb"), "--name is 'a\\nb'"),
        ("", ("--name", "x" * 201), "--name is"),
        ("", ("--after", "L99"), "--after L99: no such job"),
        ("", ("--workdir", "/proc/nowhere"), "working directory /proc/nowhere does not exist"),
        ("", ("--output", "/dev/null/x"), "nothing was queued: /dev/null"),
    ],
)
def test_refusals_queue_nothing(queue: Queue, body: str, words: tuple[str, ...], says: str) -> None:
    done = queue.run("submit", queue.script(body), *words)
    assert done.returncode == 1
    assert done.stderr.startswith("localq: ")
    assert says in done.stderr
    assert not done.stdout
    assert not localq.Spool(str(queue.spool)).ids()


@pytest.mark.parametrize(
    "name", ['d\'os "deux"', "naïve-ñ-日本", "-rf", "$(touch pwned)", "a b  c", "%s{}*?[x]"]
)
def test_hostile_names_and_paths(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    queue = Queue(folder)
    try:
        job = queue.submit("echo ok; pwd", f"--name={name}", "--array", "2")
        queue.wait(job)
        assert queue.stat()["jobs"][0]["name"] == name
    finally:
        queue.end()
    assert (folder / f"{name}.L1_2.out").read_text() == f"ok\n{folder}\n"
    assert not list(tmp_path.rglob("pwned"))


def test_ten_submissions_at_once_get_ten_ids(queue: Queue) -> None:
    script = queue.script("echo $LOCAL_JOB_ID >> ran; sleep 0.1")
    started = [
        subprocess.Popen(
            queue.argv("submit", script), env=queue.env, cwd=queue.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(10)
    ]  # fmt: skip
    with ThreadPoolExecutor(10) as pool:
        said = list(pool.map(lambda p: p.communicate(timeout=60), started))
    assert not "".join(err for _, err in said)
    ids = {out.strip() for out, _ in said}
    assert ids == {f"L{n}" for n in range(1, 11)}
    for job_id in ids:
        queue.wait(job_id)
    assert set((queue.folder / "ran").read_text().split()) == ids
    assert len((queue.folder / "ran").read_text().split()) == 10  # none ran twice


def test_cancel_signals_the_script_before_its_children(queue: Queue) -> None:
    """As a receipt needs it: the script's trap runs while its payload still lives."""
    job = queue.submit(
        "for n in 1 2 3 4 5 6 7 8; do sleep 60 & children+=($!); done\n"
        "look() { for n in ${children[@]}; do\n"
        '  [[ $(< /proc/$n/stat) == *") S "* ]] && echo lives; done\n'
        "  wait $n; echo ended $?; exit 143; }\n"
        "trap look TERM\necho up\nwait"
    )
    out = queue.folder / "script1.sh.L1.out"
    until(lambda: out.exists() and "up" in out.read_text())
    assert queue.run("cancel", job).returncode == 0
    task = queue.wait(job)[0]
    assert (task["state"], task["exit"]) == ("cancelled", 143)
    said = [line for line in out.read_text().splitlines() if line in ("lives", "ended 143")]
    assert said == ["lives"] * 8 + ["ended 143"], out.read_text()


def test_cancel_kills_a_child_that_ignores_term(queue: Queue) -> None:
    job = queue.submit(
        "(trap '' TERM; echo $BASHPID > pid; exec sleep 60) &\nsleep 60", "--cpus", "4"
    )
    later = queue.submit("true")  # all slots are taken until the child is dead too
    pid_file = queue.folder / "pid"
    until(lambda: pid_file.exists() and pid_file.read_text().strip())
    pid = int(pid_file.read_text())
    begun = time.monotonic()
    assert queue.run("cancel", job).returncode == 0
    assert queue.wait(job)[0]["state"] == "cancelled"
    assert 4 < time.monotonic() - begun < 9
    assert not alive(pid)
    assert queue.wait(later)[0]["state"] == "completed"


def test_cancel_of_queued_and_of_some_indices(tmp_path: Path) -> None:
    queue = Queue(tmp_path, slots=1)
    try:
        job = queue.submit("sleep 60", "--array", "5000")
        waiting = queue.submit("true", "--after", job)
        queue.wait(job, "running", index=1)
        assert queue.run("cancel", job, "--index", "3-4,7").returncode == 0
        states = queue.states(job)
        assert [i for i, s in states.items() if s == "cancelled"] == [3, 4, 7]
        sparse = ",".join(str(n) for n in range(100, 1000, 2))  # more than one file name holds
        assert queue.run("cancel", job, "--index", sparse).returncode == 0
        assert sum(s == "cancelled" for s in queue.states(job).values()) == 3 + 450
        assert queue.run("cancel", waiting).returncode == 0
        assert queue.states(waiting) == {0: "cancelled"}
        assert queue.run("cancel", job).returncode == 0
        assert set(queue.states(job).values()) <= {"cancelled", "running"}
        assert {t["state"] for t in queue.wait(job).values()} == {"cancelled"}
        assert queue.run("cancel", job).returncode == 0  # again: no error
        unknown = queue.run("cancel", "L99")
        assert (unknown.returncode, unknown.stderr.startswith("localq: no job L99")) == (1, True)
    finally:
        queue.end()


def test_walltime_ends_a_task(queue: Queue) -> None:
    job = queue.submit("trap 'exit 0' TERM; sleep 60 & wait", "--walltime", "1")
    task = queue.wait(job)[0]
    assert (task["state"], task["exit"]) == ("timeout", 0)
    assert task["reason"] == "exceeded its walltime of 1 s"


def test_a_signal_is_told_from_an_exit_code(queue: Queue) -> None:
    killed, left = queue.submit("kill -9 $$"), queue.submit("exit 137")
    assert queue.wait(killed)[0].items() >= {"state": "failed", "signal": 9}.items()
    assert queue.wait(left)[0].items() >= {"state": "failed", "exit": 137}.items()


def test_what_a_script_leaves_running_ends_with_it(queue: Queue) -> None:
    job = queue.submit("sleep 60 & echo $! > pid; exit 0")
    assert queue.wait(job)[0].items() >= {"state": "completed", "exit": 0}.items()
    assert not alive(int((queue.folder / "pid").read_text()))


def test_output_folder_gone_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    queue = Queue(tmp_path, slots=1)
    try:
        first = queue.submit("while [ ! -e gate ]; do sleep 0.05; done")
        second = queue.submit("true", "--output", "logs", "--name", "x")
        (tmp_path / "logs").rmdir()
        (tmp_path / "gate").touch()
        queue.wait(first)
        task = queue.wait(second)[0]
    finally:
        queue.end()
    assert (task["state"], task["exit"]) == ("failed", 126)
    assert task["reason"].endswith("logs/x.L2.out: No such file or directory")


def test_kill_9_of_the_supervisor_loses_nothing(tmp_path: Path) -> None:
    queue = Queue(tmp_path, slots=2)
    try:
        job = queue.submit(
            "echo $LOCAL_ARRAY_INDEX >> ran\n"
            "while [ ! -e gate$LOCAL_ARRAY_INDEX ]; do sleep 0.05; done\nexit $LOCAL_ARRAY_INDEX",
            "--array", "5", "--walltime", "600",
        )  # fmt: skip
        queue.wait(job, "running", index=2)
        before = queue.tasks(job)
        dead = queue.supervisor()
        os.kill(dead, signal.SIGKILL)
        until(lambda: not alive(dead))
        for gate in (1, 3, 4, 5):  # 1 ends while nobody is there
            (tmp_path / f"gate{gate}").touch()
        until((queue.spool / f"jobs/{job}/exit.1").exists)
        assert queue.states(job)[1] == "running"  # nobody has told
        queue.stat()  # starts another
        assert queue.supervisor() != dead
        queue.wait(job, "failed", index=5)
        assert queue.tasks(job)[2].items() >= {"state": "running"}.items()
        assert queue.tasks(job)[2]["pgid"] == before[2]["pgid"]
        (tmp_path / "gate2").touch()
        tasks = queue.wait(job)
        until(lambda: not list((queue.spool / "jobs" / job).glob("*.[0-9]")))  # tidied up
    finally:
        queue.end()
    assert {i: t["exit"] for i, t in tasks.items()} == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2", "3", "4", "5"]


def test_supervisor_killed_over_and_over_runs_each_task_once(tmp_path: Path) -> None:
    queue = Queue(tmp_path, slots=2)
    try:
        job = queue.submit("echo $LOCAL_ARRAY_INDEX >> ran; sleep 0.05", "--array", "40")
        for n in range(8):
            time.sleep(0.01 * (n % 5))
            os.kill(queue.supervisor(), signal.SIGKILL)
            until(lambda: not localq.is_supervised(localq.Spool(str(queue.spool))))
            queue.stat()
        tasks = queue.wait(job)
    finally:
        queue.end()
    assert {t["state"] for t in tasks.values()} == {"completed"}
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(1, 41))


def test_a_task_whose_end_nobody_saw_is_gone(queue: Queue) -> None:
    job = queue.submit("sleep 60")
    queue.wait(job, "running")
    run = json.loads((queue.spool / f"jobs/{job}/run.0").read_text())
    for pid in (queue.supervisor(), run["tender"], run["pgid"]):
        os.kill(pid, signal.SIGKILL)
    queue.stat()
    task = queue.wait(job)[0]
    assert task["state"] == "gone"
    assert "exit" not in task
    assert "unknown" in task["reason"]


def test_a_recycled_pid_is_never_signalled(queue: Queue) -> None:
    """After a reboot the recorded number is somebody else's."""
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        job = queue.submit("sleep 60")
        queue.wait(job, "running")
        os.kill(queue.supervisor(), signal.SIGKILL)
        folder = queue.spool / "jobs" / job
        run = json.loads((folder / "run.0").read_text())
        for pid in (run["tender"], run["pgid"]):
            os.kill(pid, signal.SIGKILL)
        with open(folder / "journal", "ab") as f:
            f.write(localq.dumps({"i": "0", "state": "running", "pgid": stranger.pid}))
        assert queue.run("cancel", job).returncode == 0
        assert queue.wait(job)[0]["state"] in ("gone", "cancelled")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_damaged_files_are_ignored_with_a_note(queue: Queue) -> None:
    good = queue.submit("true")
    queue.wait(good)
    for name, text in (("L2", '{"id": "L2", "na'), ("L3", "[]"), ("L4", '{"id": "L4"}')):
        (queue.spool / "jobs" / name).mkdir()
        (queue.spool / "jobs" / name / "job.json").write_text(text)
    (queue.spool / "jobs/L5").mkdir()
    os.utime(queue.spool / "jobs/L5", (0, 0))
    with open(queue.spool / f"jobs/{good}/journal", "a") as f:
        f.write('{"i": "0", "sta\n')
        f.write('{"i": "0", "state": "fai')  # half-written, no end of line
    (queue.spool / "cancel/nonsense").touch()
    (queue.spool / "config.json").write_text("{")
    answer = queue.stat()
    assert [job["id"] for job in answer["jobs"]] == ["L1"]
    assert answer["jobs"][0]["tasks"]["0"]["state"] == "completed"
    notes = "\n".join(answer["notes"])
    assert all(word in notes for word in ("L2", "L3", "L4", "L5 ignored: its submission", "line 3"))
    after = queue.submit("true", "--after", good)
    assert after == "L6"
    assert queue.wait(after)[0]["state"] == "completed"


def test_no_lock_of_the_submitter_leaks(queue: Queue) -> None:
    """`pipeline` holds its manifest's lock while it submits, and hands it to the command."""
    lock = open(queue.folder / "lock", "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = queue.run("submit", queue.script("sleep 3"), pass_fds=(lock.fileno(),))
    assert done.returncode == 0
    queue.wait("L1", "running")
    lock.close()
    with open(queue.folder / "lock", "w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if anybody still holds it


def test_survives_the_terminal_it_was_started_from(queue: Queue) -> None:
    script = queue.script("sleep 1; echo survived")
    shell, terminal = pty.fork()
    if shell == 0:
        os.chdir(queue.folder)
        env = {**queue.env, "PS1": "$ "}  # a virtual environment exports one of its own
        os.execve("/bin/bash", ["bash", "--norc", "--noediting", "-i"], env)
    while b"$ " not in os.read(terminal, 4096).replace(b"# ", b"$ "):
        pass  # what is typed before the prompt may be flushed
    line = " ".join(f"'{word}'" for word in queue.argv("submit", script))
    os.write(terminal, f"{line}\n".encode())
    until((queue.spool / "jobs/L1/job.json").exists)
    queue.wait("L1", ("running", *ENDED))
    os.close(terminal)  # hangs up: SIGHUP to the shell and its jobs
    os.kill(shell, signal.SIGHUP)
    os.waitpid(shell, 0)
    assert queue.wait("L1")[0]["state"] == "completed"
    assert "survived" in (queue.folder / "script1.sh.L1.out").read_text()
    found = Path(f"/proc/{queue.supervisor()}/stat").read_text().rsplit(")", 1)[1].split()
    assert found[4] == "0"  # tty_nr: it has no terminal
    assert found[3] != str(queue.supervisor())  # and cannot get one: no session leader


def test_leaves_when_idle_and_comes_back(queue: Queue) -> None:
    queue.env["LOCALQ_IDLE"] = "0.2"
    queue.wait(queue.submit("true"))
    spool = localq.Spool(str(queue.spool))
    until(lambda: not localq.is_supervised(spool))
    assert queue.stat()["supervisor"] is None  # nothing to do: nobody is started
    assert queue.wait(queue.submit("true"))[0]["state"] == "completed"
    for _ in range(8):  # submissions in the very moment of leaving
        assert queue.wait(queue.submit("true"), seconds=5)[0]["state"] == "completed"
        time.sleep(0.15)


def test_leaves_when_its_spool_is_removed(queue: Queue) -> None:
    queue.wait(queue.submit("true"))
    pid = queue.supervisor()
    subprocess.run(["rm", "-r", str(queue.spool)], check=True)
    until(lambda: not alive(pid))
    assert not queue.spool.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small tmpfs: needs root")
def test_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a tmpfs here")
    queue = Queue(tmp_path)
    queue.spool = disk / "spool"
    try:
        runs = queue.submit("while [ ! -e gate ]; do sleep 0.05; done; exit 5")
        endless = queue.submit("sleep 60")
        queue.wait(endless, "running")
        with open(disk / "filler", "wb", buffering=0) as f, pytest.raises(OSError):
            while True:
                f.write(bytes(4096))
        refused = queue.run("submit", queue.script("true"))
        assert refused.returncode == 1
        assert refused.stderr.startswith("localq: nothing was queued: ")
        assert "No space left on device" in refused.stderr
        assert localq.Spool(str(queue.spool)).ids() == [runs, endless]
        queue.run("cancel", endless)  # a full disk is when one wants to cancel
        (tmp_path / "gate").touch()
        time.sleep(1)
        (disk / "filler").unlink()
        assert queue.wait(runs)[0].items() >= {"state": "failed", "exit": 5}.items()
        assert queue.wait(endless)[0]["state"] == "cancelled"
    finally:
        queue.end()
        until(lambda: subprocess.run(["umount", str(disk)], capture_output=True).returncode == 0)


def test_stands_alone() -> None:
    """It is copied to hosts that have nothing but Python 3.9."""
    tree = ast.parse(LOCALQ.read_text(), feature_version=(3, 9))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names <= sys.stdlib_module_names
    assert not re.search(r"\bmatch .*:\n\s+case ", LOCALQ.read_text())
