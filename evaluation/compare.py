"""`python -m evaluation.compare`: two runs, in what they were made differently and what came of it.

Exits 1 where the difference between their results has no single cause.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.analyze import arm_of
from evaluation.config import Config, InputError, guarded, load_config
from evaluation.report import content
from evaluation.report.fairness import (
    TREATMENT,
    changed,
    names_of,
    properties,
    treatment_of,
)
from evaluation.report.findings import Question, compare
from evaluation.report.runs import Run, job_configs, read_runs
from evaluation.report.tables import Table, markdown
from evaluation.results import Arm

CONFOUNDED = 1


def side_of(values: dict[str, Any], origin: str) -> tuple[Run, Arm | None, dict[str, str]]:
    """A run, its results if they are there, and the words that stand for it in paths."""
    config, name = Config(values, origin), str(values["arm"])
    runs = read_runs(config, Path(), job_configs(config, Path()))
    run = next((run for run in runs if run.arm == name), None)
    if run is None:
        raise InputError(f"{origin} has no arm {name}", "Name one of the study's arms")
    try:
        arm = arm_of(name, config.top(f"arms.{name}", dict), config, Path())
    except InputError as error:
        print(f"no results: {error}", file=sys.stderr)
        arm = None
    folders = {str(path): f"<{key}>" for key, path in config.top("paths", dict, {}).items()}
    return run, arm, names_of(run) | {k: v for k, v in folders.items() if k not in ("", ".")}


def differences(
    sides: list[tuple[Run, Arm | None, dict[str, str]]], treatment: Sequence[str]
) -> dict[str, Any]:
    """`parameters`, key -> two values; `made`, other properties that differ; `warnings`, why the
    results cannot be put down to one change."""
    (one, one_arm, one_names), (other, other_arm, other_names) = sides
    parameters = changed((one.parameters, one_names), (other.parameters, other_names))
    mine, theirs = properties(one, one_arm), properties(other, other_arm)
    made = {
        name: (mine[name], theirs[name])
        for name in mine
        if mine[name] is not None and theirs[name] is not None and mine[name] != theirs[name]
    }
    # One treatment is one change, however many parameters it has.
    causes = list(dict.fromkeys(treatment_of(key, treatment) or key for key in parameters))
    warnings = []
    if len(causes) > 1:
        warnings.append(f"more than one parameter was changed: {', '.join(causes)}")
    warnings += [
        f"{name} differ: {values[0]} and {values[1]}" for name, values in made.items()
    ]
    return {"parameters": parameters, "causes": causes, "made": made, "warnings": warnings}


def results(sides: list[tuple[Run, Arm | None, dict[str, str]]], seed: int) -> list[dict[str, Any]]:
    """The second run against the first on every metric that both have records of."""
    arms = []
    for label, (_, arm, _) in zip("AB", sides, strict=True):
        if arm is None:
            return []
        arms.append(replace(arm, id=label, aliases=()))
    tests: list[dict[str, Any]] = compare(arms, Question("A", seed=seed))["details"]["tests"]
    return tests


def tables(found: dict[str, Any]) -> list[Table]:
    """What differs, and the effects."""
    rows = [[key, *map(str, pair)] for key, pair in found["parameters"].items()]
    rows += [[name, *map(str, pair)] for name, pair in found["made"].items()]
    shown = [Table("changed", "What differs", ["", "A", "B"], rows, 3)] if rows else []
    for family in ("primary", "exploratory"):
        if table := content.tests({"details": {"tests": found["tests"], "baseline": "A"}}, family):
            shown.append(table)
    return shown


def run_pair(path: Path, as_json: bool) -> int:
    """Two runs from the file that `pipeline compare` wrote."""
    config = load_config(path)
    sides = [side_of(values, str(path)) for values in config.top("sides", list)]
    asked = Config(config.top("sides", list)[0], str(path)).top("report.treatment", list, [])
    found = differences(sides, asked or TREATMENT)
    found["tests"] = results(sides, config.get("seed", int, 0))
    labels = [_label(values) for values in config.top("sides", list)]
    if as_json:
        print(json.dumps({"a": labels[0], "b": labels[1], **found}, indent=2, default=str))
    else:
        print(f"A: {labels[0]}\nB: {labels[1]}\n")
        for table in tables(found):
            print(f"{table.caption}\n\n{markdown(table)}\n")
        for warning in found["warnings"]:
            print(f"warning: {warning}")
        if not found["warnings"]:
            causes = ", ".join(found["causes"]) or "nothing"
            print(f"They differ in {causes} alone, and in what follows from it.")
    return CONFOUNDED if found["warnings"] else 0


def _label(values: dict[str, Any]) -> str:
    job = values.get("job") or {}
    profiles = "+".join(job.get("profiles") or [])
    run = f"{job.get('study', '')}{'@' if profiles else ''}{profiles}"
    return f"{run}: {values['arm']}"


def main(argv: list[str] | None = None) -> int:
    """The program behind `pipeline compare`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m evaluation.compare")
    parser.add_argument("--config", type=Path, required=True, help="what pipeline compare wrote")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    return guarded(lambda: run_pair(args.config, args.json))


if __name__ == "__main__":
    sys.exit(main())
