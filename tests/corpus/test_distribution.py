"""What the kernels draw has the distribution that the descriptions of the variants have.

Outcomes of a few tokens can be enumerated with their exact chances; 200,000 documents of a kernel
must agree with these in a chi-square test. All seeds are fixed, so no result changes by itself.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest

from corpus.variants import make_variant
from corpus.variants.base import Cut, Documents
from corpus.variants.patok import PatokParameters
from corpus.vocabulary import Vocabulary, load
from tests.corpus.reference import (
    Bpe,
    Exact,
    Patok,
    State,
    patok_chances,
    stochastok,
    stochastok_chances,
    tokenizer_json,
)

SAMPLES = 200_000
LIMIT = 4.7534  # standard deviations: what chance exceeds once in a million
LEAST = 10.0  # documents that a cell must have on average; smaller ones are taken together
MERGES = ["m a", "ma g", "g a", "a n", "ga n", "g an", "u m", "▁ ma", "▁m a", "▁ m", "i n", "an ▁",
          "a ▁", "ma n", "h an", "▁ um", "ga ga", "um a", "n a", "na ▁", "d a", "gan da", "n da"]
AFFIXES = {"prefix": ["ma", "mag", "um"], "infix": ["um", "in"], "suffix": ["an", "han"]}


class Tiny(NamedTuple):
    """A tokenizer of two dozen merges, and its affixes."""

    vocabulary: Vocabulary
    bpe: Bpe
    affixes: Path

    def patok(self, **values: Any) -> dict[str, Any]:
        return {"name": "patok", "affix_dir": str(self.affixes), **values}

    def ids(self, pieces: str) -> State:
        return ids_of(self.bpe, pieces)


def ids_of(bpe: Bpe, pieces: str) -> State:
    """The tokens of a string where "|" stands between pieces and "_" for a space."""
    return tuple(bpe.vocab[piece] for piece in pieces.replace("_", "▁").split("|"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, one_cache: Path) -> Tiny:
    directory = tmp_path_factory.mktemp("tiny")
    path = directory / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_json("▁maguinhdk", MERGES)), encoding="utf-8")
    for kind, forms in AFFIXES.items():
        (directory / f"{kind}.txt").write_text("\n".join(forms), encoding="utf-8")
    vocabulary = load(path, one_cache)
    assert vocabulary.about.slow == ""
    return Tiny(vocabulary, Bpe(path), directory)


def draw(vocabulary: Vocabulary, parameters: dict[str, Any], ids: State, seed: int) -> Cut:
    """200,000 documents of the same tokens, in one call."""
    variant = make_variant(parameters, vocabulary, seed)
    bounds = np.arange(SAMPLES + 1, dtype=np.int64) * len(ids)
    return variant.cut(Documents(np.tile(np.array(ids, np.int32), SAMPLES), bounds,
                                 np.arange(SAMPLES, dtype=np.uint64)))


def outcomes(cut: Cut) -> Counter[State]:
    """How often each sequence came out."""
    data, bounds = cut.ids.tobytes(), (cut.bounds * 4).tolist()
    found = Counter(data[start:stop] for start, stop in pairwise(bounds))
    return Counter({tuple(np.frombuffer(key, np.int32).tolist()): count
                    for key, count in found.items()})


def deviations(counts: Counter[State], exact: Exact) -> float:
    """How far the counts are from the chances, in standard deviations of a normal distribution.

    Pearson's chi-square; its cube root is nearly normal (Wilson and Hilferty, 1931).
    """
    total = counts.total()
    cells: list[tuple[float, float]] = []
    rest = [0.0, 0.0]
    for outcome, chance in exact.chances.items():
        if chance * total >= LEAST:
            cells.append((counts[outcome], chance * total))
        else:
            rest[0] += counts[outcome]
            rest[1] += chance * total
    if rest[1] >= LEAST:
        cells.append((rest[0], rest[1]))
    freedom = len(cells) - 1
    assert freedom > 0
    square = sum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
    spread = 2 / (9 * freedom)
    return (math.cbrt(square / freedom) - (1 - spread)) / math.sqrt(spread)


def agrees(cut: Cut, exact: Exact) -> bool:
    """Whether a kernel's documents may have come from these chances, and its counts too."""
    counts = outcomes(cut)
    assert math.fsum(exact.chances.values()) == pytest.approx(1)
    possible = {outcome for outcome, chance in exact.chances.items() if chance > 0}
    return (counts.keys() <= possible and deviations(counts, exact) < LIMIT
            and _near(cut.achieved, exact.achieved)
            and _near(cut.contractions_achieved, exact.contractions_achieved))


def _near(total: int, average: float) -> bool:
    """Achieved attempts of all documents: each document's vary by less than twelve."""
    return abs(total - average * SAMPLES) <= LIMIT * 12 * math.sqrt(SAMPLES)


STOCHASTOK = [("gan", 1.0), ("ganda|_ma|gan", 1.0), ("ganda|ganda", 1.0), ("k|d|gan|k", 0.5),
              ("_ma|gaga|uma|man|mag|na_", 0.5), ("k|k", 1.0)]


@pytest.mark.parametrize(("pieces", "share"), [case for case in STOCHASTOK if case[0] != "k|k"])
def test_stochastok(tiny: Tiny, pieces: str, share: float) -> None:
    ids = tiny.ids(pieces)
    cut = draw(tiny.vocabulary, {"name": "stochastok", "expand_prop": share}, ids, 1)
    exact = stochastok_chances(tiny.bpe, share, ids)
    assert cut.attempted == SAMPLES * math.floor(share * len(ids))
    assert len(exact.chances) > 1
    assert agrees(cut, exact)


def test_stochastok_leaves_what_has_no_pairs(tiny: Tiny) -> None:
    cut = draw(tiny.vocabulary, {"name": "stochastok", "expand_prop": 1.0}, tiny.ids("k|k"), 1)
    assert outcomes(cut) == {tiny.ids("k|k"): SAMPLES}
    assert (cut.attempted, cut.achieved) == (2 * SAMPLES, 0)


EVEN = {"affix_awareness": 0.5, "affix_awareness_if_overlap": 0.25}
PAIRS = {"num_toks_to_cont": (2,), "contract_prob": (1.0,)}
FULL = {"contract_prop": 1.0, "expand_prop": 1.0}
PATOK: dict[str, tuple[str, dict[str, Any]]] = {
    "defaults": ("_|ma|g|a|n|um", {}),
    "contraction alone": ("_|m|a|g|a|n|d|a", {"contract_prop": 0.5, "expand_prop": 0.0}),
    "awareness without overlap": ("k|um|a|k|in|d", EVEN | {"expand_prop": 0.0}),
    "overlap and none": ("um|a|k|mag|d", EVEN | {"contract_prop": 0.5, "expand_prop": 0.0}),
    "overlap": ("ma|g|a|mag|an|d", EVEN | {"contract_prop": 0.5, "expand_prop": 0.0}),
    "duplication": ("g|a|g|a|n|d|a", {"contract_prop": 0.6, "expand_prop": 0.0}),
    "marks come first": ("d|_|u|m|a|n|_", EVEN | {"contract_prop": 0.4, "expand_prop": 0.0}),
    "more than there are": ("ma|gan", EVEN | FULL | {"num_toks_to_cont": (1, 3, 9)}),
    "one token": ("ganda", EVEN | FULL),
    "one token at a time": ("uma|gan", EVEN | FULL | {
        "num_toks_to_cont": (1,), "contract_prob": (1.0,)}),
    "spared tokens": ("mag|ganda|um|gaga", EVEN | {"contract_prop": 0.25, "expand_prop": 0.75}),
    "expansion alone": ("_ma|ganda|ma|gaga", {"contract_prop": 0.0, "expand_prop": 1.0}),
    "full awareness": ("um|a|n|d|ma|g|a", FULL | {
        "contract_prop": 0.4, "affix_awareness": 1.0, "affix_awareness_if_overlap": 1.0}),
    "no awareness": ("um|a|n|ma|g", FULL | {
        "affix_awareness": 0.0, "affix_awareness_if_overlap": 0.0}),
    "atoms": ("ma|<0xE6>|g|a|<eos>|n|a|n", EVEN | PAIRS | {"contract_prop": 0.3}),
    "nothing but atoms": ("k|<0xE6>|ganda", FULL | PAIRS | {"contract_prop": 0.34}),
}


@pytest.mark.parametrize("name", PATOK)
def test_patok(tiny: Tiny, name: str) -> None:
    pieces, values = PATOK[name]
    ids, parameters = tiny.ids(pieces), tiny.patok(**values)
    cut = draw(tiny.vocabulary, parameters, ids, 2)
    exact = patok_chances(slow_patok(tiny.bpe, parameters), ids)
    assert len(exact.chances) > 1
    assert cut.contractions_attempted == SAMPLES * math.floor(
        parameters.get("contract_prop", 0.9) * len(ids))
    assert agrees(cut, exact)


def slow_patok(bpe: Bpe, parameters: dict[str, Any]) -> Patok:
    return Patok(bpe, PatokParameters(**{key: value for key, value in parameters.items()
                                         if key != "name"}))


def test_affixes_that_stand_at_one_place_are_told_from_others(tiny: Tiny) -> None:
    """The inputs above hold what they are named for."""
    patok = slow_patok(tiny.bpe, tiny.patok(**EVEN))
    assert patok.awareness(list(tiny.ids("mag|an"))) == 0.25
    assert patok.awareness(list(tiny.ids("um|a"))) == 0.5
    assert [match for _, match in patok.choices("d▁umag")] == ["▁um"]
    assert patok.recut("gaganda", None) == list(tiny.ids("ga|ganda"))
    assert tiny.bpe.vocab["<eos>"] in tiny.bpe.atoms


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "awareness": ("overlap", {"affix_awareness": 0.48}),
    "awareness if overlap": ("overlap and none", {"affix_awareness_if_overlap": 0.32}),
    "weights": ("duplication", {"contract_prob": (0.37, 0.33, 0.3)}),
    "expansions": ("spared tokens", {"expand_prop": 0.7}),
    "contractions": ("defaults", {"contract_prop": 0.8}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_slightly_wrong_parameter_is_seen(tiny: Tiny, name: str) -> None:
    case, wrong = WRONG[name]
    pieces, values = PATOK[case]
    exact = patok_chances(slow_patok(tiny.bpe, tiny.patok(**values)), tiny.ids(pieces))
    cut = draw(tiny.vocabulary, tiny.patok(**values | wrong), tiny.ids(pieces), 2)
    assert not agrees(cut, exact)
    assert deviations(outcomes(cut), exact) > LIMIT


def test_a_position_slightly_preferred_is_seen(tiny: Tiny) -> None:
    """One in ten documents with the commonest outcome is given the next one."""
    ids = tiny.ids("ganda|_ma|gan")
    counts = outcomes(draw(tiny.vocabulary, {"name": "stochastok", "expand_prop": 1.0}, ids, 1))
    exact = stochastok_chances(tiny.bpe, 1.0, ids)
    assert deviations(counts, exact) < LIMIT
    (most, count), (second, _) = counts.most_common(2)
    counts[most] -= count // 10
    counts[second] += count // 10
    assert deviations(counts, exact) > LIMIT


@pytest.mark.parametrize("name", ["stochastok", "defaults", "overlap", "atoms",
                                  "spared tokens"])
def test_the_exact_chances_are_those_of_the_sampler(tiny: Tiny, name: str) -> None:
    """The two renderings of the reference agree: one enumerates, one draws."""
    random, runs = Random(name), 10_000
    pieces, values = PATOK.get(name, ("ganda|_ma|gan", {}))
    ids = tiny.ids(pieces)
    patok = slow_patok(tiny.bpe, tiny.patok(**values))
    sample: Callable[[], list[int]]
    if name == "stochastok":
        exact = stochastok_chances(tiny.bpe, 1.0, ids)
        sample = lambda: stochastok(tiny.bpe, 1.0, ids, random).ids  # noqa: E731
    else:
        exact = patok_chances(patok, ids)
        sample = lambda: patok.sample(ids, random).ids  # noqa: E731
    counts = Counter(tuple(sample()) for _ in range(runs))
    assert counts.keys() <= exact.chances.keys()
    assert deviations(counts, exact) < LIMIT


@cache
def gemma_bpe(path: Path) -> Bpe:
    return Bpe(path)


GEMMA: dict[str, tuple[str, dict[str, Any]]] = {
    "stochastok": ("_um|awa|it", {"name": "stochastok", "expand_prop": 1.0}),
    "patok": ("_|mag|ag|anda", {"name": "patok", "contract_prop": 1.0, "expand_prop": 0.5}),
    "patok, more aware": ("ng|_pa|g|um", {"name": "patok", "contract_prop": 1.0, "expand_prop": 0.5}
                          | EVEN),
}


@pytest.mark.parametrize("name", GEMMA)
def test_gemma(gemma: Path, gemma_vocabulary: Vocabulary, root: Path, name: str) -> None:
    pieces, parameters = GEMMA[name]
    bpe = gemma_bpe(gemma)
    ids = ids_of(bpe, pieces)
    if parameters["name"] == "patok":
        parameters = parameters | {"affix_dir": str(root / "data" / "affixes")}
        exact = patok_chances(slow_patok(bpe, parameters), ids)
    else:
        exact = stochastok_chances(bpe, 1.0, ids)
    assert len(exact.chances) > 3
    assert agrees(draw(gemma_vocabulary, parameters, ids, 3), exact)
