"""Whether what is known at level 2 carries to the levels above it, word by word."""

from collections import defaultdict
from typing import Any

import numpy as np

from evaluation.report.records import Answers
from evaluation.report.statistics import DRAWS, Floats
from evaluation.results import Arm

LEVELS = ("level3", "level4", "level5")
FEWEST = 10  # items on either side; below it a share says nothing


def roots() -> dict[str, str]:
    """Form -> root, of the lexicon that the benchmarks are made from."""
    from evaluation.lexicon import load_lexicon

    return {word.form: word.root for word in load_lexicon()}


def cascade(arms: list[Arm], seed: int) -> list[dict[str, Any]]:
    """For each arm, mode and level 3 to 5: the share right among items on roots that the arm knows
    at level 2, the share among the others, and their difference, each with a bootstrap interval.

    A root is known, in one language, when the arm answered all its level-2 items of that mode
    rightly. Empty where the records name no words, or the levels share no roots.
    """
    known = roots() if any(any(a.words) for arm in arms for a in arm.answers.values()) else {}
    found = []
    for arm in arms:
        for ending in ("", ".gen"):
            whole = arm.answers.get(f"hierarchical{ending}")
            if whole is None:
                continue
            for level in LEVELS:
                row = _split(whole, level, known, seed)
                if row:
                    mode = ending.removeprefix(".") or "mcq"
                    found.append({"arm": arm.id, "mode": mode, "level": level, **row})
    return found


def _split(
    answers: Answers, level: str, known: dict[str, str], seed: int
) -> dict[str, Any] | None:
    """The three figures of one level, or None where either side has too few items."""
    items = list(zip(answers.parts, answers.languages, answers.words, answers.correct, strict=True))
    right: dict[tuple[str, str], bool] = {}
    for part, language, word, correct in items:
        if part == "level2" and word:
            key = (known.get(word, word), language)
            right[key] = right.get(key, True) and bool(correct)
    table: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for part, language, word, correct in items:
        root = known.get(word, word)
        if part == level and word and (root, language) in right:
            place = 0 if right[root, language] else 2
            table[root][place] += bool(correct)
            table[root][place + 1] += 1
    rows = np.array(list(table.values()) or [[0, 0, 0, 0]])
    total = rows.sum(axis=0)
    if min(total[1], total[3]) < FEWEST:
        return None
    return _figures(rows, total, seed, level)


def _figures(rows: Any, total: Any, seed: int, level: str) -> dict[str, Any]:
    """Shares and their difference in per cent; roots are drawn, for their items belong together."""
    kinds, times = np.unique(rows, axis=0, return_counts=True)
    rng = np.random.default_rng([seed, int(level[-1])])
    drawn = rng.multinomial(len(rows), times / len(rows), size=DRAWS) @ kinds
    usable = drawn[(drawn[:, 1] > 0) & (drawn[:, 3] > 0)]
    shares: Floats = 100 * usable[:, [0, 2]] / usable[:, [1, 3]]
    values = 100 * total[[0, 2]] / total[[1, 3]]

    def figure(value: float, draws: Floats, n: int | None = None) -> dict[str, Any]:
        low, high = np.percentile(draws, [2.5, 97.5])
        found = {"value": round(float(value), 3),
                 "interval95": [round(float(low), 3), round(float(high), 3)]}
        return found if n is None else {**found, "n": n}

    return {
        "known": figure(values[0], shares[:, 0], int(total[1])),
        "unknown": figure(values[1], shares[:, 1], int(total[3])),
        "difference": figure(values[0] - values[1], shares[:, 0] - shares[:, 1]),
        "roots": len(rows),
    }
