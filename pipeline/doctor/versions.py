"""Which versions of which packages an environment must have, after pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([^;]*)")
_CLAUSE = re.compile(r"(==|!=|<=|>=|<|>|~=)\s*(\d+(?:\.\d+)*)", re.ASCII)
_RELEASE = re.compile(r"\d+(?:\.\d+)*", re.ASCII)


def requirements(*extras: str) -> dict[str, str]:
    """Package -> what its version must be (`>=2.6`, or nothing), of the project's extras; `""` is
    what every installation has. Empty where the project's own file is not there."""
    matches = map(_REQUIREMENT.match, lines(*extras))
    return {match[1]: match[2].strip() for match in matches if match}


def lines(*extras: str) -> list[str]:
    """The same as it is written there: `lm_eval[api]>=0.4.13`."""
    try:
        project: dict[str, Any] = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return []
    named = project["optional-dependencies"]
    return [
        line for extra in extras for line in (named[extra] if extra else project["dependencies"])
    ]


def oldest_python() -> tuple[int, ...]:
    """What `requires-python` asks for at least."""
    try:
        text = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["requires-python"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return ()
    match = _CLAUSE.search(text)
    return release(match[2]) if match else ()


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version: `2.6.0a0+git` is (2, 6, 0); empty for what is none."""
    match = _RELEASE.match(version.removeprefix("v"))
    return tuple(map(int, match[0].split("."))) if match else ()


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version is as asked for. Pre-releases and local versions count as their release."""
    own = release(version)
    if not own:
        return not wanted
    return all(_holds(own, sign, release(number)) for sign, number in _CLAUSE.findall(wanted))


def nearly(version: str, wanted: str) -> bool:
    """Another patch release than the one that is pinned: the same API."""
    match = _CLAUSE.fullmatch(wanted)
    return bool(match) and match[1] == "==" and release(version)[:2] == release(match[2])[:2]  # type: ignore[index]


def _holds(own: tuple[int, ...], sign: str, other: tuple[int, ...]) -> bool:
    width = max(len(own), len(other))
    a, b = (part + (0,) * (width - len(part)) for part in (own, other))
    if sign == "~=":
        return a >= b and own[: len(other) - 1] == other[:-1]
    return {"==": a == b, "!=": a != b, "<=": a <= b, ">=": a >= b, "<": a < b, ">": a > b}[sign]
