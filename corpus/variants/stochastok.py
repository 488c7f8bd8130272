"""StochasTok: random tokens are split in two.

Source: Sims et al., "StochasTok: Improving Fine-Grained Subword Understanding in LLMs" (2025).

Algorithm, for a document of n tokens. Repeat A = floor(expand_prop * n) times:
  1. pick a position of the current sequence, uniformly;
  2. if its token has pairs in the tokenizer's expansion table, replace it by one of them, each
     equally likely; otherwise this attempt changes nothing.
All A attempts count as attempted, those of step 2 that split as achieved; so expand_prop is a bound
on the growth and not the growth. Parts of a split may be picked and split again. The expansion
table holds all pairs that the tokenizer itself merges into a token; atoms (special, byte and
unknown tokens, and tokens with a character outside the vocabulary) take no part.

Distribution: exactly that of the sequence as it grows. `floor` is of the product in double
precision. The loop is `corpus.kernels.stochastok`, its random numbers `corpus.kernels.draws`.
"""

from __future__ import annotations

import numpy as np

from corpus.errors import CorpusError
from corpus.variants.base import Cut, Documents, Parameters, Variant, out_of_range
from corpus.vocabulary import Vocabulary


class StochastokParameters(Parameters, frozen=True):
    """`expand_prop`: attempts as a share of the document's tokens."""

    expand_prop: float = 0.1

    def check(self) -> str:
        return out_of_range(expand_prop=self.expand_prop)


class Stochastok(Variant):
    """Splits tokens at random, see the module."""

    parameters_type = StochastokParameters

    def __init__(self, parameters: Parameters, vocabulary: Vocabulary, seed: int) -> None:
        from corpus.kernels.draws import new_draws

        super().__init__(parameters, vocabulary, seed)
        assert isinstance(parameters, StochastokParameters)
        self.expand_prop = parameters.expand_prop
        require_splits(vocabulary)
        self._draws = new_draws(seed)

    def cut(self, documents: Documents) -> Cut:
        from corpus.kernels.stochastok import stochastok_documents

        ids, bounds, numbers, _ = documents
        longest = grown(int(np.diff(bounds).max(initial=0)), self.expand_prop)
        work, after = np.empty(longest, np.int32), np.empty(longest, np.int32)
        out = np.empty(grown(len(ids), self.expand_prop), np.int32)
        out_bounds = np.empty_like(bounds)
        attempted, achieved = stochastok_documents(
            self.vocabulary.tables, ids, bounds, numbers, self._draws, self.expand_prop, work,
            after, out, out_bounds)
        return Cut(out[: out_bounds[-1]], out_bounds, attempted, achieved)


def grown(count: int, expand_prop: float) -> int:
    """Most tokens that `count` tokens become."""
    return count + int(expand_prop * count) + 1


def require_splits(vocabulary: Vocabulary) -> None:
    """Raise CorpusError if no token can be split at all."""
    if not len(vocabulary.tables.split_left):
        reason = f" ({vocabulary.about.slow})" if vocabulary.about.slow else ""
        raise CorpusError(f"{vocabulary.path} has no token that can be split into two{reason}. "
                          "Choose another tokenizer.source.")
