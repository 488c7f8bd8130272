"""The tokenizer as it is."""

from __future__ import annotations

from corpus.randomness import Draws
from corpus.variants.base import Expansion, Variant


class Vanilla(Variant):
    """Leaves a document as the tokenizer cut it; draws nothing."""

    def expand(self, ids: list[int], draws: Draws) -> Expansion:
        return Expansion(ids)
