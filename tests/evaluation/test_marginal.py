"""The estimate against the sum over every tokenisation, with a tiny model and short answers."""

import math
import random
import statistics
from collections.abc import Callable

import pytest

from evaluation.marginal import COST, Tokens, draw, estimate
from evaluation.models import LanguageModel
from evaluation.pieces import Lattice, lattice

PROMPT = 'Tanong: Ano ang salitang-ugat ng "bumili"?\nSagot:'
RUNS = 400
Exact = tuple[Lattice, Tokens, Callable[[Tokens], float], float]


@pytest.fixture(params=[" bumibili", " nagluto", " Ñandu-han"])
def exact(model: LanguageModel, request: pytest.FixtureRequest) -> Exact:
    """A text's tokenisations, its own one, ln p of each, and ln of the sum of p over all."""
    text: str = request.param
    ways = lattice(model.tokenizer.pieces, text.encode(), COST)
    every = list(ways.all())
    context = [1, *model.tokenizer.encode(PROMPT)]
    nats = model.log_likelihoods([(context, tokens) for tokens in every], lambda rows: None)
    table = dict(zip(every, nats, strict=True))
    total = math.log(math.fsum(math.exp(value) for value in nats))
    return ways, tuple(model.tokenizer.encode(text)), table.__getitem__, total


def runs(exact: Exact, k: int) -> list[float]:
    """Estimates of p from independent draws, divided by the exact p."""
    ways, own, log_p, total = exact
    return [math.exp(estimate(draw(ways, own, k, random.Random(f"{k}/{run}")), log_p).nats - total)
            for run in range(RUNS)]  # fmt: skip


def test_all_tokenisations_give_the_exact_sum(exact: Exact) -> None:
    ways, own, log_p, total = exact
    draws = draw(ways, own, ways.size, random.Random(0))
    assert draws.exact and len(draws.needed()) == ways.size and draws.needed()[0] == own
    found = estimate(draws, log_p)
    assert found.nats == pytest.approx(total, abs=1e-9)
    assert (found.size, found.draws, found.effective, found.error) == (ways.size, 0, None, 0.0)


@pytest.mark.parametrize("k", [1, 4])
def test_the_estimate_is_unbiased(exact: Exact, k: int) -> None:
    assert exact[0].size > k
    found = runs(exact, k)
    spread = statistics.stdev(found) / math.sqrt(RUNS)
    assert spread > 0 and abs(statistics.fmean(found) - 1) < 4 * spread


def test_more_draws_come_closer_and_say_so(exact: Exact) -> None:
    ways, own, log_p, _ = exact
    k = max(1, (ways.size - 1) // 8)
    errors = [statistics.stdev(runs(exact, size)) for size in (k, 4 * k)]
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.25)  # as one over the square root
    told = [estimate(draw(ways, own, 4 * k, random.Random(run)), log_p) for run in range(RUNS)]
    assert statistics.fmean(one.error for one in told) == pytest.approx(errors[1], rel=0.4)
    assert all(1 <= (one.effective or 0) <= one.draws == 4 * k for one in told)


def test_the_own_tokenisation_is_never_drawn_and_always_counted(exact: Exact) -> None:
    ways, own, log_p, _ = exact
    draws = draw(ways, own, ways.size - 1, random.Random(3))
    assert not draws.exact and own not in draws.drawn and draws.needed()[0] == own
    assert estimate(draws, log_p).nats > log_p(own)
    q = [math.exp(ways.log_q(t)) for t in ways.all() if t != own]
    assert math.exp(draws.log_q[0]) == pytest.approx(
        math.exp(ways.log_q(draws.drawn[0])) / math.fsum(q)
    )


def test_equal_weights_are_all_effective() -> None:
    ways = Lattice([[(1, 0), (1, 1), (1, 2), (1, 3)]], [4, 1], [math.log(4), 0.0], 0.0)
    found = estimate(draw(ways, (0,), 3, random.Random(0)), lambda tokens: -5.0)
    assert found.nats == pytest.approx(-5 + math.log(4))
    assert found.effective == pytest.approx(3) and found.error == 0
