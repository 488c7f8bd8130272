"""From settings to questions: drawn by seed and part, with their options and examples.

Each kind of question of each part has a stream of random numbers of its own, and a smaller part is
the beginning of a larger one: a size, a language, a group more or less changes no other item. The
right option stands at each place equally often: each four questions of a part hold each place once.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from evaluation.config import InputError, choose
from evaluation.groups import GROUPS, SIZES, Kinds, makers, size_of
from evaluation.lexicon import LEXICON, Word, load_lexicon
from evaluation.makers.question import LANGUAGES, OPTIONS, Maker, Question, prompt

GIVE_UP_AFTER = 2000  # draws in a row that bring no new question
MOST_SHOTS = 8
RESERVED = 0.1  # share of the roots whose words appear in examples alone
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What to generate; `sizes` replaces defaults, by part or by group.

    Raises InputError for an unknown name, or a number out of range.
    """

    groups: list[str] = field(default_factory=lambda: list(GROUPS))
    seed: int = 42
    sizes: Mapping[str, int] = field(default_factory=dict)
    languages: list[str] = field(default_factory=lambda: list(LANGUAGES))
    shots: int = 4
    lexicon: Path = LEXICON

    def __post_init__(self) -> None:
        choose("benchmark group", self.groups, GROUPS)
        choose("language", self.languages, LANGUAGES)
        parts = sorted({part for names in GROUPS.values() for part in names})
        choose("benchmark part", self.sizes, dict.fromkeys([*SIZES, *GROUPS, *parts]))
        for name, size in self.sizes.items():
            if type(size) is not int or size < 1:
                raise InputError(f"{name} has size {size!r}", "Give each part one question or more")
        if not 0 <= self.shots <= MOST_SHOTS:
            raise InputError(f"{self.shots} examples a prompt", f"Ask for 0 to {MOST_SHOTS}")
        if not self.groups or not self.languages:
            raise InputError("no group or no language is chosen", "Name one or more")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a part: four options, the right one's place, and the examples before it."""

    group: str
    part: str
    number: int
    kind: str
    question: Question
    options: tuple[str, ...]
    position: int
    examples: tuple[Question, ...]

    @property
    def task(self) -> str:
        """What the question's items in all languages and modes have in common."""
        return f"{self.group}.{self.part}.{self.number:04d}"


def ask_all(settings: Settings) -> dict[str, list[Asked]]:
    """The questions of each group, part by part.

    Raises InputError where the lexicon gives fewer different questions than asked for.
    """
    asking, showing = _makers(settings.lexicon)
    made: dict[str, list[Asked]] = {}
    for group in settings.groups:
        made[group] = []
        for part, kinds in asking[group].items():
            size = size_of(group, part, settings.sizes)
            made[group] += _ask(
                (group, part, size), kinds, showing[group][part], (settings.seed, settings.shots)
            )
    return made


@functools.cache
def _makers(path: Path) -> tuple[dict[str, dict[str, Kinds]], dict[str, dict[str, Kinds]]]:
    """The makers of questions and of examples; a process reads a lexicon once."""
    lexicon = load_lexicon(path)
    pool, reserved = divide(lexicon)
    return makers(lexicon, pool), makers(lexicon, reserved)


def divide(lexicon: list[Word]) -> tuple[list[Word], list[Word]]:
    """The words to ask about and those to show in examples: no root is in both."""

    def shown(word: Word) -> bool:
        digest = hashlib.sha256(word.root.encode()).digest()
        return int.from_bytes(digest[:4], "big") < RESERVED * 2**32

    return [w for w in lexicon if not shown(w)], [w for w in lexicon if shown(w)]


def _ask(
    part_of: tuple[str, str, int], kinds: Kinds, examples: Kinds, drawn: tuple[int, int]
) -> list[Asked]:
    """The questions of a part (group, part, size); its kinds take turns. `drawn`: seed, shots."""
    (group, part, size), (seed, shots) = part_of, drawn
    stream = f"{seed}/{group}/{part}"
    rngs = {kind: Random(f"{stream}/{kind}") for kind in kinds}
    shown = {kind: _examples(examples[kind], f"{stream}/{kind}/examples") for kind in kinds}
    seen = {kind: {example.fil for example in shown[kind]} for kind in kinds}
    order = Random(f"{stream}/positions")
    names, made, places = list(kinds), list[Asked](), list[int]()
    for number in range(size):
        kind = names[number % len(names)]
        rng = rngs[kind]
        question = _next(rng, kinds[kind], seen[kind], f"{group}.{part} ({kind})")
        places = places or order.sample(range(OPTIONS), OPTIONS)
        place = places.pop()
        options = rng.sample(question.wrong[: OPTIONS + 1], OPTIONS - 1)
        options.insert(place, question.answer)
        before = shown[kind][:shots]
        made.append(Asked(group, part, number, kind, question, tuple(options), place, before))
    return made


def _next(rng: Random, maker: Maker, seen: set[str], name: str) -> Question:
    """A question with a new text and three wrong answers or more."""
    for _ in range(GIVE_UP_AFTER):
        question = maker(rng)
        if question and len(question.wrong) >= OPTIONS - 1 and question.fil not in seen:
            seen.add(question.fil)
            return question
    raise InputError(
        f"the lexicon gives no more than {len(seen)} different questions for {name}",
        "Ask for a smaller part, or add words to data/lexicon/affixed.tsv",
    )


def _examples(maker: Maker, stream: str) -> tuple[Question, ...]:
    """As many different questions as a prompt may show, so that none of them is asked as well."""
    rng, seen = Random(stream), set[str]()
    return tuple(_next(rng, maker, seen, f"the examples {stream}") for _ in range(MOST_SHOTS))


def item(asked: Asked, language: str, mode: str) -> Item:
    """One line of a file: the question in a language, as a choice (mcq) or to be answered (gen)."""
    made: Item = {"id": f"{asked.task}.{mode}.{language}", "task": asked.task, "group": asked.group}
    if asked.group == "hierarchical":
        made["level"] = int(asked.part.removeprefix("level"))
    elif asked.part != asked.group:
        made["category"] = asked.part
    made |= {"kind": asked.kind, "language": language, "word": asked.question.word}
    made["prompt"] = prompt(asked.question, language, asked.examples)
    if mode == "gen":
        return made | {"answer": asked.question.answer}
    return made | {"options": list(asked.options), "answer": asked.position}
