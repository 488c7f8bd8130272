"""What a question is, the words that makers share, and how a question becomes a prompt."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

Language = Literal["fil", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
LABELS: dict[str, tuple[str, str]] = {"fil": ("Tanong", "Sagot"), "en": ("Question", "Answer")}
AND = {"fil": "at", "en": "and"}
ORDINALS: dict[str, tuple[str, ...]] = {
    "fil": (
        "unang", "ikalawang", "ikatlong", "ikaapat na", "ikalimang",
        "ikaanim na", "ikapitong", "ikawalong", "ikasiyam na", "ikasampung",
    ),
    "en": (
        "first", "second", "third", "fourth", "fifth",
        "sixth", "seventh", "eighth", "ninth", "tenth",
    ),
}  # fmt: skip
PLACES = len(ORDINALS["en"])
LETTERS = "abdeghiklmnoprstuwy"
OPTIONS = 4


@dataclass(frozen=True, slots=True)
class Question:
    """One question in both languages; `wrong` holds different wrong answers, the best first.

    `word` is the form of the lexicon that it is about, empty where it is about none. The answer is
    the same text in both languages.
    """

    word: str
    fil: str
    en: str
    answer: str
    wrong: tuple[str, ...]

    def text(self, language: str) -> str:
        """The question itself, without labels."""
        return self.fil if language == "fil" else self.en


Maker = Callable[[Random], Question | None]
"""Draws a question; None where what it drew gives none, and another draw may."""


def question(word: str, fil: str, en: str, answer: str, wrong: Iterable[str]) -> Question:
    """A question whose wrong answers differ from the answer and from each other."""
    kept = tuple(w for w in dict.fromkeys(wrong) if w and w != answer)
    return Question(word, fil, en, answer, kept)


def prompt(asked: Question, language: str, examples: Sequence[Question] = ()) -> str:
    """Examples with their answers, then the question; ends in the answer's label and a colon."""
    ask, tell = LABELS[language]
    shown = [f"{ask}: {e.text(language)}\n{tell}: {e.answer}\n\n" for e in examples]
    return f"{''.join(shown)}{ask}: {asked.text(language)}\n{tell}:"


def listing(things: Sequence[str], language: str) -> str:
    """Quoted things as a list: "a", "b" and "c"."""
    quoted = [f'"{thing}"' for thing in things]
    return f"{', '.join(quoted[:-1])} {AND[language]} {quoted[-1]}"


def number_choices(rng: Random, right: int, least: int = 0) -> list[str]:
    """The three other numbers of a row of four in which the right one has any place."""
    start = max(least, right - rng.randrange(OPTIONS))
    return [str(n) for n in range(start, start + OPTIONS) if n != right]


def plain(word: str) -> bool:
    """Whether each character of the word is a letter of the Filipino alphabet by itself."""
    return "ng" not in word and "-" not in word


def absent_letter(rng: Random, word: str) -> str:
    """A letter that the word lacks."""
    return rng.choice([letter for letter in LETTERS if letter not in word])


def places(rng: Random, word: str) -> list[int]:
    """The places of a word that have an ordinal, shuffled: the first one is asked for."""
    order = list(range(min(len(word), PLACES)))
    rng.shuffle(order)
    return order
