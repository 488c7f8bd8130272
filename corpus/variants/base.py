"""What a variant is: a rule that cuts tokenised documents differently and keeps their text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus.errors import CorpusError
from corpus.vocabulary import Vocabulary

Ids = NDArray[np.int32]
Numbers = NDArray[np.int64]


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant's parameters; `check` says what is wrong with them."""

    def check(self) -> str:
        """A fact about what does not hold, or "" when all is well."""
        return ""


class Documents(NamedTuple):
    """Tokenised documents: d is ids[bounds[d]:bounds[d + 1]], number numbers[d] of the corpus."""

    ids: Ids
    bounds: Numbers  # (documents + 1,)
    numbers: NDArray[np.uint64]  # (documents,)
    own: bool = False  # the vocabulary's kernels made the ids, which spares looking at their joints


class Cut(NamedTuple):
    """Documents after a variant, and how often it tried and managed to change them."""

    ids: Ids
    bounds: Numbers
    attempted: int = 0
    achieved: int = 0
    contractions_attempted: int = 0
    contractions_achieved: int = 0


class Variant(ABC):
    """One way to cut. `cut` must keep each document's spelling, must end, and must leave atoms
    whole; what it makes of a document may depend on nothing but its ids, its number and the seed.

    It may keep working memory: one a thread.
    """

    parameters_type: ClassVar[type[Parameters]] = Parameters

    def __init__(self, parameters: Parameters, vocabulary: Vocabulary, seed: int) -> None:
        self.parameters, self.vocabulary, self.seed = parameters, vocabulary, seed

    @classmethod
    def from_values(cls, values: dict[str, Any], vocabulary: Vocabulary, seed: int) -> Variant:
        """Build from the study's values. Raises CorpusError if one is unknown or out of range."""
        try:
            parameters = msgspec.convert(values, cls.parameters_type)
        except msgspec.ValidationError as fault:
            raise CorpusError(f"variant: {fault}. It takes "
                              f"{', '.join(cls.parameters_type.__struct_fields__) or 'nothing'}."
                              ) from fault
        if fact := parameters.check():
            raise CorpusError(f"variant: {fact}. Correct it in the study.")
        return cls(parameters, vocabulary, seed)

    def describe(self) -> dict[str, Any]:
        """Everything that decides the output besides ids, numbers and seed, as JSON."""
        described: dict[str, Any] = msgspec.to_builtins(self.parameters)
        return described

    @abstractmethod
    def cut(self, documents: Documents) -> Cut:
        """Cut the documents anew."""


def out_of_range(**shares: float) -> str:
    """A fact about the first of `shares` that is not in [0, 1], or ""."""
    return next((f"{name} is {value}, not between 0 and 1" for name, value in shares.items()
                 if not 0 <= value <= 1), "")
