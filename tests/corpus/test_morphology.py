"""The list of annotated words against rules written anew, and the figures against sums by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.morphology import (
    AFFIXES,
    HEADER,
    KINDS,
    Lexicon,
    Occurrence,
    Tally,
    Word,
    affix_coverage,
    load_morphemes,
    tokenizer_alignment,
)
from corpus.spelling import Cut, Spelling
from corpus.tokenizers import Tokenizer

VOWELS = "aeiou"
LEXICON = load_morphemes()
PREFIX, INFIX, SUFFIX = ({line.strip("-") for line in (AFFIXES / f"{kind}.txt").read_text().split()}
                         for kind in KINDS)
PREFIX |= {"i"}  # i- is not in the affix list of the variants; README.md of the lexicon says so


def stems(root: str) -> set[str]:
    """How spelling may change a root beside an affix: d to r, o of the last syllable to u, a last e
    to i, and a last vowel that a borrowed suffix takes the place of."""
    found = {root, re.sub("^d", "r", root)}
    found |= {re.sub("d$", "r", stem) for stem in found}
    found |= {re.sub(r"o([^aeiou]*)$", r"u\1", stem) for stem in found}
    return found | {re.sub("[aeo]$", "", root), re.sub("e$", "i", root)}


def syllables(word: str) -> set[str]:
    """What reduplication repeats: the first consonant or ng, if any, or both of two, and the first
    vowel."""
    onset, rest, vowel = re.match(rf"(ng|[^{VOWELS}])?([^{VOWELS}]*)([{VOWELS}])", word).groups()  # type: ignore[union-attr]
    return {(onset or "") + vowel, (onset or "") + rest + vowel}


def analyses(word: Word) -> Iterator[list[str]]:
    """The segments, as they are and with the parts around each infix put together again."""
    parts = list(word.segments)
    yield parts
    for at, part in enumerate(parts[:-1]):
        if part in INFIX:
            before = parts[: max(at - 1, 0)]
            onset = parts[at - 1] if at else ""
            yield [*before, onset + parts[at + 1], *parts[at + 2 :]]


def explained(word: Word) -> bool:
    """prefix* reduplication? stem suffix?, with an infix in it or not."""
    for parts in analyses(word):
        body = parts[:-1] if parts[-1] in SUFFIX and word.stem != parts[-1] else parts
        if body and body[-1] == word.stem:
            front = body[:-1]
            if front and front[-1] in syllables(word.root) | syllables(word.stem):
                front = front[:-1]
            if all(part in PREFIX for part in front):
                return True
    return False


def test_every_analysis_is_made_of_the_root_and_known_affixes() -> None:
    assert [word.form for word in LEXICON.words if not explained(word)] == []
    assert [word.form for word in LEXICON.words if word.stem not in stems(word.root)] == []


def test_the_list_is_large_and_covers_the_affixes() -> None:
    words = LEXICON.words
    assert len(words) >= 300 and len({word.root for word in words}) >= 150
    assert all("".join(word.segments) == word.form.replace("-", "") for word in words)
    assert len({word.form for word in words}) == len(words)
    used = [segment for word in words for segment in word.segments]
    for affix in ("um", "in", "mag", "nag", "ma", "na", "i", "an", "han", "hin", "ka", "pag",
                  "pang", "pam", "pan", "maka", "naka", "paki", "pinaka", "pala", "tag", "taga",
                  "mang", "mam", "man"):
        assert used.count(affix) >= 2, affix
    glosses = {word.root: word.gloss for word in words}
    assert all(glosses[word.root] == word.gloss for word in words)


def test_a_hyphen_stands_between_a_consonant_and_a_vowel() -> None:
    for word in LEXICON.words:
        if "-" in word.form:
            assert re.fullmatch(r"[a-z]+[^aeiou]-[aeiou][a-z]*", word.form), word.form
            at = len(word.form.partition("-")[0])
            assert at in word.boundaries, word.form


def word_of(form: str) -> Word:
    return next(word for word in LEXICON.words if word.form == form)


def test_boundaries_count_letters() -> None:
    assert word_of("sumulat").boundaries == {1, 3}
    assert word_of("mag-aaral").boundaries == {3, 4}
    assert word_of("kagandahan").boundaries == {2, 7}


@pytest.mark.parametrize(
    ("text", "found"),
    [("Kumain na siya, at KUMAIN ulit", ["kumain", "kumain"]),
     ("“kumain” (sumulat) nag-aral.", ["kumain", "sumulat", "nag-aral"]),
     ("nag-aral-aral kumaing kumain2 2kumain kumain_", []), ("ñkumain kumainé kumain\u0301", []),
     ("", []), ("a\x00kumain\x00", ["kumain"])])
def test_words_are_found_as_words(text: str, found: list[str]) -> None:
    occurrences = LEXICON.find(text.encode())
    assert [one.word.form for one in occurrences] == found
    for one in occurrences:
        assert text.encode()[one.start : one.stop].decode().lower() == one.word.form


def cut_at(pieces: list[str]) -> Cut:
    """A document of these tokens."""
    ends = np.cumsum([len(piece.encode()) for piece in pieces])
    return Cut("".join(pieces).encode() + b"\x00", ends[:-1].astype(np.int64))


def test_figures_by_hand() -> None:
    tally = Tally()
    for pieces in (["Ku", "ma", "in"],  # k-um-ain: one of two cuts is none, one of two is missed
                   [" k", "um", "ain"], ["na", "g", "-", "aral"], ["ma", "buti"], ["mabuti"]):
        cut = cut_at(pieces)
        tally.add(LEXICON.find(cut.text), cut)
    found = tally.alignment()
    assert (found.words, found.occurrences) == (3, 5)
    # kumain: M {1, 3}, T {2, 4} and {1, 3}; nag-aral: M {3}, T {2, 3}; mabuti: M {2}, T {2} and {}
    assert (found.cuts, found.cuts_on_morphemes) == (7, 4)
    assert found.precision == round(4 / 7, 6) and found.recall == round(4 / 7, 6)
    assert found.f1 == round(8 / 14, 6)
    assert found.macro_precision == round((1 / 2 + 1 / 2 + 1) / 3, 6)
    assert found.macro_recall == round((1 / 2 + 1 + 1 / 2) / 3, 6)
    assert found.macro_f1 == round((1 / 2 + 2 / 3 + 1 / 2) / 3, 6)
    assert found.kept == 3 / 5
    assert found.fertility == round((3 + 3 + 4 + 2 + 1) / 5, 6)


def test_a_word_of_one_token_has_no_precision() -> None:
    tally = Tally()
    tally.add(LEXICON.find(b"mabuti\x00"), cut_at(["mabuti"]))
    found = tally.alignment()
    assert found.precision is None and found.macro_precision is None
    assert (found.recall, found.f1, found.macro_f1, found.kept, found.fertility) == (0, 0, 0, 0, 1)
    assert Tally().alignment().recall is None


@pytest.mark.parametrize(
    ("pieces", "tokens"),
    [(["at", " mabuti"], 1), (["at", " ", "mabuti"], 2), (["at ", "mabuti"], 1),
     ([" ", "mabuti"], 2), ([" mabuti"], 1), (["a\x00", " ", "mabuti"], 2), (["(", "mabuti"], 1)])
def test_a_space_mark_by_itself_is_a_token_of_the_word(pieces: list[str], tokens: int) -> None:
    cut = cut_at(pieces)
    places = [at for at in cut.boundaries.tolist() if cut.text[at - 1 : at] != b"\x00"]
    tally = Tally()
    tally.add(LEXICON.find(cut.text), Cut(cut.text, np.array(places, np.int64)))
    assert tally.alignment().fertility == tokens


@given(st.lists(st.tuples(st.sampled_from(LEXICON.words), st.sets(st.integers(1, 20))),
                min_size=1, max_size=20))
def test_figures_are_those_of_sets(cases: list[tuple[Word, set[int]]]) -> None:
    """Against the definitions, word by word, on words without a hyphen."""
    cases = [(word, {at for at in cuts if at < len(word.form)}) for word, cuts in cases
             if "-" not in word.form]
    tally = Tally()
    for word, cuts in cases:
        tally.add([Occurrence(word, 0, len(word.form))],
                  Cut(word.form.encode(), np.array(sorted(cuts), np.int64)))
    found = tally.alignment()
    hits = sum(len(cuts & word.boundaries) for word, cuts in cases)
    gold = sum(len(word.boundaries) for word, _ in cases)
    drawn = sum(len(cuts) for _, cuts in cases)
    assert (found.cuts, found.cuts_on_morphemes, found.occurrences) == (drawn, hits, len(cases))
    if cases:
        assert found.recall == pytest.approx(hits / gold, abs=1e-6)
        assert found.f1 == pytest.approx(2 * hits / (drawn + gold), abs=1e-6)
        assert found.kept == pytest.approx(
            sum(word.boundaries <= cuts for word, cuts in cases) / len(cases), abs=1e-6)
        own: dict[str, list[float]] = {}
        for word, cuts in cases:
            own.setdefault(word.form, []).append(
                len(cuts & word.boundaries) / len(word.boundaries))
        mean = sum(sum(values) / len(values) for values in own.values()) / len(own)
        assert found.macro_recall == pytest.approx(mean, abs=1e-6)


def test_the_tokenizers_own_cuts(tokenizer: Tokenizer) -> None:
    found = tokenizer_alignment(LEXICON, Spelling(tokenizer))
    assert found.words == found.occurrences == len(LEXICON.words)
    tokens = kept = 0
    for word in LEXICON.words:
        first, *ids = tokenizer.encode("a " + word.form).tolist()
        assert tokenizer.pieces[first] == "a"
        pieces = [tokenizer.pieces[token] for token in ids]
        ends = np.cumsum([len(piece.replace("-", "")) for piece in pieces])[:-1] - 1
        tokens, kept = tokens + len(pieces), kept + (word.boundaries <= set(ends.tolist()))
    assert found.fertility == pytest.approx(tokens / len(LEXICON.words), abs=1e-6)
    assert found.kept == pytest.approx(kept / len(LEXICON.words), abs=1e-6)


def test_affix_coverage(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for kind, affixes in (("prefix", "na\nzzz\n"), ("infix", "um\nin\n"), ("suffix", "qqan\n")):
        (tmp_path / f"{kind}.txt").write_text(affixes)
    prefix, infix, suffix = affix_coverage(tmp_path, tokenizer)
    assert (prefix.affixes, prefix.marked, prefix.missing) == (2, 1, ["zzz"])
    assert (infix.affixes, infix.bare) == (2, 2)
    assert (suffix.bare, suffix.marked, suffix.missing) == (0, 0, ["qqan"])
    assert [row.kind for row in affix_coverage(AFFIXES, tokenizer)] == list(KINDS)
    (tmp_path / "infix.txt").unlink()
    with pytest.raises(CorpusError, match="infix.txt: no such file"):
        affix_coverage(tmp_path, tokenizer)


@pytest.mark.parametrize(
    ("rows", "says"),
    [(["kumain\tk-um-ain\tkain\tkain"], "it has not the 5 columns"),
     (["kumain\tk-um-a\tkain\tkain\teat"], "does not cut kumain"),
     (["kumain\tkumain\tkain\tkain\teat"], "does not cut kumain"),
     (["Kumain\tK-um-ain\tkain\tkain\teat"], "not of the letters"),
     (["kumain\tk-um-ain\tkain\tkain\teat"] * 2, "kumain stands twice")])
def test_a_list_that_does_not_hold_is_refused(
    tmp_path: Path, rows: list[str], says: str
) -> None:
    path = tmp_path / "words.tsv"
    with pytest.raises(CorpusError, match="no such file"):
        load_morphemes(path)
    path.write_text("\n".join(rows))
    with pytest.raises(CorpusError, match="lacks its heading"):
        load_morphemes(path)
    path.write_text("\n".join(["\t".join(HEADER), *rows]))
    with pytest.raises(CorpusError, match=says):
        load_morphemes(path)


def test_an_empty_list_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("\t".join(HEADER) + "\n")
    lexicon = load_morphemes(path)
    assert isinstance(lexicon, Lexicon) and lexicon.find(b"kumain") == []
