"""Checks of a study on a site before anything is submitted, each with its remedy.

Each section is a module with two functions: `questions(scope)`, the commands that the host is
asked, and `checks(scope, facts)`, which makes checks of the answers without asking anything. All
questions go to the host together, in one round trip, here or over SSH. What is checked, and where
from: docs/doctor.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.doctor import (
    brought,
    checkpoints,
    data,
    deep,
    disk,
    environments,
    host,
    scheduler,
    secrets,
)
from pipeline.doctor.check import Check, Facts, Scope, ask
from pipeline.plan import Plan
from pipeline.transport import Transport

SECTIONS = (host, scheduler, secrets, environments, brought, data, checkpoints, disk)


def examine(
    plan: Plan,
    transport: Transport,
    stages: Sequence[str] = (),
    go_deep: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[Check]:
    """All checks of some stages, or of all, in the order in which a user would mend them.

    `say` is told what takes long. Raises Unreachable where the host does not answer at all.
    """
    scope = Scope(plan, tuple(plan.select(stages)), plan.site.site == "reference")
    say("asking the host")
    facts = ask(transport, [q for section in SECTIONS for q in section.questions(scope)])
    found = [check for section in SECTIONS for check in section.checks(scope, facts)]
    if go_deep:
        found += deep.submissions(scope, transport, say)
        found += deep.digests(scope, transport, facts, say)
    return found


def exit_code(found: Sequence[Check]) -> int:
    """0 all well, 1 something fails, 3 the scheduler did not answer."""
    statuses = {check.status for check in found}
    return 3 if "silent" in statuses else 1 if "fail" in statuses else 0


__all__ = ["Check", "Facts", "Scope", "examine", "exit_code"]
