"""Whether a series rises or falls, seen through its noise.

Two things must agree. The medians of the first and the last third say by how much; the Mann-Kendall
test (Mann 1945, Kendall 1975) whether chance alone would do it: S counts the pairs that rise, less
those that fall; without a trend it is about normal, with variance n(n-1)(2n+5)/18 less the ties'.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

LEAST = 4  # rows: of fewer, no order is unlikely enough
MOST = 300  # values that the test compares in pairs; more are first made medians of blocks
LEVEL = 0.05  # of the one-sided test


class Trend(NamedTuple):
    """`before`, `after`: the medians of the first and the last third; `rising`, `falling`: the
    chance of as much a rise, or a fall, without a trend."""

    rows: int
    before: float
    after: float
    rising: float
    falling: float

    def shows(self, direction: str) -> bool:
        """Whether both say `up`, or both `down`."""
        if direction == "up":
            return self.after > self.before and self.rising < LEVEL
        return self.after < self.before and self.falling < LEVEL


def of(values: Sequence[float]) -> Trend:
    """The trend of at least LEAST finite values in their order."""
    third = max(1, len(values) // 3)
    before, after = median(values[:third]), median(values[-third:])
    z = _mann_kendall(_blocks(values))
    return Trend(len(values), before, after, _above(z), _above(-z))


def median(values: Sequence[float]) -> float:
    """The value in the middle, of an even number the mean of the two."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _blocks(values: Sequence[float]) -> list[float]:
    if len(values) <= MOST:
        return list(values)
    ends = [len(values) * number // MOST for number in range(MOST + 1)]
    return [median(values[a:b]) for a, b in itertools.pairwise(ends)]


def _mann_kendall(values: Sequence[float]) -> float:
    """S in standard deviations, one unit nearer to 0 since S moves in whole steps."""
    n = len(values)
    s = sum((b > a) - (b < a) for i, a in enumerate(values) for b in values[i + 1 :])
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(values).values())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    if variance <= 0 or s == 0:  # all values alike
        return 0.0
    return (s - math.copysign(1, s)) / math.sqrt(variance)


def _above(z: float) -> float:
    """The chance that a standard normal number is above z."""
    return math.erfc(z / math.sqrt(2)) / 2
