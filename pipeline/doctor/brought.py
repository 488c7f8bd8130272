"""What the user brings: the `inputs` of stages that no job before them makes."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline import inputs
from pipeline.doctor.check import Check, Facts, Question, Scope, said

SECTION = "inputs"


def questions(scope: Scope) -> Iterator[Question]:
    """One command for all paths."""
    if argv := inputs.question(inputs.wanted(scope.plan, scope.jobs)):
        yield Question("inputs", argv)


def checks(scope: Scope, facts: Facts) -> Iterator[Check]:
    """A check an input."""
    wanted = inputs.wanted(scope.plan, scope.jobs)
    found = inputs.answers(wanted, facts.text("inputs"))
    for one in wanted:
        name = one.shown
        missing = found.get(one.path, "")
        if one.hub and (missing or not one.asked):
            fact = f"{one.hub} is fetched on the node, so it was not looked at"
            yield Check(SECTION, one.hub, "ok", fact, "", one.jobs)
        elif missing:
            yield Check(SECTION, name, "fail", missing, one.remedy, one.jobs)
        elif one.path in found:
            yield Check(SECTION, name, "ok", "is there", "", one.jobs)
        else:
            fact = f"not looked at: {said(facts.get('inputs'))}"
            yield Check(SECTION, name, "warn", fact, "Look at it on the host", one.jobs)
