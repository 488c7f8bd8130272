"""Drawing tokens so that an answer follows from its own seed, whatever is drawn beside it.

transformers draws a batch from one stream of random numbers, so an answer would change with its
neighbours. Here each row has its own uniform numbers, one a token: the token is where the cumulated
probabilities, likeliest first, pass the number (inverse transform sampling).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor


def uniforms(seed: int, ids: Sequence[str], length: int) -> torch.Tensor:
    """Numbers in [0, 1) that follow from the seed and each row's id: (rows, length), float64."""
    drawn = []
    for name in ids:
        source = random.Random(f"{seed}:{name}")  # text is hashed by SHA-512 there, not by hash()
        drawn.append([source.random() for _ in range(length)])
    return torch.tensor(drawn, dtype=torch.float64)


def pick(
    scores: torch.Tensor, draws: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor:
    """A token for each row: scores (rows, vocabulary), draws (rows,); returns (rows,).

    Of the likeliest tokens that together have `top_p`, each with its probability at that
    temperature (Holtzman et al. 2020, arXiv:1904.09751); a temperature of 0 takes the likeliest.
    """
    if temperature == 0:
        return scores.argmax(-1)
    probabilities = (scores.double() / temperature).softmax(-1)
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulated = ordered.cumsum(-1)
    last = (cumulated < top_p).sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
    mass = cumulated.gather(-1, last)
    place = (cumulated <= draws.unsqueeze(-1).to(cumulated) * mass).sum(-1, keepdim=True)
    return order.gather(-1, place.minimum(last)).squeeze(-1)


class Draw(LogitsProcessor):  # type: ignore[misc]
    """Leaves of each row's scores one token only, so that a greedy search takes it."""

    def __init__(self, draws: torch.Tensor, prompt: int, temperature: float, top_p: float) -> None:
        self.draws, self.prompt = draws, prompt
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """input_ids (rows, so far), scores (rows, vocabulary)."""
        step = input_ids.shape[1] - self.prompt
        chosen = pick(scores, self.draws[:, step].to(scores.device), self.temperature, self.top_p)
        kept = torch.full_like(scores, -torch.inf)
        return kept.scatter(-1, chosen.unsqueeze(-1), 0.0)
