"""What tests of the doctor share: a plan on any site, and answers, as texts or asked for real."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from pipeline import plan, site, study
from pipeline.doctor.check import Check, Facts, Question, Scope, ask
from pipeline.schedulers.base import Completed
from pipeline.transport import Here

ROOT = Path(__file__).parents[2]


@functools.cache
def _study(profiles: tuple[str, ...], sets: tuple[str, ...]) -> study.Loaded:
    return study.load(ROOT / "studies/filipino-cpt.yaml", profiles, list(sets))


def scope(
    *stages: str, project: Path = ROOT, profiles: tuple[str, ...] = (), sets: tuple[str, ...] = (),
    **of_site: Any,
) -> Scope:  # fmt: skip
    """The main study's jobs of some stages on a site like the reference one, but for `of_site`."""
    base = site.reference(project)
    limits = {"max_cpus": 256, "max_gpus": 8, "max_mem": 10**13}  # of `local`
    where = msgspec.structs.replace(base, **{"site": "here", **limits, **of_site})
    made = plan.make(_study(profiles, sets), where)
    return Scope(made, tuple(made.select(stages)))


def said(text: str = "", code: int = 0, error: str = "") -> Completed:
    """An answer."""
    return Completed(("program",), code, text, error)


def facts(**answers: Completed | str) -> Facts:
    """Answers by their keys, `_` for a space in a key."""
    return Facts(
        {
            key.replace("_of_", " "): said(answer) if isinstance(answer, str) else answer
            for key, answer in answers.items()
        }
    )


def asked(questions: Iterable[Question], cwd: Path) -> Facts:
    """The questions, asked on this machine."""
    return ask(Here(str(cwd)), questions)


def by_name(found: Iterable[Check]) -> dict[str, Check]:
    """The checks by their names; each that is not well has a remedy."""
    named = {}
    for check in found:
        assert check.remedy or check.status == "ok", check
        assert "\n" not in check.fact, check
        named[check.name] = check
    return named


def bad(found: Iterable[Check]) -> list[str]:
    """`status name: fact` of those that are not well."""
    kept = list(found)
    by_name(kept)
    return [f"{c.status} {c.name}: {c.fact}" for c in kept if c.status != "ok"]
