"""What a run left: JSON, YAML and rows of JSON lines, looked up by dotted keys."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ledger.names import LedgerError, nearest

MAX_BYTES = 64_000_000  # of a file that is read whole
DOCUMENTS = (".json", ".yaml", ".yml")
LINES = ".jsonl"


class Missing(LedgerError):
    """What a check needs is not there, or cannot be read: it is neither passed nor failed."""


class Row(NamedTuple):
    """One number of a run over time; `step` counts the rows where the file names none."""

    step: float
    value: Any


def document(path: Path) -> Any:
    """What a JSON or YAML file holds. Raises Missing."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Missing(f"{path} is larger than {MAX_BYTES:,} bytes")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise Missing(f"there is no {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Missing(f"{path} cannot be read: {error}") from None
    try:
        if path.suffix == ".json":
            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except (ValueError, RecursionError) as error:
        raise Missing(f"{path} does not read as {path.suffix[1:]}: {error}") from None
    except yaml.YAMLError as error:
        raise Missing(f"{path} does not read as YAML: {str(error).splitlines()[0]}") from None


_NOTHING = object()


def value_of(holder: Any, key: str) -> Any:
    """A value by its key as it stands there, `train/loss`, else by its parts, `a.b.0`.
    Raises Missing that lists the keys."""
    found = _look_up(holder, key)
    if found is _NOTHING:
        keys = [str(k) for k in holder] if isinstance(holder, Mapping) else []
        raise Missing(f"there is no {key!r}; {nearest(key, keys)}")
    return found


def _look_up(holder: Any, key: str) -> Any:
    """The longest part of the key that stands there goes first: `test.v1.loss` may be `test.v1`
    and `loss`."""
    if isinstance(holder, list):
        head, _, rest = key.partition(".")
        if not head.isdecimal() or int(head) >= len(holder):
            return _NOTHING
        return _look_up(holder[int(head)], rest) if rest else holder[int(head)]
    if not isinstance(holder, Mapping):
        return _NOTHING
    if key in holder:
        return holder[key]
    words = key.split(".")
    for count in range(len(words) - 1, 0, -1):
        head = ".".join(words[:count])
        if head in holder:
            found = _look_up(holder[head], ".".join(words[count:]))
            if found is not _NOTHING:
                return found
    return _NOTHING


def rows(path: Path, key: str) -> list[Row]:
    """The rows of a JSON-lines file that have a key, in their order. Raises Missing where none has.

    A last line that was cut short is passed over; a step that stands there again, of a run that
    was resumed, takes the place of the one before.
    """
    found: dict[float, Any] = {}
    seen: dict[str, None] = {}
    for number, row in enumerate(_lines(path)):
        value = _look_up(row, key)
        if value is _NOTHING:
            seen |= dict.fromkeys(row) if len(seen) < 100 else {}
            continue
        step = row.get("step", number)
        if isinstance(step, bool) or not isinstance(step, int | float) or not math.isfinite(step):
            raise Missing(f"{path}, line {number + 1}: {step!r} is no step")
        found.pop(step, None)
        found[step] = value
    if not found:
        raise Missing(f"no row of {path} has {key!r}; {nearest(key, seen)}")
    return [Row(step, value) for step, value in found.items()]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    broken = ""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if broken:
                    raise Missing(broken)
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    broken = f"{path}, line {number}, is no JSON"
                    continue
                if isinstance(row, dict):
                    yield row
    except FileNotFoundError:
        raise Missing(f"there is no {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Missing(f"{path} cannot be read: {error}") from None


def numbers(values: Any, name: str = "") -> dict[str, float]:
    """Every number in nested mappings under its dotted name: {"perplexity": {"C1": 25}} gives
    perplexity.C1."""
    if isinstance(values, bool) or values is None:
        return {}
    if isinstance(values, int | float):
        return {name: float(values)} if name else {}
    found: dict[str, float] = {}
    for key, value in values.items() if isinstance(values, dict) else ():
        found |= numbers(value, f"{name}.{key}" if name else str(key))
    return found
