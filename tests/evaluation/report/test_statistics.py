"""Intervals and tests against closed forms, hand-computed values, and simulation."""

import itertools
import math

import numpy as np
import pytest

from evaluation.report.statistics import (
    bootstrap,
    clustered,
    holm,
    mcnemar,
    paired,
    percentiles,
    share_interval,
    shifted_p,
    wilson,
)
from tests.evaluation.planted import outcomes


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (8, 10, 0.4901625, 0.9433178),
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (50, 200, 0.1950817, 0.3143410),
    ],
)
def test_wilson_intervals(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize(("correct", "n"), [(3, 17), (50, 200), (0, 5), (5, 5)])
def test_both_ends_solve_wilsons_equation(correct: int, n: int) -> None:
    for end in wilson(correct, n):
        distance = 1.959963984540054 * math.sqrt(end * (1 - end) / n)
        assert abs(correct / n - end) == pytest.approx(distance, abs=1e-9)


def signs(better: int, worse: int) -> np.ndarray:
    return np.array([1] * better + [-1] * worse + [0] * 5)


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [
        (10, 2, 158 / 4096),  # 2 (1 + 12 + 66) / 2^12
        (2, 10, 158 / 4096),
        (5, 0, 2 / 32),
        (6, 6, 1.0),
        (0, 0, 1.0),
        (1, 0, 1.0),
        (59, 86, 2 * sum(math.comb(145, k) for k in range(60)) / 2**145),
    ],
)
def test_mcnemars_exact_test(better: int, worse: int, p: float) -> None:
    assert mcnemar(signs(better, worse)) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("differences", [[2, 1, 1, -1], [2, -2, 1], [3, 1, 0, -1, 2], [-2, -1, -1]])
def test_mcnemar_over_tasks_counts_every_choice_of_signs(differences: list[int]) -> None:
    sums = [
        sum(sign * d for sign, d in zip(choice, differences, strict=True))
        for choice in itertools.product((1, -1), repeat=len(differences))
    ]
    far = sum(abs(total) >= abs(sum(differences)) for total in sums)
    assert mcnemar(np.array(differences)) == pytest.approx(far / len(sums))


def test_mcnemar_takes_many_tasks() -> None:
    assert mcnemar(signs(30_000, 29_500)) == pytest.approx(0.0406, abs=3e-4)  # normal: z = 2.046


def test_holms_correction() -> None:
    # Holm (1979): 0.01 x 4, 0.02 x 3, then never less than what came before.
    assert holm([0.02, 0.01, 0.03, 0.04]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_clusters_are_summed() -> None:
    correct = np.array([[1, 0], [1, 1], [0, 1], [1, 1]], dtype=bool)
    sums, sizes = clustered(["b", "a", "b", "c"], correct)
    assert sums.tolist() == [[1, 1], [1, 1], [1, 1]] and sizes.tolist() == [1, 2, 1]


def test_a_bootstrap_has_the_closed_forms_mean_and_deviation() -> None:
    rng = np.random.default_rng(5)
    sums = rng.integers(0, 3, size=(150, 2))
    sizes = np.full(150, 2)
    draws = bootstrap(sums, sizes, 1, "x", 40_000)
    difference = (sums[:, 0] - sums[:, 1]) / 2
    deviation = difference.std() / math.sqrt(150)  # of the mean of 150 draws from these
    assert (draws[:, 0] - draws[:, 1]).mean() == pytest.approx(difference.mean(), abs=1e-3)
    assert (draws[:, 0] - draws[:, 1]).std() == pytest.approx(deviation, rel=0.02)


def test_a_bootstrap_draws_tasks_as_drawing_them_one_by_one_does() -> None:
    """Clusters of uneven sizes: the same quantiles as resampling their indices."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 5, size=60)
    sums = rng.binomial(sizes, 0.4)[:, None]
    drawn = rng.integers(0, 60, size=(20_000, 60))
    slow = sums[drawn, 0].sum(axis=1) / sizes[drawn].sum(axis=1)
    fast = bootstrap(sums, sizes, 0, "x", 20_000)[:, 0]
    points = [2.5, 25, 50, 75, 97.5]
    assert np.percentile(fast, points) == pytest.approx(np.percentile(slow, points), abs=0.006)


def test_the_same_seed_and_name_give_the_same_draws() -> None:
    sums, sizes = np.array([[1], [0], [2]]), np.array([2, 2, 2])
    first = bootstrap(sums, sizes, 7, "pacute", 50)
    assert (first == bootstrap(sums, sizes, 7, "pacute", 50)).all()
    assert (first != bootstrap(sums, sizes, 7, "hierarchical", 50)).any()
    assert (first != bootstrap(sums, sizes, 8, "pacute", 50)).any()


def test_all_right_or_all_wrong_has_wilsons_interval_over_tasks() -> None:
    sizes = np.full(10, 2)
    for right in (0, 2):
        sums = np.full((10, 1), right)
        draws = bootstrap(sums, sizes, 0, "x", 100)
        found = share_interval(draws[:, 0], sums[:, 0], sizes)
        assert found == wilson(10 if right else 0, 10)


def test_two_arms_alike_everywhere_are_not_apart() -> None:
    sums, sizes = np.array([[1, 1], [0, 0], [2, 2]]), np.full(3, 2)
    found = paired(sums, sizes, bootstrap(sums, sizes, 0, "x"), (1, 0))
    assert (found["points"], found["mcnemar"], found["bootstrap"]) == (0, 1.0, 1.0)
    assert found["interval95"] == [0, 0]


def test_equal_shares_count_as_equally_far() -> None:
    differences = np.array([0.1 + 0.2, 0.0, 0.6])
    assert shifted_p(differences, 0.3) == 3 / 4  # |0.3 - 0.3| no, |0 - 0.3| and |0.6 - 0.3| yes


# Simulation: 1,000 draws, two languages a question whose answers agree more often than by chance.

DRAWS, QUESTIONS = 1_000, 200


def simulated(shares: tuple[float, float], agreement: float) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(2024)
    return [
        (
            np.stack([outcomes(rng, p, QUESTIONS, agreement).sum(axis=1) for p in shares], axis=1),
            np.full(QUESTIONS, 2),
        )
        for _ in range(DRAWS)
    ]


@pytest.mark.parametrize(
    "shares", [(0.25, 0.25), (0.4, 0.6), (0.9, 0.7)], ids=["null", "effect", "high"]
)
def test_intervals_cover_at_their_nominal_rate(shares: tuple[float, float]) -> None:
    """95 %, to three standard errors of 1,000 draws (2.1 %)."""
    covered = np.zeros(3)
    for at, (sums, sizes) in enumerate(simulated(shares, 0.6)):
        draws = bootstrap(sums, sizes, at, "simulation", 800)
        truths = (*shares, shares[1] - shares[0])
        for i, column in enumerate((draws[:, 0], draws[:, 1], draws[:, 1] - draws[:, 0])):
            low, high = percentiles(column)
            covered[i] += low <= truths[i] <= high
    assert (np.abs(covered / DRAWS - 0.95) <= 0.021).all(), covered


def test_intervals_that_ignored_the_tasks_would_not_cover() -> None:
    """The simulation can fail: answers that always agree, drawn as if they did not."""
    covered = 0
    for at, (sums, sizes) in enumerate(simulated((0.4, 0.4), 1.0)):
        apart = np.repeat(sums // 2, 2, axis=0)
        draws = bootstrap(apart, np.ones(len(apart), dtype=int), at, "simulation", 500)
        low, high = percentiles(draws[:, 0])
        covered += low <= 0.4 <= high
        assert len(sizes) == QUESTIONS
    assert covered / DRAWS < 0.9


def test_a_null_is_found_at_most_as_often_as_allowed_and_an_effect_nearly_always() -> None:
    rates = {}
    for name, shares in (("null", (0.4, 0.4)), ("effect", (0.4, 0.56))):
        found = np.zeros(2)
        for at, (sums, sizes) in enumerate(simulated(shares, 0.6)):
            draws = bootstrap(sums, sizes, at, "simulation", 300)
            result = paired(sums, sizes, draws, (1, 0))
            found += [result["mcnemar"] < 0.05, result["bootstrap"] < 0.05]
        rates[name] = found / DRAWS
    assert (rates["null"] <= 0.05 + 0.021).all() and (rates["null"] > 0.02).all(), rates
    assert (rates["effect"] > 0.95).all(), rates
