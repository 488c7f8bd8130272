"""`check`, `render --diff`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import click
from rich.text import Text

from ledger.claims import Judged, Verdict
from pipeline import estimate
from pipeline.plan import Plan
from pipeline.view.common import print_json
from pipeline.view.drawn import console, table_of


def check(made: Plan, judged: Sequence[Judged], as_json: bool, all_claims: bool) -> None:
    """That a study holds together, in what its arms differ, and what became of its claims."""
    differing = estimate.differing(made.study)
    result = {
        "study": made.study.name, "file": str(made.study.path), "site": made.site.site,
        "jobs": len(made.jobs), "tasks": sum(job.tasks for job in made.jobs),
        "arms": list(made.study.arms), "arms_differ_in": differing,
        "claims": [
            {
                "id": one.claim.id, "says": one.claim.says, "line": one.claim.line or None,
                "claimed": one.claimed, "computed": one.computed, "verdict": one.verdict,
                "expression": one.claim.computed.text if one.claim.computed else None,
                "acknowledged": one.claim.acknowledged or None, "note": one.note,
            }
            for one in judged
        ],
    }  # fmt: skip
    if as_json:
        print_json(result)
        return
    click.echo(f"{made.study.path}: holds together on site {made.site.site}.")
    arms = ", ".join(made.study.arms) or "none"
    click.echo(f"{result['jobs']} jobs, {result['tasks']} tasks, arms: {arms}.")
    if len(made.study.arms) > 1:
        click.echo(f"The arms differ in: {', '.join(differing) or 'nothing'}.")
    if judged:
        _claims(made.study.document.document, judged, all_claims)


def _claims(document: str, judged: Sequence[Judged], everything: bool) -> None:
    """The claims in a table: all, or those that contradict or whose note is out of date."""
    odd = [one for one in judged if one.verdict is Verdict.CONTRADICTS or one.claim.acknowledged]
    if shown := judged if everything else odd:
        table = table_of("line", "claim", "the plan says", "claimed", "computed", "verdict", "note")
        table.columns[1].no_wrap = True
        for one in shown:
            table.add_row(
                str(one.claim.line or ""), one.claim.id, one.claim.says, one.claimed, one.computed,
                Text(one.verdict, style="red" if one.stands else ""), one.note,
            )  # fmt: skip
        click.echo()
        console().print(table)
        click.echo()
    counts = {verdict: sum(one.verdict is verdict for one in judged) for verdict in Verdict}
    told = ", ".join(f"{count} {_COUNTED[verdict]}" for verdict, count in counts.items() if count)
    standing = sum(one.stands for one in judged)
    of = f" of {document}" if document else ""
    click.echo(f"{len(judged)} claims{of}: {told}.")
    if standing:
        click.echo(
            f"Contradictions that nobody acknowledged: {standing}. Correct the study, or say under "
            "`acknowledged` why it stands."
        )
    elif not everything:
        click.echo("All of them: pipeline check --claims")


_COUNTED = {
    Verdict.HOLDS: "hold", Verdict.ROUNDS: "hold when rounded", Verdict.CONTRADICTS: "contradict",
    Verdict.OPEN: "cannot be computed",
}  # fmt: skip


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
