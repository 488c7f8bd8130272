"""`check --results`: expectations and gates of a run with their evidence."""

from __future__ import annotations

import click
from rich.text import Text

from ledger.checks import Outcome, Verdict
from pipeline.outcomes import Judged
from pipeline.view.common import print_json
from pipeline.view.drawn import console, table_of

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow"}


def results(judged: Judged, as_json: bool) -> None:
    """Every expectation, then every gate as its job left it last."""
    if as_json:
        print_json({
            "expectations": [one._asdict() for one in judged.expectations],
            "gates": [
                {
                    "job": gate.job, "task": gate.task, "time": gate.time,
                    "checks": [one._asdict() for one in gate.outcomes],
                }
                for gate in judged.gates
            ],
        })  # fmt: skip
        return
    if judged.expectations:
        _table("expectation", [("", one) for one in judged.expectations])
    made = [(_name(gate.job, gate.task), gate) for gate in judged.gates if gate.outcomes]
    if made:
        _table("check", [(name, one) for name, gate in made for one in gate.outcomes])
    waiting = [gate.job for gate in judged.gates if not gate.outcomes]
    if waiting:
        click.echo(f"Gates whose checks were not made yet: {', '.join(waiting)}.")
    told = ", ".join(f"{count} {verdict}" for verdict, count in judged.counts().items() if count)
    click.echo(told + "." if told else "The study expects nothing, and no gate's checks were made.")


def _name(job: str, task: int) -> str:
    return job if task == 1 else f"{job} {task}"


def _table(what: str, rows: list[tuple[str, Outcome]]) -> None:
    gates = any(name for name, _ in rows)
    table = table_of(*(["gate of"] if gates else []), what, "verdict", "found", "wanted", "where")
    for name, one in rows:
        optional = " (optional)" if one.optional else ""
        table.add_row(
            *([name] if gates else []), one.id,
            Text(f"{one.verdict}{optional}", style=_STYLES[one.verdict]),
            one.found, one.wanted, one.evidence,
        )  # fmt: skip
    console().print(table)
    click.echo()
