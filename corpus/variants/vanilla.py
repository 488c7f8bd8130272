"""The tokenizer as it is."""

from __future__ import annotations

from corpus.variants.base import Cut, Documents, Variant


class Vanilla(Variant):
    """Leaves documents as the tokenizer cut them; draws nothing."""

    def cut(self, documents: Documents) -> Cut:
        return Cut(documents.ids, documents.bounds)
