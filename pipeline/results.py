"""What `report` and `compare` tell the evaluation package, whose programs read files only."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from pipeline import plan, yamlio
from pipeline.errors import StateError
from pipeline.job import mirrored
from pipeline.site import Site
from pipeline.study import Loaded

SMALL = ("metrics.jsonl", "status.json", "manifest.json")  # of a training, beside its weights


def configuration(study: Loaded, site: Site, root: Path) -> dict[str, Any]:
    """All arms of a run with the paths of their results as they are seen from here.

    Raises StateError where the results are on the site's host and were not brought.
    """
    config = plan.overview(study, site)
    if not site.host:
        return config
    found: dict[str, Any] = _seen(config, site, study.directory("state"), root)
    if not any(_there(root, arm["outputs"]) for arm in found["arms"].values()):
        raise StateError(_bring(config, site, study))
    return found


def folder(config: dict[str, Any], root: Path) -> Path:
    """Where the report of a configuration goes unless somebody says otherwise."""
    named: str = config["parameters"].get("analyze", {}).get("results_dir", "")
    return root / (named or config["paths"]["results"])


def _seen(value: Any, site: Site, state: str, root: Path) -> Any:
    """Paths on the host become those of their copies here, relative to the project."""
    if isinstance(value, dict):
        return {key: _seen(child, site, state, root) for key, child in value.items()}
    if isinstance(value, list):
        return [_seen(child, site, state, root) for child in value]
    if isinstance(value, str) and value.startswith("/"):
        return str(mirrored(root, state, site.project_dir, value).relative_to(root))
    return value


def _there(root: Path, outputs: list[str]) -> bool:
    named = [path for path in outputs if path.endswith((".json", ".jsonl"))]
    return any(next(root.glob(path), None) is not None for path in named)


def _bring(config: dict[str, Any], site: Site, study: Loaded) -> str:
    """What is missing, and the commands that bring it."""
    paths, project = config["paths"], site.project_dir.rstrip("/")
    results, logs = paths["results"], paths["logs"].rstrip("/")
    there = logs if logs.startswith("/") else f"{project}/{logs}"
    here = mirrored(Path(), study.directory("state"), site.project_dir, there)
    only = [word for name in SMALL for word in ("--include", name)]
    commands = [
        ["rsync", "-a", f"{site.host}:{project}/{results}/", f"{results}/"],
        ["rsync", "-am", "--include", "*/", *only, "--exclude", "*", f"{site.host}:{there}/",
         f"{here}/"],
    ]  # fmt: skip
    told = "; ".join(shlex.join(command) for command in commands)
    return (
        f"{results}/ holds no results of {study.run_name}: they are on {site.host}. "
        f"Bring them, and the small files of the trainings: {told}"
    )


def pair(sides: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Two runs side by side: arm and configuration of each, in their order."""
    return {
        "sides": [{"arm": arm, **config} for arm, config in sides],
        "parameters": {"seed": sides[0][1]["parameters"].get("seed", 0)},
    }


def state_of(config: dict[str, Any]) -> str:
    """The state folder of the first of two runs."""
    return str(config["sides"][0]["paths"]["state"])


def write(root: Path, state: str, name: str, config: dict[str, Any]) -> str:
    """The configuration's file, relative to the project."""
    path = f"{state}/reports/{name}.yaml"
    yamlio.write_atomic(root / path, f"# Written by pipeline {name}.\n" + yamlio.dump(config))
    return path
