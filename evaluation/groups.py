"""The benchmarks: their parts, the kinds of question that a part asks, and how many.

`pacute` follows the four categories of the PACUTE benchmark, with the sizes that its authors'
repository of this study gave when the plan was written (1,040 tasks); `hierarchical` six levels,
each of which needs the ones below it; `cute` the tasks of CUTE; `langgame` and `addition` those of
StochasTok. The items are this project's own: figures are not comparable with those that other item
sets of the same names gave.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TypeVar

from evaluation.lexicon import Word
from evaluation.makers import letters, spelling, syllabic
from evaluation.makers.games import WordChoice, addition, g_language, reverse_syllables
from evaluation.makers.morphology import Morphology
from evaluation.makers.question import Maker, Question, plain

PACUTE = ("affixation", "composition", "manipulation", "syllabification")
LEVELS = ("level0", "level1", "level2", "level3", "level4", "level5")
CUTE = (
    "spell", "inverse_spell", "contains_char", "contains_substring", "orth_similarity",
    "ins_char", "ins_word", "del_char", "del_word", "sub_char", "sub_word", "swap_char",
    "swap_word",
)  # fmt: skip
GROUPS: dict[str, tuple[str, ...]] = {
    "pacute": PACUTE,
    "hierarchical": LEVELS,
    "cute": CUTE,
    "langgame": ("langgame",),
    "addition": ("addition",),
}
LEVEL_TITLES = {
    "level0": "character recognition",
    "level1": "character manipulation",
    "level2": "morpheme decomposition",
    "level3": "morpheme manipulation",
    "level4": "morpheme composition",
    "level5": "complex reasoning",
}
SIZES = {  # questions a part; a group's number holds for each of its parts
    "affixation": 280,
    "composition": 280,
    "manipulation": 320,
    "syllabification": 160,
    "hierarchical": 200,
    "cute": 100,
    "langgame": 1000,
    "addition": 1000,
}
W = TypeVar("W")
Kinds = dict[str, Maker]


def makers(lexicon: list[Word], pool: list[Word]) -> dict[str, dict[str, Kinds]]:
    """For each part of each group its kinds by name, in the order in which they take turns.

    Questions are about words of the pool; wrong answers are checked against the whole lexicon.
    """
    pool = by_commonness(pool)
    made = Morphology(lexicon, pool)
    roots = list(dict.fromkeys(w.root for w in pool if plain(w.root) and len(w.root) >= 4))
    forms = [word.form for word in pool if plain(word.form)]
    reversible = [word for word in pool if plain(word.root)]
    lettered = [word for word in made.spelled if plain(word.form)]
    divided = [word.form for word in pool if syllabic.divisible(word.form)]
    return {
        "pacute": {
            "affixation": {
                "attach_affix": _over(made.spelled, made.attach_affix),
                "name_affix": _over(made.shown, made.name_affix),
                "choose_affixed": _over(made.shown, made.choose_affixed),
                "repeat_start": _over(made.repeated, made.repeat_start),
            },
            "composition": {
                "spell_letters": _over(forms, letters.spell_letters),
                "join_letters": _over(forms, letters.join_letters),
                "count_letter": _over(forms, letters.count_letter),
                "count_letters": _over(forms, letters.count_letters),
            },
            "manipulation": {
                "delete_letter": _over(forms, letters.delete_letter),
                "replace_letter": _over(forms, letters.replace_letter),
                "insert_letter": _over(forms, letters.insert_letter),
                "exchange_letters": _over(forms, letters.exchange_letters),
                "double_letter": _over(forms, letters.double_letter),
                "uppercase": _over(forms, letters.uppercase),
            },
            "syllabification": {
                "split_syllables": _over(divided, syllabic.split_syllables),
                "count_syllables": _over(divided, syllabic.count_syllables),
                "syllable_at": _over(divided, syllabic.syllable_at),
                "find_copy": _over(made.copied, made.find_copy),
            },
        },
        "hierarchical": {
            "level0": {
                "letter_at": _over(roots, letters.letter_at),
                "which_letter": _over(roots, letters.which_letter),
            },
            "level1": {
                "delete_at": _over(roots, letters.delete_at),
                "replace_at": _over(roots, letters.replace_at),
                "insert_at": _over(roots, letters.insert_at),
                "exchange_at": _over(roots, letters.exchange_at),
            },
            "level2": {
                "find_root": _over(pool, made.find_root),
                "find_affix": _over(made.shown, made.find_affix),
            },
            "level3": {
                "exchange_affix": _over(made.exchangeable, made.exchange_affix),
                "continue_analogy": _over(made.matched, made.continue_analogy),
            },
            "level4": {"compose": _over(made.spelled, made.compose)},
            "level5": {
                "exchange_and_split": _over(made.exchangeable, made.exchange_and_split),
                "find_and_reverse": _over(reversible, made.find_and_reverse),
                "compose_and_delete": _over(lettered, made.compose_and_delete),
            },
        },
        "cute": _cute(roots, forms),
        "langgame": {"langgame": _games(roots, divided)},
        "addition": {"addition": {f"add_{n}_digits": addition(n) for n in (2, 3, 4, 5)}},
    }


def _cute(roots: list[str], forms: list[str]) -> dict[str, Kinds]:
    """CUTE's parts, of one kind each: letters of any word, rows of roots."""
    rows = spelling.Rows(roots)
    made: dict[str, Callable[[Random, str], Question | None]] = {
        "spell": spelling.spell,
        "inverse_spell": spelling.inverse_spell,
        "contains_char": spelling.contains_char,
        "contains_substring": spelling.contains_substring,
        "orth_similarity": spelling.orth_similarity(roots),
        "ins_char": spelling.ins_char,
        "ins_word": rows.ins_word,
        "del_char": spelling.del_char,
        "del_word": rows.del_word,
        "sub_char": spelling.sub_char,
        "sub_word": rows.sub_word,
        "swap_char": spelling.swap_char,
        "swap_word": rows.swap_word,
    }
    over_roots = {"orth_similarity", "ins_word", "del_word", "sub_word", "swap_word"}
    return {
        part: {part: _over(roots if part in over_roots else forms, maker)}
        for part, maker in made.items()
    }


def _games(roots: list[str], divided: list[str]) -> Kinds:
    """The language game's kinds."""
    choice = WordChoice(roots)
    return {
        "longest": choice.longest,
        "shortest": choice.shortest,
        "most_of_letter": choice.most_of_letter,
        "contains": choice.contains,
        "starts": choice.starts,
        "ends": choice.ends,
        "reverse_syllables": _over(divided, reverse_syllables),
        "g_language": _over(divided, g_language),
    }


def by_commonness(words: list[Word]) -> list[Word]:
    """The words of known frequency, the commonest first; all words where none is known."""
    known = [word for word in words if word.zipf is not None]
    return sorted(known, key=lambda word: (-(word.zipf or 0), word.form)) or words


def _over(source: Sequence[W], kind: Callable[[Random, W], Question | None]) -> Maker:
    """A maker that draws two words and asks about the one that comes first, the commoner one."""

    def make(rng: Random) -> Question | None:
        if not source:
            return None
        return kind(rng, source[min(rng.randrange(len(source)), rng.randrange(len(source)))])

    return make


def size_of(group: str, part: str, sizes: Mapping[str, int]) -> int:
    """How many questions a part has: its own number, else its group's, else the default ones."""
    for table in (sizes, SIZES):
        for name in (part, group):
            if name in table:
                return table[name]
    raise KeyError(part)
