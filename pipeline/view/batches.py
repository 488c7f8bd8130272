"""`plan --profiles`: what each profile of a study does to batches, updates and rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.text import Text

from pipeline.recipe import Recipe
from pipeline.view.common import print_json
from pipeline.view.drawn import console, table_of

PLAIN = "(none)"  # the study without a profile


class Row(msgspec.Struct, frozen=True):
    """Trainings under a profile whose batches and rates are alike; `problem` where the profile
    gives no plan."""

    profile: str
    recipes: tuple[Recipe, ...] = ()
    problem: str = ""


def rows(profile: str, recipes: Sequence[Recipe]) -> list[Row]:
    """A row for each way in which the trainings of one profile go."""
    alike: dict[tuple[Any, ...], list[Recipe]] = {}
    for one in recipes:
        phases = [(p.length, p.target, p.micro, p.accumulation, p.batch) for p in one.phases]
        alike.setdefault((one.gpus, one.rate, one.staged, *phases), []).append(one)
    return [Row(profile, tuple(group)) for group in alike.values()]


def differing(found: Sequence[Row]) -> dict[str, dict[int, list[str]]]:
    """Training -> effective batch -> profiles, of trainings whose profiles differ in it. What
    trains on a CPU where another profile has GPUs is a trial and does not count."""
    some = any(one.gpus for row in found for one in row.recipes)
    batches: dict[str, dict[int, list[str]]] = {}
    for row in found:
        for one in row.recipes:
            if not one.staged and (one.gpus or not some):
                own = batches.setdefault(one.job, {})
                own.setdefault(one.phases[0].batch, []).append(row.profile)
    return {name: own for name, own in batches.items() if len(own) > 1}


def warnings(found: Sequence[Row]) -> list[str]:
    """What does not compare fairly, once for trainings that are alike."""
    alike: dict[str, list[str]] = {}
    for name, batches in differing(found).items():
        sizes = [f"{size} ({', '.join(profiles)})" for size, profiles in sorted(batches.items())]
        alike.setdefault("; ".join(sizes), []).append(name)
    return [
        f"{', '.join(names)}: effective batches differ between profiles: {text}. Their runs do not "
        "compare fairly: change accumulation with the micro-batch, or say why"
        for text, names in alike.items()
    ]


def show(found: Sequence[Row], as_json: bool) -> None:
    """The table, and a warning where effective batches differ."""
    if as_json:
        print_json({
            "profiles": [
                {"profile": row.profile, "problem": row.problem,
                 "trainings": {one.job: _cells(one) for one in row.recipes}}
                for row in found
            ],
            "warnings": warnings(found),
        })  # fmt: skip
        return
    out = console()
    every = {one.job for row in found for one in row.recipes}
    several = len(every) > 1
    columns = [key for key in COLUMNS if any(_text(row, key) for row in found)]
    table = table_of("profile", *(("trainings",) if several else ()), *columns)
    for row in found:
        named = (_named([one.job for one in row.recipes], len(every)),) if several else ()
        table.add_row(row.profile, *named, *(_text(row, key) for key in columns))
    out.print(table)
    for row in found:
        if row.problem:
            out.print(Text(f"{row.profile}: {row.problem}", style="yellow"))
    for text in warnings(found):
        out.print(Text(f"warning: {text}", style="yellow"))


COLUMNS = (
    "GPUs", "micro", "accum.", "effective", "length", "updates", "an epoch", "epochs", "rate",
    "warm-up", "evals", "saves",
)  # fmt: skip
OF_STAGES = ("micro", "accum.", "effective", "length", "an epoch")


def _cells(one: Recipe) -> dict[str, Any]:
    first = one.phases[0]
    found = {
        "GPUs": one.gpus, "micro": first.micro, "accum.": first.accumulation,
        "effective": first.batch, "length": first.length, "updates": one.steps,
        "an epoch": one.data.steps(first) if one.data else None, "epochs": one.epochs,
        "rate": one.rate, "warm-up": one.warmup, "evals": one.evaluations,
        "saves": one.checkpoints,
    }  # fmt: skip
    return {**found, **dict.fromkeys(OF_STAGES, "by stage")} if one.staged else found


def _text(row: Row, key: str) -> str:
    texts = [_shown(_cells(one)[key], key) for one in row.recipes]
    if len(set(texts)) < 2:
        return "".join(texts[:1])
    return f"{texts[0]}..{texts[-1]}"


def _shown(value: Any, key: str) -> str:
    if isinstance(value, str):
        return value
    if not value:
        return "0" if key == "GPUs" else ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _named(names: Sequence[str], every: int) -> str:
    if len(names) == every:
        return f"all {every}"
    return ", ".join(names) if len(names) < 3 else f"{names[0]} .. {names[-1]} ({len(names)})"
