"""`diff`: what a study's configurations are, and why."""

from __future__ import annotations

import click

from pipeline.options import JSON, STUDY_HELP, Context, complete


@click.command()
@click.argument("one", metavar="A", shell_complete=complete("configuration"))
@click.argument("other", metavar="B", shell_complete=complete("configuration"))
@JSON
@click.option("--study", default="", shell_complete=complete("study"), help=STUDY_HELP)
def diff(one: str, other: str, study: str, as_json: bool) -> None:
    """Show every value that differs between two configurations of a study, and why.

    A and B are revisions, profiles (also A+B), or `study` for the study without any. The values are
    those of the two configurations; the reasons are those that `revisions` gives, and a key without
    one is marked. `pipeline check` refuses a reason for a key that does not differ. For the results
    of two runs see `pipeline compare`.

    \b
    Example:
      pipeline diff --study socratic-t5 initial final
      pipeline diff study demo --json
    """
    from pipeline import revisions
    from pipeline.view import revisions as revisions_view

    path = Context(study, "", (), ()).study_path
    revisions_view.difference(revisions.difference(path, one, other), as_json)
