"""Questions on the letters of a word: which they are, how many, and what changing them gives.

Words have neither `ng` nor a hyphen (`plain`), so that a letter of the alphabet is a written
character. Places are counted from 1; where a letter is named in place of a place, it stands in the
word once.
"""

from random import Random

from evaluation.makers.question import (
    LETTERS,
    ORDINALS,
    Question,
    absent_letter,
    listing,
    number_choices,
    places,
    question,
)


def nth(place: int) -> tuple[str, str]:
    """The ordinals of a place counted from 0, with the Filipino linker."""
    return ORDINALS["fil"][place], ORDINALS["en"][place]


def letter_at(rng: Random, word: str) -> Question:
    """Which letter stands at a place; wrong ones are the word's other letters, then others."""
    at = places(rng, word)[0]
    others = sorted(set(word) - {word[at]})
    absent = sorted(set(LETTERS) - set(word))
    wrong = rng.sample(others, len(others))[:3]
    if len(wrong) < 3:
        wrong += rng.sample(absent, 3)
    fil, en = nth(at)
    return question(
        word,
        f'Ano ang {fil} titik ng salitang "{word}"?',
        f'What is the {en} letter of the word "{word}"?',
        word[at],
        wrong,
    )


def which_letter(rng: Random, word: str) -> Question:
    """The one of four letters that stands in the word; the list is in alphabetical order."""
    right = rng.choice(sorted(set(word) & set(LETTERS)))
    wrong = rng.sample([letter for letter in LETTERS if letter not in word], 3)
    shown = sorted([right, *wrong])
    return question(
        word,
        f'Alin sa mga titik na {listing(shown, "fil")} ang nasa salitang "{word}"?',
        f'Which of the letters {listing(shown, "en")} is in the word "{word}"?',
        right,
        wrong,
    )


def count_letter(rng: Random, word: str) -> Question:
    """How often a letter stands in the word, in digits; 0 is as likely as each other count."""
    count = rng.choice(sorted({0, *map(word.count, word)}))
    letter = rng.choice([c for c in sorted({*LETTERS, *word}) if word.count(c) == count])
    return question(
        word,
        f'Ilang beses lumitaw ang titik na "{letter}" sa salitang "{word}"?',
        f'How many times does the letter "{letter}" occur in the word "{word}"?',
        str(count),
        number_choices(rng, count),
    )


def count_letters(rng: Random, word: str) -> Question:
    """How many letters the word has, in digits."""
    return question(
        word,
        f'Ilang titik mayroon ang salitang "{word}"?',
        f'How many letters does the word "{word}" have?',
        str(len(word)),
        number_choices(rng, len(word), 1),
    )


def misspelled(rng: Random, word: str) -> list[str]:
    """The word with two neighbours exchanged, a letter lost or a letter doubled, mixed."""
    places = range(len(word))
    exchanged = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in places[:-1]]
    lost = [word[:i] + word[i + 1 :] for i in places]
    doubled = [word[:i] + word[i] + word[i:] for i in places]
    made = []
    for kind in (exchanged, lost, doubled):
        made += rng.sample(kind, min(2, len(kind)))
    rng.shuffle(made)
    return [form for form in made if form != word]


def spell_letters(rng: Random, word: str) -> Question:
    """The word's letters with a space between them; wrong ones spell it wrongly."""
    return question(
        word,
        f'Baybayin ang salitang "{word}" nang may puwang sa pagitan ng mga titik.',
        f'Spell the word "{word}" with a space between the letters.',
        " ".join(word),
        (" ".join(form) for form in misspelled(rng, word)),
    )


def join_letters(rng: Random, word: str) -> Question:
    """The word that a row of letters spells."""
    row = ", ".join(word)
    return question(
        word,
        f'Anong salita ang nabubuo ng mga titik na "{row}" sa ganitong ayos?',
        f'Which word do the letters "{row}" form in this order?',
        word,
        misspelled(rng, word),
    )


def delete_at(rng: Random, word: str) -> Question:
    """The word without the letter at a place."""
    order = places(rng, word)
    made = [word[:i] + word[i + 1 :] for i in order]
    fil, en = nth(order[0])
    return question(
        word,
        f'Alisin ang {fil} titik ng salitang "{word}".',
        f'Delete the {en} letter of the word "{word}".',
        made[0],
        made[1:],
    )


def replace_at(rng: Random, word: str) -> Question:
    """The word with a letter that it lacks at a place."""
    letter, order = absent_letter(rng, word), places(rng, word)
    made = [word[:i] + letter + word[i + 1 :] for i in order]
    fil, en = nth(order[0])
    return question(
        word,
        f'Palitan ng "{letter}" ang {fil} titik ng salitang "{word}".',
        f'Replace the {en} letter of the word "{word}" with "{letter}".',
        made[0],
        made[1:],
    )


def insert_at(rng: Random, word: str) -> Question:
    """The word with a letter that it lacks after a place."""
    letter, order = absent_letter(rng, word), places(rng, word)
    made = [word[: i + 1] + letter + word[i + 1 :] for i in order]
    fil, en = nth(order[0])
    return question(
        word,
        f'Isingit ang "{letter}" pagkatapos ng {fil} titik ng salitang "{word}".',
        f'Insert "{letter}" after the {en} letter of the word "{word}".',
        made[0],
        [*made[1:], letter + word],
    )


def exchanged(word: str, i: int, j: int) -> str:
    """The word with the letters at two places exchanged."""
    letters = list(word)
    letters[i], letters[j] = letters[j], letters[i]
    return "".join(letters)


def exchange_at(rng: Random, word: str) -> Question | None:
    """The word with the letters of two places exchanged; the two letters differ."""
    order = places(rng, word)
    pairs = [(i, j) for i in order for j in order if i < j and word[i] != word[j]]
    if not pairs:
        return None
    rng.shuffle(pairs)
    made = [exchanged(word, i, j) for i, j in pairs]
    (fil_i, en_i), (fil_j, en_j) = (nth(place) for place in pairs[0])
    return question(
        word,
        f'Pagpalitin ang {fil_i} titik at ang {fil_j} titik ng salitang "{word}".',
        f'Exchange the {en_i} letter and the {en_j} letter of the word "{word}".',
        made[0],
        made[1:],
    )


def _single(rng: Random, word: str) -> list[int]:
    """The places of the letters that stand in the word once, shuffled."""
    found = [i for i, letter in enumerate(word) if word.count(letter) == 1]
    rng.shuffle(found)
    return found


def delete_letter(rng: Random, word: str) -> Question | None:
    """The word without a named letter."""
    single = _single(rng, word)
    if not single:
        return None
    rest = places(rng, word)
    return question(
        word,
        f'Alisin ang titik na "{word[single[0]]}" sa salitang "{word}".',
        f'Delete the letter "{word[single[0]]}" from the word "{word}".',
        word[: single[0]] + word[single[0] + 1 :],
        (word[:i] + word[i + 1 :] for i in rest if i != single[0]),
    )


def replace_letter(rng: Random, word: str) -> Question | None:
    """The word with a letter that it lacks in place of a named one."""
    single, letter = _single(rng, word), absent_letter(rng, word)
    if not single:
        return None
    rest = places(rng, word)
    return question(
        word,
        f'Palitan ng "{letter}" ang titik na "{word[single[0]]}" sa salitang "{word}".',
        f'Replace the letter "{word[single[0]]}" with "{letter}" in the word "{word}".',
        word[: single[0]] + letter + word[single[0] + 1 :],
        (word[:i] + letter + word[i + 1 :] for i in rest if i != single[0]),
    )


def insert_letter(rng: Random, word: str) -> Question | None:
    """The word with a letter that it lacks after a named one."""
    single, letter = _single(rng, word), absent_letter(rng, word)
    if not single:
        return None
    at = single[0] + 1
    made = [word[:i] + letter + word[i:] for i in range(len(word) + 1) if i != at]
    rng.shuffle(made)
    return question(
        word,
        f'Isingit ang "{letter}" pagkatapos ng titik na "{word[at - 1]}" sa salitang "{word}".',
        f'Insert "{letter}" after the letter "{word[at - 1]}" in the word "{word}".',
        word[:at] + letter + word[at:],
        made,
    )


def exchange_letters(rng: Random, word: str) -> Question | None:
    """The word with two named letters in each other's place."""
    single = _single(rng, word)
    if len(single) < 2:
        return None
    i, j = sorted(single[:2])
    made = [exchanged(word, a, b) for a in range(len(word)) for b in range(a) if (b, a) != (i, j)]
    rng.shuffle(made)
    return question(
        word,
        f'Pagpalitin ang mga titik na "{word[i]}" at "{word[j]}" sa salitang "{word}".',
        f'Exchange the letters "{word[i]}" and "{word[j]}" in the word "{word}".',
        exchanged(word, i, j),
        (form for form in made if form != word),
    )


def double_letter(rng: Random, word: str) -> Question | None:
    """The word with a named letter written twice."""
    single = _single(rng, word)
    if not single:
        return None
    made = [word[:i] + word[i] + word[i:] for i in range(len(word))]
    right = made[single[0]]
    rng.shuffle(made)
    return question(
        word,
        f'Doblehin ang titik na "{word[single[0]]}" sa salitang "{word}".',
        f'Double the letter "{word[single[0]]}" in the word "{word}".',
        right,
        made,
    )


def uppercase(rng: Random, word: str) -> Question:
    """The word in capital letters; wrong ones leave a letter small."""
    order = places(rng, word)
    made = [word[:i].upper() + word[i] + word[i + 1 :].upper() for i in order]
    return question(
        word,
        f'Isulat ang salitang "{word}" gamit ang malalaking titik lamang.',
        f'Write the word "{word}" in capital letters only.',
        word.upper(),
        [*made[:3], word.capitalize()],
    )
