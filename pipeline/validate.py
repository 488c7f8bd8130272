"""Turns parsed YAML into typed structs and reports every problem, each with its path."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from pipeline.errors import ConfigError
from pipeline.yamlio import nearest

T = TypeVar("T", bound=msgspec.Struct)

MAX_PROBLEMS = 100  # told at once; a file with more has one cause
MAX_LENGTH = 8000  # characters of one; a name may be a whole file
MAX_UNKNOWN = 20  # unknown keys of one mapping that are told

_AT = re.compile(r" - at `\$(.*)`$")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([KMGT]i?)?B?", re.IGNORECASE)
_WALLTIME = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,9}):([0-5]?[0-9]):([0-5]?[0-9])")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def build(kind: type[T], raw: Any, path: str, problems: list[str]) -> T | None:
    """A struct from a mapping, or None with what is wrong with it added to `problems`."""
    if not isinstance(raw, Mapping):
        problems.append(f"{path}: expected a mapping of keys, got {_show(raw)}")
        return None
    before = len(problems)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    unknown = [key for key in raw if key not in fields]
    for key in unknown[:MAX_UNKNOWN]:
        problems.append(f"{path}.{key}: unknown key; {nearest(key, fields)}")
    if len(unknown) > MAX_UNKNOWN:
        problems.append(f"{path}: {len(unknown) - MAX_UNKNOWN} more unknown keys. Remove them")
    values: dict[str, Any] = {}
    for key, field in fields.items():
        if key not in raw:
            if field.required:
                problems.append(f"{path}.{key}: missing. Add it; {_wanted(field.type)}")
            continue
        nested = _struct_of(field.type)
        if nested and isinstance(raw[key], Mapping):
            values[field.name] = build(nested, raw[key], f"{path}.{key}", problems)
        else:
            values[field.name] = _convert(raw[key], field.type, f"{path}.{key}", problems)
    if len(problems) > before:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        problems.append(f"{path}: {error}")
        return None


def _struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    union = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    for candidate in (annotation, *union):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _convert(value: Any, annotation: Any, path: str, problems: list[str]) -> Any:
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        text = str(error)
        at = _AT.search(text)
        where = path + (at[1] if at else "")
        problems.append(f"{where}: {_AT.sub('', text).lower()}: {_show(value)}")
        return None


def _wanted(annotation: Any) -> str:
    name = getattr(annotation, "__name__", str(annotation))
    return f"it is of type {name}"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def finish(problems: list[str], where: str) -> None:
    """Raises one ConfigError with all problems, each behind the name of its file."""
    if problems:
        found = list(dict.fromkeys(problems))
        more = len(found) - MAX_PROBLEMS
        if more > 0:
            found[MAX_PROBLEMS:] = [f"and {more} problems more. Mend these first"]
        raise ConfigError([f"{where}: {problem[:MAX_LENGTH]}" for problem in found])


def at_least(values: Any, least: int, *keys: str) -> None:
    """Raises ValueError where one of these fields is given and smaller."""
    for key in keys:
        value = getattr(values, key)
        if value is not None and value < least:
            raise ValueError(f"{key} is {value}. It must be {least} or more")


def parse_size(text: str | int) -> int:
    """Bytes: `480GB` is 480e9, `480GiB` is 480 x 2**30. Raises ValueError."""
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"{text!r} is no size; write it like 480GB or 64GiB")
    unit = (match[2] or "").upper()
    factor = 1024 ** "KMGT".index(unit[0]) * 1024 if unit.endswith("I") else _UNITS[unit]
    whole, _, part = match[1].partition(".")
    # Exact, where a float drops bytes above 2**53.
    size: int = int(whole + part) * factor // 10 ** len(part)
    if size < 1:
        raise ValueError(f"{text!r} is nothing; give at least one byte")
    return size


def parse_walltime(text: str | int) -> int:
    """Seconds of `48:00:00`, `2-00:00:00` or a number of seconds. Raises ValueError."""
    if isinstance(text, int):
        seconds = text
    elif match := _WALLTIME.fullmatch(text.strip()):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    else:
        raise ValueError(f'{text!r} is no walltime; write it like "48:00:00"')
    if seconds < 1:
        raise ValueError(f"{text!r} is no time at all; give at least one second")
    return seconds


def format_walltime(seconds: int) -> str:
    """`172800` -> `48:00:00`."""
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours:02d}:{m:02d}:{s:02d}"
