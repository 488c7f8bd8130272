"""Reads a prompt in either language and says which answers to it are right.

It shares no code with the makers: it goes by the prompt's text, the lexicon's table and rules
written anew, looser than the makers' where a reader might be.
"""

import csv
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parents[2] / "data/lexicon/affixed.tsv"
with TABLE.open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
FORMS: dict[tuple[str, str], list[str]] = {}
for row in ROWS:
    FORMS.setdefault((row["root"], row["affix"]), []).append(row["form"])
ROOT = {row["form"]: row["root"] for row in ROWS}
AFFIX = {row["form"]: row["affix"] for row in ROWS}
AFFIXES = sorted({row["affix"] for row in ROWS})
PLACE = {
    word: at
    for words in (
        "unang ikalawang ikatlong ikaapat_na ikalimang ikaanim_na ikapitong ikawalong ikasiyam_na "
        "ikasampung",
        "first second third fourth fifth sixth seventh eighth ninth tenth",
    )
    for at, word in enumerate(words.replace("_", "\0").split())
}
PLACE = {word.replace("\0", " "): at for word, at in PLACE.items()}
TOKENS = {
    "NTH": f"({'|'.join(PLACE)})",
    "LIST": r'((?:"[^"]+"(?:, | at | and )?){4})',
    "Q": r'"([^"]+)"',
    "NUM": r"(\d+)",
    "KIND": r"(?:unlapi|gitlapi|hulapi|kabilaan|prefix|infix|suffix|circumfix)",
}


@dataclass(frozen=True)
class Verdict:
    """The answer that a prompt asks for, and what a reader would have to let pass besides."""

    answer: str
    passes: Callable[[str], bool]


def is_(answer: object) -> Verdict:
    return Verdict(str(answer), lambda option: option == str(answer))


def quoted(text: str) -> list[str]:
    return re.findall(r'"([^"]+)"', text)


def split(word: str) -> str:
    """Syllables by regular expressions: a vowel, its onset, and what cannot begin another."""
    word = word.replace("ng", "N")
    while (new := re.sub(r"([aeiou])([aeiou])", r"\1-\2", word)) != word:
        word = new
    word = re.sub(r"(?<=[aeiou])([mn])((?:bl|br|dr|pl|tr)[aeiou])", r"\1-\2", word)
    word = re.sub(r"(?<=[aeiou])([^aeiou-]{2})([^aeiou-]{1,2})(?=[aeiou])", r"\1-\2", word)
    word = re.sub(r"(?<=[aeiou])([^aeiou-])([^aeiou-])(?=[aeiou])", r"\1-\2", word)
    word = re.sub(r"(?<=[aeiou])([^aeiou-])(?=[aeiou])", r"-\1", word)
    return word.replace("N", "ng")


@functools.cache
def spellings(root: str, affix: str) -> frozenset[str]:
    """Root + affix by the rules, loosely, in `loose` spelling: suffix, copy, infix, prefix."""
    made = {root}
    for part in reversed(affix.split()):
        bare = part.strip("-")
        if part == "R-":
            made = {root + stem for stem in made}
        elif part == "CV-":
            onset, vowel = re.findall("^((?:ng|[^aeiou])*)([aeiou]?)", root)[0]
            starts = {onset + vowel, re.sub("^(ng|.).*", r"\1", onset) + vowel}
            made = {start + stem for start in starts for stem in made}
        elif part[0] == part[-1] == "-":
            made = {re.sub("^([^aeiou]*)", rf"\1{bare}", stem, count=1) for stem in made} | {
                stem[0] + bare + stem[1:] for stem in made if stem[0] not in "aeiou"
            }
        elif part[0] == "-":
            tail, joints = bare.lstrip("hn"), {"", "h", bare[: len(bare) - len(bare.lstrip("hn"))]}
            made = {
                stem + joint + tail
                for stem in made
                for joint in (joints if stem[-1] in "aeiou" else {""})
            }
        else:
            made = {start + stem for stem in made for start in nasal(bare, stem[0])} | {
                bare[:-2] + FUSED[stem[0]] + stem[1:]
                for stem in made
                if bare[-3:] == "ang" and stem[0] in FUSED
            }
    return frozenset(map(loose, made))


FUSED = {"b": "m", "p": "m", "d": "n", "s": "n", "t": "n", "k": "ng"}


def nasal(prefix: str, first: str) -> set[str]:
    """A prefix, and where it ends in ng as it may be before some consonants."""
    other = "m" if first in "bp" else "n" if first in "dlrst" else "ng"
    return {prefix, prefix[:-2] + other} if prefix[-2:] == "ng" else {prefix}


@functools.cache
def loose(form: str) -> str:
    """A form without what may vary: hyphens, o and u, e and i, d and r."""
    return form.replace("-", "").translate(str.maketrans("oed", "uir"))


def formed(root: str, affix: str) -> Verdict:
    """A production: the lexicon's form; any spelling that the rules allow passes besides."""
    (right,) = FORMS[root, affix]
    also = {loose(right), *spellings(root, affix)}
    return Verdict(right, lambda option: loose(option) in also)


def rooted(form: str) -> Verdict:
    """The root; besides, whatever piece gives the word with some affix of the lexicon."""

    def passes(option: str) -> bool:
        made = (spellings(option, affix) for affix in in_letters(form))
        return option == ROOT[form] or any(loose(form) in found for found in made)

    return Verdict(ROOT[form], passes)


def letters_of(affix: str) -> str:
    """An affix without outer hyphens, as one of its variants: -han is -an, -in- and ni- are -in."""
    affix = re.sub("-[hn](an|in)$", r"-\1", affix)
    return "in" if affix == "ni-" else re.sub("^(pa|ma)[mn]-$", r"\1ng-", affix).strip("-")


def same_affix(one: str, other: str) -> bool:
    return letters_of(one) == letters_of(other)


@functools.cache
def alike(affix: str) -> list[str]:
    """The lexicon's affixes of the same letters."""
    return [other for other in AFFIXES if same_affix(affix, other)]


@functools.cache
def in_letters(form: str) -> list[str]:
    """The lexicon's affixes whose letters are all somewhere in the form: others cannot make it."""
    return [
        affix
        for affix in AFFIXES
        if all(p in ("CV-", "R-") or p.strip("-").rstrip("g")[:2] in form for p in affix.split())
    ]


def reads(form: str, affix: str) -> bool:
    """Whether the affix can be read in the form: at its start, its end, its first vowel."""
    if " " in affix:
        return all(reads(form, piece) for piece in affix.split())
    bare = affix.strip("-")
    if affix[0] == affix[-1] == "-":
        return bool(re.match(f"[^aeiou]*{bare}", form))
    return bool(re.search(f"{bare}$" if affix[0] == "-" else f"^{bare}", form))


def named(form: str) -> Verdict:
    """The affix; besides, any that can be read in the form, as one of its variants."""

    def passes(option: str) -> bool:
        return any(reads(form, affix) for affix in alike(option))

    return Verdict(AFFIX[form], passes)


def attached(root: str, form: str) -> Verdict:
    """The affix between a root and its form; besides, any that gives the same form."""
    assert ROOT[form] == root
    right = AFFIX[form]

    def passes(option: str) -> bool:
        return same_affix(option, right) or loose(form) in spellings(root, option)

    return Verdict(right, passes)


def chosen(listed: str, holds: Callable[[str], bool]) -> Verdict:
    """The one of the listed things that has a property."""
    right = [word for word in quoted(listed) if holds(word)]
    assert len(right) == 1, (listed, right)
    return Verdict(right[0], holds)


def best(listed: str, measure: Callable[[str], int]) -> Verdict:
    top = max(map(measure, quoted(listed)))
    return chosen(listed, lambda word: measure(word) == top)


def distance(one: str, other: str) -> int:
    """Levenshtein's, by its definition."""
    table = {(i, 0): i for i in range(len(one) + 1)} | {(0, j): j for j in range(len(other) + 1)}
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b)
            )
    return table[len(one), len(other)]


def cut(word: str, at: int, width: int, letter: str = "") -> str:
    """The word with letters from a place replaced; ng would be one letter to some readers."""
    assert "ng" not in word and "-" not in word
    return word[:at] + letter + word[at + width :]


def only(word: str, letter: str) -> int:
    """The place of a letter that stands in the word once."""
    assert word.count(letter) == 1, (word, letter)
    return word.index(letter)


def exchange(things: str | list[str], i: int, j: int) -> list[str]:
    copy = list(things)
    copy[i], copy[j] = copy[j], copy[i]
    return copy


def exchanged_words(first: str, second: str, row: str) -> Verdict:
    words = row.split()
    assert words.count(first) == words.count(second) == 1
    return is_(" ".join(exchange(words, words.index(first), words.index(second))))


def words_changed(row: str, old: str, new: str) -> Verdict:
    assert 0 < row.split().count(old) < len(row.split())
    return is_(" ".join(" ".join(new if word == old else word for word in row.split()).split()))


def exchanged_affix(form: str, affix: str) -> Verdict:
    return formed(ROOT[form], affix)


def analogy(root: str, form: str, other: str) -> Verdict:
    """The same affix on another root; no second affix may explain the first pair."""
    assert ROOT[form] == root
    ways = [a for a in in_letters(form) if loose(form) in spellings(root, a)]
    assert {letters_of(affix) for affix in ways} == {letters_of(AFFIX[form])}, (root, form, ways)
    return formed(other, AFFIX[form])


def after_splitting(verdict: Verdict) -> Verdict:
    """The word in syllables; besides, any word that passes, in its syllables."""
    right = split(verdict.answer)

    def passes(option: str) -> bool:
        whole = option.replace("-", "")
        return option == right or (verdict.passes(whole) and option == split(whole))

    return Verdict(right, passes)


def backwards(verdict: Verdict) -> Verdict:
    assert "ng" not in verdict.answer, "whether ng is one letter, a reader cannot tell"
    return Verdict(verdict.answer[::-1], lambda option: verdict.passes(option[::-1]))


def without(verdict: Verdict, at: int, root: str, affix: str) -> Verdict:
    assert "ng" not in verdict.answer and "-" not in verdict.answer
    forms = {verdict.answer, *spellings(root, affix)}
    also = {loose(form[:at] + form[at + 1 :]) for form in forms}
    return Verdict(cut(verdict.answer, at, 1), lambda option: loose(option) in also)


def repeated(form: str) -> Verdict:
    """The longest stretch of two letters or more that stands twice; no other of its length does."""
    stretches = [form[i:j] for i in range(len(form)) for j in range(i + 2, len(form) + 1)]
    twice = {stretch for stretch in stretches if stretches.count(stretch) > 1}
    longest = [stretch for stretch in twice if len(stretch) == max(map(len, twice))]
    assert len(longest) == 1 and all(other in longest[0] for other in twice), (form, twice)
    return Verdict(longest[0], lambda option: option in twice)


def game_of_g(word: str) -> str:
    return re.sub("([aeiou])", r"\1g\1", word)


# Filipino, English, and what the quoted or named things give.
SHAPES: list[tuple[str, str, Callable[..., Verdict]]] = [
    ("Ano ang NTH titik ng salitang Q?", "What is the NTH letter of the word Q?",
     lambda n, w: is_(w[PLACE[n]])),
    ("Alin sa mga titik na LIST ang nasa salitang Q?",
     "Which of the letters LIST is in the word Q?",
     lambda listed, w: chosen(listed, lambda c: c in w)),
    ("Ilang beses lumitaw ang titik na Q sa salitang Q?",
     "How many times does the letter Q occur in the word Q?", lambda c, w: is_(w.count(c))),
    ("Ilang titik mayroon ang salitang Q?", "How many letters does the word Q have?",
     lambda w: is_(len(w))),
    ("Baybayin ang salitang Q nang may puwang sa pagitan ng mga titik.",
     "Spell the word Q with a space between the letters.", lambda w: is_(" ".join(w))),
    ("Isa-isahin ang mga titik ng salitang Q at paghiwalayin ng puwang.",
     "Spell out the word Q, putting a space between the letters.", lambda w: is_(" ".join(w))),
    ("Anong salita ang nabubuo ng mga titik na Q sa ganitong ayos?",
     "Which word do the letters Q form in this order?", lambda row: is_(row.replace(", ", ""))),
    ("Isulat ang salitang binaybay bilang Q.", "Write the word that is spelled out as Q.",
     lambda row: is_(row.replace(" ", ""))),
    ("Alisin ang NTH titik ng salitang Q.", "Delete the NTH letter of the word Q.",
     lambda n, w: is_(cut(w, PLACE[n], 1))),
    ("Palitan ng Q ang NTH titik ng salitang Q.", "",
     lambda c, n, w: is_(cut(w, PLACE[n], 1, c))),
    ("", "Replace the NTH letter of the word Q with Q.",
     lambda n, w, c: is_(cut(w, PLACE[n], 1, c))),
    ("Isingit ang Q pagkatapos ng NTH titik ng salitang Q.",
     "Insert Q after the NTH letter of the word Q.",
     lambda c, n, w: is_(cut(w, PLACE[n] + 1, 0, c))),
    ("Pagpalitin ang NTH titik at ang NTH titik ng salitang Q.",
     "Exchange the NTH letter and the NTH letter of the word Q.",
     lambda a, b, w: is_("".join(exchange(w, PLACE[a], PLACE[b])))),
    ("Alisin ang titik na Q sa salitang Q.", "Delete the letter Q from the word Q.",
     lambda c, w: is_(cut(w, only(w, c), 1))),
    ("Palitan ng Q ang titik na Q sa salitang Q.", "",
     lambda new, c, w: is_(cut(w, only(w, c), 1, new))),
    ("", "Replace the letter Q with Q in the word Q.",
     lambda c, new, w: is_(cut(w, only(w, c), 1, new))),
    ("Isingit ang Q pagkatapos ng titik na Q sa salitang Q.",
     "Insert Q after the letter Q in the word Q.",
     lambda new, c, w: is_(cut(w, only(w, c) + 1, 0, new))),
    ("Pagpalitin ang mga titik na Q at Q sa salitang Q.",
     "Exchange the letters Q and Q in the word Q.",
     lambda a, b, w: is_("".join(exchange(w, only(w, a), only(w, b))))),
    ("Doblehin ang titik na Q sa salitang Q.", "Double the letter Q in the word Q.",
     lambda c, w: is_(cut(w, only(w, c), 0, c))),
    ("Isulat ang salitang Q gamit ang malalaking titik lamang.",
     "Write the word Q in capital letters only.", lambda w: is_(w.upper())),
    ("Pantigin ang salitang Q. Lagyan ng gitling ang pagitan ng mga pantig.",
     "Divide the word Q into syllables, with a hyphen between them.", lambda w: is_(split(w))),
    ("Ilang pantig mayroon ang salitang Q?", "How many syllables does the word Q have?",
     lambda w: is_(len(re.findall("[aeiou]", w)))),
    ("Ano ang NTH pantig ng salitang Q?", "What is the NTH syllable of the word Q?",
     lambda n, w: is_(split(w).split("-")[PLACE[n]])),
    ("Ikabit ang panlaping Q (KIND) sa salitang-ugat na Q.", "Attach the KIND Q to the root Q.",
     lambda affix, root: formed(root, affix)),
    ("Ano ang panlapi ng salitang Q?", "What is the affix in the word Q?", named),
    ("Alin sa mga salitang LIST ang may panlaping Q (KIND)?",
     "Which of the words LIST has the KIND Q?",
     lambda listed, affix: chosen(
         listed, lambda w: any(reads(w, a) for a in alike(affix)))),
    ("Ulitin ang unang katinig at unang patinig ng salitang-ugat na Q sa unahan nito.",
     "Repeat the first consonant and the first vowel of the root Q in front of it.",
     lambda root: is_(re.sub("^([^aeiou])([aeiou])", r"\1\2\1\2", root))),
    ("Aling bahagi ng salitang Q ang inulit?", "Which part of the word Q is repeated?", repeated),
    ("Ano ang salitang-ugat ng Q?", "What is the root of the word Q?", rooted),
    ("Anong panlapi ang ikinabit sa Q upang mabuo ang Q?",
     "Which affix was attached to Q to form Q?", attached),
    ("Palitan ng panlaping Q ang panlaping Q ng salitang Q.", "",
     lambda new, old, w: exchanged_affix(w, new)),
    ("", "Replace the affix Q of the word Q with the affix Q.",
     lambda old, w, new: exchanged_affix(w, new)),
    ("Kung ang Q ay nagiging Q, nagiging ano ang Q?",
     "If Q becomes Q, what does Q become?", analogy),
    ("Anong salita ang mabubuo mula sa salitang-ugat na Q at panlaping Q?",
     "Which word is formed from the root Q and the affix Q?", formed),
    ("Palitan ng panlaping Q ang panlapi ng salitang Q, saka pantigin ang bagong salita.", "",
     lambda new, w: after_splitting(exchanged_affix(w, new))),
    ("", "Replace the affix of the word Q with the affix Q, then divide the new word into "
     "syllables.", lambda w, new: after_splitting(exchanged_affix(w, new))),
    ("Kunin ang salitang-ugat ng Q at isulat ito nang pabaligtad.",
     "Take the root of the word Q and write it backwards.", lambda w: backwards(rooted(w))),
    ("Ikabit ang panlaping Q sa salitang-ugat na Q, saka alisin ang NTH titik ng nabuong salita.",
     "Attach the affix Q to the root Q, then delete the NTH letter of the new word.",
     lambda affix, root, n: without(formed(root, affix), PLACE[n], root, affix)),
    ("Alin sa mga hanay ng titik na LIST ang nasa salitang Q?",
     "Which of the letter strings LIST is in the word Q?",
     lambda listed, w: chosen(listed, lambda text: text in w)),
    ("Alin sa mga salitang LIST ang pinakamalapit ang baybay sa Q (pinakakaunting titik ang "
     "idaragdag, aalisin o papalitan)?",
     "Which of the words LIST is closest in spelling to Q (fewest letters to insert, delete or "
     "replace)?", lambda listed, w: best(listed, lambda other: -distance(w, other))),
    ("Isingit ang Q pagkatapos ng bawat Q sa salitang Q.", "Insert Q after every Q in the word Q.",
     lambda new, old, w: is_("".join(c + new if c == old else c for c in w))),
    ("Alisin ang bawat Q sa salitang Q.", "Delete every Q from the word Q.",
     lambda old, w: is_("".join(c for c in w if c != old))),
    ("Palitan ng Q ang bawat Q sa salitang Q.", "",
     lambda new, old, w: is_("".join(new if c == old else c for c in w))),
    ("", "Replace every Q with Q in the word Q.",
     lambda old, new, w: is_("".join(new if c == old else c for c in w))),
    ("Isingit ang salitang Q pagkatapos ng bawat Q sa Q.", "Insert the word Q after every Q in Q.",
     lambda new, old, row: words_changed(row, old, f"{old} {new}")),
    ("Alisin ang bawat salitang Q sa Q.", "Delete every word Q from Q.",
     lambda old, row: words_changed(row, old, "")),
    ("Palitan ng Q ang bawat salitang Q sa Q.", "",
     lambda new, old, row: words_changed(row, old, new)),
    ("", "Replace every word Q with Q in Q.",
     lambda old, new, row: words_changed(row, old, new)),
    ("Pagpalitin ang mga salitang Q at Q sa Q.", "Exchange the words Q and Q in Q.",
     exchanged_words),
    ("Alin sa mga salitang LIST ang pinakamahaba (may pinakamaraming titik)?",
     "Which of the words LIST is the longest (most letters)?", lambda listed: best(listed, len)),
    ("Alin sa mga salitang LIST ang pinakamaikli (may pinakakaunting titik)?",
     "Which of the words LIST is the shortest (fewest letters)?",
     lambda listed: best(listed, lambda w: -len(w))),
    ("Alin sa mga salitang LIST ang may pinakamaraming titik na Q?",
     "Which of the words LIST has the most letters Q?",
     lambda listed, c: best(listed, lambda w: w.count(c))),
    ("Alin sa mga salitang LIST ang naglalaman ng Q?", "Which of the words LIST contains Q?",
     lambda listed, text: chosen(listed, lambda w: text in w)),
    ("Alin sa mga salitang LIST ang nagsisimula sa Q?", "Which of the words LIST starts with Q?",
     lambda listed, text: chosen(listed, lambda w: w.find(text) == 0)),
    ("Alin sa mga salitang LIST ang nagtatapos sa Q?", "Which of the words LIST ends with Q?",
     lambda listed, text: chosen(listed, lambda w: w[-len(text):] == text)),
    ("Sa larong baliktad, isinusulat ang mga pantig ng salita mula huli hanggang una. Ano ang Q sa "
     "larong ito?",
     "In the game baliktad, the syllables of a word are written from last to first. What is Q in "
     "this game?", lambda w: is_("".join(split(w).split("-")[::-1]))),
    ("Sa larong G, sinusundan ng g at ng kaparehong patinig ang bawat patinig ng salita. Ano ang Q "
     "sa larong ito?",
     "In the game of G, every vowel of a word is followed by g and the same vowel. What is Q in "
     "this game?", lambda w: is_(game_of_g(w))),
    ("Ano ang kabuuan ng NUM + NUM?", "What is the sum of NUM + NUM?",
     lambda a, b: is_(int(a) + int(b))),
]  # fmt: skip


def pattern(shape: str) -> re.Pattern[str]:
    """A shape as a regular expression, its placeholders as groups."""
    text = re.escape(shape).replace(r"\ ", " ")
    for token, expression in TOKENS.items():
        text = re.sub(rf"(?<![\w-]){token}(?!\w)", expression.replace("\\", "\\\\"), text)
    return re.compile(text)


READERS = [
    (language, pattern(shape), judge)
    for fil, en, judge in SHAPES
    for language, shape in (("fil", fil), ("en", en))
    if shape
]
LABELS = {"fil": ("Tanong", "Sagot"), "en": ("Question", "Answer")}


def pieces(prompt: str, language: str) -> tuple[list[tuple[str, str]], str]:
    """The examples of a prompt as questions and answers, and the question that is open."""
    ask, tell = LABELS[language]
    *shown, last = prompt.split("\n\n")
    examples = []
    for block in shown:
        found = re.fullmatch(f"{ask}: (.+)\n{tell}: (.+)", block)
        assert found, block
        examples.append((found[1], found[2]))
    found = re.fullmatch(f"{ask}: (.+)\n{tell}:", last)
    assert found, last
    return examples, found[1]


@functools.cache
def judge(question: str, language: str) -> Verdict:
    """The verdict on a question; it fits one shape exactly."""
    found = [
        (solve, match)
        for known, shape, solve in READERS
        if known == language and (match := shape.fullmatch(question))
    ]
    assert len(found) == 1, (question, len(found))
    solve, match = found[0]
    return solve(*match.groups())
