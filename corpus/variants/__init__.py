"""The tokenisations that a study compares: one module each, one row each in `VARIANTS`."""

from __future__ import annotations

from typing import Any

from corpus.errors import CorpusError
from corpus.variants.base import Variant
from corpus.variants.patok import Patok
from corpus.variants.stochastok import Stochastok
from corpus.variants.vanilla import Vanilla
from corpus.vocabulary import Vocabulary

VARIANTS: dict[str, type[Variant]] = {
    "vanilla": Vanilla,
    "stochastok": Stochastok,
    "patok": Patok,
}


def make_variant(parameters: dict[str, Any], vocabulary: Vocabulary, seed: int) -> Variant:
    """The variant that `parameters["name"]` names, with the rest as its parameters.

    Raises CorpusError for an unknown name or parameters that do not hold together.
    """
    name = parameters.get("name")
    if name not in VARIANTS:
        raise CorpusError(f"variant.name is {name!r}. Choose one of {', '.join(VARIANTS)}.")
    values = {key: value for key, value in parameters.items() if key != "name"}
    return VARIANTS[name].from_values(values, vocabulary, seed)
