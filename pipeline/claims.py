"""What the expressions of a study's claims see: the study as its file says it.

Profiles and `--set` change a run, not what the plan's document says, so claims are judged without
them; and without the site, so that they come out alike everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ledger import claims, claims_file
from ledger.claims import Judged
from ledger.units import Quantity
from pipeline import (
    forecast,
    plan,
    quote,
    recipe,
    shapes,
    site,
    space,
    study,
    timeline,
    validate,
)
from pipeline.errors import ConfigError
from pipeline.study import Loaded
from pipeline.yamlio import merge


class Lazy(Mapping[str, Any]):
    """Names whose values are made when asked for, once."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers, self._made = makers, dict[str, Any]()

    def __getitem__(self, key: str) -> Any:
        if key not in self._made:
            self._made[key] = self._makers[key]()
        return self._made[key]

    def __contains__(self, key: object) -> bool:
        return key in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def judge(loaded: Loaded, root: Path) -> list[Judged]:
    """The verdicts of a study's claims. Raises ConfigError with all that cannot be answered."""
    found, _ = claims_file.read(loaded.document.claims)  # its problems were told when it was loaded
    judged, problems = claims.judge(found, names(study.under(loaded), root))
    validate.finish(problems, str(loaded.path))
    return judged


def names(loaded: Loaded, root: Path) -> Mapping[str, Any]:
    """The parameters by their sections; `arms`, `stages`, `expectations` and `plan`, and under
    `profiles` all of it as each profile makes it."""
    reference = site.reference(root)  # nothing that is looked at here depends on the site

    def overview() -> dict[str, Any]:
        return plan.overview(loaded, reference)

    config = Lazy({"it": overview})
    makers: dict[str, Callable[[], Any]] = {
        section: lambda section=section: config["it"]["parameters"][section]  # type: ignore[misc]
        for section in loaded.parameters("")
    }
    makers["arms"] = lambda: Lazy({
        arm: lambda arm=arm: config["it"]["arms"][arm]["parameters"]  # type: ignore[misc]
        for arm in loaded.arms
    })  # fmt: skip
    makers["stages"] = lambda: Lazy({
        name: lambda name=name: _stage(loaded, name)  # type: ignore[misc]
        for name in loaded.stages
    })  # fmt: skip
    makers["profiles"] = lambda: Lazy({
        name: lambda name=name: names(study.under(loaded, name), root)  # type: ignore[misc]
        for name in loaded.document.profiles
    })  # fmt: skip
    makers["expectations"] = lambda: config["it"]["expectations"]
    makers["plan"] = lambda: _plan(loaded, reference)
    return Lazy(makers)


def _stage(loaded: Loaded, name: str) -> dict[str, Any]:
    """A stage's hours and what the study itself asks for, memory in bytes and walltime in s."""
    stage, overlay = loaded.stages[name], loaded.overlay
    asked = merge(
        {},
        loaded.document.resources,
        loaded.document.stages[name].get("resources", {}),
        overlay.get("resources", {}),
        overlay.get("stages", {}).get(name, {}).get("resources", {}),
    )
    if "mem" in asked:
        asked["mem"] = Quantity(validate.parse_size(asked["mem"]), (("byte", 1),))
    if "walltime" in asked:
        asked["walltime"] = Quantity(validate.parse_walltime(asked["walltime"]), (("second", 1),))
    return {
        "hours": msgspec.to_builtins(stage.hours),
        "resources": asked,
        "jobs": len(loaded.stage_arms(stage)),
    }


def _training(one: recipe.Recipe) -> dict[str, Any]:
    """What a training does, as `pipeline plan` tells it."""
    data, first = one.data, one.phases[0]
    return {
        "steps": one.steps, "examples": one.examples, "tokens": one.tokens, "epochs": one.epochs,
        "epoch": data.steps(first) if data else None, "batch": first.batch, "warmup": one.warmup,
        "evaluations": one.evaluations, "checkpoints": one.checkpoints,
    }  # fmt: skip


def _plan(loaded: Loaded, reference: site.Site) -> Mapping[str, Any]:
    """Figures of `pipeline plan`; hours as [least, most]."""
    try:
        made = plan.make(loaded, reference)
    except ConfigError as error:
        raise ConfigError([f"claims: `plan` cannot be told: {p}" for p in error.problems]) from None
    jobs = made.jobs
    trainings = {job.name: job for job in jobs if job.trains}
    return Lazy({
        "serial": lambda: list(timeline.total(jobs)),
        "critical_path": lambda: list(timeline.critical_path(jobs)),
        "stage_after_stage": lambda: list(timeline.stage_after_stage(jobs)),
        "makespan": lambda: {str(n): list(h) for n, h in timeline.makespans(jobs).items()},
        "longest_first": lambda: {
            str(n): list(h) for n, h in timeline.makespans(jobs, order="longest").items()
        },
        "gpu_hours": lambda: list(quote.of_jobs(made, jobs).gpu_hours),
        "core_hours": lambda: list(quote.of_jobs(made, jobs).core_hours),
        "parameters": lambda: {
            name: shapes.counts(job.config["parameters"]) for name, job in trainings.items()
        },
        "trainings": lambda: {one.job: _training(one) for one in recipe.recipes(made)},
        "memory": lambda: {
            one.job: {part: [size.low, size.high] for part, size in one.memory.items()}
            for one in forecast.forecasts(made)
        },
        "disk": lambda: {job.name: space.together([space.parts(job, None)]) for job in jobs},
        "jobs": lambda: len(jobs),
        "tasks": lambda: sum(job.tasks for job in jobs),
    })  # fmt: skip
