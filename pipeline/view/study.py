"""`plan`, `check`, `render --diff`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import click
import msgspec

from pipeline import estimate, limits
from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.validate import format_walltime
from pipeline.view.common import console, print_json, table_of


def plan(made: Plan, as_json: bool) -> None:
    """The jobs, and the times and sizes that follow from them."""
    figures = estimate.figures(made)
    if as_json:
        jobs = [
            {k: v for k, v in msgspec.to_builtins(job).items() if k != "config"}
            for job in made.jobs
        ]
        print_json(
            {"study": made.study.name, "site": made.site.site, "jobs": jobs, "figures": figures}
        )
        return
    table = table_of(
        "job", "tasks", "nodes", "GPUs", "cores", "memory", "walltime", "hours", "needs"
    )
    for job in made.jobs:
        r = job.resources
        table.add_row(
            job.name, _tasks(made, job), str(r.nodes), str(r.gpus), str(r.cpus),
            f"{r.mem_bytes / 1e9:.0f} GB", _walltime(job),
            _hours(job.hours), ", ".join(u.job for u in job.upstream),
        )  # fmt: skip
    out = console()
    out.print(table)
    out.print()
    for name, text in figures.items():
        out.print(f"{name}: {text}")


def _tasks(made: Plan, job: Job) -> str:
    """`2000 in 2 arrays` where the site's limit on one asks for several."""
    arrays = len(limits.parts(made.site, job.queue, range(job.tasks)))
    return f"{job.tasks} in {arrays} arrays" if arrays > 1 else str(job.tasks)


def _walltime(job: Job) -> str:
    """`24:00:00`, and of a chain `4 x 24:00:00`."""
    links = f"{job.chain.links} x " if job.chain else ""
    return f"{links}{format_walltime(job.resources.walltime_s)}"


def _hours(hours: tuple[float, float]) -> str:
    low, high = (f"{h:g}" for h in hours)
    return low if low == high else f"{low}-{high}"


def check(made: Plan, as_json: bool) -> None:
    """That a study holds together, and in what its arms differ."""
    differing = estimate.differing(made.study)
    result = {
        "study": made.study.name, "file": str(made.study.path), "site": made.site.site,
        "jobs": len(made.jobs), "tasks": sum(job.tasks for job in made.jobs),
        "arms": list(made.study.arms), "arms_differ_in": differing,
        "claims": len(made.study.document.claims),
    }  # fmt: skip
    if as_json:
        print_json(result)
        return
    click.echo(f"{made.study.path}: holds together on site {made.site.site}.")
    arms = ", ".join(made.study.arms) or "none"
    click.echo(f"{result['jobs']} jobs, {result['tasks']} tasks, arms: {arms}.")
    if len(made.study.arms) > 1:
        click.echo(f"The arms differ in: {', '.join(differing) or 'nothing'}.")
    if made.study.document.claims:
        click.echo(f"{result['claims']} claims are recorded; this version does not compute them.")


def diffs(found: Sequence[tuple[str, str, str]]) -> None:
    """Unified differences between what was submitted last and what would be now."""
    for name, before, after in found:
        if not before:
            click.echo(f"{name}: never submitted")
        elif before == after:
            click.echo(f"{name}: as submitted")
        else:
            lines = difflib.unified_diff(
                before.splitlines(), after.splitlines(), f"{name} (submitted)", name, lineterm=""
            )
            click.echo("\n".join(lines))
