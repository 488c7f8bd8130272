"""Questions on the syllables of a word (`evaluation.syllables` has the rules and their source).

Left out are words whose division is a matter of convention: three consonants between vowels, or a
stop and l or r (sob-re, so-bre), or ts.
"""

import re
from itertools import pairwise
from random import Random

from evaluation.makers.letters import nth
from evaluation.makers.question import Question, number_choices, question
from evaluation.syllables import syllables

_DISPUTED = re.compile(r"(?=[^aeiou]{3}|[bdgkpt][lr]|ts)")


def divisible(word: str) -> bool:
    """Whether the word has two syllables or more, divided in one way."""
    inside = word.replace("ng", "N").strip("bdghklmnprstwyNcfjqvxz")
    return "-" not in word and len(syllables(word)) > 1 and not _DISPUTED.search(inside)


def split_syllables(rng: Random, word: str) -> Question:
    """The word with a hyphen between its syllables."""
    right = syllables(word)
    return question(
        word,
        f'Pantigin ang salitang "{word}". Lagyan ng gitling ang pagitan ng mga pantig.',
        f'Divide the word "{word}" into syllables, with a hyphen between them.',
        "-".join(right),
        wrong_splits(rng, right),
    )


def count_syllables(rng: Random, word: str) -> Question:
    """How many syllables a word has, in digits."""
    count = len(syllables(word))
    return question(
        word,
        f'Ilang pantig mayroon ang salitang "{word}"?',
        f'How many syllables does the word "{word}" have?',
        str(count),
        number_choices(rng, count, 1),
    )


def syllable_at(rng: Random, word: str) -> Question:
    """The syllable at a place; wrong ones are the others, and the right one cut elsewhere."""
    right = syllables(word)
    at = rng.randrange(len(right))
    start = len("".join(right[:at]))
    end = start + len(right[at])
    near = {word[start : end - 1], word[start : end + 1], word[max(0, start - 1) : end]}
    wrong = sorted(near | set(right))
    rng.shuffle(wrong)
    fil, en = nth(at)
    return question(
        word,
        f'Ano ang {fil} pantig ng salitang "{word}"?',
        f'What is the {en} syllable of the word "{word}"?',
        right[at],
        wrong,
    )


def wrong_splits(rng: Random, right: list[str]) -> list[str]:
    """The same letters cut elsewhere: one cut moved by one letter first, then one cut left out."""
    word = "".join(right)
    cuts = [len("".join(right[: i + 1])) for i in range(len(right) - 1)]
    moved, fewer = list[str](), list[str]()
    for at, cut in enumerate(cuts):
        rest = cuts[:at] + cuts[at + 1 :]
        fewer.append(_cut(word, rest))
        for other in (cut - 1, cut + 1):
            if 0 < other < len(word) and other not in rest:
                moved.append(_cut(word, sorted([*rest, other])))
    rng.shuffle(moved)
    rng.shuffle(fewer)
    extra = [c for c in range(1, len(word)) if c not in cuts]
    more = [_cut(word, sorted([*cuts, c])) for c in rng.sample(extra, len(extra))]
    return moved + fewer + more


def _cut(word: str, cuts: list[int]) -> str:
    ends = [0, *cuts, len(word)]
    return "-".join(word[a:b] for a, b in pairwise(ends))
