"""Sets of task numbers as text: `1-17,19-20`. Ten thousand tasks cost one line."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST = 1_000_000  # more tasks than any scheduler takes; `1-9999999999` is a slip of the hand

_PART = re.compile(r"([0-9]{1,9})(?: *- *([0-9]{1,9}))?")


def to_ranges(numbers: Iterable[int]) -> str:
    """The shortest text for a set of numbers, ascending; empty for none.

    >>> to_ranges([3, 1, 2, 7])
    '1-3,7'
    """
    parts: list[str] = []
    start = end = None
    for n in [*sorted(set(numbers)), None]:
        if start is not None and end is not None and n == end + 1:
            end = n
            continue
        if start is not None:
            parts.append(str(start) if start == end else f"{start}-{end}")
        start = end = n
    return ",".join(parts)


def from_ranges(text: str) -> list[int]:
    """The numbers of `1-17,19-20`, ascending. Raises ValueError for anything else."""
    numbers: set[int] = set()
    named = 0
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(f"{part!r} is neither a number nor a range like 1-20")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{part!r} ends before it starts")
        named += last - first + 1
        if named > MOST:
            raise ValueError(f"{part!r} is more than {MOST} numbers")
        numbers.update(range(first, last + 1))
    return sorted(numbers)
