"""`plan`, `check`, `render --diff`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.text import Text

from ledger.claims import Judged, Verdict
from pipeline import estimate, forecast, limits, memory
from pipeline.forecast import Forecast
from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.validate import format_walltime
from pipeline.view.common import print_json
from pipeline.view.drawn import console, table_of


def plan(made: Plan, as_json: bool, root: Path) -> None:
    """The jobs, and the times and sizes that follow from them."""
    figures, trainings = estimate.figures(made), forecast.forecasts(made)
    epochs = _epochs(made, trainings, root)
    if as_json:
        jobs = [
            {k: v for k, v in msgspec.to_builtins(job).items() if k != "config"}
            for job in made.jobs
        ]
        print_json({
            "study": made.study.name, "site": made.site.site, "jobs": jobs, "figures": figures,
            "makespans": estimate.makespans(made.jobs),
            "trainings": [
                {**msgspec.to_builtins(one), "epochs": epochs.get(one.job), "warning": one.warning}
                for one in trainings
            ],
        })  # fmt: skip
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
    if trainings:
        out.print()
        out.print(_trainings(trainings, epochs))
        shares = {one.utilisation for one in trainings if one.hours}
        at = " or ".join("{:.0%} to {:.0%}".format(*share) for share in sorted(shares))
        hours = f"; hours at {at} of the GPUs' peak" if at else ""
        out.print(f"Predicted from the configuration{hours}: docs/training-memory.md", style="dim")
    for warning in dict.fromkeys(one.warning for one in trainings if one.warning):
        names = ", ".join(one.job for one in trainings if one.warning == warning)
        out.print(Text(f"warning: {names}: {warning}", style="yellow"))


def _epochs(made: Plan, trainings: Sequence[Forecast], root: Path) -> dict[str, float]:
    """Passes of each training over its corpus, where its size is known by now."""
    found = {}
    for one in trainings:
        tokens = estimate.corpus_tokens(made.job(one.job), root)
        if tokens and one.tokens:
            found[one.job] = round(one.tokens / tokens, 3)
    return found


def _trainings(found: Sequence[Forecast], epochs: dict[str, float]) -> Any:
    """A row a training."""
    table = table_of(
        "training", "parameters", "batch", "tokens", "epochs", "memory", "hours", "the study says"
    )
    for one in found:
        claim = _hours(one.claimed) if one.claimed[1] else ""
        if one.claim_needs:
            low, high = (100 * share for share in one.claim_needs)
            claim += f" (at {low:.0f}-{high:.0f}%)"
        room = f" of {one.of / memory.GIB:.0f} GiB" if one.of else " GiB"
        table.add_row(
            one.job, f"{one.parameters / 1e6:,.0f} M",
            f"{one.sequences} x {one.length:,} tokens x {one.accumulation}",
            f"{one.tokens / 1e6:,.4g} M" if one.tokens else "",
            f"{epochs[one.job]:.3g}" if one.job in epochs else "",
            forecast.span(one.memory["total"]).removesuffix(" GiB") + room,
            "{:.3g}-{:.3g}".format(*one.hours) if one.hours else "", claim,
        )  # fmt: skip
    return table


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
