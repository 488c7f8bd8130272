"""Multiple choice scored over many tokenisations of each option, not over one.

A language model gives a probability to tokens. That of a text x behind a prompt is the sum over all
token sequences t that spell it: p(x) = sum of p(t | prompt), the prompt itself being cut as the
tokenizer cuts it. The usual score takes one term of that sum, the tokenizer's own t0. A model that
was trained on text cut in other ways has moved probability to other terms, and the usual score does
not see it there.

The estimate. With N tokenisations in all: where N <= k, all are scored and the sum is exact.
Otherwise t0 is scored, and t1 ... tk are drawn, independently and with replacement, from

    q(t) = exp(-cost * tokens of t) / Z  over all t but t0,

and p(x) is estimated by importance sampling of all terms but the first (draws of the same t are
scored once):

    p(t0) + 1/k * sum over i of p(ti) / q(ti)

It is unbiased for p(x), since q is positive for every t; its logarithm, which is what options are
compared by, is biased downwards by Jensen's inequality, by about half the squared `error`, and
consistent. q prefers few tokens because a model's probability falls with every token; Z and the
draws come from one pass over the lattice of tokenisations, so q is exact. Taking t0 out of the
sampling removes the one term that is mostly the largest, and with it most of the variance.

`effective` is (sum w)^2 / sum w^2 of the weights w = p(ti) / q(ti); `error` is the standard
deviation of w / sqrt(k) divided by the estimate. A small `effective` says that few draws carry
all of the sum.

Sources: Cao and Rimell, "You should evaluate your language model on marginal likelihood over
tokenisations", EMNLP 2021 (the quantity, and importance sampling of it); Chirkova, Kruszewski,
Rozen and Dymetman, "Should you marginalize over possible tokenizations?", ACL 2023 (when it
matters, and that the gap to p(t0) is the figure to look at).
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.pieces import Lattice, log_sum

COST = 2.0  # nats a token, of q; docs/evaluation.md has what others cost in error
Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Draws:
    """The tokenisations of a text to score: `own` the tokenizer's, `drawn` with their ln q.

    Where `drawn_from` is 0, `drawn` are all the others and none has a q.
    """

    size: int
    own: Tokens
    drawn: tuple[Tokens, ...]
    log_q: tuple[float, ...]

    @property
    def exact(self) -> bool:
        """Whether all tokenisations are there."""
        return not self.log_q

    def needed(self) -> list[Tokens]:
        """What must be scored, each once, `own` first."""
        return list(dict.fromkeys((self.own, *self.drawn)))


@dataclass(frozen=True, slots=True)
class Estimate:
    """ln p(x), with how many tokenisations there are and how good the estimate is."""

    nats: float
    size: int
    draws: int  # 0: exact
    effective: float | None
    error: float


def draw(ways: Lattice, own: Tokens, k: int, rng: random.Random) -> Draws:
    """The tokenisations with which to estimate p of the lattice's text; k is at least 1.

    `own` is one of them.
    """
    if ways.size <= k:
        return Draws(ways.size, own, tuple(t for t in ways.all() if t != own), ())
    rest = math.log1p(-math.exp(ways.log_q(own)))
    drawn: list[Tokens] = []
    while len(drawn) < k:
        if (tokens := ways.draw(rng)) != own:
            drawn.append(tokens)
    return Draws(ways.size, own, tuple(drawn), tuple(ways.log_q(t) - rest for t in drawn))


def estimate(draws: Draws, log_p: Callable[[Tokens], float]) -> Estimate:
    """The module's estimate; `log_p` gives ln p(t | prompt) of what `draws.needed()` lists."""
    first = log_p(draws.own)
    if draws.exact:
        nats = log_sum([first, *(log_p(tokens) for tokens in draws.drawn)])
        return Estimate(nats, draws.size, 0, None, 0.0)
    k = len(draws.drawn)
    logs = [log_p(t) - q for t, q in zip(draws.drawn, draws.log_q, strict=True)]
    nats = log_sum([first, log_sum(logs) - math.log(k)])
    weights = _relative(logs)
    total, squares = sum(weights), sum(w * w for w in weights)
    spread = math.sqrt(max(squares / k - (total / k) ** 2, 0.0) * k / max(k - 1, 1))
    error = spread / math.sqrt(k) * math.exp(max(logs) - nats)
    return Estimate(nats, draws.size, k, total * total / squares, error)


def _relative(logs: Sequence[float]) -> list[float]:
    """Weights with the greatest set to 1, so that none of the large ones underflows."""
    top = max(logs)
    return [math.exp(x - top) for x in logs]
