"""Spelling tasks after CUTE (Edman, Schmid and Fraser, 2024): on letters and on words.

CUTE asks about every occurrence of a letter or a word. Its word tasks run over sentences; here they
run over rows of roots, so that each answer follows from the row alone. Its yes-or-no questions are
choices among four here; its task on meanings is left out, for nothing in a lexicon of glosses says
that two words are unrelated.
"""

from collections.abc import Callable, Sequence
from random import Random

from evaluation.makers.letters import exchange_letters, misspelled, which_letter
from evaluation.makers.question import Question, absent_letter, listing, question

contains_char = which_letter
swap_char = exchange_letters
ROW = 5  # words of a row


def spell(rng: Random, word: str) -> Question:
    """The word's letters, a space between them."""
    return question(
        word,
        f'Isa-isahin ang mga titik ng salitang "{word}" at paghiwalayin ng puwang.',
        f'Spell out the word "{word}", putting a space between the letters.',
        " ".join(word),
        (" ".join(form) for form in misspelled(rng, word)),
    )


def inverse_spell(rng: Random, word: str) -> Question:
    """The word that spaced letters spell."""
    row = " ".join(word)
    return question(
        word,
        f'Isulat ang salitang binaybay bilang "{row}".',
        f'Write the word that is spelled out as "{row}".',
        word,
        misspelled(rng, word),
    )


def contains_substring(rng: Random, word: str) -> Question | None:
    """The one of four strings of three letters that stands in the word."""
    if len(word) < 5:
        return None
    at = rng.randrange(len(word) - 2)
    right = word[at : at + 3]
    wrong = set[str]()
    for _ in range(20):
        lure = list(right)
        rng.shuffle(lure)
        if rng.random() < 0.5:
            lure[rng.randrange(3)] = rng.choice(word)
        if (text := "".join(lure)) not in word:
            wrong.add(text)
    if len(wrong) < 3:
        return None
    chosen = rng.sample(sorted(wrong), 3)
    shown = sorted([right, *chosen])
    return question(
        word,
        f'Alin sa mga hanay ng titik na {listing(shown, "fil")} ang nasa salitang "{word}"?',
        f'Which of the letter strings {listing(shown, "en")} is in the word "{word}"?',
        right,
        chosen,
    )


def edits(one: str, other: str) -> int:
    """The Levenshtein distance: the fewest insertions, deletions and replacements."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def orth_similarity(words: Sequence[str]) -> Callable[[Random, str], Question | None]:
    """The one of four words that takes the fewest edits, by two fewer than the next."""

    def make(rng: Random, word: str) -> Question | None:
        drawn = [other for other in rng.sample(words, min(40, len(words))) if other != word]
        drawn.sort(key=lambda other: edits(word, other))
        right, least = drawn[0], edits(word, drawn[0])
        wrong = [other for other in drawn[1:] if edits(word, other) >= least + 2]
        if least > len(word) // 2 or len(wrong) < 3:
            return None
        wrong = rng.sample(wrong[:12], 3)
        shown = sorted([right, *wrong])
        return question(
            word,
            f'Alin sa mga salitang {listing(shown, "fil")} ang pinakamalapit ang baybay sa '
            f'"{word}" (pinakakaunting titik ang idaragdag, aalisin o papalitan)?',
            f'Which of the words {listing(shown, "en")} is closest in spelling to "{word}" '
            "(fewest letters to insert, delete or replace)?",
            right,
            wrong,
        )

    return make


def _repeated(rng: Random, word: str) -> str | None:
    """A letter that stands in the word more than once."""
    found = sorted({letter for letter in word if word.count(letter) > 1})
    return rng.choice(found) if found else None


def _others(rng: Random, word: str, letter: str, new: str) -> list[str]:
    """The word with `new` for another letter than the one asked for."""
    made = [word.replace(other, new) for other in sorted(set(word) - {letter})]
    rng.shuffle(made)
    return made


def ins_char(rng: Random, word: str) -> Question | None:
    """A letter after every occurrence of another."""
    old, new = _repeated(rng, word), absent_letter(rng, word)
    if old is None:
        return None
    last = word.rindex(old) + 1
    other = rng.choice(sorted(set(word) - {old}))
    return question(
        word,
        f'Isingit ang "{new}" pagkatapos ng bawat "{old}" sa salitang "{word}".',
        f'Insert "{new}" after every "{old}" in the word "{word}".',
        word.replace(old, old + new),
        [
            word.replace(old, old + new, 1),
            word.replace(old, new + old),
            word[:last] + new + word[last:],
            word.replace(other, other + new),
        ],
    )


def del_char(rng: Random, word: str) -> Question | None:
    """The word without every occurrence of a letter."""
    old = _repeated(rng, word)
    if old is None or len(set(word)) < 3:
        return None
    last = word.rindex(old)
    return question(
        word,
        f'Alisin ang bawat "{old}" sa salitang "{word}".',
        f'Delete every "{old}" from the word "{word}".',
        word.replace(old, ""),
        [
            word.replace(old, "", 1),
            word[:last] + word[last + 1 :],
            *_others(rng, word, old, ""),
        ],
    )


def sub_char(rng: Random, word: str) -> Question | None:
    """Another letter for every occurrence of a letter."""
    old, new = _repeated(rng, word), absent_letter(rng, word)
    if old is None:
        return None
    last = word.rindex(old)
    return question(
        word,
        f'Palitan ng "{new}" ang bawat "{old}" sa salitang "{word}".',
        f'Replace every "{old}" with "{new}" in the word "{word}".',
        word.replace(old, new),
        [
            word.replace(old, new, 1),
            word[:last] + new + word[last + 1 :],
            *_others(rng, word, old, new),
        ],
    )


class Rows:
    """Makes the tasks on rows of words; `words` are the roots that rows are made of."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def _row(self, rng: Random, word: str, times: int) -> tuple[list[str], str, str]:
        """A row that holds the word so often, another word of the row, and one that it lacks."""
        drawn = [w for w in rng.sample(self.words, ROW + 2) if w != word]
        row = [*drawn[: ROW - times], *[word] * times]
        rng.shuffle(row)
        return row, rng.choice([w for w in row if w != word]), drawn[ROW]

    def ins_word(self, rng: Random, word: str) -> Question:
        """A word after every occurrence of another."""
        row, other, new = self._row(rng, word, 2)
        last = len(row) - row[::-1].index(word)
        return question(
            word,
            f'Isingit ang salitang "{new}" pagkatapos ng bawat "{word}" sa "{" ".join(row)}".',
            f'Insert the word "{new}" after every "{word}" in "{" ".join(row)}".',
            _changed(row, word, [word, new]),
            [
                _changed(row, word, [new, word]),
                _changed(row, other, [other, new]),
                " ".join([*row[:last], new, *row[last:]]),
                _first(row, word, [word, new]),
            ],
        )

    def del_word(self, rng: Random, word: str) -> Question:
        """The row without every occurrence of a word."""
        row, other, _ = self._row(rng, word, 2)
        last = len(row) - row[::-1].index(word)
        return question(
            word,
            f'Alisin ang bawat salitang "{word}" sa "{" ".join(row)}".',
            f'Delete every word "{word}" from "{" ".join(row)}".',
            _changed(row, word, []),
            [
                _first(row, word, []),
                _changed(row, other, []),
                " ".join([*row[: last - 1], *row[last:]]),
                _changed(row, next(w for w in row if w not in (word, other)), []),
            ],
        )

    def sub_word(self, rng: Random, word: str) -> Question:
        """Another word for every occurrence of a word."""
        row, other, new = self._row(rng, word, 2)
        last = len(row) - row[::-1].index(word)
        return question(
            word,
            f'Palitan ng "{new}" ang bawat salitang "{word}" sa "{" ".join(row)}".',
            f'Replace every word "{word}" with "{new}" in "{" ".join(row)}".',
            _changed(row, word, [new]),
            [
                _first(row, word, [new]),
                _changed(row, other, [new]),
                " ".join([*row[: last - 1], new, *row[last:]]),
                _changed(row, next(w for w in row if w not in (word, other)), [new]),
            ],
        )

    def swap_word(self, rng: Random, word: str) -> Question:
        """The row with two of its words in each other's place."""
        row, other, _ = self._row(rng, word, 1)
        pairs = [(i, j) for j in range(ROW) for i in range(j)]
        right = tuple(sorted((row.index(word), row.index(other))))
        rng.shuffle(pairs)
        pairs.sort(key=lambda pair: pair != right)
        first, second = row[right[0]], row[right[1]]
        return question(
            word,
            f'Pagpalitin ang mga salitang "{first}" at "{second}" sa "{" ".join(row)}".',
            f'Exchange the words "{first}" and "{second}" in "{" ".join(row)}".',
            _exchanged(row, *pairs[0]),
            [_exchanged(row, i, j) for i, j in pairs[1:]],
        )


def _changed(row: list[str], old: str, new: list[str]) -> str:
    """The row with the words `new` for every `old`."""
    return " ".join(w for word in row for w in (new if word == old else [word]))


def _first(row: list[str], old: str, new: list[str]) -> str:
    """The row with the words `new` for the first `old`."""
    at = row.index(old)
    return " ".join([*row[:at], *new, *row[at + 1 :]])


def _exchanged(row: list[str], i: int, j: int) -> str:
    words = list(row)
    words[i], words[j] = words[j], words[i]
    return " ".join(words)
