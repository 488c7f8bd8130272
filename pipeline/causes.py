"""Why a task failed, and what changes that: causes.yaml here, and a project's own before it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline import validate, yamlio
from pipeline.errors import ConfigError
from pipeline.job import Job
from pipeline.states import State

OWN = "causes.yaml"
_FACTOR = re.compile(r"x(\d+(?:\.\d+)?)")
_WORDS = {"half": 0.5, "double": 2.0}
_RESOURCES = {".resources.walltime": validate.parse_walltime, ".resources.mem": validate.parse_size}


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table: how it is recognised, what it says, what it changes."""

    name: str
    cause: str
    advice: str
    log: str = ""
    states: tuple[State, ...] = ()
    exits: tuple[int, ...] = ()
    patch: dict[str, str | int | float | bool] = {}
    transient: bool = False

    def __post_init__(self) -> None:
        if not (self.log or self.states or self.exits):
            raise ValueError("fits everything. Give log, states or exits")
        try:
            re.compile(self.log)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"log is no regular expression ({error}). Correct it") from None
        for key, word in self.patch.items():
            _measured(key, word)

    def fits(self, state: State, exit_code: int | None, lines: Iterable[str]) -> str | None:
        """The last of a log's lines that shows it, "" where it needs none; None: it does not fit.

        `lines` are the log's, last first.
        """
        if (self.states and state not in self.states) or (
            self.exits and exit_code not in self.exits
        ):
            return None
        if not self.log:
            return ""
        return next((line.strip() for line in lines if re.search(self.log, line)), None)


class Change(msgspec.Struct, frozen=True):
    """A parameter that a patch changes."""

    key: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.key} {self.before} -> {self.after}"


def load(root: Path) -> tuple[Cause, ...]:
    """The project's own rows, then the built-in ones that it does not replace.

    Raises ConfigError with everything that is wrong in the project's file.
    """
    own = _read(root / OWN) if (root / OWN).exists() else []
    built_in = _read(Path(__file__).with_name(OWN))
    replaced = {row.name for row in own}
    return (*own, *(row for row in built_in if row.name not in replaced))


def _read(path: Path) -> list[Cause]:
    problems: list[str] = []
    raw = yamlio.load(path)
    rows = raw.get("causes")
    if not isinstance(rows, Sequence) or isinstance(rows, str) or set(raw) != {"causes"}:
        raise ConfigError([f"{path}: expected one key, `causes`, with a list of rows"])
    found = [validate.build(Cause, row, f"causes[{i}]", problems) for i, row in enumerate(rows)]
    names = [row.name for row in found if row]
    problems += [
        f"causes: two rows are called {n!r}. Rename one" for n in names if names.count(n) > 1
    ]
    validate.finish(problems, str(path))
    return [row for row in found if row]


def find(
    rows: Sequence[Cause], state: State, exit_code: int | None, text: str
) -> tuple[Cause | None, str]:
    """The first row that fits a task that ended so, with `text` at the end of its log; and the line
    that shows it."""
    lines = text.splitlines()[::-1]
    for row in rows:
        line = row.fits(state, exit_code, lines)
        if line is not None:
            return row, line
    return None, ""


def changes(row: Cause, job: Job) -> list[Change]:
    """What the row's patch does to a job; empty where it has none, or it cannot go further."""
    found = []
    for key, word in row.patch.items():
        name = key.replace("<stage>", job.stage)
        before = _value(name, job)
        if before == 0 and word in _WORDS and not isinstance(before, bool):
            continue  # half of nothing is nothing, and no reason to leave the others
        odd = isinstance(before, int) and before % 2
        if word == "half" and "double" in row.patch.values() and odd:
            return []  # 3 x 3 would become 1 x 6: another update than the one before
        after = None if before is None else _changed(before, _measured(name, word))
        if after is None or after == before:
            return []
        found.append(Change(name, _text(name, before), _text(name, after)))
    return found


def _value(key: str, job: Job) -> Any:
    if key == f"stages.{job.stage}.resources.walltime":
        return job.chain.total_s if job.chain else job.resources.walltime_s
    if key == f"stages.{job.stage}.resources.mem":
        return job.resources.mem_bytes
    value: Any = job.config.get("parameters", {})
    for word in key.split("."):
        value = value.get(word) if isinstance(value, Mapping) else None
    return value


def _measured(key: str, word: str | int | float | bool) -> str | int | float | bool:
    """A patch's value in the resource's own unit, seconds or bytes; other words as they are.

    Raises ValueError for a value that is no walltime or no size.
    """
    parse = next((p for end, p in _RESOURCES.items() if key.endswith(end)), None)
    if parse is None or (isinstance(word, str) and (word in _WORDS or _FACTOR.fullmatch(word))):
        return word
    return parse(str(word))


def _changed(before: Any, word: str | int | float | bool) -> Any:
    """The value after a patch; None where it cannot be had, as the half of 1."""
    factor = _WORDS.get(word) if isinstance(word, str) else None
    if isinstance(word, str) and (match := _FACTOR.fullmatch(word)):
        factor = float(match[1])
    if factor is None:
        return word
    if isinstance(before, bool) or not isinstance(before, int | float):
        return None
    after = before * factor
    if not math.isfinite(after):
        return None
    return after if isinstance(before, float) else int(after) or None


def _text(key: str, value: Any) -> str:
    if key.endswith(".resources.walltime"):
        return validate.format_walltime(value)
    if key.endswith(".resources.mem"):
        return f"{value // 2**20}MiB" if value % 2**20 == 0 else f"{value // 10**6}MB"
    return f"{value:g}" if isinstance(value, float) else str(value)
