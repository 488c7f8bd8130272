"""Checkpoints of earlier runs: of other values, incomplete, of an arm that has another name now."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pipeline.doctor import data
from pipeline.doctor.check import Check, Facts, Question, Scope, number, shell
from pipeline.job import Job, host_path

SECTION = "checkpoints"
_STEP = re.compile(r"step_(\d{8})")
# Not compared: what the trainer finds out itself, and what may change.
_FOUND = ("data.digest", "data.documents", "data.tokens")

# Of each folder its entries with their sizes, and the records in it, each on one line; then the
# folders beside it that hold checkpoints.
_LOOK = r"""
number=0
for folder; do
  find -L "$folder" -mindepth 1 -maxdepth 2 -printf "entry|$number|%y|%s|%P\n" 2>/dev/null
  for file in "$folder"/run.json "$folder"/step_*/manifest.json; do
    [[ -f $file ]] || continue
    printf 'record|%s|%s|' "$number" "${file#"$folder"/}"
    head -c 262144 -- "$file" | tr -d '\n'
    echo
  done
  for beside in "${folder%/*}"/*/; do
    found=("$beside"step_*)
    [[ ! -e ${found[0]} ]] || printf 'beside|%s|%s\n' "$number" "${beside%/}"
  done
  number=$((number + 1))
done
exit 0
"""


class Folder:
    """What stands in one checkpoint folder."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}  # of files, by their path in it
        self.names: set[str] = set()
        self.records: dict[str, dict[str, Any]] = {}
        self.beside: list[str] = []

    @property
    def steps(self) -> list[str]:
        """Names of its checkpoints, the newest first."""
        return sorted((n for n in self.names if _STEP.match(n) and "/" not in n), reverse=True)


def questions(scope: Scope) -> Iterator[Question]:
    """One look at all of them."""
    if folders := _folders(scope):
        yield Question("checkpoints", shell(_LOOK, *folders))


def checks(scope: Scope, facts: Facts) -> Iterator[Check]:
    """A training's checkpoints each, then folders of nobody."""
    found = parse(facts.text("checkpoints"))
    trainings = _folders(scope)
    for which, (path, job) in enumerate(trainings.items()):
        folder = found.get(which)
        if folder and (folder.steps or "run.json" in folder.records):
            yield from _of_job(scope, job, path, folder, data.tokens(facts))
    yield from _of_nobody(scope, found)


def parse(text: str) -> dict[int, Folder]:
    """Answer to _LOOK; a line that is none of its own (a name with a newline) is passed over."""
    folders: dict[int, Folder] = {}
    for line in text.splitlines():
        word, _, rest = line.partition("|")
        which, _, rest = rest.partition("|")
        if word not in ("entry", "record", "beside") or number(which) < 0:
            continue
        folder = folders.setdefault(number(which), Folder())
        if word == "beside":
            folder.beside.append(rest)
            continue
        first, _, rest = rest.partition("|")
        if word == "record":
            folder.records[first] = _json(rest)
            continue
        size, _, name = rest.partition("|")
        folder.names.add(name)
        if first == "f" and number(size) >= 0:
            folder.sizes[name] = number(size)
    return folders


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _folders(scope: Scope) -> dict[str, Job]:
    return {
        scope.path(host_path(job, job.config["parameters"]["train"]["checkpoint_dir"])): job
        for job in scope.jobs
        if job.kind == "train"
    }


def _of_job(
    scope: Scope, job: Job, path: str, folder: Folder, tokens: dict[str, int]
) -> Iterator[Check]:
    name, needed = f"checkpoints of {job.name}", (job.name,)
    backend = job.config["parameters"]["train"]["backend"]
    broken = {step: why for step in folder.steps if (why := incomplete(folder, step, backend))}
    whole = [step for step in folder.steps if step not in broken]
    for step, why in broken.items():
        yield Check(
            SECTION, name, "warn" if whole else "fail", f"{step} is incomplete: {why}",
            f"rm -r {path}/{step}" + ("" if whole else
            ", or restore one: training does not start from nothing by itself"), needed,
        )  # fmt: skip
    pending = [n for n in folder.names if n.startswith(".step_") and n.endswith((".tmp", ".old"))]
    if pending:
        yield Check(
            SECTION, name, "warn", f"{len(pending)} unfinished writes: {', '.join(pending[:3])}",
            "The next save clears them", needed,
        )  # fmt: skip
    record = folder.records.get("run.json") if backend == "nemo" else (
        folder.records.get(f"{whole[0]}/manifest.json") if whole else None
    )  # fmt: skip
    if not record:
        return
    differing = differences(record, job, tokens)
    if differing:
        yield Check(
            SECTION, name, "fail",
            f"{whole[0] if whole else 'run.json'} was made under other values "
            f"({', '.join(differing[:5])}{' ...' if len(differing) > 5 else ''})",
            "Restore the values, or give the new run its own train.checkpoint_dir", needed,
        )  # fmt: skip
    else:
        at = f"goes on from {whole[0]}" if whole else "no checkpoint yet"
        yield Check(SECTION, name, "ok", f"{len(whole)} whole, {at}", "", needed)


def incomplete(folder: Folder, step: str, backend: str) -> str:
    """Why a checkpoint is not whole; empty where nothing speaks against it."""
    if f"{step}-unfinished" in folder.names:
        return "its write did not end"
    if backend == "nemo":
        return ""
    manifest = folder.records.get(f"{step}/manifest.json")
    files = (manifest or {}).get("files")
    if not isinstance(files, dict):
        return "it has no manifest"
    for name, about in files.items():
        want = about.get("bytes") if isinstance(about, dict) else None
        own = folder.sizes.get(f"{step}/{name}", 0)
        if own != want:
            return f"{name} has {own} bytes of {want}"
    return ""


def differences(record: dict[str, Any], job: Job, tokens: dict[str, int]) -> list[str]:
    """What a checkpoint was made with, where the study says otherwise now; as training compares."""
    identity = record.get("identity")
    parameters = job.config["parameters"]
    found = []
    for key, then in (identity if isinstance(identity, dict) else {}).items():
        now = _value(parameters, key)
        if now is None or key in _FOUND or (key == "train.precision" and now == "auto"):
            continue
        if _plain(then) != _plain(now):
            found.append(f"{key} {then!r} -> {now!r}")
    steps = record.get("max_steps")
    if isinstance(steps, int) and parameters["train"]["max_steps"] < steps:
        found.append(f"train.max_steps {steps} -> {parameters['train']['max_steps']}")
    here = [n for prefix, n in tokens.items() if prefix.endswith(parameters["train"]["data_path"])]
    then = identity.get("data.tokens") if isinstance(identity, dict) else None
    if here and isinstance(then, int) and then != here[0]:
        found.append(f"data.tokens {then} -> {here[0]}")
    return found


def _of_nobody(scope: Scope, found: dict[int, Folder]) -> Iterator[Check]:
    """Folders with checkpoints beside those of the plan's arms."""
    known = {
        scope.path(host_path(job, job.config["parameters"]["train"]["checkpoint_dir"]))
        for job in scope.plan.jobs
        if job.kind == "train"
    }
    strange = sorted({path for folder in found.values() for path in folder.beside} - known)
    for path in strange:
        yield Check(
            SECTION, scope.short(path), "warn", "holds checkpoints of no arm of this study",
            "If an arm was renamed, rename the folder; if not, delete it or leave it",
        )  # fmt: skip


def _value(parameters: dict[str, Any], key: str) -> Any:
    value: Any = parameters
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _plain(value: Any) -> Any:
    """Numbers by their value, sequences as lists: YAML and JSON write them differently."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value
