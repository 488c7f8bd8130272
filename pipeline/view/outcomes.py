"""What a submission or a cancellation did. Without rich: `submit` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.attempts import Outcome


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


def _of(outcome: Outcome) -> str:
    if outcome.link:
        return f" (link {outcome.link} of {outcome.links})"
    return f" ({outcome.links} links)" if outcome.links else ""
