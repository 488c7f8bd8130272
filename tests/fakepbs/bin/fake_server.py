"""The fake's daemon: starts tasks, ends them, delivers their logs, resolves dependencies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_store as store
from fake_store import FINAL, Job, State, Task

IDLE_S = 5.0
TICK_S = 0.03
# PBS's shell runs the script as a command, so that a script's death by signal n is 128 + n; a
# signal to the whole session ends that shell as well, which is 256 + n.
SHELL = ["/bin/bash", "-c", '"$0"; exit "$?"']

Running = dict[tuple[str, str], "subprocess.Popen[bytes]"]


def tick(state: State, running: Running, directory: Path) -> None:
    """One round."""
    for job in list(state["jobs"].values()):
        for key, task in job["tasks"].items():
            _advance(state, job, key, task, running)
    _start(state, running, directory)
    if not store.history():
        for seq in [seq for seq, job in state["jobs"].items() if job["state"] == "F"]:
            del state["jobs"][seq]


def _advance(state: State, job: Job, key: str, task: Task, running: Running) -> None:
    """Deletes, kills and reaps one task."""
    now = time.time()
    if task["state"] in "QH":
        if task["kill"]:
            end(state, job, key, task, None)
        return
    if task["state"] == "E" and now >= task["until"]:
        running.pop((job["id"], key), None)
        end(state, job, key, task, task["exit"])
    if task["state"] != "R":
        return
    process = running.get((job["id"], key))
    if process is None:  # a daemon before this one ran it
        end(state, job, key, task, -4)
        return
    if now - task["stime"] > 1:
        task["substate"] = 42
    if job["walltime"] and not task["kill"] and now - task["stime"] > job["walltime"]:
        task["kill"] = "walltime"
    if task["kill"] and not task["killed"]:
        task["killed"] = now
        _signal(process, signal.SIGTERM)
    late = bool(task["killed"]) and now - task["killed"] > store.setting("KILL_DELAY", 1.0)
    if late:
        _signal(process, signal.SIGKILL)
    code = process.poll()
    if code is not None and (late or not task["killed"] or not _alive(process)):
        _signal(process, signal.SIGKILL)  # what it left in the background
        _exiting(job, key, task, 256 - code if code < 0 else code)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _alive(process: subprocess.Popen[bytes]) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _exiting(job: Job, key: str, task: Task, code: int) -> None:
    """The log is on its way. One that cannot be delivered is lost, and the job ends with 0."""
    task.update(state="E", substate=51, exit=-29 if task["kill"] == "walltime" else code)
    task.update(until=time.time(), stageout=1)
    for suffix, target in (("OU", job["output"]), ("ER", job["error"])):
        spooled = Path(task["spool"]) / suffix
        if not spooled.exists():
            continue
        try:
            path = destination(job, key, target, suffix)
            shutil.copyfile(spooled, path)
            path.chmod(0o666 & ~job["umask"])
        except OSError:
            task.update(exit=0, stageout=0, until=time.time() + store.setting("STAGEOUT", 1.0))
    shutil.rmtree(task["spool"], ignore_errors=True)


def destination(job: Job, key: str, target: str, suffix: str) -> Path:
    """Where a log goes: a folder gets `<id>.OU`, `^array_index^` becomes the index."""
    if not target:
        letter = "o" if suffix == "OU" else "e"
        name = f"{job['name']}.{letter}{job['seq']}" + (f".{key}" if key else "")
        return Path(job["workdir"]) / name
    path = Path(job["workdir"]) / target.replace("^array_index^", key)
    return (
        path / f"{store.of(job, key)}.{suffix}" if target.endswith("/") or path.is_dir() else path
    )


def end(state: State, job: Job, key: str, task: Task, code: int | None) -> None:
    """A task is over; `code` is None for one that never ran."""
    deleted, over = task["kill"] == "deleted", job["indices"] is None
    ran = code is not None
    # Without history the record of a finished subjob is gone at once, its exit code with it.
    lost = not over and (not ran or not store.history())
    task.update(state="F" if over else "X", exit=code, end=time.time(), echo=lost)
    if deleted:
        task["substate"] = 91
        told = "and terminated by user@fake" if ran else "and terminated"
    elif task["kill"] == "walltime":
        task["substate"], told = 93, "and exceeded resource walltime"
    else:
        task["substate"] = 92 if code == 0 else 93
        told = "and finished" if code == 0 else "and failed"
    task["comment"] = f"{task['comment']} {told}" if task["comment"] else ""
    siblings = list(job["tasks"].values())
    last = all(t["state"] in FINAL for t in siblings)
    # Every subjob overwrites the parent's status, but for the last (recorded: an array whose
    # last task failed shows 0), and the last one alone decides what afterok makes of it.
    if ran and (not last or len(siblings) == 1):
        job["exit"] = code if over else int(code != 0)
    if last:
        _finish(state, job, siblings, code, orphans=over and not ran)


def _finish(state: State, job: Job, tasks: list[Task], code: int | None, orphans: bool) -> None:
    """A job is over. `orphans`: a plain job deleted while queued never tells its dependents."""
    substates = {task["substate"] for task in tasks}
    job.update(state="F", end=time.time(), last=code)
    job["substate"] = next((s for s in (91, 93) if s in substates), 92)
    if job["indices"] is not None:
        words = {91: "terminated", 93: "failed", 92: "finished"}[job["substate"]]
        job["comment"] = f"{job['comment']} and {words}" if job["comment"] else ""
        for task in tasks:
            task["state"] = "F"
    if not orphans:
        resolve(state, job, good=code == 0, cascade=False)


def resolve(state: State, parent: Job, good: bool, cascade: bool) -> None:
    """Releases or deletes what waits for a job; the deletion of a dependent spares no kind."""
    for child in list(state["jobs"].values()):
        for entry in [e for e in child["depend"] if e[1] == parent["seq"]]:
            if child["state"] == "F":
                continue
            kind = entry[0]
            wanted = kind == "afterany" or (kind == "afterok") == good
            if cascade or not wanted:
                drop(state, child)
            else:
                child["depend"].remove(entry)
                if not child["depend"] and child["hold"] == "s":
                    child.update(hold="n", state="Q", substate=10)
                    for task in child["tasks"].values():
                        task.update(state="Q", substate=10)


def drop(state: State, job: Job) -> None:
    """A job whose dependency cannot come true any more: gone, without ever having started."""
    job.update(state="F", substate=92, hold="s", end=time.time(), dropped=True)
    for task in job["tasks"].values():
        task.update(state="F", substate=92, end=time.time(), echo=job["indices"] is not None)
    resolve(state, job, good=False, cascade=True)


def _start(state: State, running: Running, directory: Path) -> None:
    slots = int(store.setting("SLOTS", 4))
    busy = sum(t["state"] in "RE" for j in state["jobs"].values() for t in j["tasks"].values())
    for job in state["jobs"].values():
        if job["state"] not in "QB" or job["comment"].startswith("Can Never Run"):
            continue
        own = sum(task["state"] in "RE" for task in job["tasks"].values())
        for key, task in job["tasks"].items():
            if busy >= slots or (job["max_run"] and own >= job["max_run"]):
                break
            if task["state"] == "Q" and not task["kill"]:
                running[job["id"], key] = _launch(job, key, task, directory)
                busy, own = busy + 1, own + 1


def _launch(job: Job, key: str, task: Task, directory: Path) -> subprocess.Popen[bytes]:
    now = time.time()
    spool = directory / "spool" / f"{store.of(job, key)}"
    spool.mkdir(parents=True)
    (spool / "nodes").write_text(f"{store.SERVER}\n")
    where = f"({store.SERVER}:ncpus={job['ncpus']})"
    at = time.strftime("%a %b %d at %H:%M", time.localtime(now))
    task.update(
        state="R", substate=41, stime=now, spool=str(spool), comment=f"Job run at {at} on {where}"
    )
    if key and job["state"] == "Q":
        job.update(state="B", substate=70, stime=now, comment=f"Job Array Began at {at}")
    elif not key:
        job["state"] = "R"
    live = "d" in job["keep"] and "o" in job["keep"]
    out = destination(job, key, job["output"], "OU") if live else spool / "OU"
    err = out if job["join"] else spool / "ER"
    with out.open("ab") as stdout, err.open("ab") as stderr:
        return subprocess.Popen(
            [*SHELL, job["script"]],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=job["home"],
            env=environment(job, key, spool),
            start_new_session=True,
        )


def environment(job: Job, key: str, spool: Path) -> dict[str, str]:
    """What a job sees. Nothing of the submitter's but what `-v` or `-V` names."""
    own = {
        "HOME": job["home"],
        "USER": job["user"],
        "LOGNAME": job["user"],
        "SHELL": "/bin/bash",
        "PATH": os.environ.get("FAKEPBS_PATH", "/usr/local/bin:/usr/bin:/bin"),
        "TMPDIR": str(spool),
        **{name: str(value) for name, value in job["variables"]},
        "PBS_JOBID": store.of(job, key),
        "PBS_JOBNAME": job["name"],
        "PBS_QUEUE": job["queue"],
        "PBS_NODEFILE": str(spool / "nodes"),
        "PBS_JOBDIR": job["home"],
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "NCPUS": str(job["ncpus"]),
        "OMP_NUM_THREADS": str(job["ncpus"]),
    }
    if key:
        own.update(PBS_ARRAY_INDEX=key, PBS_ARRAY_ID=job["id"])
    return own


def main(directory: Path) -> None:
    """Runs until there has been nothing to do for a while, or the directory has gone."""
    running: Running = {}
    with (directory / "daemon.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        (directory / "daemon.pid").write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        quiet = time.time()
        try:
            while directory.is_dir():
                with store.locked(directory) as state:
                    tick(state, running, directory)
                    if any(job["state"] in "QRBE" for job in state["jobs"].values()):
                        quiet = time.time()
                    elif time.time() - quiet > IDLE_S:
                        # Still holding the state's lock: no client can take this one for alive.
                        fcntl.flock(lock, fcntl.LOCK_UN)
                        return
                time.sleep(TICK_S)
        except FileNotFoundError:
            pass  # the directory went in the middle of a round
        finally:
            for process in running.values():
                _signal(process, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
