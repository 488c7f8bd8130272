"""The host: its shell and tools, the project's folders, what a container mounts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.doctor.check import Check, Facts, Question, Scope, shell

SECTION = "host"
# What the scripts call before and after their payload; bash does the rest itself.
TOOLS = ("stat", "sync", "mv", "mkdir", "date", "ls", "sleep", "rm", "timeout")
COMMANDS = {
    "pbs": ("qsub", "qstat", "qdel", "pbsnodes"),
    "torque": ("qsub", "qstat", "qdel"),
    "slurm": ("sbatch", "squeue", "scancel", "sinfo"),
    "local": (),
}
OLDEST_BASH = (4, 2)
PARTS = ("studies", "job_templates", "corpus", "training", "evaluation")
# A node has its own of these.
_PRIVATE = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108  # named, not written to

_TOOLS = 'for c; do command -v -- "$c" >/dev/null && echo "$c"; done; exit 0'
# A line a path: what it is, its mode, owner and size, whether it (or the nearest folder above it
# that exists) can be written.
_LOOK = """
id -u
for p; do
  above=$p
  while [ ! -e "$above" ] && [ "$above" != / ]; do above=${above%/*}; above=${above:-/}; done
  writable=no; [ -w "$above" ] && writable=yes
  about=$(stat -L -c '%a|%u|%s|%F' -- "$p" 2>/dev/null) || about='|||missing'
  printf '%s|%s\\n' "$about" "$writable"
done
"""


class Place(dict[str, str]):
    """What was seen of one path."""

    @property
    def kind(self) -> str:
        """`missing`, `directory`, `regular file` ..."""
        return self["kind"]

    @property
    def writable(self) -> bool:
        """It, or what it would be made in, can be written."""
        return self["writable"] == "yes"


def questions(scope: Scope) -> Iterator[Question]:
    """One command for bash, one for the tools, one for all paths."""
    yield Question("bash", shell('echo "$BASH_VERSION"'))
    yield Question("tools", shell(_TOOLS, *TOOLS, *_commands(scope)))
    yield Question("paths", shell(_LOOK, *_paths(scope)))


def checks(scope: Scope, facts: Facts) -> Iterator[Check]:
    """In the order in which a user would mend them."""
    yield from _bash(facts)
    yield from _tools(scope, facts)
    seen = places(scope, facts)
    yield from _project(scope, seen)
    yield from _folders(scope, seen)
    yield from _mounts(scope)


def places(scope: Scope, facts: Facts) -> dict[str, Place]:
    """What each path of `_paths` is."""
    found = {}
    lines = facts.text("paths").splitlines()[1:]
    for path, line in zip(_paths(scope), lines, strict=False):
        mode, owner, size, kind, writable = (line.split("|") + [""] * 5)[:5]
        found[path] = Place(mode=mode, owner=owner, size=size, kind=kind, writable=writable)
    return found


def user(facts: Facts) -> str:
    """The user's number on the host."""
    return facts.text("paths").partition("\n")[0].strip()


def env_file(scope: Scope) -> str:
    """The file of keys on the host; empty where the site has none."""
    name = scope.plan.site.env_file
    return scope.path(name) if name else ""


def _paths(scope: Scope) -> list[str]:
    job = scope.jobs[0]
    paths = [job.project_dir, *(scope.path(part) for part in PARTS), scope.path(job.state_dir)]
    paths += [scope.path(job.site_log_dir), env_file(scope)]
    return list(dict.fromkeys(filter(None, paths)))


def _commands(scope: Scope) -> tuple[str, ...]:
    return () if scope.reference else COMMANDS[scope.plan.site.scheduler]


def _bash(facts: Facts) -> Iterator[Check]:
    text = facts.text("bash").strip()
    match = re.match(r"(\d+)\.(\d+)", text)
    if not match:
        yield Check(SECTION, "bash", "fail", "does not run here", "Scripts are bash: install it")
        return
    old = (int(match[1]), int(match[2])) < OLDEST_BASH
    yield Check(
        SECTION, "bash", "fail" if old else "ok", text[:40],
        "Scripts need bash 4.2 or newer: ask the site for a module of it" if old else "",
    )  # fmt: skip


def _tools(scope: Scope, facts: Facts) -> Iterator[Check]:
    there = set(facts.text("tools").split())
    missing = [tool for tool in TOOLS if tool not in there]
    yield Check(
        SECTION, "tools", "fail" if missing else "ok",
        f"not on PATH: {', '.join(missing)}" if missing else "what the scripts call is there",
        "Install GNU coreutils, which holds them" if missing else "",
    )  # fmt: skip
    for command in _commands(scope):
        found = command in there
        yield Check(
            SECTION, f"command {command}", "ok" if found else "fail",
            "on PATH" if found else "not on PATH",
            "" if found else "Run this on the cluster's login node, name that node as the site's "
            "host, or load the scheduler's module in your profile there",
        )  # fmt: skip


def _project(scope: Scope, seen: dict[str, Place]) -> Iterator[Check]:
    job = scope.jobs[0]
    place = seen.get(job.project_dir, Place(kind="missing", writable="no"))
    if place.kind != "directory":
        yield Check(
            SECTION, "project_dir", "fail", f"{job.project_dir}: {place.kind}",
            "Clone the project there, or correct project_dir in the site file",
        )  # fmt: skip
        return
    lost = [part for part in PARTS if seen.get(scope.path(part), place).kind == "missing"]
    shipped = not lost or not set(scope.names()) - set(scope.names(("command",)))
    yield Check(
        SECTION, "project_dir", "ok" if shipped else "fail",
        job.project_dir if shipped else f"{job.project_dir} lacks {', '.join(lost)}",
        "" if shipped else "Bring the project there whole: clone it again",
    )  # fmt: skip


def _folders(scope: Scope, seen: dict[str, Place]) -> Iterator[Check]:
    job = scope.jobs[0]
    for name, path in (
        ("project_dir", job.project_dir),
        ("state_dir", scope.path(job.state_dir)),
        ("log_dir", scope.path(job.site_log_dir)),
    ):
        place = seen.get(path)
        if place is None or (name == "project_dir" and place.kind != "directory"):
            continue
        if place.kind not in ("directory", "missing"):
            fact, remedy = f"{path} is a {place.kind}", "Move it away: a folder goes there"
        elif not place.writable:
            fact, remedy = f"{path} cannot be written", "Correct its owner, or choose another"
        else:
            fact, remedy = path + ("" if place.kind == "directory" else ", not made yet"), ""
        yield Check(SECTION, f"{name} writable", "fail" if remedy else "ok", fact, remedy)
        if remedy or scope.plan.site.scheduler == "local" or scope.reference:
            continue
        if path in _PRIVATE or path.startswith(tuple(f"{top}/" for top in _PRIVATE)):
            yield Check(
                SECTION, f"{name} shared", "warn", f"{path}: compute nodes have their own there",
                f"Use a folder that all nodes see ({name} in the site file)",
            )  # fmt: skip


def _mounts(scope: Scope) -> Iterator[Check]:
    inside = [job for job in scope.jobs if job.runtime.container]
    if not inside:
        return
    job = inside[0]
    names = tuple(job.name for job in inside)
    for name, path, there in (
        ("project_dir", job.project_dir, "/workspace"),
        ("log_dir", scope.path(job.site_log_dir), "/logs"),
    ):
        bad = re.search(r"[\s:,]", path)
        yield Check(
            SECTION, f"mount {there}", "fail" if bad else "ok", path,
            f"{job.runtime.container} mounts no path with a space, ':' or ','. Name {name} by a "
            "link without them" if bad else "",
            names,
        )  # fmt: skip
