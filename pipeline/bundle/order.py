"""The scripts of a bundle and the commands that submit them, each behind those it needs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from pipeline import limits, render, schedulers
from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.ranges import to_ranges
from pipeline.schedulers.base import Submission

_ID = re.compile(r"(@\d+(?:\[\])?@)")
_PLAIN = re.compile(r"--?[a-z-]+(=[A-Za-z]+)?")  # options read better without quotes


class Step(msgspec.Struct, frozen=True):
    """One submission: all of a job, some of its tasks where one array may not hold all, or a link
    of its chain."""

    number: int
    job: Job
    tasks: tuple[int, ...]
    link: int  # 0: it is none
    file: str
    text: str
    command: str  # of shell; the ids of others are `"${id[1]}"`
    after: tuple[int, ...]  # the numbers of those that must have ended
    before: tuple[int, ...] = ()  # of the links before, the newest first; the text lacks their ids

    @property
    def label(self) -> str:
        """Which it is, in words."""
        if self.link:
            return f"{self.job.name}, link {self.link} of {self.job.chain.links}"  # type: ignore[union-attr]
        if len(self.tasks) == 1:
            return (
                self.job.name if self.job.tasks == 1 else f"{self.job.name}, task {self.tasks[0]}"
            )
        return f"{self.job.name}, tasks {to_ranges(self.tasks)}"

    @property
    def array(self) -> bool:
        """Whether it is an array."""
        return len(self.tasks) > 1


def steps(plan: Plan, jobs: Sequence[Job]) -> list[Step]:
    """All submissions of some jobs, in the plan's order. Raises ConfigError where a script would
    hold what none can."""
    made: list[Step] = []
    for job in jobs:
        parts = limits.parts(plan.site, job.queue, range(1, job.tasks + 1))
        if job.throttle:
            job = msgspec.structs.replace(job, throttle=max(1, job.throttle // len(parts)))
        # By hand nothing ends a job before its time, so one link does it all.
        chained = job.chain is not None and job.scheduler != "local"
        links = range(1, job.chain.links + 1) if chained and job.chain else [0]
        for part in parts:
            for link in links:
                made.append(_step(plan, job, tuple(part), link, made))
    return made


def _step(
    plan: Plan, job: Job, tasks: tuple[int, ...], link: int, made: Sequence[Step]
) -> Step:  # fmt: skip
    """One step behind those that are made already."""
    own = [step for step in made if step.job.name == job.name]
    needed = {upstream.job for upstream in job.upstream}
    before = tuple(step.number for step in reversed(own)) if link > 1 else ()
    after = before[:1] or tuple(step.number for step in made if step.job.name in needed)
    whole = len(tasks) == job.tasks
    text = render.render(
        job, attempt_tasks=None if whole else tasks, link=link or 1,
        before=[placeholder(number) for number in before],
    )  # fmt: skip
    suffix = f".link-{link}" if link > 1 else "" if whole else f".part-{len(own) + 1}"
    file = f"{job.script}{suffix}{render.extension(job.scheduler)}"
    number = len(made) + 1
    ids = tuple(_marked(made[n - 1]) for n in after)
    submission = Submission(file, job.name, "", 0, len(tasks) if len(tasks) > 1 else None, ids)
    return Step(
        number, job, tasks, link, file, text, _command(plan, submission), after, before
    )  # fmt: skip


def placeholder(number: int) -> str:
    """What stands in a link's script for the id of another."""
    return f"@id-{number}@"


def _marked(step: Step) -> str:
    """What stands for an id in a command; PBS and Torque write an array's with brackets."""
    return f"@{step.number}[]@" if step.array else f"@{step.number}@"


def _command(plan: Plan, submission: Submission) -> str:
    """The scheduler's own command, with its own words for what a job waits for."""
    name = plan.site.scheduler
    if name == "local":
        return f"bash {render.quote(submission.script)}"
    return " ".join(map(_word, schedulers.get(name, "").submit_argv(submission)))


def _word(word: str) -> str:
    """A word of shell; `@3@` becomes the third submission's id."""
    if not _ID.search(word):
        return word if _PLAIN.fullmatch(word) else render.quote(word)
    parts = (
        f"${{id[{part.strip('@').removesuffix('[]')}]}}"
        if _ID.fullmatch(part)
        else re.sub(r'([$`"\\])', r"\\\1", part)
        for part in _ID.split(word)
    )
    return f'"{"".join(parts)}"'
