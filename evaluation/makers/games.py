"""A language game and addition.

Six kinds follow StochasTok's LangGame (Sims and others, 2025): which of four words is the longest,
the shortest, has the most of a letter, contains, starts or ends with a string. Two are games that
children play on Filipino words, each with its rule in the question: syllables in reverse order
(baliktad), and g with the same vowel after every vowel (G-language). Addition follows the same
source, with two to five digits.
"""

from collections.abc import Callable, Sequence
from random import Random

from evaluation.makers.question import LETTERS, OPTIONS, Question, listing, question
from evaluation.makers.syllabic import wrong_splits
from evaluation.syllables import syllables

VOWELS = "aeiou"


class WordChoice:
    """Makes questions whose options are four words of the list."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def _best(
        self, rng: Random, measure: Callable[[str], int], margin: int
    ) -> tuple[str, list[str]] | None:
        """Four words of which one has the greatest measure, by the margin or more."""
        right, *wrong = sorted(rng.sample(self.words, OPTIONS), key=measure, reverse=True)
        return (right, wrong) if measure(right) >= measure(wrong[0]) + margin else None

    def _holder(
        self, rng: Random, text: str, holds: Callable[[str], bool]
    ) -> tuple[str, list[str]] | None:
        """A word that holds the text, and three that share a letter of it but do not hold it."""
        drawn = rng.sample(self.words, min(len(self.words), 60))
        with_it = [word for word in self.words if holds(word)]
        near = [word for word in drawn if set(text) & set(word) and not holds(word)]
        near.sort(key=lambda word: -len(set(text) & set(word)))
        return (rng.choice(with_it), rng.sample(near[:9], 3)) if len(near) > 2 else None

    def longest(self, rng: Random) -> Question | None:
        """The longest of four words."""
        found = self._best(rng, len, 1)
        return found and _choice(
            *found, "ang pinakamahaba (may pinakamaraming titik)", "is the longest (most letters)"
        )

    def shortest(self, rng: Random) -> Question | None:
        """The shortest of four words."""
        found = self._best(rng, lambda word: -len(word), 1)
        return found and _choice(
            *found,
            "ang pinakamaikli (may pinakakaunting titik)",
            "is the shortest (fewest letters)",
        )

    def most_of_letter(self, rng: Random) -> Question | None:
        """The word in which a letter occurs most often."""
        letter = rng.choice(LETTERS)
        found = self._best(rng, lambda word: word.count(letter), 1)
        return found and _choice(
            *found,
            f'ang may pinakamaraming titik na "{letter}"',
            f'has the most letters "{letter}"',
        )

    def contains(self, rng: Random) -> Question | None:
        """The word that contains a string of two or three letters."""
        word, size = rng.choice(self.words), rng.choice((2, 3))
        at = rng.randrange(len(word) - size + 1)
        text = word[at : at + size]
        found = self._holder(rng, text, lambda other: text in other)
        return found and _choice(*found, f'ang naglalaman ng "{text}"', f'contains "{text}"')

    def starts(self, rng: Random) -> Question | None:
        """The word that starts with a string of one to three letters."""
        text = rng.choice(self.words)[: rng.choice((1, 2, 3))]
        found = self._holder(rng, text, lambda other: other.startswith(text))
        return found and _choice(*found, f'ang nagsisimula sa "{text}"', f'starts with "{text}"')

    def ends(self, rng: Random) -> Question | None:
        """The word that ends with a string of one to three letters."""
        text = rng.choice(self.words)[-rng.choice((1, 2, 3)) :]
        found = self._holder(rng, text, lambda other: other.endswith(text))
        return found and _choice(*found, f'ang nagtatapos sa "{text}"', f'ends with "{text}"')


def _choice(right: str, wrong: list[str], fil: str, en: str) -> Question:
    shown = sorted([right, *wrong])
    return question(
        right,
        f"Alin sa mga salitang {listing(shown, 'fil')} {fil}?",
        f"Which of the words {listing(shown, 'en')} {en}?",
        right,
        wrong,
    )


def reverse_syllables(rng: Random, word: str) -> Question:
    """The word's syllables in reverse order."""
    right = syllables(word)
    wrong = ["".join(split.split("-")[::-1]) for split in wrong_splits(rng, right)]
    rng.shuffle(wrong)
    return question(
        word,
        'Sa larong baliktad, isinusulat ang mga pantig ng salita mula huli hanggang una. '
        f'Ano ang "{word}" sa larong ito?',
        'In the game baliktad, the syllables of a word are written from last to first. '
        f'What is "{word}" in this game?',
        "".join(right[::-1]),
        [word[::-1], *wrong, right[-1] + "".join(right[:-1])],
    )


def g_language(rng: Random, word: str) -> Question:
    """The word with g and the same vowel after every vowel."""

    def spoken(new: str, chosen: Sequence[int]) -> str:
        return "".join(
            letter + (new + letter if i in chosen else "") for i, letter in enumerate(word)
        )

    hearts = [i for i, letter in enumerate(word) if letter in VOWELS]
    other = rng.choice([c for c in LETTERS if c not in word and c not in VOWELS])
    wrong = [
        spoken("g", hearts[:-1]),
        spoken("g", hearts[1:]),
        spoken(other, hearts),
        "".join(c + "ga" if c in VOWELS else c for c in word),
        "".join(c + "g" if c in VOWELS else c for c in word),
    ]
    return question(
        word,
        "Sa larong G, sinusundan ng g at ng kaparehong patinig ang bawat patinig ng salita. "
        f'Ano ang "{word}" sa larong ito?',
        "In the game of G, every vowel of a word is followed by g and the same vowel. "
        f'What is "{word}" in this game?',
        spoken("g", hearts),
        wrong,
    )


def addition(digits: int) -> Callable[[Random], Question]:
    """The sum of two numbers of so many digits."""

    def make(rng: Random) -> Question:
        low, high = 10 ** (digits - 1), 10**digits - 1
        a, b = rng.randint(low, high), rng.randint(low, high)
        total = a + b
        wrong = [total + sign * 10**place for place in range(digits) for sign in (-1, 1)]
        wrong.append(_without_carrying(a, b))
        rng.shuffle(wrong)
        return question(
            "",
            f"Ano ang kabuuan ng {a} + {b}?",
            f"What is the sum of {a} + {b}?",
            str(total),
            (str(number) for number in wrong if number > 0),
        )

    return make


def _without_carrying(a: int, b: int) -> int:
    """The sum of each pair of digits, its tens dropped."""
    total, place = 0, 1
    while a or b:
        total += (a % 10 + b % 10) % 10 * place
        a, b, place = a // 10, b // 10, place * 10
    return total
