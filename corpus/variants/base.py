"""What a variant is: a rule that cuts a tokenised document differently and keeps its text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import msgspec

from corpus.errors import CorpusError
from corpus.randomness import Draws
from corpus.tokenizers import Tokenizer


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant's parameters; `check` says what is wrong with them."""

    def check(self) -> str:
        """A fact about what does not hold, or "" when all is well."""
        return ""


class Expansion(NamedTuple):
    """A document's ids after a variant, and how often it tried and managed to change them."""

    ids: list[int]
    attempted: int = 0
    achieved: int = 0
    contractions_attempted: int = 0
    contractions_achieved: int = 0


class Variant(ABC):
    """One way to cut. `expand` must keep decode(ids), must end, and must leave atoms whole."""

    parameters_type: ClassVar[type[Parameters]] = Parameters

    def __init__(self, parameters: Parameters, tokenizer: Tokenizer) -> None:
        self.parameters, self.tokenizer = parameters, tokenizer

    @classmethod
    def from_values(cls, values: dict[str, Any], tokenizer: Tokenizer) -> Variant:
        """Build from the study's values. Raises CorpusError if one is unknown or out of range."""
        try:
            parameters = msgspec.convert(values, cls.parameters_type)
        except msgspec.ValidationError as fault:
            raise CorpusError(f"variant: {fault}. It takes "
                              f"{', '.join(cls.parameters_type.__struct_fields__) or 'nothing'}."
                              ) from fault
        if fact := parameters.check():
            raise CorpusError(f"variant: {fact}. Correct it in the study.")
        return cls(parameters, tokenizer)

    def describe(self) -> dict[str, Any]:
        """Everything that decides the output besides ids and draws, as JSON."""
        described: dict[str, Any] = msgspec.to_builtins(self.parameters)
        return described

    @abstractmethod
    def expand(self, ids: list[int], draws: Draws) -> Expansion:
        """Cut the document `ids` anew; all chance comes from `draws`."""


def out_of_range(**shares: float) -> str:
    """A fact about the first of `shares` that is not in [0, 1], or ""."""
    return next((f"{name} is {value}, not between 0 and 1" for name, value in shares.items()
                 if not 0 <= value <= 1), "")
