"""Laws of the variants: the text stays, atoms stay whole, and a document's number is its key."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.text_encoder import TextEncoder
from corpus.tokenizer import train
from corpus.tokenizers import Tokenizer, load_tokenizer
from corpus.variants import VARIANTS, make_variant
from corpus.variants.base import Cut, Documents, Variant
from corpus.variants.patok import Patok, PatokParameters, affix_forms
from corpus.vocabulary import Vocabulary, load
from tests.corpus import reference
from tests.corpus.reference import Bpe, split_duplication, tokenizer_json
from tests.draws import draws

HARD = ["", "a", " ", "ma", "<eos> 漢 mama", "😀" * 9, "nananana" * 9, "▁▁ma ▁", "漢漢漢漢",
        "ééééé", "ma" * 300, "\n\n\t ", "Nagkakatipon ang 漢字 magkakapatid. " * 20]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
Build = Callable[..., Variant]
Once = Callable[[Vocabulary, list[int]], list[int]]


@pytest.fixture(scope="module")
def affixes(root: Path) -> str:
    return str(root / "data" / "affixes")


@pytest.fixture(scope="module")
def build(affixes: str) -> Build:
    def make(name: str, vocabulary: Vocabulary, seed: int = 7, **values: Any) -> Variant:
        if name == "patok":
            values = {"affix_dir": affixes} | values
        return make_variant({"name": name, **values}, vocabulary, seed)

    return make


def encode(vocabulary: Vocabulary, text: str) -> list[int]:
    return [int(token) for token in TextEncoder(vocabulary).encode([text.encode()])[0]]


def documents(ids: Sequence[Sequence[int]], numbers: Sequence[int] | None = None) -> Documents:
    """Documents with these ids, numbered from 0 where `numbers` does not say."""
    bounds = np.array([0, *accumulate(map(len, ids))], np.int64)
    flat = np.array([token for one in ids for token in one], np.int32)
    return Documents(flat, bounds, np.array(numbers if numbers is not None else range(len(ids)),
                                            np.uint64))


def split(cut: Cut) -> list[list[int]]:
    """The ids of each document."""
    return [cut.ids[start:stop].tolist()
            for start, stop in zip(cut.bounds[:-1], cut.bounds[1:], strict=True)]


def atoms_of(vocabulary: Vocabulary, ids: list[int]) -> list[int]:
    return [token for token in ids if vocabulary.tables.atoms[token]]


def check_laws(vocabulary: Vocabulary, library: Tokenizer, variant: Variant,
               texts: list[str]) -> None:
    """Cut each text between two special tokens, and look at what came out."""
    special = min(library.special), max(token for token in library.special
                                        if token < library.vocab_size)
    ids = [[special[0], *encode(vocabulary, text), special[1]] for text in texts]
    cut = variant.cut(documents(ids))
    for before, after in zip(ids, split(cut), strict=True):
        assert library.decode(after) == library.decode(before)
        assert atoms_of(vocabulary, after) == atoms_of(vocabulary, before)
        assert b"".join(map(vocabulary.spelling, after)) == b"".join(
            map(vocabulary.spelling, before))
    assert 0 <= cut.achieved <= cut.attempted
    assert 0 <= cut.contractions_achieved <= cut.contractions_attempted


@pytest.mark.parametrize("kind", ["json", "sentencepiece"])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_text_and_atoms_survive(
    build: Build, name: str, kind: str, vocabulary: Vocabulary, sentencepiece_model: Path,
    one_cache: Path, sample: list[str],
) -> None:
    chosen = vocabulary if kind == "json" else load(sentencepiece_model, one_cache)
    library = load_tokenizer(chosen.path)
    for values in ({}, {"expand_prop": 1.0}) if name != "vanilla" else ({},):
        check_laws(chosen, library, build(name, chosen, **values), sample + HARD)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_text_and_atoms_survive_with_gemma(
    build: Build, name: str, gemma_vocabulary: Vocabulary, sample: list[str]
) -> None:
    library = load_tokenizer(gemma_vocabulary.path)
    check_laws(gemma_vocabulary, library, build(name, gemma_vocabulary), sample[:30] + HARD)


def test_vanilla_changes_nothing(build: Build, vocabulary: Vocabulary, sample: list[str]) -> None:
    ids = [encode(vocabulary, text) for text in sample[:9] + HARD]
    cut = build("vanilla", vocabulary).cut(documents(ids))
    assert split(cut) == ids
    assert cut[2:] == (0, 0, 0, 0)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_nothing_is_cut_into_nothing(build: Build, vocabulary: Vocabulary, name: str) -> None:
    variant = build(name, vocabulary)
    assert split(variant.cut(documents([]))) == []
    assert split(variant.cut(documents([[], [], []]))) == [[], [], []]


def test_names_of_atoms_are_not_spellings(
    build: Build, sample: list[str], tmp_path: Path, one_cache: Path
) -> None:
    """Where "<", "0" and "x" are in the vocabulary, "<0xE6>" could be cut like any other string."""
    path = tmp_path / "tokenizer.json"
    path.write_text(train(iter([*sample, "< x > 0123456789ABCDEF " * 200]), 900, 1),
                    encoding="utf-8")
    found = load(path, one_cache)
    byte = load_tokenizer(path).piece_to_id("<0xE6>")
    assert byte is not None and found.tables.atoms[byte]
    assert not atoms_of(found, encode(found, "<0xE6>"))
    ids = [2, *encode(found, "Nagkita 漢 kami 字 sa bayan " * 9), 1]
    assert byte in ids
    for name in ("stochastok", "patok"):
        variant = build(name, found, expand_prop=1.0)
        for done in split(variant.cut(documents([ids] * 20))):
            assert atoms_of(found, done) == atoms_of(found, ids)


@draws(60)
@given(texts=st.lists(TEXT, max_size=4), shares=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 4))
def test_patok_keeps_any_text(
    build: Build, vocabulary: Vocabulary, tokenizer: Tokenizer, texts: list[str],
    shares: tuple[float, ...],
) -> None:
    patok = build("patok", vocabulary, contract_prop=shares[0], expand_prop=shares[1],
                  affix_awareness=shares[2], affix_awareness_if_overlap=shares[3])
    check_laws(vocabulary, tokenizer, patok, texts)


@pytest.mark.parametrize("name", ["stochastok", "patok"])
def test_streams_are_keyed_by_seed_and_document(
    build: Build, name: str, vocabulary: Vocabulary, sample: list[str]
) -> None:
    ids = encode(vocabulary, sample[0])

    def cut(seed: int, number: int) -> tuple[int, ...]:
        return tuple(split(build(name, vocabulary, seed).cut(documents([ids], [number])))[0])

    keys = [(1, 0), (1, 1), (2, 0), (0, 1), (1, 1 << 32), (1 + (1 << 32), 0), ((1 << 64) - 1, 0),
            (1, (1 << 64) - 1)]
    results = [cut(*key) for key in keys]
    assert len(set(results)) == len(keys)
    assert cut(1, 0) == results[0] != tuple(ids)


@pytest.mark.parametrize("name", ["stochastok", "patok"])
def test_batches_order_and_what_came_before_do_not_matter(
    build: Build, name: str, vocabulary: Vocabulary, sample: list[str]
) -> None:
    ids = [encode(vocabulary, text) for text in sample[:30] + HARD]
    whole = split(build(name, vocabulary).cut(documents(ids)))
    variant, order = build(name, vocabulary), list(range(len(ids)))
    Random(1).shuffle(order)
    shuffled = split(variant.cut(documents([ids[place] for place in order], order)))
    assert shuffled == [whole[place] for place in order]
    for place in order:  # one by one, with the memory of the others
        assert split(variant.cut(documents([ids[place]], [place]))) == [whole[place]]
    for start in range(0, len(ids), 7):
        part = ids[start : start + 7]
        numbers = range(start, start + len(part))
        assert split(variant.cut(documents(part, numbers))) == whole[start : start + 7]


@pytest.mark.parametrize("name", ["stochastok", "patok"])
def test_threads_do_not_matter(
    build: Build, name: str, vocabulary: Vocabulary, sample: list[str]
) -> None:
    ids = [encode(vocabulary, text) for text in sample[:30]]
    whole = split(build(name, vocabulary).cut(documents(ids)))
    results: list[list[list[int]]] = [[] for _ in range(4)]

    def work(place: int) -> None:
        variant = build(name, vocabulary)
        for _ in range(5):
            results[place] = split(variant.cut(documents(ids)))

    threads = [Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [whole] * 4


def splittable(vocabulary: Vocabulary) -> int:
    return int(np.flatnonzero(np.diff(vocabulary.tables.split_starts))[0])


@pytest.mark.parametrize(("share", "attempts"), [(0.0, 0), (0.1, 9), (0.5, 49), (1.0, 99)])
def test_stochastok_attempts_are_the_floor(
    build: Build, vocabulary: Vocabulary, share: float, attempts: int
) -> None:
    stochastok = build("stochastok", vocabulary, expand_prop=share)
    done = stochastok.cut(documents([[splittable(vocabulary)] * 99]))
    assert done.attempted == attempts
    assert len(done.ids) == 99 + done.achieved
    assert (done.achieved > 0) == (attempts > 0)
    assert stochastok.cut(documents([[1] * 99])).achieved == 0
    assert stochastok.cut(documents([[1] * 99, [1] * 9])).attempted == attempts + int(share * 9)


def test_patoks_attempts_are_floors_of_what_there_is_when_they_begin(
    build: Build, vocabulary: Vocabulary, sample: list[str]
) -> None:
    ids = [encode(vocabulary, text) for text in sample[:10]]
    contracted = build("patok", vocabulary, expand_prop=0.0).cut(documents(ids))
    assert contracted.contractions_attempted == sum(int(0.9 * len(one)) for one in ids)
    assert contracted.attempted == 0
    both = build("patok", vocabulary).cut(documents(ids))
    assert both.attempted == sum(int(0.1 * len(one)) for one in split(contracted))
    assert len(both.ids) == len(contracted.ids) + both.achieved


def test_what_has_no_ways_to_split_is_refused(
    build: Build, tmp_path: Path, one_cache: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_json("▁ab", [])), encoding="utf-8")
    found = load(path, one_cache)
    build("vanilla", found)
    for name in ("stochastok", "patok"):
        with pytest.raises(CorpusError, match="no token that can be split"):
            build(name, found)


def test_duplications() -> None:
    assert split_duplication("gaganda") == ["ga", "ganda"]
    assert split_duplication("▁tatakbo") == ["▁", "ta", "takbo"]
    assert split_duplication("nananana") == ["na", "nanana"]
    assert split_duplication("ganda") == ["ganda"]
    assert split_duplication("") == []


def recut_without_affixes(slow: Bpe, spelling: str) -> list[int]:
    return [token for part in split_duplication(spelling) for token in slow.tokens(part)]


WORDS = [" gaganda", " tatakbo", "nananana", "漢漢漢漢", " éaéa", "aaaa", "éeée", "a", "tata"]


@pytest.mark.parametrize("word", WORDS)
def test_a_span_is_cut_at_its_duplication(
    once: Once, tmp_path: Path, one_cache: Path, word: str
) -> None:
    """A whole document contracted: all its characters, and no affix in it."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_json("▁gandtkboé漢e", [
        "g a", "ga n", "gan da", "d a", "▁ ga", "t a", "n a", "na na", "漢 漢", "漢漢 漢", "é a",
        "a a", "é e", "aa a", "k b"])), encoding="utf-8")
    found, slow = load(path, one_cache), Bpe(path)
    spelling = word.replace(" ", "▁")
    letters = [slow.vocab[letter] for letter in spelling]
    assert once(found, letters) == recut_without_affixes(slow, spelling)


def random_cut(random: Random, slow: Bpe, spelling: str) -> list[int]:
    """The spelling as any tokens of the vocabulary, as they stand after other contractions."""
    ids, at = [], 0
    while at < len(spelling):
        stop = random.choice([stop for stop in range(at + 1, min(at + 12, len(spelling)) + 1)
                              if spelling[at:stop] in slow.vocab])
        ids.append(slow.vocab[spelling[at:stop]])
        at = stop
    return ids


@pytest.fixture(scope="module")
def slow(vocabulary: Vocabulary) -> Bpe:
    return Bpe(vocabulary.path)


@pytest.fixture(scope="module")
def plain_affixes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Affixes that no text holds."""
    directory = tmp_path_factory.mktemp("affixes")
    for kind in ("prefix", "infix", "suffix"):
        (directory / f"{kind}.txt").write_text("qqqqq", encoding="utf-8")
    return str(directory)


@pytest.fixture(scope="module")
def once(build: Build, plain_affixes: str) -> Once:
    """Contracts a document once, as a whole: an attempt whose span is all of its tokens."""

    @cache
    def variant(path: Path, count: int) -> Variant:
        return build("patok", opened[path], affix_dir=plain_affixes, num_toks_to_cont=(1 << 20,),
                     contract_prob=(1.0,), contract_prop=min(1.001 / count, 1.0), expand_prop=0.0)

    opened: dict[Path, Vocabulary] = {}

    def contract(vocabulary: Vocabulary, ids: list[int]) -> list[int]:
        opened[vocabulary.path] = vocabulary
        cut = variant(vocabulary.path, len(ids)).cut(documents([ids]))
        assert cut.contractions_attempted == 1
        return split(cut)[0]

    return contract


@draws(300)
@given(words=st.lists(st.integers(0, 10_000), min_size=1, max_size=8), seed=st.integers(0, 1 << 32))
def test_joining_tokens_is_tokenising_anew(
    once: Once, vocabulary: Vocabulary, slow: Bpe, sample: list[str], words: list[int], seed: int,
) -> None:
    """Whole documents contracted from any tokens: where old tokens are kept, they had to be."""
    random, pool = Random(seed), " ".join(sample).replace("\n", " ").split(" ")
    text = " ".join(pool[word % len(pool)] for word in words)[random.randrange(4):]
    spelling = "".join(letter for letter in text.replace(" ", "▁") if letter in slow.vocab)
    ids = [random_cut(random, slow, spelling) for _ in range(8) if spelling]
    if not ids:
        return
    wanted = recut_without_affixes(slow, spelling)
    for one in ids:
        assert once(vocabulary, one) == wanted, one


def random_merges(number: int) -> list[str]:
    """60 merges of "▁", "a", "b" and "c"."""
    random, pieces, merges = Random(number), list("▁abc"), {}
    while len(merges) < 60:
        left, right = random.choice(pieces), random.choice(pieces)
        if len(left + right) < 9:
            merges[f"{left} {right}"] = None
            pieces.append(left + right)
    return list(merges)


@cache
def gemma_bpe(path: Path) -> Bpe:
    return Bpe(path)


@pytest.mark.parametrize("number", range(8))
def test_joining_with_random_merges(
    once: Once, tmp_path: Path, one_cache: Path, number: int
) -> None:
    """Small alphabets and many merges, some of pieces that their own spelling never becomes."""
    random, letters, path = Random(number), "▁abc", tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_json(letters, random_merges(number))), encoding="utf-8")
    found, slow = load(path, one_cache), Bpe(path)
    stable = [token for token, piece in slow.pieces.items()
              if token not in slow.atoms and slow.tokens(piece) == [token]]
    assert np.flatnonzero(found.tables.stable).tolist() == sorted(stable)
    for _ in range(400):
        spelling = "".join(random.choices(letters, k=random.randint(1, 24)))
        one = random_cut(random, slow, spelling)
        assert once(found, one) == recut_without_affixes(slow, spelling), (spelling, one)


def replay(patok: reference.Patok, seed: int, number: int, ids: list[int]) -> list[int]:
    """Patok with the kernels' random numbers, a list of tokens, and every part tokenised anew."""
    from corpus.kernels.draws import below, happens, new_draws, next32

    bpe, settings, tokens = patok.bpe, patok.parameters, list(ids)
    draws = new_draws(seed, number)
    sizes = {token: len(piece.replace("▁", " ").encode()) for token, piece in bpe.pieces.items()}
    for _ in range(int(settings.contract_prop * len(tokens))):
        chance, total = int(next32(draws)) / 2**32, sum(sizes[token] for token in tokens)
        row = next((row for row, bound in enumerate(accumulate(settings.contract_prob))
                    if chance < bound), len(settings.contract_prob) - 1)
        size = min(settings.num_toks_to_cont[row], len(tokens))
        place = {start: at for at, start in enumerate(
            accumulate((sizes[token] for token in tokens[:-1]), initial=0))}
        for _ in range(100):
            while (start := place.get(below(draws, total), len(tokens))) + size > len(tokens):
                continue  # within a token, or too near the end
            span = tokens[start : start + size]
            if not bpe.atoms & set(span) and (not patok.affix_tokens & set(span) or not happens(
                    draws, patok.awareness(span))):
                choices, match = patok.choices(bpe.spell(span)), None
                if choices and happens(draws, settings.affix_awareness):
                    match = choices[below(draws, len(choices))]
                tokens[start : start + size] = patok.recut(bpe.spell(span), match)
                break
    slots = [[token] for token in tokens]  # a slot's left end, and what was split off behind it
    return expanded(bpe, patok, slots, int(settings.expand_prop * len(tokens)), draws)


def expanded(bpe: Bpe, patok: reference.Patok, order: list[list[int]], attempts: int,
             draws: Any) -> list[int]:
    """The expansions of `replay`: slots are numbered in the order in which they were made."""
    from corpus.kernels.draws import below

    made, row = order[:], order
    for _ in range(attempts):
        slot = made[below(draws, len(made))]
        for _ in range(100):
            if slot[0] not in patok.affix_tokens:
                break
            slot = made[below(draws, len(made))]
        if slot[0] in patok.affix_tokens or not (ways := bpe.ways.get(slot[0])):
            continue
        left, right = ways[below(draws, len(ways)) if len(ways) > 1 else 0]
        slot[0] = left
        made.append([right])
        row.insert(next(at for at, one in enumerate(row) if one is slot) + 1, made[-1])
    return [slot[0] for slot in row]


REPLAYS: dict[str, dict[str, Any]] = {
    "defaults": {}, "all": {"contract_prop": 1.0, "expand_prop": 1.0},
    "not aware": {"affix_awareness": 0.1, "affix_awareness_if_overlap": 0.3},
    "long spans": {"num_toks_to_cont": (1, 7, 20), "affix_awareness": 0.5},
}


def check_replay(vocabulary: Vocabulary, bpe: Bpe, values: dict[str, Any],
                 texts: list[str]) -> None:
    """Also where the kernel is told that the ids are its own, so that it need not look at them."""
    slow = reference.Patok(bpe, PatokParameters(**values))
    ids = [encode(vocabulary, text) for text in texts]
    variant = make_variant({"name": "patok", **values}, vocabulary, 7)
    own = split(variant.cut(documents(ids)._replace(own=True)))
    other = split(variant.cut(documents(ids)))
    for number, (one, ours, theirs) in enumerate(zip(ids, own, other, strict=True)):
        assert theirs == replay(slow, 7, number, one), texts[number][:80]
        assert ours == theirs, texts[number][:80]


@pytest.mark.parametrize("name", REPLAYS)
def test_what_is_remembered_changes_nothing(
    vocabulary: Vocabulary, slow: Bpe, affixes: str, sample: list[str], name: str
) -> None:
    """Whole documents, attempt after attempt: how tokens meet is remembered, and forgotten."""
    check_replay(vocabulary, slow, REPLAYS[name] | {"affix_dir": affixes}, sample[:12] + HARD[1:])


@pytest.mark.parametrize("name", ["defaults", "not aware"])
def test_what_is_remembered_changes_nothing_with_gemma(
    gemma: Path, gemma_vocabulary: Vocabulary, affixes: str, sample: list[str], name: str
) -> None:
    check_replay(gemma_vocabulary, gemma_bpe(gemma), REPLAYS[name] | {"affix_dir": affixes},
                 sample[:12] + HARD[1:] + ["<b>x</b>\n\n<i> ▁▁ y</i>> </ " * 9])


@pytest.mark.parametrize("number", range(8))
def test_what_is_remembered_changes_nothing_with_random_merges(
    tmp_path: Path, one_cache: Path, number: int
) -> None:
    """Tokens across spaces, unstable ones, and added tokens that the encoder does not make of
    their spelling alone."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_json("▁abc", random_merges(number),
                                              ["ab", "c▁", "bcb", "▁▁▁"])), encoding="utf-8")
    for kind, form in (("prefix", "ab"), ("infix", "c"), ("suffix", "ba")):
        (tmp_path / f"{kind}.txt").write_text(form, encoding="utf-8")
    random, found, slow = Random(number), load(path, one_cache), Bpe(path)
    assert found.about.slow == ""
    texts = ["".join(random.choices("  aabbcc▁é", k=random.randint(1, 60))) for _ in range(150)]
    for values in REPLAYS.values():
        check_replay(found, slow, values | {"affix_dir": str(tmp_path)}, texts)


def test_affix_forms(root: Path) -> None:
    forms = affix_forms(root / "data" / "affixes", "▁")
    assert {"ma", "▁ma", "Ma", "▁Ma", "um", "hin", "hin▁"} <= forms
    assert not {"▁hin", "Hin", " ma"} & forms
    assert len(forms) == 428
    assert not any("▁" in form for form in affix_forms(root / "data" / "affixes", ""))


def affix_tokens(patok: Variant) -> set[int]:
    assert isinstance(patok, Patok)
    return set(np.flatnonzero(patok.rules.affix_tokens).tolist())


def test_affix_tokens_are_the_forms_in_the_vocabulary(
    build: Build, vocabulary: Vocabulary, tokenizer: Tokenizer, root: Path
) -> None:
    forms = affix_forms(root / "data" / "affixes", "▁")
    assert affix_tokens(build("patok", vocabulary)) == {
        token for token, piece in enumerate(tokenizer.pieces) if piece in forms}


def test_full_awareness_never_cuts_or_joins_an_affix_token(
    build: Build, vocabulary: Vocabulary, sample: list[str]
) -> None:
    patok = build("patok", vocabulary, affix_awareness=1.0, affix_awareness_if_overlap=1.0)
    assert len(affix_tokens(patok)) > 40
    ids = [encode(vocabulary, text) for text in sample[:10]]
    for before, after in zip(ids, split(patok.cut(documents(ids))), strict=True):
        assert places(patok, before) <= places(patok, after)


def places(patok: Variant, ids: list[int]) -> set[tuple[int, int]]:
    """Where the affix tokens of a document stand, as (offset, token)."""
    starts = accumulate((len(patok.vocabulary.spelling(token)) for token in ids), initial=0)
    wanted = affix_tokens(patok)
    return {(start, token) for start, token in zip(starts, ids, strict=False) if token in wanted}


def test_awareness_matters(build: Build, vocabulary: Vocabulary, sample: list[str]) -> None:
    """More awareness leaves more affixes standing by themselves."""
    ids = [encode(vocabulary, text) for text in sample[:20]]
    shares = []
    for awareness in (0.0, 0.95):
        patok = build("patok", vocabulary, affix_awareness=awareness,
                      affix_awareness_if_overlap=awareness, expand_prop=0.0)
        wanted, cut = affix_tokens(patok), split(patok.cut(documents(ids)))
        shares.append(sum(token in wanted for one in cut for token in one) / sum(map(len, ids)))
    assert shares[1] > 1.5 * shares[0]


def test_a_document_of_affixes_ends(build: Build, vocabulary: Vocabulary) -> None:
    patok = build("patok", vocabulary, affix_awareness=1.0, affix_awareness_if_overlap=1.0,
                  contract_prop=1.0, expand_prop=1.0)
    ids = sorted(affix_tokens(patok)) * 2
    done = patok.cut(documents([ids]))
    assert done.ids.tolist() == ids
    assert (done.achieved, done.contractions_achieved) == (0, 0)
    assert (done.attempted, done.contractions_attempted) == (len(ids), len(ids))


def test_what_describes_a_variant(build: Build, vocabulary: Vocabulary, tmp_path: Path) -> None:
    """The lists' content counts, not where they lie."""
    assert build("vanilla", vocabulary).describe() == {}
    assert build("stochastok", vocabulary, expand_prop=0.2).describe() == {"expand_prop": 0.2}
    described = build("patok", vocabulary).describe()
    assert "affix_dir" not in described and len(described["affixes"]) == 64
    for kind in ("prefix", "infix", "suffix"):
        (tmp_path / f"{kind}.txt").write_text("ma\n", encoding="utf-8")
    other = build("patok", vocabulary, affix_dir=str(tmp_path)).describe()
    assert other["affixes"] != described["affixes"]


@pytest.mark.parametrize(
    ("values", "says"),
    [({"expand_prop": 1.5}, "expand_prop is 1.5"), ({"affix_awareness": -0.1}, "between 0 and 1"),
     ({"contract_prob": [0.5, 0.5]}, "belong together"),
     ({"contract_prob": [0.35, 0.35, 0.31]}, "sums to"), ({"num_toks_to_cont": [0, 2, 3]}, "1 or"),
     ({"contract_prob": [1.2, -0.2, 0.0]}, r"contract_prob\[0\]"), ({"expand": 1}, "expand"),
     ({"expand_prop": "much"}, "float"), ({"affix_dir": "absent"}, "no such file"),
     ({"expand_prop": float("nan")}, "expand_prop is nan")])
def test_parameters_are_checked(
    build: Build, vocabulary: Vocabulary, values: dict[str, Any], says: str
) -> None:
    with pytest.raises(CorpusError, match=says):
        build("patok", vocabulary, **values)


def test_names_are_checked(vocabulary: Vocabulary) -> None:
    with pytest.raises(CorpusError, match="Choose one of vanilla, stochastok, patok"):
        make_variant({"name": "patock"}, vocabulary, 1)


def test_an_affix_that_is_too_long_is_refused(
    build: Build, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    for kind in ("prefix", "infix", "suffix"):
        (tmp_path / f"{kind}.txt").write_text("ka" * 16 + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="Correct the list"):
        build("patok", vocabulary, affix_dir=str(tmp_path))
