"""Intervals and paired tests over answers that come in clusters. docs/report.md explains them.

A cluster is a task: one question, asked in several languages. Its answers depend on each other, so
tasks are drawn, not answers. Shapes: `sums` (tasks, arms), right answers of each task and arm;
`sizes` (tasks,), the answers that each arm gave to it.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution
Z80 = 0.8416212335729143  # the 80 % point

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def clustered(tasks: Sequence[str], correct: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    """`sums` and `sizes` of answers (answers, arms) by their tasks, in the tasks' sorted order."""
    _, which = np.unique(np.asarray(tasks, dtype=str), return_inverse=True)
    sizes = np.bincount(which)
    columns = [np.bincount(which, weights=column) for column in correct.T]
    return np.stack(columns, axis=1).astype(np.int64), sizes


def bootstrap(sums: Counts, sizes: Counts, seed: int, name: str, draws: int = DRAWS) -> Floats:
    """The arms' shares of right answers in `draws` resamples of the tasks; (draws, arms).

    Tasks with equal rows are exchangeable, so how often each kind of row is drawn is multinomial:
    the same distribution as drawing tasks one by one, at the cost of the kinds. All arms share the
    drawn tasks, which pairs them. `name` gives each metric random numbers of its own.
    B. Efron, Annals of Statistics 7 (1979); clusters: A. C. Davison and D. V. Hinkley, Bootstrap
    Methods and their Application (1997), section 3.8.
    """
    kinds, times = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    drawn = rng.multinomial(len(sizes), times / len(sizes), size=draws) @ kinds
    shares: Floats = drawn[:, :-1] / drawn[:, -1:]
    return shares


def percentiles(draws: Floats) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of one column of resamples."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def wilson(correct: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, both ends in [0, 1]; n is at least 1.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), E. B. Wilson, JASA 22 (1927).
    """
    p, scale = correct / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def share_interval(draws: Floats, sums: Counts, sizes: Counts) -> tuple[float, float]:
    """The 95 % interval of one arm's share: the bootstrap's, or Wilson's over tasks where every
    answer is right or every one wrong, since resamples of those cannot differ."""
    total = int(sums.sum())
    if total in (0, int(sizes.sum())):
        tasks = len(sizes)
        return wilson(tasks if total else 0, tasks)
    return percentiles(draws)


def mcnemar(differences: Counts) -> float:
    """The exact two-sided p-value of differences between two arms' right answers, a task each.

    If the arms are alike, each difference is as likely with the other sign. P(|S| >= |sum|) over
    all choices of signs, S a sum of k (2 X - n) with X ~ Binomial(n, 1/2) for the n tasks whose
    difference is k or -k. Over tasks of one answer it is McNemar's exact test, 2 P(X <= the smaller
    of the two discordant counts): Q. McNemar, Psychometrika 12 (1947); signs at random: E. J. G.
    Pitman, Supplement to the JRSS 4 (1937).
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    chances = np.ones(1)  # of S = -reach, -reach + 1, ..., reach
    for size, n in zip(sizes.tolist(), counts.tolist(), strict=True):
        own = np.zeros(2 * size * n + 1)
        own[:: 2 * size] = _binomial(n)
        chances = np.convolve(chances, own)
    reach = len(chances) // 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(differences.sum()))
    return min(1.0, float(chances[far].sum()))


def _binomial(n: int) -> Floats:
    """The chances of 0 ... n heads in n throws of a fair coin."""
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
    chances: Floats = np.exp(np.array(logs) - n * math.log(2))
    return chances


def shifted_p(differences: Floats, observed: float) -> float:
    """The two-sided p-value of a paired bootstrap: how often resampled differences lie as far from
    the observed one as that lies from zero.

    (1 + #{|d* - d| >= |d|}) / (1 + draws): T. Berg-Kirkpatrick, D. Burkett and D. Klein,
    EMNLP-CoNLL 2012; the ones: Davison and Hinkley (1997), section 4.2.
    """
    # Shares are quotients of whole numbers: equal ones may differ in their last bits.
    far = np.abs(differences - observed) >= abs(observed) - 1e-12
    return float((1 + far.sum()) / (1 + len(differences)))


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for being several, in their own order: the family-wise error stays below
    the level that they are compared with. S. Holm, Scandinavian Journal of Statistics 6 (1979)."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    corrected, running = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = running
    return corrected


def detectable(differences: Floats) -> float:
    """The true difference that eight of ten studies of this size would find at the 5 % level,
    uncorrected: (z(97.5 %) + z(80 %)) standard errors of the bootstrap."""
    return float((Z95 + Z80) * differences.std())


def paired(sums: Counts, sizes: Counts, draws: Floats, arms: tuple[int, int]) -> dict[str, Any]:
    """One arm against another on the same tasks: the difference in percentage points with its 95 %
    interval and both tests. `arms`: columns, the one that is tested and the one it is tested
    against."""
    one, other = arms
    apart = sums[:, one] - sums[:, other]
    better, worse = int((apart > 0).sum()), int((apart < 0).sum())
    observed = float(apart.sum() / sizes.sum())
    differences = draws[:, one] - draws[:, other]
    low, high = percentiles(differences)
    return {
        "points": round(100 * observed, 3),
        "interval95": [round(100 * low, 3), round(100 * high, 3)],
        "better": better,
        "worse": worse,
        "tasks": len(sizes),
        "items": int(sizes.sum()),
        "mcnemar": mcnemar(apart),
        # Without a task on which the two differ, nothing speaks against them being the same.
        "bootstrap": shifted_p(differences, observed) if better + worse else 1.0,
        "detectable": round(100 * detectable(differences), 3),
    }
