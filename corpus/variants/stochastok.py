"""StochasTok: random tokens are split in two.

Source: Sims et al., "StochasTok: Improving Fine-Grained Subword Understanding in LLMs" (2025).

Algorithm, for a document of n tokens. Repeat A = floor(expand_prop * n) times:
  1. pick a position of the current sequence, uniformly;
  2. if its token has pairs in the tokenizer's expansion table, replace it by one of them, each
     equally likely; otherwise this attempt changes nothing.
All A attempts count as attempted, those of step 2 that split as achieved; so expand_prop is a bound
on the growth and not the growth. Parts of a split may be picked and split again.

Distribution: exactly that of the sequence as it grows. A position is a slot; a split keeps the left
part in its slot and adds one for the right part, so a uniform slot is a uniform position, and the
order stands in a linked list: O(1) an attempt. `floor` is of the product in double precision.
Draws: one number for the slot; one more for the pair, if there are pairs.
"""

from __future__ import annotations

import math
from collections.abc import Container

from corpus.errors import CorpusError
from corpus.randomness import Draws
from corpus.tokenizers import Pairs, Tokenizer
from corpus.variants.base import Expansion, Parameters, Variant, out_of_range

_REDRAWS = 100


class StochastokParameters(Parameters, frozen=True):
    """`expand_prop`: attempts as a share of the document's tokens."""

    expand_prop: float = 0.1

    def check(self) -> str:
        return out_of_range(expand_prop=self.expand_prop)


class Stochastok(Variant):
    """Splits tokens at random, see the module."""

    parameters_type = StochastokParameters

    def __init__(self, parameters: Parameters, tokenizer: Tokenizer) -> None:
        super().__init__(parameters, tokenizer)
        assert isinstance(parameters, StochastokParameters)
        self.expand_prop = parameters.expand_prop
        self.table = expansion_table(tokenizer)

    def expand(self, ids: list[int], draws: Draws) -> Expansion:
        attempts = math.floor(self.expand_prop * len(ids))
        cut, achieved = split_randomly(ids, self.table, attempts, draws)
        return Expansion(cut, attempts, achieved)


def expansion_table(tokenizer: Tokenizer) -> Pairs:
    """The tokenizer's expansions. Raises CorpusError if nothing can be split at all."""
    if not tokenizer.expansions:
        raise CorpusError(f"{tokenizer.path} has no token that can be split into two. Choose "
                          "another tokenizer.source.")
    return tokenizer.expansions


def split_randomly(
    ids: list[int], table: Pairs, attempts: int, draws: Draws, spared: Container[int] = ()
) -> tuple[list[int], int]:
    """Make `attempts` attempts on `ids`; the new sequence and how many split a token.

    A position whose token is in `spared` is drawn again, up to 100 times; then the attempt is
    given up, so that a document of nothing else ends.
    """
    tokens, after = list(ids), list(range(1, len(ids) + 1))
    if after:
        after[-1] = -1
    achieved = 0
    for _ in range(attempts):
        slot = draws.below(len(tokens))
        for _ in range(_REDRAWS):
            if tokens[slot] not in spared:
                break
            slot = draws.below(len(tokens))
        pairs = table.get(tokens[slot])
        if pairs is None or tokens[slot] in spared:
            continue
        left, right = pairs[draws.below(len(pairs))]
        tokens[slot] = left
        after.append(after[slot])
        after[slot] = len(tokens)
        tokens.append(right)
        achieved += 1
    ordered, slot = [], 0 if tokens else -1
    while slot >= 0:
        ordered.append(tokens[slot])
        slot = after[slot]
    return ordered, achieved
