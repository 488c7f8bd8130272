"""`diff` and `decisions`: a study's configurations, what was decided, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.options import JSON, STUDY_HELP, Context, complete, relative, run_options

if TYPE_CHECKING:
    from pipeline.study import Loaded


@click.command()
@click.argument("one", metavar="A", shell_complete=complete("configuration"))
@click.argument("other", metavar="B", shell_complete=complete("configuration"))
@JSON
@click.option("--study", default="", shell_complete=complete("study"), help=STUDY_HELP)
def diff(one: str, other: str, study: str, as_json: bool) -> None:
    """Show every value that differs between two configurations of a study, and why.

    A and B are revisions, profiles (also A+B), or `study` for the study without any. The values are
    those of the two configurations; the reasons are those that `revisions` gives, and keys without
    one are marked. `pipeline check` refuses a reason for a key that does not differ. For the
    results of two runs see `pipeline compare`.

    \b
    Example:
      pipeline diff --study socratic-t5 initial final
      pipeline diff study demo --json
    """
    from pipeline import revisions
    from pipeline.view import revisions as revisions_view

    path = Context(study, "", (), ()).study_path
    revisions_view.difference(revisions.difference(path, one, other), as_json)


@click.command()
@click.option(
    "--output",
    default="",
    metavar="FILE",
    help="Where to, `-` for here; default: decisions.md in the results folder.",
)
@run_options
def decisions(context: Context, output: str) -> None:
    """Write what the study decided, and what was changed on the way, as Markdown.

    The study's `decisions`; its revisions with their differences and reasons; the remedies that
    `resubmit --apply` really applied in this run; contradictions of the plan that are acknowledged.
    `pipeline report` writes the same beside its page.

    \b
    Example:
      pipeline decisions --output -
      pipeline decisions --study socratic-t5 --profile demo
    """
    from pipeline import decisions as record
    from pipeline import study, yamlio

    loaded = study.load(context.study_path, context.profiles, context.sets)
    text = told(context, loaded)
    if output == "-":
        click.echo(text, nl=False)
        return
    path = Path(output) if output else context.root / loaded.directory("results") / record.NAME
    yamlio.write_atomic(path, text)
    click.echo(relative(path))


def told(context: Context, loaded: Loaded) -> str:
    """The text of decisions.md, of a run that may have begun."""
    from pipeline import claims
    from pipeline import decisions as record
    from pipeline.manifest import Store

    manifest = Store(context.root / loaded.directory("state")).read()
    return record.markdown(loaded, manifest, claims.judge(loaded, context.root))
