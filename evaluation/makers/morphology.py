"""Questions on roots and affixes.

A wrong answer is a real word of another affix, the affix in a place where it cannot stand, or a
piece of the word. No wrong answer is another spelling that the rules allow for the right one
(`lexicon.attach`), nor differs from it only in o and u, e and i, d and r or a hyphen; no wrong
affix is the right one's variant (-an and -han, -in- and -in, pang- and pam-); no wrong root gives
the word when some affix of the lexicon is attached to it (hinga and pahinga in magpahinga).
"""

from collections.abc import Iterable
from random import Random

from evaluation.lexicon import Word, attach, by_root, first_vowel
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
_VARIANTS = {"pam-": "pang-", "pan-": "pang-", "mam-": "mang-", "man-": "mang-"}
_FOLD = str.maketrans("oed", "uir", "-")


class Morphology:
    """Makes questions on the words of a pool; wrong answers come from the whole lexicon."""

    def __init__(self, lexicon: list[Word], pool: list[Word]) -> None:
        self.roots = by_root(lexicon)
        self.all_affixes = sorted({word.affix for word in lexicon})
        self.affixes = [affix for affix in self.all_affixes if not copies(affix)]
        self.forms = {word.form for word in lexicon}
        self.pool = pool
        named = [word for word in pool if not copies(word.affix)]
        self.spelled = [word for word in named if self.one_spelling(word)]
        self.shown = [word for word in named if self.shows_affix(word)]
        self.exchangeable = [word for word in named if self.partners(word)]
        self.by_affix: dict[str, list[Word]] = {}
        single = [word for word in pool if self.one_spelling(word)]
        for word in single:
            self.by_affix.setdefault(word.affix, []).append(word)
        self.matched = [word for word in single if len(self.by_affix[word.affix]) > 1]

    def one_spelling(self, word: Word) -> bool:
        """Whether the rules give root and affix one spelling, and the lexicon no second form."""
        twin = any(
            other.form != word.form and family(other.affix) == family(word.affix)
            for other in self.roots[word.root]
        )
        return not twin and tuple(attach(word.root, word.affix)) == (word.form,)

    def shows_affix(self, word: Word) -> bool:
        """Whether the affix can be read off the word in one way of writing it.

        -han counts as -an to some and -um- before a vowel as a prefix: such words are left out.
        """
        return (
            family(word.affix) == word.affix
            and not (word.kind == "infix" and first_vowel(word.root) == 0)
            and visible(word.form, word.affix)
        )

    def partners(self, word: Word) -> list[Word]:
        """Words of the same root with another affix, one spelling and a clear division."""
        return [
            other
            for other in self.roots[word.root]
            if family(other.affix) != family(word.affix)
            and not copies(other.affix)
            and self.one_spelling(other)
            and divisible(other.form)
        ]

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
        wrong = [a for a in self.affixes if family(a) == a and not self._shown_in(word.form, a)]
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
        lacking = [w.form for w in others if not self._shown_in(w.form, word.affix)]
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
            for affix in self.affixes
            if bare(affix) != bare(word.affix) and word.form not in spellings(word.root, affix)
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
        ways = [a for a in self.all_affixes if model.form in spellings(model.root, a)]
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
        return question(
            word.form,
            f'Kunin ang salitang-ugat ng "{word.form}" at isulat ito nang pabaligtad.',
            f'Take the root of the word "{word.form}" and write it backwards.',
            root[::-1],
            [*lures[:3], root, root[-2::-1] + root[-1]],
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

    def _shown_in(self, form: str, affix: str) -> bool:
        """Whether an affix of these letters could be read in the form, wherever: -in or -in-."""
        return any(bare(a) == bare(affix) and hinted(form, a) for a in self.affixes)

    def _wrong_forms(self, rng: Random, word: Word) -> list[str]:
        """The root with other affixes, real words first, and this affix misplaced, in turn."""
        parts = [part.strip("-") for part in word.affix.split() if not copies(part)]
        letters, root = "".join(parts), word.root
        at = first_vowel(root)
        misplaced = {
            letters + root,
            root + letters,
            root[: at + 1] + letters + root[at + 1 :],
            root[:-1] + letters + root[-1:],
        }
        others = [a for a in self.affixes if family(a) != family(word.affix)]
        real = [w.form for w in self.roots[root] if family(w.affix) != family(word.affix)]
        drawn = rng.sample(others, min(4, len(others)))
        regular = [form for affix in drawn for form in attach(root, affix)[:1]]
        lures = sorted(misplaced - self.forms)
        rng.shuffle(lures)
        rng.shuffle(real)
        formed = list(dict.fromkeys([*real, *regular]))
        mixed = [form for pair in zip(formed, lures, strict=False) for form in pair]
        return allowed([*mixed, *formed, *lures], word)

    def _wrong_roots(self, rng: Random, word: Word) -> list[str]:
        """Pieces of the word, the root with its end cut, and roots that are spelled like it."""
        form, root = word.form.replace("-", ""), word.root
        pieces = {form[i:] for i in range(1, 4)} | {form[:-i] for i in range(1, 4)}
        pieces |= {form[1:-1], form[2:-2], root[1:], root[:-1]}
        usable = sorted(p for p in pieces if len(p) >= 3 and not self._gives(p, word))
        like = sorted(r for r in self.roots if _alike(r, root) and not self._gives(r, word))
        rng.shuffle(usable)
        rng.shuffle(like)
        mixed = [piece for pair in zip(usable, like, strict=False) for piece in pair]
        return list(dict.fromkeys([*mixed, *usable, *like]))

    def _gives(self, piece: str, word: Word) -> bool:
        """Whether some affix makes the word of the piece, which might then pass for its root."""
        if piece == word.root or not any(letter in "aeiou" for letter in piece):
            return True
        return any(word.form in spellings(piece, affix) for affix in self.affixes)


def copies(affix: str) -> bool:
    """Whether an affix repeats part of the root, which its notation says in no reader's words."""
    return any(part in {"CV-", "R-"} for part in affix.split())


def family(affix: str) -> str:
    """One name for an affix's variants: -han and -an, pam-, pan- and pang-."""
    affix = affix.replace("-h", "-")
    return _VARIANTS.get(affix, affix)


def bare(affix: str) -> str:
    """The letters of an affix's family: -in- and -in are one verbal affix to some grammars."""
    return family(affix).strip("-")


def spellings(root: str, affix: str) -> set[str]:
    """Every spelling of the root with the affix, or with its variant without h."""
    return {*attach(root, affix), *attach(root, affix.replace("-h", "-"))}


def visible(form: str, affix: str) -> bool:
    """Whether the affix's letters stand in the form where such an affix stands."""
    if " " in affix:
        return all(visible(form, part) for part in affix.split())
    letters = affix.strip("-")
    if affix.startswith("-") and affix.endswith("-"):
        return form[first_vowel(form) :].startswith(letters)
    return form.endswith(letters) if affix.startswith("-") else form.startswith(letters)


def hinted(form: str, affix: str) -> bool:
    """Whether a reader might see the affix: as `visible`, or an infix behind another prefix."""
    return all(
        visible(form, part) or (part[0] == part[-1] == "-" and part.strip("-") in form[1:-1])
        for part in affix.split()
    )


def fold(form: str) -> str:
    """A form without what spelling may vary in: o and u, e and i, d and r, hyphens."""
    return form.translate(_FOLD)


def allowed(forms: Iterable[str], word: Word) -> list[str]:
    """The forms that no reader could take for a spelling of the word."""
    right = {fold(form) for form in {word.form, *spellings(word.root, word.affix)}}
    return [form for form in forms if fold(form) not in right]


def _alike(one: str, other: str) -> bool:
    """Whether two roots share their first or last two letters and nearly their length."""
    near = abs(len(one) - len(other)) < 2 and (one[:2] == other[:2] or one[-2:] == other[-2:])
    return near and one != other
