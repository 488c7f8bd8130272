"""Words of the lexicon through every kind of question, judged by the solver."""

from collections.abc import Callable
from random import Random

import pytest

from evaluation.lexicon import Word, load_lexicon
from evaluation.makers.morphology import Morphology, allowed, bare, copied, family, hinted, visible
from evaluation.makers.question import Question
from tests.evaluation.solver import judge

LEXICON = load_lexicon()
MADE = Morphology(LEXICON, LEXICON)
Kind = Callable[[Random, Word], Question | None]
KINDS: list[tuple[list[Word], Kind]] = [
    (MADE.spelled, MADE.attach_affix),
    (MADE.spelled, MADE.compose),
    (MADE.shown, MADE.name_affix),
    (MADE.shown, MADE.choose_affixed),
    (LEXICON, MADE.find_root),
    (MADE.repeated, MADE.repeat_start),
    (MADE.copied, MADE.find_copy),
    (MADE.shown, MADE.find_affix),
    (MADE.exchangeable, MADE.exchange_affix),
    (MADE.exchangeable, MADE.exchange_and_split),
    (MADE.matched, MADE.continue_analogy),
]


@pytest.mark.parametrize(("words", "kind"), KINDS, ids=[kind.__name__ for _, kind in KINDS])
def test_a_word_gets_one_right_answer_and_wrong_ones(words: list[Word], kind: Kind) -> None:
    some = words[:: max(1, len(words) // 100)]
    asked = [made for word in some if (made := kind(Random(word.form), word))]
    assert len(asked) > 0.3 * len(some) > 25
    for made in asked:
        for language in ("fil", "en"):
            verdict = judge(made.text(language), language)
            assert made.answer == verdict.answer, made
            assert not [option for option in made.wrong if verdict.passes(option)], made


@pytest.mark.parametrize(
    ("affix", "name"),
    [("-han", "-an"), ("ka- -han", "ka- -an"), ("pam-", "pang-"), ("mag-", "mag-"), ("i-", "i-")],
)
def test_variants_are_one_family(affix: str, name: str) -> None:
    assert family(affix) == name


def test_an_infix_and_a_suffix_of_the_same_letters_are_alike() -> None:
    assert bare("-in-") == bare("-in") == bare("-hin") == "in" != bare("i-")


@pytest.mark.parametrize(
    ("form", "affix", "seen", "guessed"),
    [
        ("kumain", "-um-", True, True),
        ("isinulat", "-in-", False, True),
        ("kagandahan", "ka- -han", True, True),
        ("kagandahan", "pa- -han", False, False),
        ("ipagluto", "pag-", False, True),
        ("nilaga", "-in-", False, True),
        ("mamali", "mang-", False, True),
        ("umalis", "-um-", True, True),
        ("sulatan", "-an", True, True),
        ("anihin", "-an", False, True),
        ("magsulat", "mag-", True, True),
    ],
)
def test_where_an_affix_can_be_read(form: str, affix: str, seen: bool, guessed: bool) -> None:
    assert (visible(form, affix), hinted(form, affix)) == (seen, guessed)


def test_no_other_spelling_of_the_right_word_is_allowed() -> None:
    word = Word("bayaran", "bayad", "-an", "suffix", "pay")
    forms = ["bayadan", "bayaran", "bayadhan", "binayad", "bayad-an", "nagbayad"]
    assert allowed(forms, word) == ["bayadhan", "binayad", "nagbayad"]
    word = Word("tanungin", "tanong", "-in", "suffix", "ask")
    assert allowed(["tanongin", "tanungen", "tinanong"], word) == ["tinanong"]


def test_affixes_that_the_root_takes_are_the_first_wrong_ones() -> None:
    words = [
        Word("iuwi", "uwi", "i-", "prefix", "go home"),
        Word("mag-uwi", "uwi", "mag-", "prefix", "go home"),
        Word("umuwi", "uwi", "-um-", "infix", "go home"),
    ]
    made = Morphology(words, words).find_affix(Random(0), words[0])
    assert set(made.wrong[:2]) == {"mag-", "-um-"} and "i-" not in made.wrong


def test_what_an_affix_makes_the_word_of_is_no_wrong_root() -> None:
    words = [
        Word("magpahinga", "hinga", "magpa-", "prefix", "breathe"),
        Word("magsulat", "sulat", "mag-", "prefix", "write"),
    ]
    made = Morphology(words, words).find_root(Random(0), words[0])
    assert made.answer == "hinga" and "pahinga" not in made.wrong
    assert "inga" in made.wrong


@pytest.mark.parametrize(
    ("form", "root", "affix", "copy"),
    [
        ("tatakbo", "takbo", "CV-", "ta"),
        ("maglalaro", "laro", "mag- CV-", "la"),
        ("ngingiti", "ngiti", "CV-", "ngi"),
        ("nagagalit", "galit", "na- CV-", ""),
        ("kumakain", "kain", "-um- CV-", ""),
        ("aalis", "alis", "CV-", ""),
        ("maglaro", "laro", "mag-", ""),
    ],
)
def test_the_copy_that_a_reader_sees(form: str, root: str, affix: str, copy: str) -> None:
    assert copied(Word(form, root, affix, "reduplication", "?")) == copy


def test_a_word_with_a_second_spelling_is_not_asked_to_be_spelled() -> None:
    words = [
        Word("marami", "dami", "ma-", "prefix", "amount"),
        Word("maganda", "ganda", "ma-", "prefix", "beauty"),
    ]
    assert Morphology(words, words).spelled == [words[1]]
