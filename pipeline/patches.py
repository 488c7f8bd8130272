"""Parameters that a remedy changed for one job: kept with its attempt, in force from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from pipeline.causes import Change
from pipeline.errors import StateError
from pipeline.manifest import Store
from pipeline.plan import Plan

Patches = Mapping[str, tuple[str, ...]]  # job -> `key=value`, as `--set` takes them


def recorded(store: Store) -> dict[str, tuple[str, ...]]:
    """What the newest attempts of a run's jobs changed. Nothing where the manifest is damaged:
    whoever goes on to use it says so."""
    try:
        manifest = store.read()
    except StateError:
        return {}
    jobs = manifest.jobs.items() if manifest else ()
    return {name: patch for name, entry in jobs if (patch := entry.patch())}


def extended(patch: Sequence[str], changes: Sequence[Change]) -> tuple[str, ...]:
    """A patch with changes over it; a key stands once."""
    values = dict(item.split("=", 1) for item in patch)
    values.update((change.key, change.after) for change in changes)
    return tuple(f"{key}={value}" for key, value in values.items())


def apply(made: Plan, patches: Patches, replan: Callable[[Sequence[str]], Plan]) -> Plan:
    """The plan with each patched job as `replan`, given the patch, makes it.

    A job that the study has no more is left out. Raises ConfigError where the study or the site
    refuses what a patch says.
    """
    names = {job.name for job in made.jobs}
    plans = {patch: replan(patch) for name, patch in patches.items() if name in names}
    if not plans:
        return made
    jobs = [
        plans[patches[job.name]].job(job.name) if job.name in patches else job for job in made.jobs
    ]
    return msgspec.structs.replace(made, jobs=type(made.jobs)(jobs))
