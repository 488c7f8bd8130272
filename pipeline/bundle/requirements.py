"""What must be installed where a bundle runs, with the versions that were tested."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.doctor import versions
from pipeline.doctor.check import environment_of
from pipeline.job import Job
from pipeline.plan import Plan

# (environment, package of this project) -> extras of pyproject.toml; None is any environment.
_EXTRAS: dict[tuple[str | None, str], tuple[str, ...]] = {
    (None, "corpus"): ("corpus",),
    ("hf", "training"): ("hf",),
    ("hf", "evaluation"): ("hf", "eval"),
}
_CORE = {  # of the core's packages, those that programs use
    "corpus": ("pyyaml", "msgspec"),
    "evaluation": ("pyyaml", "jinja2"),
    "ledger": ("pyyaml",),
    "training": ("pyyaml",),
}
_NEMO = "nemo"  # an environment of its own, whose versions exclude the others'


def files(
    made: Plan, jobs: Sequence[Job], scripts: Mapping[str, str], folders: Collection[str],
    root: Path,
) -> dict[str, str]:  # fmt: skip
    """requirements.txt and the pins that it names; nothing where only programs of the study's own
    run. `folders`: those at the top of the bundle."""
    found: dict[str, str] = {}
    plain = [job for job in jobs if not job.runtime.container]
    used = {environment_of(made, job) for job in plain}
    lines = list(dict.fromkeys(_lines(used - {_NEMO}, folders)))
    if lines:
        found |= _file("requirements.txt", "constraints.txt", lines, root)
    if _NEMO in used and "training" in folders:
        lines = versions.lines(_NEMO)
        found |= _file("requirements-nemo.txt", "constraints-nemo.txt", lines, root)
    return found


def _lines(environments: Collection[str], folders: Collection[str]) -> Iterator[str]:
    core = versions.requirements("")
    for package, names in _CORE.items() if environments else ():
        if package in folders:
            yield from (f"{name}{core[name]}" for name in names if name in core)
    for (environment, package), extras in _EXTRAS.items() if environments else ():
        if package in folders and (environment is None or environment in environments):
            yield from versions.lines(*extras)


def _file(name: str, pins: str, lines: Sequence[str], root: Path) -> dict[str, str]:
    tested = root / pins
    if not tested.is_file():
        return {name: "\n".join(lines) + "\n"}
    text = tested.read_text("utf-8")
    return {name: "\n".join([f"-c {pins}", *lines]) + "\n", pins: text}
