#!/usr/bin/env python3
"""A job queue for a machine without a scheduler, in one file, standard library only.

    localq.py submit SCRIPT --spool DIR --name NAME [--array K] [--after ID]...
    localq.py stat --spool DIR [ID]...
    localq.py cancel ID --spool DIR [--index 3-4,7]
    localq.py supervise --spool DIR [--foreground]

Nothing has to run beforehand: `submit` writes the job into the spool and starts the supervisor,
which detaches, runs what is queued in slots and leaves when it is idle. All state is in the spool:

    jobs/L12/script       the bytes that were submitted, and that run
    jobs/L12/job.json     the request; written last, so that a folder without it is no job
    jobs/L12/journal      one JSON line a change; only the supervisor writes it
    jobs/L12/run.7        who runs index 7; claimed once, before its first instruction
    jobs/L12/exit.7       how index 7 ended; both go once the journal holds what they say
    cancel/L12@3-4,7@...  an order, all of it in its name: a full disk takes no content
    supervisor.lock       held (flock) by the one supervisor; config.json, supervisor.log

Three processes to a task. The supervisor decides; a tender, forked from it, waits for the script
and writes exit.7; the script leads a session and process group of its own. The tender outlives the
supervisor, so that `kill -9` of the latter loses neither a task nor an exit code.

Processes are known by pid and start time. Nothing is ever signalled by name.
Needs Linux (/proc, flock), Python >= 3.9 and bash.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

POLL_S = 0.1
IDLE_S = float(os.environ.get("LOCALQ_IDLE", "30"))
LEADER_FIRST_S = 0.2  # the script's own trap gets the signal this long before its children
GRACE_S = 5.0  # from SIGTERM to SIGKILL
RETRY_S = 2.0  # after a task could not be started, e.g. for a full disk
MAX_ARRAY = 1_000_000

WAITING, RUNNING = "queued", "running"
COMPLETED, FAILED, CANCELLED, TIMEOUT = "completed", "failed", "cancelled", "timeout"
GONE = "gone"  # ended, and nobody saw how
ENDED = frozenset({COMPLETED, FAILED, CANCELLED, TIMEOUT, GONE})

# What a task inherits from its submitter. A list of names, since this lands in job.json: an API
# key must not. Not the supervisor's environment: that is of whoever happened to submit first.
KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR",
    "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "MODULEPATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
    "no_proxy",
)  # fmt: skip
KEPT_PREFIXES = (
    "LC_", "CONDA_", "CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "OMP_", "MKL_", "TORCH_", "PYTORCH_",
    "HF_", "TRANSFORMERS_", "TOKENIZERS_", "WANDB_", "XDG_", "PIPELINE_",
)  # fmt: skip
SECRET_NAME = re.compile(
    r"KEY|TOKEN(?!IZERS)|SECRET|PASS|CREDENTIAL|AUTH|_(PAT|PWD?)$", re.IGNORECASE
)
SECRET_VALUE = re.compile(r"://[^/\s]*@")  # a proxy's password


class Refused(Exception):
    """Said to the user as it is; nothing was queued or changed."""


# --- small things -----------------------------------------------------------------------------


def to_ranges(numbers: Iterable[int]) -> str:
    """`1-3,7` for 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for n in sorted(set(numbers)):
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def from_ranges(text: str) -> list[int]:
    """1, 2, 3, 7 for `1-3,7`. Raises Refused."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or last - first > MAX_ARRAY:
            raise Refused(f"{part!r} is neither an index nor a range like 1-20")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def write_atomic(path: Path, data: bytes) -> None:
    """All of it or nothing, under the name; its content is on the disk when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "xb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sync_directory(path: Path) -> None:
    """The names in a folder, on the disk too, where the file system can do that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # the job may run already: too late to refuse it
            os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no file. Raises ValueError for anything else."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a JSON object")
    return value


def dumps(value: Any) -> bytes:
    """One line. ASCII: a path with bytes that are no UTF-8 comes back as it was."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def why(error: OSError) -> str:
    return error.strerror or str(error)


# --- processes --------------------------------------------------------------------------------


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> tuple[str, int, int] | None:
    """(state, process group, start in clock ticks since boot) from proc(5); None if not there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name, field 2, may hold spaces and parentheses: count from the last one.
    rest = text[text.rindex(b")") + 2 :].split()
    return rest[0].decode(), int(rest[2]), int(rest[19])


def lives(pid: int | None, ticks: int | None) -> bool:
    """Whether this very process is there, and no zombie."""
    found = _stat(pid) if pid else None
    return found is not None and found[2] == ticks and found[0] not in "ZX"


def _strike(pid: int, ticks: int, number: int) -> None:
    if lives(pid, ticks):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class Group:
    """A task's process group: its leader, known by pid and start time, and what it started."""

    def __init__(self, pgid: int, ticks: int) -> None:
        self.pgid, self.ticks = pgid, ticks
        self._known: set[tuple[int, int]] = set()

    def leader(self) -> str | None:
        """The leader's process state; None when it is no more."""
        found = _stat(self.pgid)
        return found[0] if found and found[2] == self.ticks else None

    def members(self) -> set[tuple[int, int]]:
        """(pid, start) of the living. A group is ours while its leader, a zombie counts, or any
        process seen in it before is in it: its number cannot have been given away meanwhile."""
        found: dict[tuple[int, int], str] = {}
        for entry in os.listdir("/proc"):
            process = _stat(int(entry)) if entry.isdigit() else None
            if process and process[1] == self.pgid:
                found[int(entry), process[2]] = process[0]
        if (self.pgid, self.ticks) not in found and not self._known & found.keys():
            return set()
        self._known = set(found)
        return {key for key, state in found.items() if state not in "ZX"}

    def strike_leader(self, number: int) -> None:
        _strike(self.pgid, self.ticks, number)

    def strike(self, number: int, leader: bool) -> None:
        """Signals every member, one by one, each verified."""
        for pid, ticks in self.members():
            if leader or pid != self.pgid:
                _strike(pid, ticks, number)


# --- jobs and tasks ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What was asked for: job.json."""

    id: str
    name: str
    array: int | None  # 1..array; None is a plain job, whose index is 0
    after: list[str]
    token: str
    attempt: int
    cpus: int
    walltime: int | None  # seconds
    output: str  # folder of the log files
    workdir: str
    umask: int
    env: dict[str, str]
    submitted: int  # epoch seconds

    def indices(self) -> range:
        return range(1) if self.array is None else range(1, self.array + 1)

    def task_id(self, index: int) -> str:
        return self.id if self.array is None else f"{self.id}_{index}"


@dataclass
class Task:
    """What became of one index: the journal's lines for it, one over the other."""

    state: str = WAITING
    kill: str = ""  # the state it will be in once it is dead: cancelled or timeout
    exit: int | None = None
    signal: int | None = None
    reason: str = ""
    host: str = ""
    boot: str = ""
    pgid: int = 0  # also the leader's pid
    ticks: int = 0  # its start, clock ticks since boot
    tender: int = 0
    tender_ticks: int = 0
    start: int | None = None  # epoch seconds
    end: int | None = None

    def update(self, change: dict[str, Any]) -> None:
        for f in fields(self):
            if f.name in change:
                setattr(self, f.name, change[f.name])

    def elapsed(self, now: float) -> int | None:
        return None if self.start is None else max(0, int((self.end or now) - self.start))


class Spool:
    """Paths, and reading. Writing is the supervisor's and `submit`'s."""

    def __init__(self, path: str) -> None:
        self.path = Path(os.path.abspath(path))
        self.jobs, self.orders = self.path / "jobs", self.path / "cancel"
        self.config, self.lock = self.path / "config.json", self.path / "supervisor.lock"

    def create(self) -> None:
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        for folder in (self.jobs, self.orders):
            folder.mkdir(mode=0o700, exist_ok=True)

    def folder(self, job_id: str) -> Path:
        return self.jobs / job_id

    def ids(self) -> list[str]:
        """Every claimed id, oldest first."""
        with contextlib.suppress(FileNotFoundError):
            found = [e for e in os.listdir(self.jobs) if re.fullmatch(r"L[1-9][0-9]*", e)]
            return sorted(found, key=lambda e: int(e[1:]))
        return []

    def job(self, job_id: str) -> Job | None:
        """None: nobody finished submitting it. Raises ValueError for a damaged file."""
        value = read_json(self.folder(job_id) / "job.json")
        try:
            return None if value is None else Job(**value)
        except TypeError as error:
            raise ValueError(f"{self.folder(job_id) / 'job.json'}: {error}") from error

    def slots(self) -> int:
        value: Any = None
        with contextlib.suppress(ValueError, OSError):
            value = (read_json(self.config) or {}).get("slots")
        return value if isinstance(value, int) and value > 0 else os.cpu_count() or 1

    def tasks(self, job: Job) -> tuple[dict[int, Task], list[str]]:
        """The journal folded, and notes on lines that could not be read."""
        tasks: dict[int, Task] = {}
        notes: list[str] = []
        path = self.folder(job.id) / "journal"
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return tasks, notes
        for number, line in enumerate(lines[:-1], 1):  # what follows the last \n is being written
            try:
                change = json.loads(line)
                for index in from_ranges(change["i"]):
                    tasks.setdefault(index, Task()).update(change)
            except (ValueError, TypeError, KeyError, Refused):
                if line.strip():
                    notes.append(f"{path}: line {number} cannot be read, ignored")
        return tasks, notes


# --- submit -----------------------------------------------------------------------------------

DIRECTIVES = ("name", "array", "cpus", "walltime", "output", "workdir")


def directives(script: bytes) -> dict[str, str]:
    """`#LOCAL --cpus 2` lines among the comments at the top of a script."""
    found: dict[str, str] = {}
    for number, line in enumerate(script.decode("utf-8", "surrogateescape").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        if not re.match(r"#LOCAL\s", line):
            continue
        try:
            words = deque(shlex.split(line[len("#LOCAL") :], comments=True))
        except ValueError as error:
            raise Refused(f"line {number} of the script: {error}: {line}") from error
        while words:
            key, equals, value = words.popleft().partition("=")
            if key[:2] != "--" or key[2:] not in DIRECTIVES:
                known = ", ".join(f"--{d}" for d in DIRECTIVES)
                raise Refused(f"line {number} of the script: {key!r} is none of {known}")
            if not equals and not words:
                raise Refused(f"line {number} of the script: {key} has no value")
            found[key[2:]] = value if equals else words.popleft()
    return found


def number_of(key: str, text: str | None, least: int = 1) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise Refused(f"--{key} is {text!r}; give a whole number from {least}")
    return int(text)


def array_of(text: str | None) -> int | None:
    """`4` and `1-4`: indices are dense and start at 1."""
    size = number_of("array", text[2:] if text and text.startswith("1-") else text)
    if size and size > MAX_ARRAY:
        raise Refused(f"--array is {size}; at most {MAX_ARRAY}")
    return size


def name_of(text: str) -> str:
    if not text or "/" in text or not text.isprintable() or len(os.fsencode(text)) > 200:
        raise Refused(f"--name is {text!r}; give 1-200 printable bytes without a slash")
    return text


def kept_environment() -> dict[str, str]:
    return {
        k: v
        for k, v in os.environ.items()
        if (k in KEPT or k.startswith(KEPT_PREFIXES))
        and not SECRET_NAME.search(k)
        and not SECRET_VALUE.search(v)
    }


def claim(spool: Spool) -> str:
    """The next id: whose mkdir succeeds has it."""
    ids = spool.ids()
    number = int(ids[-1][1:]) + 1 if ids else 1
    while True:
        with contextlib.suppress(FileExistsError):
            spool.folder(f"L{number}").mkdir(mode=0o700)
            return f"L{number}"
        number += 1


def request(args: argparse.Namespace, script: bytes) -> dict[str, Any]:
    """job.json but for the id, from argv over the script's directives."""
    given = directives(script)
    given.update({k: v for k in DIRECTIVES if (v := getattr(args, k)) is not None})
    umask = os.umask(0o077)  # of the spool's files from here on; the task gets the submitter's
    workdir = os.path.abspath(given.get("workdir") or ".")
    output = os.path.abspath(os.path.join(workdir, given.get("output") or "."))
    return {
        "name": name_of(given.get("name") or os.path.basename(args.script)),
        "array": array_of(given.get("array")),
        "after": list(dict.fromkeys(args.after)),
        "token": args.token,
        "attempt": number_of("attempt", args.attempt, 0),
        "cpus": number_of("cpus", given.get("cpus")) or 1,
        "walltime": number_of("walltime", given.get("walltime")),
        "output": output,
        "workdir": workdir,
        "umask": umask,
        "env": kept_environment(),
        "submitted": int(time.time()),
    }


def read_script(path: str) -> bytes:
    try:
        script = Path(path).read_bytes()
    except OSError as error:
        raise Refused(f"cannot read the script {path}: {why(error)}") from error
    if b"\r\n" in script.split(b"\n", 1)[0] + b"\n":
        raise Refused(f"{path} has Windows line ends, which bash cannot run")
    return script


def enqueue(spool: Spool, args: argparse.Namespace) -> str:
    """Writes the job. Its id, or Refused and nothing of it is left."""
    script = read_script(args.script)
    wanted = request(args, script)
    slots = number_of("slots", args.slots or os.environ.get("LOCALQ_SLOTS") or None)
    folder = None
    try:
        if not os.path.isdir(wanted["workdir"]):
            raise Refused(f"the working directory {wanted['workdir']} does not exist")
        make_output(wanted["output"], wanted["umask"])
        spool.create()
        for job_id in wanted["after"]:
            if not (spool.folder(job_id) / "job.json").is_file():
                raise Refused(f"--after {job_id}: no such job in {spool.path}")
        if slots:
            write_atomic(spool.config, dumps({"slots": slots}))
        job_id = claim(spool)
        folder = spool.folder(job_id)
        write_atomic(folder / "script", script)
        write_atomic(folder / "job.json", dumps({"id": job_id, **wanted}))
        for place in (folder, spool.jobs):  # before the id is told to anybody
            sync_directory(place)
    except OSError as error:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise Refused(
            f"nothing was queued: {error.filename or spool.path}: {why(error)}"
        ) from error
    return job_id


def make_output(path: str, umask: int) -> None:
    """With the submitter's umask, as logs are to be read by whom the submitter lets read."""
    ours = os.umask(umask)
    try:
        os.makedirs(path, exist_ok=True)
    finally:
        os.umask(ours)


# --- the tender -------------------------------------------------------------------------------


def close_inherited(keep: Iterable[int] = ()) -> None:
    """All but the standard three: a lock of whoever started us must not live on in here."""
    kept = {0, 1, 2, *keep}
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(entry))


def environment(job: Job, index: int) -> dict[str, str]:
    env = {**job.env, "LOCAL_JOB_ID": job.task_id(index)}
    env.update(PIPELINE_TOKEN=job.token, PIPELINE_ATTEMPT=str(job.attempt))
    if job.array is not None:
        env["LOCAL_ARRAY_INDEX"] = str(index)
    return env


def become_script(job: Job, index: int, script: Path, gate: socket.socket) -> NoReturn:
    """The child: own session, wait until the claim is on disk, exec. Never returns."""
    try:
        os.setsid()
        gate.sendall(b"r")
        if gate.recv(1) != b"g":
            os._exit(0)
        os.umask(job.umask)
        os.chdir(job.workdir)
        log = os.path.join(job.output, f"{job.name}.{job.task_id(index)}.out")
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)  # python ignores SIGPIPE, nohup SIGHUP
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvpe("bash", ["bash", str(script)], environment(job, index))
    except OSError as error:
        with contextlib.suppress(OSError):
            gate.sendall(f"{error.filename or 'bash'}: {why(error)}".encode(errors="replace"))
    finally:
        os._exit(126)


def claim_run(path: Path, record: dict[str, Any]) -> bool:
    """Exactly one tender ever gets to run an index, whatever became of its supervisor."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_atomic(temporary, dumps(record))
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return True


def start_script(job: Job, index: int, folder: Path, supervisor: int) -> tuple[Group, str] | None:
    """Forks, claims, lets go. The group, and why the script could not be executed, if so."""
    gate, inner = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        gate.close()
        become_script(job, index, folder / "script", inner)
    inner.close()
    found, me = _stat(pid), _stat(os.getpid())
    if not gate.recv(1) or not found or not me or os.getppid() != supervisor:
        return None
    record = {
        "host": socket.gethostname(),
        "boot": boot_id(),
        "pgid": pid,
        "ticks": found[2],
        "tender": os.getpid(),
        "tender_ticks": me[2],
        "start": int(time.time()),
    }
    if not claim_run(folder / f"run.{index}", record):
        return None
    gate.sendall(b"g")
    reason = b""
    while part := gate.recv(4096):  # until exec closes the other end
        reason += part
    return Group(pid, found[2]), reason.decode(errors="replace")


def record_exit(path: Path, group: Group, reason: str) -> None:
    """Waits for the leader, leaving it a zombie, and writes how it ended."""
    ended = os.waitid(os.P_PID, group.pgid, os.WEXITED | os.WNOWAIT)
    exited = ended is not None and ended.si_code == os.CLD_EXITED
    record = {
        "exit": ended.si_status if ended and exited else None,
        "signal": ended.si_status if ended and not exited else None,
        "reason": reason,
        "end": int(time.time()),
    }
    while True:  # a full disk shall not cost the exit code
        try:
            return write_atomic(path, dumps(record))
        except FileNotFoundError:
            return None  # the spool was removed
        except OSError:
            time.sleep(0.5)


def tend(job: Job, index: int, folder: Path, supervisor: int, confirm: int) -> NoReturn:
    """The tender's life, in a process forked from the supervisor. Never returns.

    The leader is kept as a zombie while others of its group live: its pid, which is the group's
    number, cannot be given to a stranger before the supervisor has ended them.
    """
    code = 1
    try:
        os.setsid()
        close_inherited([confirm])  # the supervisor's lock, above all
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        started = start_script(job, index, folder, supervisor)
        if started:
            with contextlib.suppress(OSError):  # that supervisor may be dead already
                os.write(confirm, b"1")
            os.close(confirm)
            record_exit(folder / f"exit.{index}", *started)
            while started[0].members():
                time.sleep(POLL_S)
            code = 0
    except OSError as error:
        print(f"{job.task_id(index)}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


# --- the supervisor ---------------------------------------------------------------------------


@dataclass
class Live:
    """A task that was started and of which the journal does not know the end."""

    queued: Queued
    index: int
    task: Task
    group: Group
    cpus: int
    struck: float = 0.0  # monotonic time of the first SIGTERM
    others_struck: bool = False


@dataclass
class Queued:
    """A job with indices that have not ended."""

    job: Job
    folder: Path
    waiting: deque[int]
    live: dict[int, Live] = field(default_factory=dict)
    journal: list[bytes] = field(default_factory=list)  # lines that are not on the disk yet
    settled: list[int] = field(default_factory=list)  # whose files go when those lines are

    def ended(self) -> bool:
        return not self.waiting and not self.live


class Supervisor:
    """Runs what a spool holds. One pass of `turn` looks at everything once."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.host, self.boot = socket.gethostname(), boot_id()
        self.open: dict[str, Queued] = {}  # in order of submission
        self.known: set[str] = set()  # ids that need no more reading
        self.damaged: set[str] = set()
        self.slots = 1
        self.resume_at = 0.0

    def turn(self) -> bool:
        """False: there is nothing to do."""
        self.slots = self.spool.slots()
        self.load()
        self.obey()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        for live in self.everything_live():
            self.watch(live)
        self.save()
        self.start()
        self.save()
        for job_id in [i for i, q in self.open.items() if q.ended() and not q.journal]:
            del self.open[job_id]
        return any(q.waiting or q.journal or self.near(q) for q in self.open.values())

    def near(self, queued: Queued) -> bool:
        return any(self.is_ours(live.task) for live in queued.live.values())

    def is_ours(self, task: Task) -> bool:
        """False: started on another host, where only a supervisor over there can see it."""
        return task.boot == self.boot or task.host == self.host

    def everything_live(self) -> list[Live]:
        return [live for queued in self.open.values() for live in queued.live.values()]

    # reading

    def load(self) -> None:
        for job_id in self.spool.ids():
            if job_id in self.known:
                continue
            try:
                job = self.spool.job(job_id)
                if job is None:
                    continue  # being submitted, or given up half-way
                self.adopt(job)
            except (ValueError, OSError) as error:
                if job_id not in self.damaged:
                    log(f"{job_id} ignored: {error}")
                self.damaged.add(job_id)
                continue
            self.known.add(job_id)

    def adopt(self, job: Job) -> None:
        tasks, notes = self.spool.tasks(job)
        for note in notes:
            log(note)
        folder = self.spool.folder(job.id)
        started = {int(n[4:]) for n in os.listdir(folder) if re.fullmatch(r"run\.[0-9]+", n)}
        queued = Queued(job, folder, deque())
        for index in job.indices():
            task = tasks.get(index) or Task()
            if task.state in ENDED:
                if index in started:
                    queued.settled.append(index)
            elif task.state == RUNNING or index in started:
                self.take(queued, index, task)
            else:
                queued.waiting.append(index)
        self.discard(queued)
        if not queued.ended():
            self.open[job.id] = queued
        if queued.live:
            log(f"{job.id}: found running: {to_ranges(queued.live)}")

    def take(self, queued: Queued, index: int, task: Task) -> None:
        """Puts a started task under watch."""
        if task.state == WAITING:
            try:
                record = read_json(queued.folder / f"run.{index}") or {}
            except ValueError as error:
                record = {}
                log(f"{queued.job.task_id(index)}: {error}")
            task.update(record)
            self.note(queued, index, task, {**record, "state": RUNNING})
        if task.boot != self.boot:  # the machine was restarted: these numbers are others' now
            task.update({"pgid": 0, "tender": 0})
        cpus = min(queued.job.cpus, self.slots) if self.is_ours(task) else 0
        queued.live[index] = Live(queued, index, task, Group(task.pgid, task.ticks), cpus)

    # writing

    def note(self, queued: Queued, index: int, task: Task | None, change: dict[str, Any]) -> None:
        if task:
            task.update(change)
        queued.journal.append(dumps({"i": str(index), **change}))

    def save(self) -> None:
        for queued in self.open.values():
            if not queued.journal:
                continue
            try:
                append(queued.folder / "journal", b"".join(queued.journal))
            except FileNotFoundError:
                queued.waiting.clear()  # the job's folder was removed: leave it at that
                queued.live.clear()
            except OSError as error:
                self.stall(f"{queued.folder}/journal: {why(error)}")
                continue
            queued.journal.clear()
            self.discard(queued)

    def discard(self, queued: Queued) -> None:
        for index in queued.settled:
            for name in (f"exit.{index}", f"run.{index}"):
                with contextlib.suppress(OSError):
                    (queued.folder / name).unlink()
        queued.settled.clear()

    def stall(self, reason: str) -> None:
        log(f"{reason}; starting nothing for {RETRY_S:.0f} s")
        self.resume_at = time.monotonic() + RETRY_S

    # cancelling

    def obey(self) -> None:
        for name in os.listdir(self.spool.orders):
            job_id, _, rest = name.partition("@")
            try:
                indices = from_ranges(rest.partition("@")[0]) or None
            except Refused:
                indices = []
            if job_id in self.open:
                self.cancel(self.open[job_id], indices)
            (self.spool.orders / name).unlink()

    def cancel(self, queued: Queued, indices: Sequence[int] | None) -> None:
        chosen = set(queued.job.indices() if indices is None else indices)
        queue = [i for i in queued.waiting if i in chosen]
        if queue:
            queued.waiting = deque(i for i in queued.waiting if i not in chosen)
            now = int(time.time())
            change = {"i": to_ranges(queue), "state": CANCELLED, "end": now}
            queued.journal.append(dumps({**change, "reason": "cancelled while queued"}))
        for index, live in queued.live.items():
            if index in chosen and not (queued.folder / f"exit.{index}").exists():
                self.kill(live, CANCELLED)
        self.save()

    def kill(self, live: Live, outcome: str) -> None:
        """TERM to the script now, to what it started a moment later, KILL after the grace."""
        if live.struck or not self.is_ours(live.task):
            return
        live.struck = time.monotonic()
        if outcome:
            self.note(live.queued, live.index, live.task, {"kill": outcome})
        live.group.strike_leader(signal.SIGTERM)

    def press(self, live: Live) -> None:
        since = time.monotonic() - live.struck
        if since >= GRACE_S:
            live.group.strike(signal.SIGKILL, leader=True)
        elif since >= LEADER_FIRST_S and not live.others_struck:
            live.others_struck = True
            live.group.strike(signal.SIGTERM, leader=False)

    # running

    def watch(self, live: Live) -> None:
        """Ends a task whose script has ended, whose time is over, or which is to be cancelled."""
        task, leader = live.task, live.group.leader()
        if not self.is_ours(task):
            return
        path = live.queued.folder / f"exit.{live.index}"
        if leader not in (None, "Z", "X") and not live.struck and not path.exists():
            if task.kill:
                self.kill(live, "")  # a supervisor before us began it
            elif live.queued.job.walltime and age_s(task.ticks) > live.queued.job.walltime:
                self.kill(live, TIMEOUT)
            return
        # Either it was told to end, or the script did and may have left processes behind.
        if live.group.members():
            if not live.struck:
                self.kill(live, "")
            self.press(live)
            return
        if leader is not None and not path.exists() and lives(task.tender, task.tender_ticks):
            return  # its tender is about to write how it ended
        self.settle(live, path)

    def settle(self, live: Live, path: Path) -> None:
        try:
            record = read_json(path)
        except (ValueError, OSError) as error:
            log(f"{path}: {error}")
            record = None
        if record is None:
            record = {"end": int(time.time()), "reason": "ended unseen: its exit code is unknown"}
            state = live.task.kill or GONE
        else:
            state = live.task.kill or (COMPLETED if record.get("exit") == 0 else FAILED)
        if live.task.kill == TIMEOUT:
            record["reason"] = f"exceeded its walltime of {live.queued.job.walltime} s"
        self.note(live.queued, live.index, live.task, {**record, "state": state})
        del live.queued.live[live.index]
        live.queued.settled.append(live.index)

    def start(self) -> None:
        """First come, first served: what does not fit now holds up what was submitted later."""
        if time.monotonic() < self.resume_at or any(q.journal for q in self.open.values()):
            return
        free = self.slots - sum(live.cpus for live in self.everything_live())
        for queued in list(self.open.values()):
            cpus = min(queued.job.cpus, self.slots)
            if any(i in self.open and not self.open[i].ended() for i in queued.job.after):
                continue
            while queued.waiting:
                if free < cpus:
                    return
                if not self.launch(queued, queued.waiting[0]):
                    return self.stall(f"{queued.job.task_id(queued.waiting[0])} did not start")
                queued.waiting.popleft()
                free -= cpus

    def launch(self, queued: Queued, index: int) -> bool:
        told, confirm = os.pipe()
        me = os.getpid()
        if os.fork() == 0:
            tend(queued.job, index, queued.folder, me, confirm)
        os.close(confirm)
        os.read(told, 1)
        os.close(told)
        if not (queued.folder / f"run.{index}").exists():
            return False
        self.take(queued, index, Task())
        return True


def age_s(ticks: int) -> float:
    """Seconds since a process started, by the clock that nobody sets."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


def append(path: Path, data: bytes) -> None:
    """Whole lines or none. A line that a crash left half-written is closed first."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data
        try:
            written = os.write(fd, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)


def log(text: str) -> None:
    with contextlib.suppress(OSError):  # to a full disk
        print(time.strftime("%Y-%m-%dT%H:%M:%S"), text, file=sys.stderr, flush=True)


def acquire(spool: Spool) -> int | None:
    """The supervisor's lock, as a file descriptor; None when another holds it."""
    fd = os.open(spool.lock, os.O_RDWR | os.O_CREAT, 0o600)
    if lock_alone(fd):
        return fd
    os.close(fd)
    return None


def lock_alone(fd: int) -> bool:
    for _ in range(10):  # those who only look hold it for an instant
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def is_supervised(spool: Spool) -> bool:
    try:
        fd = os.open(spool.lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def serve(spool: Spool, lock: int, ready: int | None) -> None:
    """Until there was nothing to do for a while, or the spool is no more."""
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, dumps({"host": socket.gethostname(), "pid": os.getpid()}), 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    supervisor = Supervisor(spool)
    busy_at = time.monotonic()
    while True:
        try:
            if os.stat(spool.lock).st_ino != os.fstat(lock).st_ino:
                return
            if supervisor.turn():
                busy_at = time.monotonic()
        except FileNotFoundError:
            return  # the spool was removed
        except OSError as error:
            log(f"will try again: {error}")
            time.sleep(RETRY_S)
        if ready is not None:
            os.close(ready)
            ready = None
        if time.monotonic() - busy_at > IDLE_S:
            # Who submits now sees the lock free and starts another; who did before is in the list.
            fcntl.flock(lock, fcntl.LOCK_UN)
            supervisor.load()
            if all(q.ended() for q in supervisor.open.values()) and not os.listdir(spool.orders):
                return
            if not lock_alone(lock):
                return  # another took over meanwhile
        signal.sigtimedwait([signal.SIGCHLD], POLL_S)


def detach(spool: Spool) -> int | None:
    """Forks twice. In the daemon: a pipe to close once it is at work. In the caller: None, then."""
    done, ready = os.pipe()
    if pid := os.fork():
        os.close(ready)
        os.waitpid(pid, 0)
        os.read(done, 1)
        return None
    os.setsid()
    if os.fork():  # only a session's leader can ever get a terminal: it leaves
        os._exit(0)
    os.close(done)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        out = os.open(spool.path / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        out = null
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    return ready


def supervise(args: argparse.Namespace) -> int:
    spool = Spool(args.spool)
    spool.create()
    close_inherited()
    os.umask(0o077)
    os.chdir("/")
    lock = acquire(spool)
    if lock is None:
        if args.foreground:
            raise Refused(f"{spool.path} has a supervisor already")
        return 0
    ready = None
    if not args.foreground and (ready := detach(spool)) is None:
        return 0
    try:
        close_inherited([lock, *([] if ready is None else [ready])])
        serve(spool, lock, ready)
    except Exception:
        log(traceback.format_exc())  # nobody else would see it
    if not args.foreground:
        os._exit(0)
    return 0


def ensure_supervisor(spool: Spool) -> str:
    """Starts one unless one lives. Why that failed, or nothing."""
    if is_supervised(spool):
        return ""
    # -I: neither the folder nor the variables of whoever submits decide what it imports.
    me = [sys.executable, "-I", os.path.abspath(__file__), "supervise", "--spool", str(spool.path)]
    done = subprocess.run(me, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return f"no supervisor could be started: {said[-1] if said else done.returncode}"
    return ""


# --- the commands -----------------------------------------------------------------------------


def submit(args: argparse.Namespace) -> int:
    spool = Spool(args.spool)
    job_id = enqueue(spool, args)
    print(job_id, flush=True)
    failure = ensure_supervisor(spool)
    if failure:  # the job is queued all the same; the next command tries again
        print(f"localq: {job_id} is queued, but {failure}", file=sys.stderr)
    return 0


SHOWN = ("state", "exit", "signal", "reason", "host", "pgid", "start", "end")


def public(task: Task, now: float) -> dict[str, Any]:
    """What `stat` shows of a task: what is known of it."""
    view = {key: getattr(task, key) for key in SHOWN}
    view["elapsed"] = task.elapsed(now)
    if task.state == RUNNING and task.kill:
        view["reason"] = f"being ended: {task.kill}"
    return {key: value for key, value in view.items() if value not in (None, "")}


def describe(spool: Spool, job: Job, notes: list[str]) -> dict[str, Any]:
    tasks, unread = spool.tasks(job)
    notes.extend(unread)
    now = time.time()
    view = asdict(job)
    for key in ("env", "umask"):
        del view[key]
    view["tasks"] = {str(i): public(tasks.get(i) or Task(), now) for i in job.indices()}
    view["ended"] = all(t["state"] in ENDED for t in view["tasks"].values())
    return view


def described(spool: Spool, ids: Sequence[str], notes: list[str]) -> list[dict[str, Any]]:
    """These jobs, or all."""
    views = []
    for job_id in spool.ids():
        if ids and job_id not in ids:
            continue
        try:
            job = spool.job(job_id)
        except (ValueError, OSError) as error:
            notes.append(f"{job_id} ignored: {error}")
            continue
        if job:
            views.append(describe(spool, job, notes))
        elif time.time() - spool.folder(job_id).stat().st_mtime > 60:
            notes.append(f"{job_id} ignored: its submission was never finished")
    return views


def stat(args: argparse.Namespace) -> int:
    spool = Spool(args.spool)
    notes: list[str] = []
    jobs = described(spool, args.ids, notes)
    if not all(job["ended"] for job in jobs) and not is_supervised(spool):
        failure = ensure_supervisor(spool)
        notes = [failure] if failure else []
        jobs = described(spool, args.ids, notes)
    ended = {job["id"]: job["ended"] for job in jobs}
    for other in {i for job in jobs if not job["ended"] for i in job["after"]} - ended.keys():
        ended[other] = all(job["ended"] for job in described(spool, [other], []))
    for job in jobs:
        job["waits_for"] = [i for i in job["after"] if not ended.get(i, True)]
    alive = is_supervised(spool)
    supervisor = None
    with contextlib.suppress(ValueError, OSError):
        supervisor = read_json(spool.lock) if alive else None
    print(
        json.dumps(
            {
                "spool": str(spool.path),
                "host": socket.gethostname(),
                "supervisor": supervisor or ({} if alive else None),
                "slots": spool.slots(),
                "notes": notes,
                "jobs": jobs,
            }
        )
    )
    return 0


def order_names(job_id: str, indices: Sequence[int]) -> list[str]:
    """File names, at most 255 bytes each, that together name these indices."""
    names, unique = [], f"@{os.getpid()}.{time.time_ns()}"
    piece = ""
    for part in to_ranges(indices).split(","):
        if len(piece) + len(part) > 150:
            names.append(f"{job_id}@{piece}{unique}")
            piece = ""
        piece = f"{piece},{part}" if piece else part
    return [*names, f"{job_id}@{piece}{unique}"]


def cancel(args: argparse.Namespace) -> int:
    spool = Spool(args.spool)
    if not (spool.folder(args.id) / "job.json").is_file():
        raise Refused(f"no job {args.id} in {spool.path}")
    indices = [] if args.index is None else from_ranges(args.index)
    if args.index is not None and not indices:
        raise Refused("--index names no index")
    orders = [spool.orders / name for name in order_names(args.id, indices)]
    try:
        for order in orders:
            order.touch(mode=0o600)
    except OSError as error:
        raise Refused(f"nothing was cancelled: {spool.orders}: {why(error)}") from error
    failure = ensure_supervisor(spool)
    deadline = time.monotonic() + GRACE_S
    while not failure and any(order.exists() for order in orders):
        if time.monotonic() > deadline:
            failure = f"the supervisor did not answer within {GRACE_S:.0f} s"
        time.sleep(0.02)
    if failure:
        raise Refused(f"{args.id} will be cancelled once a supervisor runs: {failure}")
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="localq", description="A job queue for one machine.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for run, text in (
        (submit, "queue a script and print its id"),
        (stat, "print all jobs, or those named, as one JSON document"),
        (cancel, "end a job or some indices of its array"),
        (supervise, "run what is queued; `submit` and `stat` do this by themselves"),
    ):
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.add_argument("--spool", required=True, metavar="DIR")
        command.set_defaults(run=run)
        if run is submit:
            command.add_argument("script")
            for key in DIRECTIVES:
                command.add_argument(f"--{key}", help=f"also as `#LOCAL --{key} ...` in the script")
            command.add_argument("--after", action="append", default=[], metavar="ID")
            command.add_argument("--token", default="")
            command.add_argument("--attempt", default="0")
            command.add_argument("--slots", help="of the spool; LOCALQ_SLOTS; default: all CPUs")
        elif run is stat:
            command.add_argument("ids", nargs="*", metavar="ID")
        elif run is cancel:
            command.add_argument("id")
            command.add_argument("--index", metavar="RANGES")
        else:
            command.add_argument("--foreground", action="store_true")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except Refused as error:
        print(f"localq: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
