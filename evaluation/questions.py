"""Questions about the letters and the syllables of a word, each with its answer and wrong answers.

A question stands alone: the same text serves as a free-form item, answered by `answer`, and as a
multiple-choice item with three of the `wrong` ones beside it. Questions on letters use words
without `ng` and without a hyphen, so that a letter of the alphabet is a written character.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from evaluation.syllables import syllables

ORDINALS = ("unang", "ikalawang", "ikatlong", "ikaapat na", "ikalimang", "ikaanim na", "ikapitong")
LETTERS = "abdeghiklmnoprstuwy"
OPTIONS = 4


@dataclass(frozen=True, slots=True)
class Question:
    """`wrong` holds different wrong answers, at least three where a choice is to be offered."""

    text: str
    answer: str
    wrong: tuple[str, ...]


Maker = Callable[[Random], Question]


def question(text: str, answer: str, wrong: Iterable[str]) -> Question:
    """A question whose wrong answers differ from the answer and from each other."""
    return Question(text, answer, tuple(w for w in dict.fromkeys(wrong) if w and w != answer))


def plain(word: str) -> bool:
    """Whether each character of the word is a letter of the Filipino alphabet by itself."""
    return "ng" not in word and "-" not in word


def name_letter(rng: Random, word: str) -> Question:
    """Which letter stands at a place; wrong ones are the word's other letters, then others."""
    at = rng.randrange(min(len(word), len(ORDINALS)))
    others = sorted(set(word) - {word[at]})
    absent = sorted(set(LETTERS) - set(word))
    wrong = rng.sample(others, len(others))[:3] + rng.sample(absent, 3)
    text = f'Ano ang {ORDINALS[at]} titik ng salitang "{word}"?'
    return question(text, word[at], wrong[:3] if len(others) >= 3 else wrong)


def change_letters(rng: Random, word: str) -> Question:
    """Delete, replace, insert or exchange letters; wrong answers do it at another place."""
    return rng.choice((_delete, _replace, _insert, _exchange))(rng, word)


def _places(rng: Random, word: str) -> list[int]:
    """The nameable places of a word, shuffled: the first one is asked for."""
    places = list(range(min(len(word), len(ORDINALS))))
    rng.shuffle(places)
    return places


def _delete(rng: Random, word: str) -> Question:
    places = _places(rng, word)
    made = [word[:i] + word[i + 1 :] for i in places]
    text = f'Alisin ang {ORDINALS[places[0]]} titik ng salitang "{word}".'
    return question(text, made[0], [*made[1:], word])


def _replace(rng: Random, word: str) -> Question:
    letter = rng.choice([c for c in LETTERS if c not in word])
    places = _places(rng, word)
    made = [word[:i] + letter + word[i + 1 :] for i in places]
    text = f'Palitan ng "{letter}" ang {ORDINALS[places[0]]} titik ng salitang "{word}".'
    return question(text, made[0], made[1:])


def _insert(rng: Random, word: str) -> Question:
    letter = rng.choice([c for c in LETTERS if c not in word])
    places = _places(rng, word)
    made = [word[: i + 1] + letter + word[i + 1 :] for i in places]
    place = ORDINALS[places[0]]
    text = f'Isingit ang "{letter}" pagkatapos ng {place} titik ng salitang "{word}".'
    return question(text, made[0], [*made[1:], letter + word])


def _exchange(rng: Random, word: str) -> Question:
    pairs = [(i, j) for i in range(len(word)) for j in range(i) if max(i, j) < len(ORDINALS)]
    rng.shuffle(pairs)
    pairs.sort(key=lambda pair: word[pair[0]] == word[pair[1]])  # one that changes the word first
    made = []
    for i, j in pairs:
        letters = list(word)
        letters[i], letters[j] = letters[j], letters[i]
        made.append("".join(letters))
    first, second = sorted(pairs[0])
    text = f'Pagpalitin ang {ORDINALS[first]} titik at {ORDINALS[second]} titik ng "{word}".'
    return question(text, made[0], made[1:])


def join_letters(rng: Random, word: str) -> Question:
    """The word that a row of letters spells; wrong ones have two neighbours exchanged."""
    made = []
    for at in rng.sample(range(len(word) - 1), len(word) - 1):
        made.append(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
    text = f"Anong salita ang nabubuo ng mga titik na {', '.join(word)} sa ganitong ayos?"
    return question(text, word, [*made, word[::-1], word[1:] + word[0]])


def count_letter(rng: Random, word: str) -> Question:
    """How often a letter stands in a word, in digits; wrong ones are the nearest numbers."""
    letter = rng.choice(sorted(set(word)))
    count = word.count(letter)
    near = sorted((n for n in range(6) if n != count), key=lambda n: (abs(n - count), n))
    text = f'Ilang beses lumitaw ang titik na "{letter}" sa salitang "{word}"?'
    return question(text, str(count), map(str, near[:3]))


def split_syllables(rng: Random, word: str) -> Question:
    """The word with a hyphen between its syllables; needs two syllables or more."""
    right = syllables(word)
    text = f'Pantigin ang salitang "{word}". Lagyan ng gitling ang pagitan ng mga pantig.'
    return question(text, "-".join(right), _wrong_splits(rng, right))


def count_syllables(_: Random, word: str) -> Question:
    """How many syllables a word has, in digits."""
    count = len(syllables(word))
    near = sorted((n for n in range(1, 9) if n != count), key=lambda n: (abs(n - count), n))
    text = f'Ilang pantig mayroon ang salitang "{word}"?'
    return question(text, str(count), map(str, near[:3]))


def _wrong_splits(rng: Random, right: list[str]) -> list[str]:
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


def reverse(text: str, word: str, lures: Iterable[str]) -> Question:
    """A question answered by a word written backwards; `lures` are other words, also reversed."""
    swapped = word[-2::-1] + word[-1]
    return question(text, word[::-1], [*(lure[::-1] for lure in lures), word, swapped])
