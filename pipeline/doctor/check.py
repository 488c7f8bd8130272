"""What a check is, what it is about, and how the host is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from pipeline.job import Job
from pipeline.kinds import KINDS
from pipeline.plan import Plan
from pipeline.render import absolute
from pipeline.schedulers.base import Completed
from pipeline.schedulers.words import complaint
from pipeline.transport import Transport

# `silent`: there was no answer, so nothing is known.
Status = Literal["ok", "warn", "fail", "silent"]
LIMIT_S = 25  # of one question; less than a transport waits for a command
MARK = "pipeline-doctor "  # before what a login shell prints for us; profiles print too


class Check(msgspec.Struct, frozen=True):
    """One thing looked at."""

    section: str
    name: str
    status: Status
    fact: str
    remedy: str = ""
    needed_by: tuple[str, ...] = ()  # jobs


class Question(msgspec.Struct, frozen=True):
    """A command for the host, and the key under which its answer is found."""

    key: str
    argv: tuple[str, ...]


class Facts:
    """The host's answers; a question that was not asked has an empty one."""

    def __init__(self, answers: Mapping[str, Completed]) -> None:
        self.answers = answers

    def get(self, key: str) -> Completed:
        """The answer, or one of a command that is not there."""
        return self.answers.get(key) or Completed((), 127, "", "")

    def text(self, key: str) -> str:
        """Its standard output."""
        return self.get(key).stdout

    def marked(self, key: str) -> list[str]:
        """The lines that a login shell printed for us, without their mark."""
        lines = self.text(key).splitlines()
        return [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]


class Scope(msgspec.Struct, frozen=True):
    """What is examined: some jobs of a plan. `reference`: no site is chosen, so there is no
    scheduler to ask."""

    plan: Plan
    jobs: tuple[Job, ...]
    reference: bool = False

    def path(self, path: str) -> str:
        """A path of the plan on the host."""
        return absolute(self.jobs[0], path)

    def short(self, path: str) -> str:
        """A path of the host as the plan writes it, relative to the project where it is in it."""
        return path.removeprefix(self.jobs[0].project_dir.rstrip("/") + "/")

    def names(self, kinds: Sequence[str] = ()) -> tuple[str, ...]:
        """The jobs' names, of some kinds or of all."""
        return tuple(job.name for job in self.jobs if not kinds or job.kind in kinds)


def environment_of(plan: Plan, job: Job) -> str:
    """`light`, `hf` or `nemo`."""
    return plan.study.stages[job.stage].env or KINDS[job.kind].env


def ask(transport: Transport, questions: Iterable[Question]) -> Facts:
    """All questions in one go. Raises Unreachable where the host does not answer."""
    asked = list(questions)
    answers = transport.run_all([question.argv for question in asked])
    return Facts({q.key: answer for q, answer in zip(asked, answers, strict=True)})


def limited(*argv: str) -> tuple[str, ...]:
    """A command with a time limit of its own, so that a slow one costs only its own answer."""
    return ("timeout", "-k", "5", str(LIMIT_S), *argv)


def shell(script: str, *arguments: str) -> tuple[str, ...]:
    """A piece of bash; its `$1`, `$2` ... are the arguments."""
    return limited("bash", "-c", script, "doctor", *arguments)


def login(script: str, *arguments: str) -> tuple[str, ...]:
    """The same in a login shell, which is what a job's script has."""
    return limited("bash", "-lc", script, "doctor", *arguments)


def number(text: str) -> int:
    """A whole number as a program prints it; -1 for anything else."""
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else -1


def said(result: Completed) -> str:
    """What a command said when it failed, without bash's own `doctor: line 2: `."""
    if result.returncode in (124, 137):
        return f"no answer within {LIMIT_S} s"
    return re.sub(r"\bdoctor: (line \d+: )?", "", complaint(result))


def jobs_text(names: Sequence[str]) -> str:
    """Jobs in a line, shortened."""
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
