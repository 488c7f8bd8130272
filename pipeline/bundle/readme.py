"""The two files of a bundle that people start from: README.md and submit_all.sh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline import render
from pipeline.bundle.order import Step, placeholder
from pipeline.bundle.programs import DATA
from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.validate import format_walltime

OTHERS = ("LICENSE", "docs", "studies")  # of the project, for people to read
COMMANDS = {"pbs": "qsub", "torque": "qsub", "slurm": "sbatch", "local": "bash"}


class Missing(msgspec.Struct, frozen=True):
    """Something that the user brings, and why."""

    path: str
    why: str


class Shown(msgspec.Struct, frozen=True):
    """What the two files tell."""

    plan: Plan
    jobs: Sequence[Job]
    steps: Sequence[Step]
    sources: tuple[str, ...]  # files of the project
    requirements: Mapping[str, str]
    bring: tuple[Missing, ...]


def texts(shown: Shown) -> dict[str, str]:
    """Path -> text of both."""
    variables = _variables(shown)
    return {
        "README.md": render.page("bundle/README.md.j2", variables),
        "submit_all.sh": render.page("bundle/submit_all.sh.j2", variables),
    }


def _variables(shown: Shown) -> dict[str, Any]:
    study, jobs, first = shown.plan.study, shown.jobs, shown.jobs[0]
    tops = {path.split("/")[0] for path in shown.sources}
    return {
        "name": study.run_name,
        "title": study.document.title or study.name,
        "question": study.document.question,
        "site": shown.plan.site.site,
        "scheduler": first.scheduler,
        "command": COMMANDS[first.scheduler],
        "state_dir": first.state_dir,
        "results": study.directory("results"),
        "logs": first.site_log_dir,
        "env_file": first.env_file,
        "programs": sorted(tops - {DATA, *OTHERS}),
        "data": [path for path in shown.sources if path.startswith(f"{DATA}/")],
        "requirements": sorted(n for n in shown.requirements if n.startswith("requirements")),
        "pythons": sorted({job.runtime.python for job in jobs if not job.runtime.container}),
        "images": sorted({job.runtime.image for job in jobs if job.runtime.container}),
        "activate": sorted({line for job in jobs for line in job.runtime.activate}),
        "bring": shown.bring,
        "steps": shown.steps,
        "asks": {job.name: _asks(job) for job in jobs},
        "placeholder": {step.number: placeholder(step.number) for step in shown.steps},
        "folders": sorted({f"{job.log_dir}/scheduler" for job in jobs}),
    }


def _asks(job: Job) -> str:
    own = job.resources
    parts = [
        f"{own.nodes} nodes" if own.nodes > 1 else "",
        _count(own.gpus, "GPU") if own.gpus else "",
        _count(own.cpus, "core"),
        f"{own.mem_bytes / 1e9:.0f} GB" if own.mem_bytes >= 10**9 else f"{own.mem_bytes >> 20} MiB",
        format_walltime(own.walltime_s),
    ]
    return ", ".join(filter(None, parts))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
