"""What a stage needs that no job makes: the files and folders that the user brings."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import msgspec

from pipeline.errors import StateError
from pipeline.job import Input, Job, host_path
from pipeline.plan import Plan
from pipeline.render import absolute
from pipeline.transport import Transport

HUB = "hub:"  # before a name that the node fetches, unless a folder of that name is there
NONE = ("", "none")  # of a value that names no weights: those are random
LIMIT_S = 25  # of the question to the host

# Pairs of a number of tasks and a path: a line with how many files are missing and the first.
_LOOK = r"""
while (($#)); do
  missing=0 first=
  for ((task = 1; task <= $1; task++)); do
    printf -v four %04d "$task"
    path=${2//'{task4}'/$four}
    [[ -e $path ]] || compgen -G "$path" >/dev/null || { ((missing++)); : "${first:=$path}"; }
  done
  printf '%s %s\n' "$missing" "$first"
  shift 2
done
"""


class Wanted(msgspec.Struct, frozen=True):
    """One input, and who waits for it."""

    given: Input
    path: str  # absolute, as the host sees it; `{task4}` stands for the task
    jobs: tuple[str, ...]
    tasks: int  # files, where the path has the task's number in it

    @property
    def hub(self) -> str:
        """The name that the node fetches where no such folder is there; empty for a plain path."""
        name = self.given.path
        if "://" in name:
            return name
        name = name.removeprefix(HUB)
        return "" if name == self.given.path or name[0] in "/." else name

    @property
    def shown(self) -> str:
        """The path as the study would write it."""
        return self.given.path.removeprefix(HUB).replace("{task4}", "${task}")

    @property
    def asked(self) -> bool:
        """Whether the host can look for it at all."""
        return "://" not in self.given.path

    @property
    def remedy(self) -> str:
        """What to do where it is missing."""
        if self.given.key:
            return f"Put it there, or name another with --set {self.given.key}=..."
        return f"Put it there, or correct {self.given.where}"


def wanted(plan: Plan, jobs: Sequence[Job]) -> list[Wanted]:
    """The inputs of some jobs that no job before them makes, each once."""
    found: dict[str, Wanted] = {}
    for job in jobs:
        if not job.inputs:
            continue
        made = _made(plan, job)
        for one in job.inputs:
            if one.path.removeprefix(HUB) in NONE:
                continue
            path = _absolute(job, one.path.removeprefix(HUB))
            if any(_within(path, output) for output in made):
                continue
            before = found.get(path)
            tasks = job.tasks if "{task4}" in path else 1
            found[path] = Wanted(
                before.given if before else one,
                path,
                (*(before.jobs if before else ()), job.name),
                max(tasks, before.tasks if before else 1),
            )
    return list(found.values())


def question(inputs: Sequence[Wanted]) -> tuple[str, ...]:
    """The command that looks for them on the host; empty where there is nothing to look for."""
    words = [word for one in inputs if one.asked for word in (str(one.tasks), one.path)]
    if not words:
        return ()
    return ("timeout", "-k", "5", str(LIMIT_S), "bash", "-c", _LOOK, "inputs", *words)


def answers(inputs: Sequence[Wanted], text: str) -> dict[str, str]:
    """Path -> what of it is not there, in words; empty for what is there. A path of which nothing
    is known has no entry."""
    asked = [one for one in inputs if one.asked]
    found = {}
    for one, line in zip(asked, text.splitlines(), strict=False):
        count, _, first = line.partition(" ")
        if not re.fullmatch(r"\d{1,9}", count, re.ASCII):
            break
        if count == "0":
            found[one.path] = ""
        elif one.tasks == 1:
            found[one.path] = "is not there"
        else:
            name = first.rpartition("/")[2]
            found[one.path] = f"is not there for {count} of {one.tasks} tasks ({name} ...)"
    return found


def refuse_missing(plan: Plan, jobs: Sequence[Job], transport: Transport) -> None:
    """Raises StateError that names every input of these jobs that is not on the host."""
    inputs = wanted(plan, jobs)
    if not (argv := question(inputs)):
        return
    [answer] = transport.run_all([argv])
    found = answers(inputs, answer.stdout)
    missing = [
        f"{one.given.where}: {one.shown} {found[one.path]}; "
        f"{', '.join(one.jobs[:3])}{' ...' if len(one.jobs) > 3 else ''} needs it. {one.remedy}"
        for one in inputs
        if found.get(one.path) and not one.hub
    ]
    if missing:
        raise StateError("\n".join(missing))


def _made(plan: Plan, job: Job) -> list[str]:
    """What the jobs before a job write, directly or not."""
    needed = {u.job for u in job.upstream}
    outputs: list[str] = []
    for other in reversed(plan.jobs):
        if other.name in needed:
            needed |= {u.job for u in other.upstream}
            outputs += [_absolute(other, path) for path in other.outputs]
    return outputs


def _absolute(job: Job, path: str) -> str:
    return absolute(job, host_path(job, path)).rstrip("/")


def _within(path: str, output: str) -> bool:
    """Whether an output is that path, in it, or holds it; a task's number is any number."""
    one, other = path.split("/"), output.split("/")
    return all(a == b or _same(a, b) for a, b in zip(one, other, strict=False))


def _same(name: str, pattern: str) -> bool:
    if "{task4}" not in pattern:
        return fnmatch.fnmatchcase(pattern, name)
    parts = (re.escape(part) for part in pattern.split("{task4}"))
    any_number = re.fullmatch(r"\d{4,}".join(parts), name) is not None
    return any_number or fnmatch.fnmatchcase(pattern.replace("{task4}", "0001"), name)
