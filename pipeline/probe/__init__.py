"""Asks a cluster for its limits and writes them down as a site file.

All questions go in one round trip. The modules beside this one turn text into facts (`slurm`,
`pbs`, `machine`) and facts into commented YAML (`write`); none of them does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline.errors import ConfigError, Unreachable
from pipeline.probe import machine, pbs, slurm, write
from pipeline.probe.facts import Cluster
from pipeline.schedulers.base import Completed
from pipeline.schedulers.words import complaint
from pipeline.study import NAME
from pipeline.transport import NOT_FOUND, Transport

ANSWER_S = 20  # for one command; a hung one must not hide what the others say
TIMED_OUT = 124  # what `timeout` ends with
RESERVED = ("add", "show", "local")  # words of `pipeline sites`, and the built-in site

VERSIONS: dict[str, list[str]] = {
    "sbatch": ["sbatch", "--version"],
    "qstat": ["qstat", "--version"],
}
_PBS = re.compile(r"pbs_version\s*=\s*(\S+)")
_TORQUE = re.compile(r"^\s*version:\s*(\S+)", re.IGNORECASE | re.MULTILINE)

Answers = Mapping[str, Completed]


class Request(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    name: str
    host: str = ""
    project_dir: str = ""
    scheduler: str = ""  # empty: found by what is on PATH


def check_name(name: str) -> None:
    """Raises ConfigError for what is no name of a new site file."""
    if not NAME.fullmatch(name) or name.endswith((".yaml", ".yml")) or name in RESERVED:
        raise ConfigError(
            [f"{name!r} is no name for a site. Use letters, digits, `-`, `_` and `.`, and none of "
             f"{', '.join(RESERVED)}"]
        )  # fmt: skip


def ask(request: Request, transport: Transport, root: Path, day: str) -> str:
    """A site file's text. Raises Unreachable where the scheduler does not answer, ConfigError
    where it is not clear which one it is."""
    questions = _questions(request, root)
    results = transport.run_all(list(questions.values()))
    return site_file(request, dict(zip(questions, results, strict=True)), day)


def site_file(request: Request, answers: Answers, day: str) -> str:
    """The same from answers that are there already."""
    host = machine.parse(answers["machine"].stdout)
    if not host.cores and not host.user:
        raise Unreachable(f"no shell answers: {complaint(answers['machine'])}. Try again")
    scheduler = request.scheduler or find_scheduler(answers)
    cluster = _cluster(scheduler, answers, host)
    return write.site_file(request.name, request.host, request.project_dir, cluster, host, day)


def find_scheduler(answers: Answers) -> str:
    """The scheduler by its commands on PATH."""
    has_slurm = answers["sbatch"].returncode == 0
    qstat = answers["qstat"]
    said = f"{qstat.stdout}\n{qstat.stderr}"
    other = "pbs" if _PBS.search(said) else "torque" if _TORQUE.search(said) else ""
    if has_slurm and other:
        raise ConfigError([f"both Slurm and {other} are here. Choose one with --scheduler"])
    if not has_slurm and not other and qstat.returncode != NOT_FOUND:
        raise ConfigError(
            [f"there is a qstat of neither PBS nor Torque ({complaint(qstat)}). "
             f"If it is one of them, say so with --scheduler"]
        )  # fmt: skip
    return "slurm" if has_slurm else other or "local"


def _questions(request: Request, root: Path) -> dict[str, list[str]]:
    questions: dict[str, list[str]] = dict(VERSIONS)
    if request.scheduler in ("", "slurm"):
        questions |= slurm.QUESTIONS
    if request.scheduler in ("", "pbs", "torque"):
        questions |= pbs.QUESTIONS
    limited = {key: ["timeout", str(ANSWER_S), *argv] for key, argv in questions.items()}
    return {**limited, "machine": machine.argv(str(root), request.project_dir)}


def _cluster(scheduler: str, answers: Answers, host: machine.Machine) -> Cluster:
    if scheduler == "local":
        return Cluster("local")
    module = slurm if scheduler == "slurm" else pbs
    for key in module.NEEDED:
        _check_answer(answers[key], module.QUESTIONS[key], scheduler)
    texts = {key: answers[key].stdout if answers[key].returncode == 0 else ""
             for key in module.QUESTIONS}  # fmt: skip
    if scheduler == "slurm":
        found = slurm.cluster(texts, host.groups)
    else:
        found = pbs.cluster(scheduler, texts, host.user, host.groups)
        pattern = _PBS if scheduler == "pbs" else _TORQUE
        said = pattern.search(answers["qstat"].stdout + "\n" + answers["qstat"].stderr)
        found.version = said[1] if said else found.version
    if not found.queues:
        raise Unreachable(
            f"`{' '.join(module.QUESTIONS[module.NEEDED[1]])}` named no queue: its answer is not "
            "whole, or none is open to you. Try again"
        )
    _missing(found, answers, module.QUESTIONS)
    return found


def _check_answer(answer: Completed, argv: Sequence[str], scheduler: str) -> None:
    if answer.returncode == 0:
        return
    why = f"no answer within {ANSWER_S} s" if answer.returncode == TIMED_OUT else complaint(answer)
    raise Unreachable(f"{scheduler} does not answer `{' '.join(argv)}`: {why}. Try again")


def _missing(found: Cluster, answers: Answers, questions: Mapping[str, Sequence[str]]) -> None:
    """Says of each question that got no answer that what hangs on it is not known."""
    for key, argv in questions.items():
        if answers[key].returncode:
            why = complaint(answers[key])
            found.notes.append(f"no answer to `{' '.join(argv)[:60]}`: {why[:100]}")
