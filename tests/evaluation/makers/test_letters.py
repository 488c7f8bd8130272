"""Makers on letters, syllables, spelling and games, over many words and draws, by the solver."""

from random import Random

import pytest

from evaluation.generation import GIVE_UP_AFTER, divide
from evaluation.groups import makers
from evaluation.lexicon import load_lexicon
from evaluation.makers import spelling
from evaluation.makers.question import (
    Maker,
    Question,
    listing,
    number_choices,
    plain,
    prompt,
    question,
)
from evaluation.makers.syllabic import divisible
from tests.evaluation.solver import distance, judge

LEXICON = load_lexicon()
MADE = makers(LEXICON, divide(LEXICON)[0])
ALL = [
    pytest.param(maker, id=f"{part}-{kind}")
    for group, parts in MADE.items()
    for part, kinds in parts.items()
    for kind, maker in kinds.items()
    if part not in {"affixation", "level2", "level3", "level4", "level5"}
]


@pytest.mark.parametrize("maker", ALL)
def test_a_hundred_draws_have_one_right_answer_each(maker: Maker) -> None:
    rng, made = Random(11), list[Question]()
    for _ in range(GIVE_UP_AFTER):
        made += filter(None, [maker(rng)])
        if len(made) == 100:
            break
    assert len(made) == 100
    for asked in made:
        for language in ("fil", "en"):
            verdict = judge(asked.text(language), language)
            assert asked.answer == verdict.answer, asked
            assert not [option for option in asked.wrong if verdict.passes(option)], asked


def test_a_question_drops_the_answer_and_doubles_from_its_wrong_ones() -> None:
    assert question("w", "?", "?", "a", ["b", "a", "", "b", "c"]).wrong == ("b", "c")


def test_a_prompt_shows_examples_and_leaves_its_own_answer_open() -> None:
    one, two = (question("w", f"f{i}?", f"e{i}?", f"a{i}", "xyz") for i in (1, 2))
    assert prompt(two, "fil") == "Tanong: f2?\nSagot:"
    assert prompt(two, "en", [one]) == "Question: e1?\nAnswer: a1\n\nQuestion: e2?\nAnswer:"


def test_lists_are_quoted() -> None:
    assert listing(["a", "b", "c"], "en") == '"a", "b" and "c"'
    assert listing(["a", "b"], "fil") == '"a" at "b"'


@pytest.mark.parametrize(("right", "least"), [(0, 0), (1, 1), (7, 1), (2, 0)])
def test_numbers_stand_in_a_row_in_which_the_right_one_has_any_place(
    right: int, least: int
) -> None:
    places = set()
    for seed in range(60):
        row = sorted([right, *map(int, number_choices(Random(seed), right, least))])
        assert row == list(range(row[0], row[0] + 4)) and row[0] >= least
        places.add(row.index(right))
    assert places == set(range(min(3, right - least) + 1))


@pytest.mark.parametrize(
    ("word", "one_way"),
    [
        ("tao", True), ("bundok", True), ("kaibigan", True), ("nguya", True), ("pangalan", True),
        ("sobre", False), ("titser", False), ("timbre", False), ("mag-aral", False),
        ("trabaho", True), ("dyip", False), ("katlo", False),
    ],
)  # fmt: skip
def test_words_that_are_divided_in_one_way(word: str, one_way: bool) -> None:
    assert divisible(word) == one_way


def test_plain_words_have_a_letter_a_character() -> None:
    assert [plain(word) for word in ("bata", "bunga", "mag-aral")] == [True, False, False]


def test_the_distance_is_levenshteins() -> None:
    words = ["", "a", "bata", "batang", "tabla", "kumain", "kain"]
    for one in words:
        for other in words:
            assert spelling.edits(one, other) == distance(one, other)


def test_kinds_of_a_part_take_their_words_from_the_pool() -> None:
    pool, reserved = divide(LEXICON)
    shown = {word.root for word in reserved}
    assert shown and not shown & {word.root for word in pool}
    assert 0.02 < len(shown) / len({word.root for word in LEXICON}) < 0.2
