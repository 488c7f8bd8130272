"""Questions on roots and affixes.

A wrong answer is a real word of another affix, the affix in a place where it cannot stand, or a
piece of the word. No wrong answer is another spelling that the rules allow for the right one
(`lexicon.attach`), nor differs from it only in o and u, e and i, d and r or a hyphen; no wrong
affix is the right one's variant (-an and -han, -in- and -in, pang- and pam-); no wrong root gives
the word when some affix of the lexicon is attached to it (hinga and pahinga in magpahinga).
"""

import re
from collections import Counter
from collections.abc import Iterable
from random import Random

from evaluation.affixer import attach, first_vowel
from evaluation.lexicon import Word, by_root
from evaluation.makers.letters import nth
from evaluation.makers.question import Question, listing, question
from evaluation.makers.syllabic import divisible, wrong_splits
from evaluation.syllables import syllables

KIND_NAMES = {
    "fil": {
        "prefix": "unlapi", "infix": "gitlapi", "suffix": "hulapi", "circumfix": "kabilaan",
    },
    "en": {"prefix": "prefix", "infix": "infix", "suffix": "suffix", "circumfix": "circumfix"},
}  # fmt: skip
SIMPLE = (
    "-um-", "-in-", "-in", "-an", "mag-", "nag-", "ma-", "na-", "i-", "ka- -an", "pag-", "pang-",
    "mang-", "maka-", "naka-", "paki-", "taga-", "pa-",
)  # one morpheme each, which every grammar names: the affixes that are asked for by name
COPIES = frozenset({"CV-", "R-"})
_LETTERS = re.compile("ng|.")
_VARIANTS = {"pam-": "pang-", "pan-": "pang-", "mam-": "mang-", "man-": "mang-", "ni-": "-in-"}
_FOLD = str.maketrans("oed", "uir", "-")


class Morphology:
    """Makes questions on the words of a pool; wrong answers come from the whole lexicon."""

    def __init__(self, lexicon: list[Word], pool: list[Word]) -> None:
        self.roots = by_root(lexicon)
        self.affixes = sorted({word.affix for word in lexicon})
        self.forms = {word.form for word in lexicon}
        self.single = one_spelling(lexicon)
        self.pool = pool
        named = [word for word in pool if not copies(word.affix)]
        self.spelled = [word for word in named if word.form in self.single]
        self.shown = [word for word in named if shows_affix(word)]
        self.exchangeable = [word for word in named if self.partners(word)]
        self.repeated = [word for word in pool if self.repeats_start(word)]
        self.copied = [word for word in pool if copied(word)]
        self.by_affix: dict[str, list[Word]] = {}
        single = [word for word in pool if word.form in self.single]
        for word in single:
            self.by_affix.setdefault(word.affix, []).append(word)
        self.matched = [word for word in single if len(self.by_affix[word.affix]) > 1]

    def partners(self, word: Word) -> list[Word]:
        """Words of the same root with another affix, one spelling and a clear division.

        Where the lexicon knows how common words are, only words of known frequency.
        """
        return [
            other
            for other in self.roots[word.root]
            if family(other.affix) != family(word.affix)
            and not copies(other.affix)
            and (other.zipf is None) <= (word.zipf is None)
            and other.form in self.single
            and divisible(other.form)
        ]

    def repeats_start(self, word: Word) -> bool:
        """Whether the word is its root behind a copy of one consonant and one vowel."""
        return (
            word.affix == "CV-"
            and word.form in self.single
            and first_vowel(word.root) == 1
            and not word.root.startswith("ng")
        )

    def attach_affix(self, rng: Random, word: Word) -> Question:
        """Affixation: put a named affix on a root."""
        return question(
            word.form,
            f'Ikabit ang panlaping "{word.affix}" ({KIND_NAMES["fil"][word.kind]}) '
            f'sa salitang-ugat na "{word.root}".',
            f'Attach the {KIND_NAMES["en"][word.kind]} "{word.affix}" to the root "{word.root}".',
            word.form,
            self._wrong_forms(rng, word),
        )

    def name_affix(self, rng: Random, word: Word) -> Question:
        """Affixation: the affix that stands in a word; wrong ones cannot be read in it."""
        wrong = [a for a in SIMPLE if not hinted(word.form, a)]
        rng.shuffle(wrong)
        used = {other.affix for other in self.roots[word.root]}
        wrong.sort(key=lambda affix: affix not in used)
        return question(
            word.form,
            f'Ano ang panlapi ng salitang "{word.form}"?',
            f'What is the affix in the word "{word.form}"?',
            word.affix,
            wrong,
        )

    def choose_affixed(self, rng: Random, word: Word) -> Question | None:
        """Affixation: the one of four words that has an affix; most share the root."""
        near, far = self.roots[word.root], rng.sample(self.pool, min(6, len(self.pool)))
        others = [*rng.sample(near, len(near)), *far]
        lacking = [w.form for w in others if not hinted(w.form, word.affix)]
        wrong = list(dict.fromkeys(lacking))[:3]
        if len(wrong) < 3:
            return None
        shown = sorted([word.form, *wrong])
        return question(
            word.form,
            f'Alin sa mga salitang {listing(shown, "fil")} ang may panlaping "{word.affix}" '
            f'({KIND_NAMES["fil"][word.kind]})?',
            f'Which of the words {listing(shown, "en")} has the '
            f'{KIND_NAMES["en"][word.kind]} "{word.affix}"?',
            word.form,
            wrong,
        )

    def repeat_start(self, rng: Random, word: Word) -> Question:
        """Affixation: repeat a root's first consonant and vowel."""
        root = word.root
        wrong = [
            root[:3] + root,
            root[0] + root,
            root + root[:2],
            root + root[-2:],
            root[1] + root,
            root[:2] * 2 + root,
        ]
        rng.shuffle(wrong)
        return question(
            word.form,
            f'Ulitin ang unang katinig at unang patinig ng salitang-ugat na "{root}" '
            "sa unahan nito.",
            f'Repeat the first consonant and the first vowel of the root "{root}" in front of it.',
            word.form,
            wrong,
        )

    def find_copy(self, rng: Random, word: Word) -> Question:
        """Syllabification: the part of a word that is repeated."""
        right = copied(word)
        at = word.form.index(right + right)
        others = {piece for piece in syllables(word.form) if piece != right}
        others |= {word.form[at : at + len(right) + 1], word.form[at + 1 : at + len(right) + 1]}
        others |= {word.root[-2:], word.root[-3:], right + right}
        wrong = sorted(other for other in others if word.form.count(other) < 2 and len(other) > 1)
        rng.shuffle(wrong)
        return question(
            word.form,
            f'Aling bahagi ng salitang "{word.form}" ang inulit?',
            f'Which part of the word "{word.form}" is repeated?',
            right,
            wrong,
        )

    def find_root(self, rng: Random, word: Word) -> Question:
        """Level 2: the root of a word."""
        return question(
            word.form,
            f'Ano ang salitang-ugat ng "{word.form}"?',
            f'What is the root of the word "{word.form}"?',
            word.root,
            self._wrong_roots(rng, word),
        )

    def find_affix(self, rng: Random, word: Word) -> Question:
        """Level 2: the affix by which a word comes from its root."""
        wrong = [
            affix
            for affix in SIMPLE
            if bare(affix) != bare(word.affix)
            and word.form not in spellings(word.root, affix)
            and not nasal_start(word.form, affix)
        ]
        used = {other.affix for other in self.roots[word.root]}
        rng.shuffle(wrong)
        wrong.sort(key=lambda affix: affix not in used)  # affixes that the root does take first
        return question(
            word.form,
            f'Anong panlapi ang ikinabit sa "{word.root}" upang mabuo ang "{word.form}"?',
            f'Which affix was attached to "{word.root}" to form "{word.form}"?',
            word.affix,
            wrong,
        )

    def exchange_affix(self, rng: Random, word: Word) -> Question:
        """Level 3: the word with another affix in its affix's place."""
        target = rng.choice(self.partners(word))
        return question(
            target.form,
            f'Palitan ng panlaping "{target.affix}" ang panlaping "{word.affix}" '
            f'ng salitang "{word.form}".',
            f'Replace the affix "{word.affix}" of the word "{word.form}" '
            f'with the affix "{target.affix}".',
            target.form,
            allowed([word.form, *self._wrong_forms(rng, target)], target),
        )

    def continue_analogy(self, rng: Random, word: Word) -> Question | None:
        """Level 3: what one root and its word show, done to another root."""
        model = rng.choice(self.by_affix[word.affix])
        ways = [
            affix
            for affix in self._affixes_in(model.form)
            if model.form in spellings(model.root, affix)
        ]
        if model.root == word.root or len(ways) > 1:
            return None
        return question(
            word.form,
            f'Kung ang "{model.root}" ay nagiging "{model.form}", '
            f'nagiging ano ang "{word.root}"?',
            f'If "{model.root}" becomes "{model.form}", what does "{word.root}" become?',
            word.form,
            self._wrong_forms(rng, word),
        )

    def compose(self, rng: Random, word: Word) -> Question:
        """Level 4: the word that a root and an affix make up."""
        return question(
            word.form,
            f'Anong salita ang mabubuo mula sa salitang-ugat na "{word.root}" '
            f'at panlaping "{word.affix}"?',
            f'Which word is formed from the root "{word.root}" and the affix "{word.affix}"?',
            word.form,
            self._wrong_forms(rng, word),
        )

    def exchange_and_split(self, rng: Random, word: Word) -> Question:
        """Level 5: exchange the affix, then split the new word into syllables."""
        target = rng.choice(self.partners(word))
        right = syllables(target.form)
        others = [form for form in self._wrong_forms(rng, target) if divisible(form)]
        split_others = ["-".join(syllables(form)) for form in others]
        return question(
            target.form,
            f'Palitan ng panlaping "{target.affix}" ang panlapi ng salitang "{word.form}", '
            "saka pantigin ang bagong salita.",
            f'Replace the affix of the word "{word.form}" with the affix "{target.affix}", '
            "then divide the new word into syllables.",
            "-".join(right),
            [*wrong_splits(rng, right)[:3], *split_others],
        )

    def find_and_reverse(self, rng: Random, word: Word) -> Question:
        """Level 5: find the root, then write it backwards."""
        root = word.root
        lures = [wrong[::-1] for wrong in self._wrong_roots(rng, word)]
        lures = [*lures[:3], root, root[-2::-1] + root[-1]]
        return question(
            word.form,
            f'Kunin ang salitang-ugat ng "{word.form}" at isulat ito nang pabaligtad.',
            f'Take the root of the word "{word.form}" and write it backwards.',
            root[::-1],
            [lure for lure in lures if fold(lure[::-1]) != fold(root)],
        )

    def compose_and_delete(self, rng: Random, word: Word) -> Question:
        """Level 5: attach an affix, then delete a letter of the new word."""
        at = rng.randrange(min(4, len(word.form)))
        made = [form[:at] + form[at + 1 :] for form in self._wrong_forms(rng, word)]
        near = [word.form[:i] + word.form[i + 1 :] for i in range(len(word.form)) if i != at]
        rng.shuffle(near)
        fil, en = nth(at)
        return question(
            word.form,
            f'Ikabit ang panlaping "{word.affix}" sa salitang-ugat na "{word.root}", '
            f"saka alisin ang {fil} titik ng nabuong salita.",
            f'Attach the affix "{word.affix}" to the root "{word.root}", '
            f"then delete the {en} letter of the new word.",
            word.form[:at] + word.form[at + 1 :],
            [*near[:2], *made],
        )

    def _affixes_in(self, form: str) -> list[str]:
        """The affixes whose letters, but for ng, are all in the form: no other can make it."""
        return [
            affix
            for affix in self.affixes
            if all(letters.removesuffix("ng") in form for letters in letters_of(affix))
        ]

    def _wrong_forms(self, rng: Random, word: Word) -> list[str]:
        """The root with other affixes, real words first, and this affix misplaced, in turn."""
        letters, root = "".join(letters_of(word.affix)), word.root
        at = first_vowel(root)
        misplaced = {
            letters + root,
            root + letters,
            root[: at + 1] + letters + root[at + 1 :],
            root[:-1] + letters + root[-1:],
        }
        others = [a for a in SIMPLE if family(a) != family(word.affix)]
        real = [w.form for w in self.roots[root] if family(w.affix) != family(word.affix)]
        drawn = rng.sample(others, 4)
        regular = [form for affix in drawn for form in attach(root, affix)[:1]]
        lures = sorted(misplaced - self.forms)
        rng.shuffle(lures)
        rng.shuffle(real)
        formed = list(dict.fromkeys([*real, *regular]))
        mixed = [form for pair in zip(formed, lures, strict=False) for form in pair]
        return allowed([*mixed, *formed, *lures], word)

    def _wrong_roots(self, rng: Random, word: Word) -> list[str]:
        """Pieces of the word, the root with its end cut, and roots that are spelled like it."""
        letters, root = _LETTERS.findall(word.form.replace("-", "")), word.root
        cuts = [(1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (0, 3), (1, 1), (2, 2)]
        pieces = {"".join(letters[a : len(letters) - b]) for a, b in cuts}
        ends = _LETTERS.findall(root)
        pieces |= {"".join(ends[1:]), "".join(ends[:-1])}
        ways = self._affixes_in(word.form)
        like = sorted(r for r in self.roots if _alike(r, root))
        like = rng.sample(like, min(6, len(like)))
        usable = sorted(p for p in pieces if len(p) >= 3)
        rng.shuffle(usable)
        usable = [piece for piece in usable if not _gives(piece, word, ways)]
        like = [other for other in like if not _gives(other, word, ways)]
        mixed = [piece for pair in zip(usable, like, strict=False) for piece in pair]
        return list(dict.fromkeys([*mixed, *usable, *like]))


def _gives(piece: str, word: Word, affixes: Iterable[str]) -> bool:
    """Whether some affix makes the word of the piece, which might then pass for its root."""
    if piece == word.root or first_vowel(piece) == len(piece):
        return True
    right = fold(word.form)
    return any(right in map(fold, spellings(piece, affix)) for affix in affixes)


def one_spelling(lexicon: Iterable[Word]) -> set[str]:
    """The forms that the rules alone give, and of which the lexicon has no second for the affix."""
    words = list(lexicon)
    twins = Counter((word.root, family(word.affix)) for word in words)
    return {
        word.form
        for word in words
        if twins[word.root, family(word.affix)] == 1
        and tuple(attach(word.root, word.affix)) == (word.form,)
    }


def shows_affix(word: Word) -> bool:
    """Whether the affix can be read off the word in one way of writing it.

    -han counts as -an to some, -um- before a vowel as a prefix, magpa- as mag- and pa-: such words
    are left out.
    """
    return (
        word.affix in SIMPLE
        and not (word.kind == "infix" and first_vowel(word.root) == 0)
        and visible(word.form, word.affix)
    )


def copied(word: Word) -> str:
    """The copy that stands right before what it copies; empty where a reader might see another.

    Not where an infix stands within the copy (kumakain), where the copy is a vowel alone, or where
    any other two letters stand in the word twice (nagagalit: ga, and ag).
    """
    parts, copy = word.affix.split(), word.root[: first_vowel(word.root) + 1]
    if "CV-" not in parts or any(map(_is_infix, parts)) or copy * 2 not in word.form:
        return ""
    twice = {pair for pair in _pairs(word.form) if _pairs(word.form).count(pair) > 1}
    return copy if len(copy) > 1 and twice == set(_pairs(copy)) else ""


def _pairs(form: str) -> list[str]:
    """The neighbouring letters of a form."""
    return [form[i : i + 2] for i in range(len(form) - 1)]


def copies(affix: str) -> bool:
    """Whether an affix repeats part of the root, which its notation says in no reader's words."""
    return any(part in COPIES for part in affix.split())


def letters_of(affix: str) -> list[str]:
    """The letters of an affix's parts, copies left out."""
    return [part.strip("-") for part in affix.split() if part not in COPIES]


def _is_infix(part: str) -> bool:
    return part[0] == part[-1] == "-"


def family(affix: str) -> str:
    """One name for an affix's variants: -han and -an, pam-, pan- and pang-, ni- and -in-."""
    affix = re.sub("-[hn]?(?=(?:an|in)$)", "-", affix)
    return _VARIANTS.get(affix, affix)


def bare(affix: str) -> str:
    """The letters of an affix's family: -in- and -in are one verbal affix to some grammars."""
    return family(affix).strip("-")


def spellings(root: str, affix: str) -> set[str]:
    """Every spelling of the root with the affix, or with the name of its family."""
    return {*attach(root, affix), *attach(root, family(affix))}


def visible(form: str, affix: str) -> bool:
    """Whether the affix's letters stand in the form where such an affix stands."""
    for part in affix.split():
        letters = part.strip("-")
        if _is_infix(part):
            seen = form[first_vowel(form) :].startswith(letters)
        else:
            seen = form.endswith(letters) if part[0] == "-" else form.startswith(letters)
        if not seen:
            return False
    return True


def hinted(form: str, affix: str) -> bool:
    """Whether a reader might see the affix: its letters stand anywhere in the form.

    A prefix may stand behind another (ipagluto), -in- and -in are not told apart.
    """
    if nasal_start(form, affix) or (bare(affix) == "in" and form.startswith("ni")):
        return True
    return all(part.strip("-") in form for part in family(affix).split())


def nasal_start(form: str, affix: str) -> bool:
    """Whether the form starts as pang- or mang- may where its ng becomes another nasal."""
    return affix.endswith("ang-") and form.startswith((f"{affix[:-3]}m", f"{affix[:-3]}n"))


def fold(form: str) -> str:
    """A form without what spelling may vary in: o and u, e and i, d and r, hyphens."""
    return form.translate(_FOLD)


def allowed(forms: Iterable[str], word: Word) -> list[str]:
    """The forms that no reader could take for a spelling of the word, or for root plus affix."""
    plainly = word.root
    for part in word.affix.split():
        if not copies(part) and not _is_infix(part):
            letters = part.strip("-")
            plainly = plainly + letters if part[0] == "-" else letters + plainly
    right = {fold(form) for form in {word.form, plainly, *spellings(word.root, word.affix)}}
    return [form for form in forms if fold(form) not in right]


def _alike(one: str, other: str) -> bool:
    """Whether two roots share their first or last two letters and nearly their length."""
    near = abs(len(one) - len(other)) < 2 and (one[:2] == other[:2] or one[-2:] == other[-2:])
    return near and one != other
