"""The fake's qsub: options from argv and from the script's `#PBS` lines, argv wins."""

from __future__ import annotations

import getopt
import os
import pwd
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import fake_server
import fake_store as store
from fake_store import Job, State

OPTIONS = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:W:v:Vz"
USAGE = """usage: qsub [-a date_time] [-A account_string] [-c interval]
	[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
	[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
	[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
	[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
	[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""
RESOURCES = re.compile(
    r"select|place|walltime|ncpus|p?v?mem|cput|ngpus|nodes|ppn|mpiprocs|ompthreads|host|vnode|arch"
    r"|software|nice|file|n?accelerators?"
)
QUEUES: dict[str, dict[str, int]] = {
    "workq": {},
    "off": {"disabled": 1},
    "small": {"walltime": 3600, "jobs": 3},
}
INDICES = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", re.ASCII)
WALLTIME = re.compile(r"(?:(?:\d+:)?\d+:)?\d+", re.ASCII)
DEPENDENCY = re.compile(
    r"(afterany|afterok|afternotok):(\d+(?:\[\])?(?:\.\w+)?(?::\d+(?:\[\])?(?:\.\w+)?)*)"
)

Options = dict[str, Any]


def main(argv: list[str]) -> None:
    """`qsub [options] [script]`."""
    try:
        given, operands = getopt.getopt(argv, OPTIONS)
    except getopt.GetoptError as error:
        store.fail(2, f"qsub: invalid option -- '{error.opt}'", USAGE)
    if len(operands) > 1:
        store.fail(2, USAGE)
    options = collect(given, 2)
    if operands and not Path(operands[0]).is_file():
        store.fail(1, "qsub: script file:: No such file or directory")
    text = Path(operands[0]).read_bytes() if operands else sys.stdin.buffer.read()
    options = directives(text.decode(errors="replace"), options)
    if os.environ.get("FAKEPBS_DOWN") == "1":
        server = f"qsub: cannot connect to server {store.SERVER} (errno=15010)"
        store.fail(162, "Connection refused", server)
    name = options.get("N") or (Path(operands[0]).name if operands else "STDIN")
    job = build(options, name, argv)
    with store.locked(store.home()) as state:
        enqueue(state, job, options, text)
        store.started(store.home())
    print(job["id"])


def collect(pairs: list[tuple[str, str]], code: int) -> Options:
    """Options by letter; `-l` and `-W` gather what they name."""
    options: Options = {"l": {}, "W": {}}
    for flag, value in pairs:
        letter = flag[1:]
        if letter in ("l", "W"):
            for item in value.split(",") if letter == "l" else [value]:
                key, _, what = item.partition("=")
                options[letter][key] = what
        else:
            options[letter] = value
        check(letter, value, code)
    return options


def check(letter: str, value: str, code: int) -> None:
    """What qsub itself refuses, before the server sees it."""
    bad = False
    if letter == "J":
        match = INDICES.fullmatch(value)
        bad = not match or int(match[1]) >= int(match[2]) or match[3] == "0"
    elif letter == "N":
        bad = not re.fullmatch(r"[\w.+-]+", value, re.ASCII)
        if len(value) > 230:
            store.fail(2, "qsub: Job name is too long ")
    elif letter == "W" and value.startswith("depend="):
        parts = re.split(r",(?=after)", value[7:])
        bad = not all(DEPENDENCY.fullmatch(part) for part in parts)
    if bad:
        words = [f"qsub: illegal -{letter} value"]
        store.fail(
            code, *words, USAGE if code == 2 else f"qsub: directive error: -{letter} {value} "
        )


def directives(text: str, argv: Options) -> Options:
    """argv's options over those of the `#PBS` lines above the first command."""
    pairs: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("#PBS"):
            words = line[4:].strip()
            try:
                found, rest = getopt.getopt(shlex.split(words, comments=True), OPTIONS)
            except (getopt.GetoptError, ValueError) as error:
                long = words.startswith("--")  # getopt(3) knows no long options
                option = "-" if long else getattr(error, "opt", "-")[:1]
                store.fail(
                    1, f"qsub: invalid option -- '{option}'", f"qsub: directive error: {words} "
                )
            if rest:
                store.fail(1, f"qsub: directive error: {words} ")
            pairs += found
        elif line.strip() and not line.startswith("#"):
            break
    scripted = collect(pairs, 1)
    merged = {key: {**scripted[key], **argv[key]} for key in ("l", "W")}
    return {**scripted, **argv, **merged}


def build(options: Options, name: str, argv: list[str]) -> Job:
    """The job, checked against the queue's limits; exits with PBS's codes."""
    resources: dict[str, str] = options["l"]
    queue: str = options.get("q") or "workq"
    variables = submitted(options)
    ncpus = demanded(resources)
    open_queue(queue)
    match = INDICES.fullmatch(options.get("J", ""))
    span = options["J"].partition("%")[0] if match else ""
    size = len(store.indices(span)) if match else 1
    if size > store.setting("MAX_ARRAY", 10_000):
        store.fail(3, "qsub: Array job exceeds server or queue size limit")
    walltime = seconds(resources.get("walltime", ""))
    limit = QUEUES[queue].get("walltime")
    if limit and (walltime > limit or ncpus > 2):
        store.fail(188, "qsub: Job violates queue and/or server resource limits")
    never = f"Can Never Run: Insufficient amount of resource: ncpus (R: {ncpus} A: 8 T: 8)"
    user = pwd.getpwuid(os.getuid()).pw_name
    held = "h" in options
    task = {
        "state": "H" if held and not match else "Q",
        "substate": 20 if held and not match else 10,
        "comment": never if ncpus > store.setting("NCPUS", 128) else "",
        "kill": "", "killed": 0, "exit": None, "echo": False,
    }  # fmt: skip
    keys = [str(i) for i in store.indices(span)] if match else [""]
    umask = options["W"].get("umask", "077")
    return {
        "name": name[:230], "user": user, "queue": queue, "ncpus": ncpus, "walltime": walltime,
        "resources": {"ncpus": ncpus, **resources}, "variables": variables,
        "arguments": " ".join(argv), "workdir": os.getcwd(), "home": os.environ.get("HOME", "/"),
        "output": options.get("o", ""), "error": options.get("e", ""),
        "join": options.get("j") == "oe", "keep": options.get("k", "n"), "umask": int(umask, 8),
        "max_run": int(match[4] or 0) if match else 0, "indices": span if match else None,
        "state": "H" if held else "Q", "substate": 20 if held else 10, "hold": "u" if held else "n",
        "comment": task["comment"], "exit": None, "last": None, "dropped": False,
        "depend": [], "before": [], "time": time.time(),
        "tasks": {key: dict(task) for key in keys},
    }  # fmt: skip


def open_queue(queue: str) -> None:
    if queue not in QUEUES:
        store.fail(170, "qsub: Unknown queue")
    if "disabled" in QUEUES[queue]:
        store.fail(173, "qsub: Queue is not enabled")


def demanded(resources: dict[str, str]) -> int:
    """CPUs of the largest chunk."""
    for key in resources:
        if not RESOURCES.fullmatch(key):
            store.fail(187, f"qsub: Unknown resource: {key}")
    if not WALLTIME.fullmatch(resources.get("walltime", "1")):
        illegal("Resource_List.walltime")
    most = 1
    for chunk in re.split(r"\+", resources.get("select", "1")):
        for item in chunk.split(":")[1:]:
            key, _, value = item.partition("=")
            if not RESOURCES.fullmatch(key):
                store.fail(187, f"qsub: Unknown resource: {key}")
            if key in ("ncpus", "ngpus", "mpiprocs") and not value.isdigit():
                illegal(f"select.{key}")
            most = max(most, int(value)) if key == "ncpus" else most
    return max(most, int(resources.get("ncpus", "0") or 0))


def illegal(what: str) -> None:
    store.fail(166, f"qsub: Illegal attribute or resource value {what}")


def seconds(walltime: str) -> int:
    total = 0
    for part in walltime.split(":") if walltime else ():
        total = total * 60 + int(part)
    return total


def submitted(options: Options) -> list[tuple[str, str]]:
    """The job's variables: PBS_O_*, those of `-V` and `-v`, in the order that PBS has them."""
    first = [
        ("PBS_O_HOME", os.environ.get("HOME", "/")),
        ("PBS_O_LOGNAME", pwd.getpwuid(os.getuid()).pw_name),
        ("PBS_O_PATH", os.environ.get("PATH", "")),
        ("PBS_O_SHELL", os.environ.get("SHELL", "/bin/bash")),
        ("PBS_O_WORKDIR", os.getcwd()),
        ("PBS_O_SYSTEM", "Linux"),
    ]
    own = list(os.environ.items()) if "V" in options else []
    queue = options.get("q") or "workq"
    return [*first, *own, *named(options.get("v", "")), ("PBS_O_QUEUE", queue),
            ("PBS_O_HOST", store.SERVER)]  # fmt: skip


def named(text: str) -> list[tuple[str, str]]:
    """`A=1,B="x,y",C=x\\,y,D`: an unmatched quote, or a name without a value here, is refused."""
    parts, rest = [], text
    piece = re.compile(r"""((?:[^,\\"']|\\.|"[^"]*"|'[^']*')*)(,|$)""")
    while rest:
        match = piece.match(rest)
        if not match:
            store.fail(1, "qsub: cannot send environment with the job")
        parts.append(match[1])
        rest = rest[match.end() :]
    found = []
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals and key not in os.environ:
            store.fail(1, "qsub: cannot send environment with the job")
        plain = re.sub(r"""\\(.)|["']""", lambda m: m[1] or "", value)
        found.append((key, plain if equals else os.environ[key]))
    return found


def enqueue(state: State, job: Job, options: Options, script: bytes) -> None:
    """Gives the job its number, its script's copy and its dependencies."""
    mine = sum(
        len(other["tasks"]) for other in state["jobs"].values()
        if other["queue"] == job["queue"] and other["state"] != "F"
    )  # fmt: skip
    limit = QUEUES[job["queue"]].get("jobs")
    if limit and mine + len(job["tasks"]) > limit:
        store.fail(38, "qsub: would exceed queue generic's per-user limit")
    job["seq"] = str(state["next"])
    job["id"] = job["seq"] + ("[]" if job["indices"] else "") + f".{store.SERVER}"
    scripts = store.home() / "scripts"
    scripts.mkdir(exist_ok=True)
    path = scripts / f"{job['seq']}.SC"
    path.write_bytes(script)
    path.chmod(0o700)
    job["script"] = str(path)
    state["next"] += 1
    state["jobs"][job["seq"]] = job
    for part in filter(None, re.split(r",(?=after)", options["W"].get("depend", ""))):
        kind, *ids = part.split(":")
        for parent in ids:
            depend(state, job, kind, parent)
    if job["depend"] and job["state"] != "F":
        job.update(state="H", substate=22, hold="s")
        for task in job["tasks"].values() if job["indices"] is None else ():
            task.update(state="H", substate=22)


def depend(state: State, job: Job, kind: str, text: str) -> None:
    """Waits for a live parent; on a finished or unknown one it is decided here and now."""
    parent, _ = store.find(state, text)
    if parent is None:
        if store.history():
            job["depend"].append([kind, "", text])
            fake_server.drop(state, job)
        return
    entry = [kind, parent["seq"], parent["id"]]
    if parent["state"] != "F":
        job["depend"].append(entry)
        parent["before"].append([kind.replace("after", "before"), job["id"]])
    elif (
        not parent["dropped"]
        and kind != "afterany"
        and (kind == "afterok") != (parent["last"] == 0)
    ):
        job["depend"].append(entry)
        fake_server.drop(state, job)
