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
  6. Tokenise each part by itself; these tokens replace the span.
  An attempt is achieved when the tokens changed.
B. Repeat floor(expand_prop * m) times, m the length after A: draw a position uniformly; if it holds
  an affix token draw again, at most 100 times, then give up; otherwise split it as StochasTok does.

Atoms are special, byte and unknown tokens and those with a character that is no token; so each part
of a span without atoms can be spelled.

Differences from the public code: affix forms with a space use the tokenizer's mark (" ma" is no
token, "_ma" is); k does not fall back to the whole document, and a span is not forced after 100
draws; atoms are never contracted, since half of a character's bytes decodes to nothing; B ends.
The loops are `corpus.kernels.patok`, their random numbers `corpus.kernels.draws`.
"""

from __future__ import annotations

import math
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from corpus.errors import CorpusError
from corpus.files import sha256_value
from corpus.variants.base import Cut, Documents, Parameters, Variant, out_of_range
from corpus.variants.stochastok import grown, require_splits
from corpus.vocabulary import Vocabulary


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

    def __init__(self, parameters: Parameters, vocabulary: Vocabulary, seed: int) -> None:
        from corpus.kernels.draws import new_draws
        from corpus.kernels.patok import new_room
        from corpus.kernels.tables import new_scratch

        super().__init__(parameters, vocabulary, seed)
        assert isinstance(parameters, PatokParameters)
        require_splits(vocabulary)
        self.forms = affix_forms(Path(parameters.affix_dir), vocabulary.about.mark)
        self.rules = _rules(parameters, self.forms, vocabulary)
        self._draws, self._scratch = new_draws(seed), new_scratch()
        self._span = max(parameters.num_toks_to_cont)
        self._room = new_room(1 << 12, parameters.expand_prop, self._span)

    def describe(self) -> dict[str, Any]:
        described = super().describe() | {"affixes": sha256_value(sorted(self.forms))}
        del described["affix_dir"]  # what the lists hold decides, not where they lie
        return described

    def cut(self, documents: Documents) -> Cut:
        from corpus.kernels import patok
        from corpus.kernels.tables import grow

        (ids, bounds, numbers, _), tables = documents, self.vocabulary.tables
        longest, total = patok.longest_spelling(tables, ids, bounds)
        if len(self._room.text) < longest + 32:
            self._room = patok.new_room(longest, self.rules.expand_prop, self._span)
        self._scratch = grow(self._scratch, longest)
        out = np.empty(grown(total, self.rules.expand_prop), np.int32)
        out_bounds = np.empty_like(bounds)
        expansions, expanded, contractions, contracted = patok.patok_documents(
            tables, self.rules, self._scratch, ids, bounds, numbers, documents.own,
            self._draws, self._room, out,
            out_bounds)
        return Cut(out[: out_bounds[-1]], out_bounds, expansions, expanded, contractions,
                   contracted)


def _rules(parameters: PatokParameters, forms: frozenset[str], vocabulary: Vocabulary) -> Any:
    """The `corpus.kernels.patok.Rules` of these parameters."""
    from corpus.kernels.patok import LONGEST_FORM, MARKED, Rules

    mark = vocabulary.about.mark
    spelled = {(form.replace(mark, " ") if mark else form).encode(): form for form in forms}
    if too_long := [form for form in spelled if len(form) > LONGEST_FORM]:
        raise CorpusError(f"{parameters.affix_dir}: the affix {spelled[too_long[0]]!r} has "
                          f"{len(too_long[0])} bytes, more than {LONGEST_FORM}. Correct the list.")
    kinds = {byte: kind for kind, byte in enumerate(sorted(set(b"".join(spelled))), 1)}
    width, ends = len(kinds) + 1, [0]
    nodes: list[dict[int, int]] = [{}]
    for form in spelled:
        node = 0
        for byte in form:
            if kinds[byte] not in nodes[node]:
                nodes[node][kinds[byte]] = len(nodes)
                nodes.append({})
                ends.append(0)
            node = nodes[node][kinds[byte]]
        ends[node] = 1 << len(form) | (1 << MARKED + len(form) if b" " in form and mark else 0)
    trie = np.zeros((len(nodes), width), np.int32)
    for node, children in enumerate(nodes):
        for kind, child in children.items():
            trie[node, kind] = child
    byte_class = np.zeros(256, np.uint8)
    byte_class[list(kinds)] = list(kinds.values())
    affix_tokens, tables = vocabulary.find(set(spelled)), vocabulary.tables
    marks = tables.atoms | affix_tokens << 1 | (1 - tables.stable) << 2 | tables.added << 3
    return Rules(parameters.contract_prop, parameters.expand_prop, parameters.affix_awareness,
                 parameters.affix_awareness_if_overlap,
                 np.array(parameters.num_toks_to_cont, np.int64),
                 np.array(list(accumulate(parameters.contract_prob)), np.float64),
                 affix_tokens, marks, byte_class, trie.ravel(),
                 np.array(ends, np.uint32), width)


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
