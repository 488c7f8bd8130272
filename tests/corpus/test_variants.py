from __future__ import annotations

from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.randomness import Draws
from corpus.tokenizer import train
from corpus.tokenizers import Tokenizer, load_tokenizer
from corpus.variants import VARIANTS, make_variant
from corpus.variants.patok import Patok, affix_forms, split_duplication
from corpus.variants.stochastok import split_randomly

HARD = ["", "a", " ", "ma", "<eos> 漢 mama", "😀" * 9, "nananana" * 9, "▁▁ma ▁"]


@pytest.fixture(scope="module")
def affixes(root: Path) -> str:
    return str(root / "data" / "affixes")


def build(name: str, tokenizer: Tokenizer, affixes: str, **values: Any) -> Any:
    if name == "patok":
        values = {"affix_dir": affixes} | values
    return make_variant({"name": name, **values}, tokenizer)


@pytest.mark.parametrize("kind", ["json", "sentencepiece"])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_text_and_atoms_survive(
    name: str, kind: str, tokenizer: Tokenizer, sentencepiece_model: Path, affixes: str,
    sample: list[str],
) -> None:
    tokens = tokenizer if kind == "json" else load_tokenizer(sentencepiece_model)
    variant = build(name, tokens, affixes)
    for document, text in enumerate(sample[:15] + HARD):
        ids = [2, *tokens.encode(text).tolist(), 1]
        done = variant.expand(ids, Draws(7, document))
        assert tokens.decode(done.ids) == tokens.decode(ids)
        assert [token for token in done.ids if token in tokens.atoms] == [
            token for token in ids if token in tokens.atoms]
        assert 0 <= done.achieved <= done.attempted
        assert 0 <= done.contractions_achieved <= done.contractions_attempted


def test_names_of_atoms_are_not_spellings(
    tokenizer: Tokenizer, affixes: str, sample: list[str], tmp_path: Path
) -> None:
    """Where "<", "0" and "x" are in the vocabulary, "<0xE6>" could be cut like any other string."""
    (tmp_path / "tokenizer.json").write_text(
        train(iter([*sample, "< x > 0123456789ABCDEF " * 200]), 900, 1),
        encoding="utf-8")
    tokens = load_tokenizer(tmp_path)
    assert tokens.segment("<0xE6>") is not None
    ids = [2, *tokens.encode("Nagkita 漢 kami 字 sa bayan " * 9).tolist(), 1]
    for document in range(20):
        done = build("patok", tokens, affixes).expand(ids, Draws(0, document)).ids
        assert [token for token in done if token in tokens.atoms] == [
            token for token in ids if token in tokens.atoms]


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
       shares=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 4))
def test_patok_keeps_any_text(
    tokenizer: Tokenizer, affixes: str, text: str, shares: tuple[float, ...]
) -> None:
    patok = build("patok", tokenizer, affixes, contract_prop=shares[0], expand_prop=shares[1],
                  affix_awareness=shares[2], affix_awareness_if_overlap=shares[3])
    ids = tokenizer.encode(text).tolist()
    assert tokenizer.decode(patok.expand(ids, Draws(1, 2)).ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", ["stochastok", "patok"])
def test_streams_are_keyed_by_seed_and_document(
    name: str, tokenizer: Tokenizer, affixes: str, sample: list[str]
) -> None:
    variant, ids = build(name, tokenizer, affixes), tokenizer.encode(sample[0]).tolist()
    results = [variant.expand(ids, Draws(*key)).ids for key in ((1, 0), (1, 1), (2, 0), (0, 1))]
    assert len({tuple(result) for result in results}) == 4
    assert variant.expand(ids, Draws(1, 0)).ids == results[0]
    assert results[0] != ids


@pytest.mark.parametrize(("share", "attempts"), [(0.0, 0), (0.1, 9), (0.5, 49), (1.0, 99)])
def test_stochastok_attempts_are_the_floor(
    tokenizer: Tokenizer, share: float, attempts: int, affixes: str
) -> None:
    splittable = next(iter(tokenizer.expansions))
    stochastok = build("stochastok", tokenizer, affixes, expand_prop=share)
    done = stochastok.expand([splittable] * 99, Draws(0, 0))
    assert done.attempted == attempts
    assert len(done.ids) == 99 + done.achieved
    assert stochastok.expand([1] * 99, Draws(0, 0)).achieved == 0


def slow_split(ids: list[int], table: dict[int, list[tuple[int, int]]], attempts: int,
               draws: Draws) -> list[int]:
    """StochasTok as it is told: a list, a uniform position, a splice."""
    ids = list(ids)
    for _ in range(attempts):
        at = draws.below(len(ids))
        if pairs := table.get(ids[at]):
            ids[at : at + 1] = pairs[draws.below(len(pairs))]
    return ids


def test_linked_slots_have_the_distribution_of_the_growing_list() -> None:
    table = {10: [(1, 11), (12, 2)], 11: [(1, 2)], 12: [(1, 1)], 20: [(10, 10)]}
    runs = 6000
    fast = Counter(tuple(split_randomly([20, 10, 3], table, 3, Draws(5, n))[0])
                   for n in range(runs))
    slow = Counter(tuple(slow_split([20, 10, 3], table, 3, Draws(6, n))) for n in range(runs))
    assert fast.keys() == slow.keys()
    for outcome in slow:
        spread = 4.5 * (2 * max(slow[outcome], 20)) ** 0.5
        assert abs(fast[outcome] - slow[outcome]) < spread, outcome


def test_duplications() -> None:
    assert split_duplication("gaganda") == ["ga", "ganda"]
    assert split_duplication("▁tatakbo") == ["▁", "ta", "takbo"]
    assert split_duplication("nananana") == ["na", "nanana"]
    assert split_duplication("ganda") == ["ganda"]
    assert split_duplication("") == []


def test_affix_forms(root: Path) -> None:
    forms = affix_forms(root / "data" / "affixes", "▁")
    assert {"ma", "▁ma", "Ma", "▁Ma", "um", "hin", "hin▁"} <= forms
    assert not {"▁hin", "Hin", " ma"} & forms
    assert len(forms) == 428
    assert not any("▁" in form for form in affix_forms(root / "data" / "affixes", ""))


def test_full_awareness_never_cuts_or_joins_an_affix_token(
    tokenizer: Tokenizer, affixes: str, sample: list[str]
) -> None:
    patok: Patok = build("patok", tokenizer, affixes, affix_awareness=1.0,
                         affix_awareness_if_overlap=1.0)
    assert len(patok.affix_tokens) > 40
    for document, text in enumerate(sample[:10]):
        ids = tokenizer.encode(text).tolist()
        kept = places(patok, ids) - places(patok, patok.expand(ids, Draws(3, document)).ids)
        assert not kept


def places(patok: Patok, ids: list[int]) -> set[tuple[int, int]]:
    """Where the affix tokens of a document stand, as (offset, token)."""
    starts = accumulate((len(patok.pieces[token]) for token in ids), initial=0)
    return {(start, token) for start, token in zip(starts, ids, strict=False)
            if token in patok.affix_tokens}


def test_awareness_matters(tokenizer: Tokenizer, affixes: str, sample: list[str]) -> None:
    """More awareness leaves more affixes standing by themselves."""
    ids = [tokenizer.encode(text).tolist() for text in sample[:20]]
    shares = []
    for awareness in (0.0, 0.95):
        patok = build("patok", tokenizer, affixes, affix_awareness=awareness,
                      affix_awareness_if_overlap=awareness, expand_prop=0.0)
        cut = [patok.expand(one, Draws(1, n)).ids for n, one in enumerate(ids)]
        shares.append(sum(token in patok.affix_tokens for one in cut for token in one)
                      / sum(map(len, ids)))
    assert shares[1] > 1.5 * shares[0]


def test_a_document_of_affixes_ends(tokenizer: Tokenizer, affixes: str) -> None:
    patok = build("patok", tokenizer, affixes, affix_awareness=1.0, affix_awareness_if_overlap=1.0,
                  contract_prop=1.0, expand_prop=1.0)
    ids = sorted(patok.affix_tokens) * 2
    done = patok.expand(ids, Draws(0, 0))
    assert done.ids == ids
    assert (done.achieved, done.contractions_achieved) == (0, 0)


@pytest.mark.parametrize(
    ("values", "says"),
    [({"expand_prop": 1.5}, "expand_prop is 1.5"), ({"affix_awareness": -0.1}, "between 0 and 1"),
     ({"contract_prob": [0.5, 0.5]}, "belong together"),
     ({"contract_prob": [0.35, 0.35, 0.31]}, "sums to"), ({"num_toks_to_cont": [0, 2, 3]}, "1 or"),
     ({"contract_prob": [1.2, -0.2, 0.0]}, r"contract_prob\[0\]"), ({"expand": 1}, "expand"),
     ({"expand_prop": "much"}, "float"), ({"affix_dir": "absent"}, "no such file")])
def test_parameters_are_checked(
    tokenizer: Tokenizer, affixes: str, values: dict[str, Any], says: str
) -> None:
    with pytest.raises(CorpusError, match=says):
        build("patok", tokenizer, affixes, **values)
