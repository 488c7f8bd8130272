"""Byte-pair encoding, StochasTok and Patok as they are told: slow, obvious, without the kernels.

Each variant is here twice: as a sampler over a list with `random.Random`, and as the exact
distribution of what it makes of a few tokens.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from corpus.variants.patok import PatokParameters, affix_forms

REDRAWS = 100
State = tuple[int, ...]
Chances = dict[State, float]
NOTHING: frozenset[int] = frozenset()


class Bpe:
    """A tokenizer.json that marks spaces with `mark` and spells rare characters in bytes."""

    mark = "▁"

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_bytes())
        model = content["model"]
        self.vocab: dict[str, int] = model["vocab"]
        merges = [merge.split(" ") if isinstance(merge, str) else merge
                  for merge in model["merges"]]
        self.ranks = {(left, right): rank for rank, (left, right) in enumerate(merges)}
        self.pieces = {token: piece for piece, token in self.vocab.items()}
        self.pieces |= {added["id"]: added["content"] for added in content["added_tokens"]}
        names = {added["content"] for added in content["added_tokens"] if added["special"]}
        names |= {model["unk_token"]} | {f"<0x{byte:02X}>" for byte in range(256)}
        self.atoms = {token for token, piece in self.pieces.items()
                      if piece in names or any(letter not in self.vocab for letter in piece)}
        self.ways: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for left, right in self.ranks:
            split = self.vocab[left], self.vocab[right]
            if self.atoms.isdisjoint((*split, self.vocab[left + right])):
                self.ways[self.vocab[left + right]].append(split)

    def tokens(self, spelling: str) -> list[int]:
        """Merge the adjacent pair of the smallest rank, the leftmost of these, over and over."""
        symbols: list[str] = []
        for letter in spelling:
            symbols += ([letter] if letter in self.vocab
                        else [f"<0x{byte:02X}>" for byte in letter.encode()])
        while True:
            found = [(self.ranks[pair], at) for at, pair in enumerate(pairwise(symbols))
                     if pair in self.ranks]
            if not found:
                return [self.vocab[symbol] for symbol in symbols]
            at = min(found)[1]
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]

    def spell(self, tokens: Iterable[int]) -> str:
        return "".join(self.pieces[token] for token in tokens)


class Result(NamedTuple):
    """What a sampler made, and what it counted."""

    ids: list[int]
    attempted: int
    achieved: int
    contractions_attempted: int = 0
    contractions_achieved: int = 0


def expand(bpe: Bpe, ids: Iterable[int], attempts: int, random: Random,
           spared: frozenset[int] = NOTHING) -> tuple[list[int], int]:
    """The loop of StochasTok; a token in `spared` is drawn again, up to 100 times."""
    tokens, achieved = list(ids), 0
    for _ in range(attempts):
        at = random.randrange(len(tokens))
        for _ in range(REDRAWS):
            if tokens[at] not in spared:
                break
            at = random.randrange(len(tokens))
        if tokens[at] not in spared and (ways := bpe.ways.get(tokens[at])):
            tokens[at : at + 1] = random.choice(ways)
            achieved += 1
    return tokens, achieved


def stochastok(bpe: Bpe, expand_prop: float, ids: Iterable[int], random: Random) -> Result:
    tokens = list(ids)
    attempts = math.floor(expand_prop * len(tokens))
    done, achieved = expand(bpe, tokens, attempts, random)
    return Result(done, attempts, achieved)


class Patok:
    """Patok's words: forms, matches, and the parts that a span is cut into."""

    def __init__(self, bpe: Bpe, parameters: PatokParameters) -> None:
        self.bpe, self.parameters = bpe, parameters
        self.forms = affix_forms(Path(parameters.affix_dir), bpe.mark)
        self.affix_tokens = frozenset(token for token, piece in bpe.pieces.items()
                                      if piece in self.forms)
        self.tokens_of = cache(lambda part: tuple(bpe.tokens(part)))

    def matches(self, text: str) -> list[tuple[int, str]]:
        return [(start, text[start:stop]) for start in range(len(text))
                for stop in range(start + 1, len(text) + 1) if text[start:stop] in self.forms]

    def awareness(self, span: list[int]) -> float:
        """How likely a span with an affix token is drawn again."""
        starts = [start for start, _ in self.matches(self.bpe.spell(span))]
        return (self.parameters.affix_awareness_if_overlap if len(set(starts)) < len(starts)
                else self.parameters.affix_awareness)

    def choices(self, text: str) -> list[tuple[int, str]]:
        """The matches that step 4 chooses from."""
        matches = self.matches(text)
        return [match for match in matches if self.bpe.mark in match[1]] or matches

    def recut(self, text: str, match: tuple[int, str] | None) -> list[int]:
        """Steps 4 to 6, with the match that was chosen."""
        parts = [text]
        if match:
            start, form = match
            parts = [text[:start], form, text[start + len(form) :]]
        return [token for part in parts for piece in split_duplication(part)
                for token in self.tokens_of(piece)]

    def sample(self, ids: Iterable[int], random: Random) -> Result:
        """Patok, drawn."""
        settings, tokens, changed = self.parameters, list(ids), 0
        attempts = math.floor(settings.contract_prop * len(tokens))
        for _ in range(attempts):
            size = random.choices(settings.num_toks_to_cont, settings.contract_prob)[0]
            size = min(size, len(tokens))
            for _ in range(REDRAWS):
                start = random.randrange(len(tokens) - size + 1)
                span = tokens[start : start + size]
                if self.bpe.atoms & set(span):
                    continue
                if not self.affix_tokens & set(span) or random.random() >= self.awareness(span):
                    break
            else:
                continue
            text, match = self.bpe.spell(span), None
            if (choices := self.choices(text)) and random.random() < settings.affix_awareness:
                match = random.choice(choices)
            new = self.recut(text, match)
            changed += new != span
            tokens[start : start + size] = new
        expansions = math.floor(settings.expand_prop * len(tokens))
        done, achieved = expand(self.bpe, tokens, expansions, random, self.affix_tokens)
        return Result(done, expansions, achieved, attempts, changed)


def split_duplication(text: str) -> list[str]:
    """Step 5: cut around the first two characters that at once repeat."""
    for i in range(len(text) - 3):
        if text[i : i + 2] == text[i + 2 : i + 4]:
            return [part for part in (text[:i], text[i : i + 2], text[i + 2 :]) if part]
    return [text] if text else []


class Exact(NamedTuple):
    """The chance of every outcome, and how many attempts achieve something on average."""

    chances: Chances
    achieved: float
    contractions_achieved: float = 0.0


def repeat(chances: Chances, times: int, step: Callable[[State], Chances]) -> Exact:
    """The chances after `times` steps; a step achieves something when it changes the state."""
    achieved = 0.0
    for _ in range(times):
        following: Chances = defaultdict(float)
        for state, chance in chances.items():
            for outcome, share in step(state).items():
                following[outcome] += chance * share
                achieved += chance * share * (outcome != state)
        chances = following
    return Exact(chances, achieved)


def expansion_step(bpe: Bpe, spared: frozenset[int]) -> Callable[[State], Chances]:
    @cache
    def step(state: State) -> Chances:
        outcomes: Chances = defaultdict(float)
        free = [at for at, token in enumerate(state) if token not in spared]
        given_up = (1 - len(free) / len(state)) ** (REDRAWS + 1)
        outcomes[state] += given_up
        for at in free:
            ways: list[State] = [*bpe.ways.get(state[at], [])] or [(state[at],)]
            for way in ways:
                outcomes[(*state[:at], *way, *state[at + 1 :])] += (
                    (1 - given_up) / len(free) / len(ways))
        return outcomes

    return step


def contraction_step(patok: Patok) -> Callable[[State], Chances]:
    settings = patok.parameters

    def accepted(span: State) -> float:
        if patok.bpe.atoms & set(span):
            return 0.0
        return 1 - patok.awareness(list(span)) if patok.affix_tokens & set(span) else 1.0

    def recuts(span: State) -> Chances:
        text, outcomes = patok.bpe.spell(span), defaultdict(float)
        choices = patok.choices(text)
        aware = settings.affix_awareness if choices else 0.0
        outcomes[tuple(patok.recut(text, None))] += 1 - aware
        for choice in choices:
            outcomes[tuple(patok.recut(text, choice))] += aware / len(choices)
        return outcomes

    @cache
    def step(state: State) -> Chances:
        outcomes: Chances = defaultdict(float)
        for wanted, weight in zip(settings.num_toks_to_cont, settings.contract_prob, strict=True):
            size = min(wanted, len(state))
            spans = [state[at : at + size] for at in range(len(state) - size + 1)]
            taken = [accepted(span) / len(spans) for span in spans]
            given_up = (1 - math.fsum(taken)) ** REDRAWS if any(taken) else 1.0
            outcomes[state] += weight * given_up
            for at, share in enumerate(taken):
                if share:
                    reached = weight * (1 - given_up) * share / math.fsum(taken)
                    for new, chance in recuts(spans[at]).items():
                        outcomes[(*state[:at], *new, *state[at + size :])] += reached * chance
        return outcomes

    return step


def stochastok_chances(bpe: Bpe, expand_prop: float, ids: State) -> Exact:
    return repeat({ids: 1.0}, math.floor(expand_prop * len(ids)), expansion_step(bpe, NOTHING))


def patok_chances(patok: Patok, ids: State) -> Exact:
    settings = patok.parameters
    contracted = repeat({ids: 1.0}, math.floor(settings.contract_prop * len(ids)),
                        contraction_step(patok))
    step = expansion_step(patok.bpe, patok.affix_tokens)
    chances: Chances = defaultdict(float)
    achieved = 0.0
    for state, chance in contracted.chances.items():
        done = repeat({state: chance}, math.floor(settings.expand_prop * len(state)), step)
        achieved += done.achieved
        for outcome, share in done.chances.items():
            chances[outcome] += share
    return Exact(chances, achieved, contracted.achieved)


SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")


def tokenizer_json(letters: str, merges: Iterable[str],
                   added: Iterable[str] = ()) -> dict[str, Any]:
    """A tokenizer.json like Gemma's: "a b" merges a and b; `added` are tokens, no special ones."""
    pairs = [merge.split(" ") for merge in merges]
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    pieces += dict.fromkeys(left + right for left, right in pairs)
    pieces += [content for content in added if content not in pieces]
    vocab = {piece: token for token, piece in enumerate(pieces)}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": vocab[content], "content": content, **plain,
                          "special": content in SPECIAL} for content in (*SPECIAL, *added)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False, "vocab": vocab,
                  "merges": pairs},
    }
