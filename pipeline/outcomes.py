"""What became of a run's expectations and gates: `check --results`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from ledger import checks, checks_file
from ledger import results as left
from ledger.checks import Outcome, Verdict
from pipeline import results, validate
from pipeline.job import Job
from pipeline.plan import Plan

MAX_BYTES = 1_000_000  # of a file that a job's checks wrote


class Gate(msgspec.Struct, frozen=True):
    """The last outcomes of a job's checks, of one task; none where they were not made yet."""

    job: str
    task: int
    time: float | None
    outcomes: tuple[Outcome, ...]


class Judged(msgspec.Struct, frozen=True):
    """A run's results beside what the study expects of them."""

    expectations: tuple[Outcome, ...]
    gates: tuple[Gate, ...]

    def counts(self) -> dict[Verdict, int]:
        """How many of each verdict, of expectations and of checks that were made."""
        found = [*self.expectations, *(one for gate in self.gates for one in gate.outcomes)]
        return {verdict: sum(one.verdict is verdict for one in found) for verdict in Verdict}


def judge(made: Plan, root: Path) -> Judged:
    """Reads what a run left. Raises StateError where it is on a host and was not brought."""
    config = results.configuration(made.study, made.site, root)
    found, problems = checks_file.read(config.get("expectations") or [], "expectations")
    validate.finish(problems, str(made.study.path))
    world = left.world(config, root)
    jobs = [job for job in made.jobs if job.config.get("gate")]
    return Judged(
        tuple(_here(checks.judge(check, world), root) for check in found),
        tuple(gate for job in jobs for gate in _gates(job, root)),
    )


def _here(outcome: Outcome, root: Path) -> Outcome:
    """With the project's own paths as they are seen from it, like those of a job's checks."""
    told = (outcome.found, outcome.wanted, outcome.evidence)
    found, wanted, evidence = (text.replace(f"{root}/", "") for text in told)
    return outcome._replace(found=found, wanted=wanted, evidence=evidence)


def _gates(job: Job, root: Path) -> list[Gate]:
    folder = root / job.state_dir / "gates" / job.name
    found = [_gate(job, task, folder / f"{task}.json") for task in range(1, job.tasks + 1)]
    made = [gate for gate in found if gate.outcomes]
    return made or [Gate(job.name, 1, None, ())]


def _gate(job: Job, task: int, path: Path) -> Gate:
    """What a task's checks wrote; nothing where they wrote nothing that reads."""
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(MAX_BYTES))
        outcomes = tuple(_outcome(one) for one in record["checks"])
        return Gate(job.name, task, float(record["time"]), outcomes)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Gate(job.name, task, None, ())


def _outcome(told: dict[str, Any]) -> Outcome:
    words = {key: str(told[key]) for key in ("id", "found", "wanted", "evidence")}
    return Outcome(**words, verdict=Verdict(told["verdict"]), optional=told.get("optional") is True)
