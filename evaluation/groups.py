"""The two benchmark groups: which questions their categories and levels ask.

`pacute` follows the four categories of the PACUTE benchmark by name; `hierarchical` follows six
levels, each of which needs the ones below it. The items are this project's own: figures are not
comparable with those that other item sets of the same names gave.
"""

from collections.abc import Callable
from random import Random
from typing import TypeVar

from evaluation.lexicon import Word, by_root
from evaluation.morphemes import Morphemes
from evaluation.questions import (
    Maker,
    Question,
    change_letters,
    count_letter,
    count_syllables,
    join_letters,
    name_letter,
    plain,
    split_syllables,
)

PACUTE = ("affixation", "composition", "manipulation", "syllabification")
LEVELS = ("level0", "level1", "level2", "level3", "level4", "level5")
GROUPS: dict[str, tuple[str, ...]] = {"pacute": PACUTE, "hierarchical": LEVELS}
LEVEL_TITLES = {
    "level0": "characters",
    "level1": "character manipulation",
    "level2": "morpheme decomposition",
    "level3": "morpheme manipulation",
    "level4": "composition",
    "level5": "complex",
}
W = TypeVar("W")


def makers(words: list[Word]) -> dict[str, dict[str, Maker]]:
    """For each group and part a function from random numbers to a question."""
    morphemes = Morphemes(by_root(words))
    roots = [root for root in morphemes.roots if plain(root) and len(root) >= 4]
    forms = [word.form for word in words if plain(word.form)]
    unhyphenated = [word.form for word in words if "-" not in word.form]
    several = [word for word in words if morphemes.partners(word)]
    return {
        "pacute": {
            "affixation": _ask(words, [morphemes.attach_affix]),
            "composition": _ask(forms, [join_letters, count_letter]),
            "manipulation": _ask(forms, [change_letters]),
            "syllabification": _ask(unhyphenated, [split_syllables, count_syllables]),
        },
        "hierarchical": {
            "level0": _ask(roots, [name_letter]),
            "level1": _ask(roots, [change_letters]),
            "level2": _ask(words, [morphemes.find_root, morphemes.find_affix]),
            "level3": _ask(several, [morphemes.exchange_affix]),
            "level4": _ask(words, [morphemes.compose]),
            "level5": _ask(several, [morphemes.exchange_and_split, morphemes.find_and_reverse]),
        },
    }


def _ask(source: list[W], kinds: list[Callable[[Random, W], Question]]) -> Maker:
    """A maker that draws the kind of question and the word, each with equal chance."""

    def make(rng: Random) -> Question:
        kind = rng.choice(kinds)
        return kind(rng, rng.choice(source))

    return make
