"""The estimate against the sum over every tokenisation, with a tiny model and short answers."""

import itertools
import math
import random
from collections.abc import Callable

import pytest

from evaluation.marginal import COST, Draws, Estimate, Tokens, draw, estimate
from evaluation.models import LanguageModel
from evaluation.pieces import Lattice, lattice

PROMPT = 'Tanong: Ano ang salitang-ugat ng "bumili"?\nSagot:'
Exact = tuple[Lattice, Tokens, Callable[[Tokens], float], float]


@pytest.fixture(params=[" bumili", " luto", " Ñandu-han"])
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


def every_draw(exact: Exact, k: int) -> list[tuple[float, Estimate]]:
    """Each possible outcome of k draws with its probability, and the estimate that it gives."""
    ways, own, log_p, _ = exact
    others = [tokens for tokens in ways.all() if tokens != own]
    rest = math.log(math.fsum(math.exp(ways.log_q(tokens)) for tokens in others))
    logs = {tokens: ways.log_q(tokens) - rest for tokens in others}
    found = []
    for drawn in itertools.product(others, repeat=k):
        log_q = tuple(logs[tokens] for tokens in drawn)
        share = math.exp(math.fsum(log_q))
        found.append((share, estimate(Draws(ways.size, own, drawn, log_q), log_p)))
    return found


def test_all_tokenisations_give_the_exact_sum(exact: Exact) -> None:
    ways, own, log_p, total = exact
    draws = draw(ways, own, ways.size, random.Random(0))
    assert draws.exact and len(draws.needed()) == ways.size and draws.needed()[0] == own
    found = estimate(draws, log_p)
    assert found.nats == pytest.approx(total, abs=1e-9)
    assert (found.size, found.draws, found.effective, found.error) == (ways.size, 0, None, 0.0)


@pytest.mark.parametrize("k", [1, 2])
def test_the_estimates_mean_is_the_exact_sum(exact: Exact, k: int) -> None:
    outcomes = every_draw(exact, k)
    assert math.fsum(share for share, _ in outcomes) == pytest.approx(1)
    mean = math.fsum(share * math.exp(one.nats - exact[3]) for share, one in outcomes)
    assert mean == pytest.approx(1)


def test_the_variance_halves_with_twice_the_draws_and_the_error_tells_it(exact: Exact) -> None:
    def variance(k: int) -> float:
        found = every_draw(exact, k)
        return math.fsum(share * (math.exp(one.nats - exact[3]) - 1) ** 2 for share, one in found)

    assert variance(2) == pytest.approx(variance(1) / 2)
    pairs = every_draw(exact, 2)
    told = math.fsum(share * (one.error * math.exp(one.nats - exact[3])) ** 2
                     for share, one in pairs)  # fmt: skip
    assert told == pytest.approx(variance(2))
    assert all(1 - 1e-9 <= (one.effective or 0) <= 2 + 1e-9 for _, one in pairs)


def test_many_draws_come_close_to_the_exact_sum(exact: Exact) -> None:
    ways, own, log_p, total = exact
    spread = math.sqrt(math.fsum(share * (math.exp(one.nats - total) - 1) ** 2
                                 for share, one in every_draw(exact, 1)))  # fmt: skip
    k = 20_000
    # All tokenisations would do with so many draws: ask the lattice for them one by one.
    rng = random.Random(0)
    drawn = [tokens for tokens in (ways.draw(rng) for _ in range(3 * k)) if tokens != own][:k]
    logs = draw(ways, own, ways.size - 1, rng)
    shift = logs.log_q[0] - ways.log_q(logs.drawn[0])
    found = estimate(Draws(ways.size, own, tuple(drawn),
                           tuple(ways.log_q(t) + shift for t in drawn)), log_p)  # fmt: skip
    assert abs(math.exp(found.nats - total) - 1) < 5 * spread / math.sqrt(len(drawn))


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
