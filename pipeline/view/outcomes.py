"""What a submission or a cancellation did. Without rich: `submit` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.attempts import Outcome
    from pipeline.job import Job
    from pipeline.report import Report


def outcomes(
    done: Sequence[Outcome],
    nothing: str = "Nothing to submit: all is complete or active, or unknown (`pipeline status`).",
) -> None:
    """A line for each job that a command acted on."""
    if not done:
        click.echo(nothing)
    for outcome in done:
        detail = f" tasks {outcome.tasks}" if outcome.tasks not in ("", "1") else ""
        attempt = f" (attempt {outcome.attempt})" if outcome.attempt > 1 else ""
        identity = f" {outcome.id}" if outcome.id else ""
        patch = f" with {', '.join(outcome.patch)}" if outcome.patch else ""
        click.echo(
            f"{outcome.action} {outcome.job}{detail}{identity}{attempt}{patch}{_of(outcome)}"
        )


def closed(jobs: Sequence[Job], report: Report) -> None:
    """The jobs whose own checks closed their gate, which is a finding and no failure."""
    from pipeline.choose import closed as by_itself

    for job in jobs:
        found = [task for task in report.jobs[job.name].tasks.values() if by_itself(job, task)]
        if found:
            click.echo(
                f"{job.name}: its gate is closed, which is no failure ({found[0].reason}). To run "
                f"it and its checks again: pipeline resubmit {job.name}"
            )


def _of(outcome: Outcome) -> str:
    if outcome.link:
        return f" (link {outcome.link} of {outcome.links})"
    return f" ({outcome.links} links)" if outcome.links else ""
