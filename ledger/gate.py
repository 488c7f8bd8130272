"""`python -m ledger.gate --config CONFIG`: makes a stage's checks; exit 78 where one closes it.

Jobs run it after their program. It writes `<state>/gates/<job>/<task>.json`, and, of a closed gate,
`<task>.closed`: the criteria in one line, for the receipt.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ledger import checks, checks_file, files, results
from ledger.checks import Outcome
from ledger.names import LedgerError

BAD_INPUT, CANNOT_WRITE, CLOSED = 65, 74, 78
MAX_LINE = 2000  # characters of what a receipt holds


def load(path: Path) -> dict[str, Any]:
    """A job's configuration. Raises LedgerError for a file that is none."""
    try:
        config = yaml.safe_load(path.read_text("utf-8"))
        if not (str(config["job"]["name"]) and str(config["paths"]["state"])):
            raise ValueError("it names no job, or no state folder")
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError) as error:
        raise LedgerError(f"{path} is no job's configuration: {error}") from None
    found: dict[str, Any] = config
    return found


def run(config: dict[str, Any], root: Path, task: int) -> list[Outcome]:
    """The outcomes of a job's checks. Raises LedgerError for checks that do not read."""
    found, problems = checks_file.read(config.get("gate") or [], "gate")
    if problems:
        raise LedgerError("; ".join(problems))
    world = results.world(config, root, task)
    return [checks.judge(check, world) for check in found]


def folder(config: dict[str, Any]) -> Path:
    """Where a job's outcomes are, relative to the project."""
    return Path(config["paths"]["state"]) / "gates" / str(config["job"]["name"])


def write(config: dict[str, Any], root: Path, task: int, outcomes: Sequence[Outcome]) -> None:
    """Writes what became of the checks, and of a closed gate the line for the receipt."""
    path = root / folder(config) / f"{task}.json"
    closed = [outcome for outcome in outcomes if outcome.closes]
    record = {
        "job": config["job"]["name"], "task": task, "time": time.time(), "closed": bool(closed),
        "checks": [outcome._asdict() for outcome in outcomes],
    }  # fmt: skip
    files.write(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    line = path.with_suffix(".closed")
    if closed:
        files.write(line, "; ".join(str(outcome) for outcome in closed)[:MAX_LINE] + "\n")
    else:
        line.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the checks of a job and says what became of each."""
    parser = argparse.ArgumentParser(
        prog="python -m ledger.gate",
        description="Makes the checks of a stage's gate; exit 78 where one closes it.",
    )
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    parser.add_argument("--task", type=int, default=1, help="of an array, the task")
    given = parser.parse_args(argv)
    try:
        config = load(given.config)
        outcomes = run(config, Path(), given.task)
    except LedgerError as error:
        print(f"error: {error}. Correct the study's gate", file=sys.stderr)
        return BAD_INPUT
    try:
        write(config, Path(), given.task, outcomes)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}. Mend it, run it again", file=sys.stderr)
        return CANNOT_WRITE
    for outcome in outcomes:
        optional = " (optional)" if outcome.optional else ""
        print(f"gate: {outcome.verdict}{optional} {outcome}")
    closed = [outcome for outcome in outcomes if outcome.closes]
    for outcome in closed:
        print(f"error: gate closed by {outcome}", file=sys.stderr)
    return CLOSED if closed else 0


if __name__ == "__main__":
    sys.exit(main())
