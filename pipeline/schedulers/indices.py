"""Index lists as schedulers write them: `5-20%4`, `1-400:3`, `1-2,4,8`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.ranges import to_ranges

_PART = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?")
MOST = 4_000_000  # the largest MaxArraySize that Slurm allows; more is not a list of indices


def expand(text: str) -> list[int] | None:
    """The indices, ascending; None where the text is cut short (`1-2,4,...`) or no such list.

    >>> expand("5-9:2%4")
    [5, 7, 9]
    """
    numbers: set[int] = set()
    for part in text.partition("%")[0].split(","):
        match = _PART.fullmatch(part.strip())
        if not match:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        found = range(first, last + 1, max(int(match[3] or 1), 1))
        if len(found) + len(numbers) > MOST:
            return None
        numbers.update(found)
    return sorted(numbers)


def runs(indices: Iterable[int]) -> list[str]:
    """Consecutive indices as ranges: `["3-4", "7"]`."""
    return [part for part in to_ranges(indices).split(",") if part]
