"""Patok: morphology-aware contraction and expansion for agglutinative languages.

Source: the public `MorphologyAwarePatokProcessor` for Filipino, with its defaults and its meaning
of each parameter; the differences are listed below.

Words. An *affix form* is a string of pieces' characters: of a prefix p its p, _p, P and _P (P with
a capital, _ the tokenizer's space mark); an infix as it is; of a suffix s its s and s_. An *affix
token* is one whose piece is an affix form. A *match* is an affix form at some place of a string.
All strings are spellings (see corpus.tokenizers); where tokens are cut changes, the text never.

Algorithm, for a document of n tokens.
A. Repeat floor(contract_prop * n) times on the current sequence, of m tokens:
  1. Draw the number k of tokens, one of num_toks_to_cont with weights contract_prob; k = min(k, m).
  2. Draw a start uniformly from 0 ... m - k. If the span holds an atom, draw again. If it holds an
     affix token: with probability w draw again, where w is affix_awareness_if_overlap if two
     matches in the span's spelling start at one place, else affix_awareness. After 100 draws in
     vain the attempt is given up.
  3. Contract the span to its spelling t.
  4. If t has matches, with probability affix_awareness choose one uniformly, among those with a
     space mark if there are any, and cut t before and after it; empty parts vanish.
  5. In each part, find the first two characters that stand twice in a row and cut before and after
     the first of the two pairs ("gaganda" becomes "ga" and "ganda").
  6. Tokenise each part by itself; these tokens replace the span. If a part cannot be spelled
     without unknown or byte tokens, the span stays as it was.
  An attempt is achieved when the tokens changed.
B. Repeat floor(expand_prop * m) times, m the length after A: draw a position uniformly; if it holds
  an affix token draw again, at most 100 times, then give up; otherwise split it as StochasTok does.

Differences from the public code: affix forms with a space use the tokenizer's mark (" ma" is no
token, "_ma" is); k does not fall back to the whole document, and a span is not forced after 100
draws; atoms are never contracted, since half of a character's bytes decodes to nothing; B ends.
Draws, in order: k; then for each start one, and one for w where it applies; one for step 4 and one
for its match, if t has matches.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from corpus.errors import CorpusError
from corpus.files import sha256_value
from corpus.randomness import Draws
from corpus.tokenizers import Tokenizer
from corpus.variants.base import Expansion, Parameters, Variant, out_of_range
from corpus.variants.stochastok import expansion_table, split_randomly

_REDRAWS = 100
_CACHE = 1 << 16  # spellings remembered, some 20 MB a worker


class PatokParameters(Parameters, frozen=True):
    """The plan's parameters; `affix_dir` holds prefix.txt, infix.txt, suffix.txt, one a line."""

    contract_prop: float = 0.9
    expand_prop: float = 0.1
    affix_awareness: float = 0.95
    affix_awareness_if_overlap: float = 0.75
    num_toks_to_cont: tuple[int, ...] = (2, 3, 4)
    contract_prob: tuple[float, ...] = (0.35, 0.35, 0.3)
    affix_dir: str = "data/affixes"

    def check(self) -> str:
        if fact := out_of_range(
                contract_prop=self.contract_prop, expand_prop=self.expand_prop,
                affix_awareness=self.affix_awareness,
                affix_awareness_if_overlap=self.affix_awareness_if_overlap,
                **{f"contract_prob[{i}]": share for i, share in enumerate(self.contract_prob)}):
            return fact
        if len(self.num_toks_to_cont) != len(self.contract_prob):
            return (f"num_toks_to_cont has {len(self.num_toks_to_cont)} values and contract_prob "
                    f"{len(self.contract_prob)}; they belong together")
        if any(number < 1 for number in self.num_toks_to_cont):
            return f"num_toks_to_cont is {list(self.num_toks_to_cont)}; each must be 1 or more"
        if abs(math.fsum(self.contract_prob) - 1) > 1e-9:
            return f"contract_prob sums to {math.fsum(self.contract_prob)}, not 1"
        return ""


class Patok(Variant):
    """Contracts and expands with regard to affixes, see the module."""

    parameters_type = PatokParameters

    def __init__(self, parameters: Parameters, tokenizer: Tokenizer) -> None:
        super().__init__(parameters, tokenizer)
        assert isinstance(parameters, PatokParameters)
        self.settings = parameters
        self.table = expansion_table(tokenizer)
        self.pieces, self.atoms = tokenizer.pieces, tokenizer.atoms
        self.forms = affix_forms(Path(parameters.affix_dir), tokenizer.space)
        found = (tokenizer.piece_to_id(form) for form in self.forms)
        self.affix_tokens = frozenset(token for token in found if token is not None)
        self._weights = list(accumulate(parameters.contract_prob))
        self._sizes = sorted({len(form) for form in self.forms})
        self._matches = lru_cache(_CACHE)(self._find_matches)
        self._tokens = lru_cache(_CACHE)(tokenizer.segment)

    def describe(self) -> dict[str, Any]:
        described = super().describe() | {"affixes": sha256_value(sorted(self.forms))}
        del described["affix_dir"]  # what the lists hold decides, not where they lie
        return described

    def expand(self, ids: list[int], draws: Draws) -> Expansion:
        settings, tokens = self.settings, list(ids)
        contractions, changed = math.floor(settings.contract_prop * len(ids)), 0
        for _ in range(contractions):
            span = self._choose(tokens, draws)
            if span is None:
                continue
            start, stop = span
            new = self._recut("".join([self.pieces[token] for token in tokens[start:stop]]), draws)
            if new is not None and new != tokens[start:stop]:
                tokens[start:stop] = new
                changed += 1
        attempts = math.floor(settings.expand_prop * len(tokens))
        tokens, achieved = split_randomly(tokens, self.table, attempts, draws, self.affix_tokens)
        return Expansion(tokens, attempts, achieved, contractions, changed)

    def _choose(self, tokens: list[int], draws: Draws) -> tuple[int, int] | None:
        """Steps 1 and 2: the span to contract, or None."""
        settings, chance = self.settings, draws.uniform()
        row = next((i for i, bound in enumerate(self._weights) if chance < bound),
                   len(self._weights) - 1)  # rounding may leave the last bound just below 1
        size = min(settings.num_toks_to_cont[row], len(tokens))
        for _ in range(_REDRAWS):
            start = draws.below(len(tokens) - size + 1)
            span = tokens[start : start + size]
            if not self.atoms.isdisjoint(span):
                continue
            if self.affix_tokens.isdisjoint(span):
                return start, start + size
            matches = self._matches("".join([self.pieces[token] for token in span]))
            starts = [place for place, _ in matches]
            awareness = (settings.affix_awareness_if_overlap if len(set(starts)) < len(starts)
                         else settings.affix_awareness)
            if draws.uniform() >= awareness:
                return start, start + size
        return None

    def _recut(self, text: str, draws: Draws) -> list[int] | None:
        """Steps 4 to 6: the tokens that replace a span spelled `text`, or None."""
        parts, matches = [text], self._matches(text)
        if matches and draws.uniform() < self.settings.affix_awareness:
            mark = self.tokenizer.space
            chosen = [match for match in matches if mark and mark in match[1]] or matches
            start, form = chosen[draws.below(len(chosen))]
            parts = [text[:start], form, text[start + len(form) :]]
        tokens: list[int] = []
        for part in parts:
            for piece in split_duplication(part):
                cut = self._tokens(piece)
                if cut is None:
                    return None
                tokens += cut
        return tokens

    def _find_matches(self, text: str) -> list[tuple[int, str]]:
        return [(start, text[start : start + size]) for start in range(len(text))
                for size in self._sizes
                if start + size <= len(text) and text[start : start + size] in self.forms]


def affix_forms(directory: Path, space: str) -> frozenset[str]:
    """All affix forms of the lists in `directory`. Raises CorpusError if a list is missing."""
    prefixes, infixes, suffixes = (_read(directory / f"{kind}.txt")
                                   for kind in ("prefix", "infix", "suffix"))
    forms = set(prefixes + infixes + suffixes)
    forms |= {prefix.capitalize() for prefix in prefixes}
    if space:
        forms |= {space + form for prefix in prefixes for form in (prefix, prefix.capitalize())}
        forms |= {suffix + space for suffix in suffixes}
    return frozenset(forms)


def _read(path: Path) -> list[str]:
    if not path.is_file():
        raise CorpusError(f"{path}: no such file. Set variant.affix_dir to the directory with "
                          "prefix.txt, infix.txt and suffix.txt.")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def split_duplication(text: str) -> list[str]:
    """Cut around the first two characters that at once repeat: "gaganda" to "ga", "ganda"."""
    for i in range(len(text) - 3):
        if text[i : i + 2] == text[i + 2 : i + 4]:
            return [part for part in (text[:i], text[i : i + 2], text[i + 2 :]) if part]
    return [text] if text else []
