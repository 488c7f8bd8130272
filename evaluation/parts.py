"""The parts of a model's evaluation, each of which is done once and kept.

A part is a benchmark in one mode, one scored over several tokenisations, the held-out documents, or
the boundaries. Its file `parts/<name>.json`, written last, holds its figures and a digest of all
that they depend on. `metrics.json` is put together from the parts: several tasks may work on one
model, and one that was killed goes on where it stopped.
"""

import copy
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.files import write_json, write_jsonl
from evaluation.models import LanguageModel
from evaluation.tasks import Notice

FOLDER = "parts"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a part gives: some of metrics.json's figures, and files of records by name."""

    metrics: dict[str, Any]
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """`inputs` is all that the figures depend on; `size` the rows that `run` scores, roughly.

    Parts of one `share` are one benchmark's: a task of an array does whole shares.
    """

    name: str
    inputs: dict[str, Any]
    size: int
    run: Callable[[LanguageModel, Notice], Outcome]
    share: int = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of the inputs."""
        return digest(self.inputs)


def digest(value: Any) -> str:
    """The SHA-256 of a value as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def stored(output: Path, part: Part) -> dict[str, Any] | None:
    """What a part's file holds; None where it is of other inputs, or a file of records is gone."""
    found = _read(output / FOLDER / f"{part.name}.json")
    if found is None or found.get("made_from") != part.digest:
        return None
    whole = all((output / name).is_file() for name in found.get("records", []))
    return found if whole else None


def compute(output: Path, part: Part, model: LanguageModel, notice: Notice) -> None:
    """Do a part and write its records, then its file."""
    started = time.monotonic()
    outcome = part.run(model, notice)
    for name, records in outcome.records.items():
        write_jsonl(output / name, records)
    found = {
        "made_from": part.digest,
        "seconds": round(time.monotonic() - started, 2),
        "records": sorted(outcome.records),
        "metrics": outcome.metrics,
    }
    write_json(output / FOLDER / f"{part.name}.json", found)


def gather(output: Path, parts: Sequence[Part], about: dict[str, Any]) -> bool:
    """Put metrics.json together from the parts that are done; False where it was so already.

    Tasks that run at the same time need no lock: a part is there before its task gathers, and each
    looks again after it wrote, so whoever writes last has seen all.
    """
    written = False
    while True:
        done = {part.name: found for part in parts if (found := stored(output, part))}
        made_from = digest([about, {name: found["made_from"] for name, found in done.items()}])
        present = _read(output / "metrics.json")
        if present is not None and present.get("made_from") == made_from:
            return written
        metrics: dict[str, Any] = {**copy.deepcopy(about), "made_from": made_from}
        for found in done.values():
            _merge(metrics, found["metrics"])
        metrics["missing"] = [part.name for part in parts if part.name not in done]
        metrics["seconds"] = round(sum(found["seconds"] for found in done.values()), 2)
        write_json(output / "metrics.json", metrics)
        written = True


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none that can be read, since it will be replaced."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
