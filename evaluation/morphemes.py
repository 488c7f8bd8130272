"""Questions about roots and affixes, each with its answer and wrong answers.

A wrong answer is a real word of another affix, or the affix in a place where it cannot stand. No
wrong answer is another spelling that the rules allow for the right one (`lexicon.attach`), and no
wrong affix is the right one's variant with or without h (-an, -han).
"""

from random import Random

from evaluation.affixer import attach, first_vowel
from evaluation.lexicon import Word
from evaluation.questions import Question, question, reverse, split_syllables

KIND_NAMES = {
    "prefix": "unlapi",
    "infix": "gitlapi",
    "suffix": "hulapi",
    "circumfix": "kabilaan",
    "reduplication": "pag-uulit",
}


class Morphemes:
    """Makes questions from the lexicon; `roots` maps a root to its words."""

    def __init__(self, roots: dict[str, list[Word]]) -> None:
        self.roots = roots
        self.affixes = sorted({word.affix for words in roots.values() for word in words})

    def attach_affix(self, rng: Random, word: Word) -> Question:
        """PACUTE's affixation: put a named affix on a root."""
        text = (
            f'Ikabit ang panlaping "{word.affix}" ({KIND_NAMES[word.kind]}) '
            f'sa salitang-ugat na "{word.root}".'
        )
        return question(text, word.form, self._wrong_forms(rng, word))

    def compose(self, rng: Random, word: Word) -> Question:
        """Level 4: the word that a root and an affix make up."""
        text = (
            f'Anong salita ang mabubuo mula sa salitang-ugat na "{word.root}" '
            f'at panlaping "{word.affix}"?'
        )
        return question(text, word.form, self._wrong_forms(rng, word))

    def find_root(self, rng: Random, word: Word) -> Question:
        """Level 2: the root of a word."""
        return question(
            f'Ano ang salitang-ugat ng "{word.form}"?', word.root, self._wrong_roots(rng, word)
        )

    def find_affix(self, rng: Random, word: Word) -> Question:
        """Level 2: the affix by which a word comes from its root."""
        text = f'Anong panlapi ang ikinabit sa "{word.root}" upang mabuo ang "{word.form}"?'
        right = _without_h(word.affix)
        wrong = [
            affix
            for affix in self.affixes
            if _without_h(affix) != right and word.form not in attach(word.root, affix)
        ]
        used = {other.affix for other in self.roots[word.root]}
        rng.shuffle(wrong)
        wrong.sort(key=lambda affix: affix not in used)  # affixes that the root does take first
        return question(text, word.affix, wrong)

    def exchange_affix(self, rng: Random, word: Word) -> Question:
        """Level 3: the word with another affix in its affix's place; needs a second word."""
        target = self.partner(rng, word)
        text = (
            f'Palitan ng panlaping "{target.affix}" ang panlaping "{word.affix}" '
            f'ng salitang "{word.form}".'
        )
        wrong = [word.form, *self._wrong_forms(rng, target)]
        return question(text, target.form, _allowed(wrong, target))

    def exchange_and_split(self, rng: Random, word: Word) -> Question:
        """Level 5: exchange the affix, then split the new word into syllables."""
        target = self.partner(rng, word)
        split = split_syllables(rng, target.form)
        text = (
            f'Palitan ng panlaping "{target.affix}" ang panlapi ng salitang "{word.form}", '
            "saka pantigin ang bagong salita."
        )
        return question(text, split.answer, split.wrong)

    def find_and_reverse(self, rng: Random, word: Word) -> Question:
        """Level 5: find the root, then write it backwards."""
        text = f'Kunin ang salitang-ugat ng "{word.form}" at isulat ito nang pabaligtad.'
        return reverse(text, word.root, self._wrong_roots(rng, word))

    def partner(self, rng: Random, word: Word) -> Word:
        """Another word of the same root, its affix a different one even without h."""
        return rng.choice(self.partners(word))

    def partners(self, word: Word) -> list[Word]:
        """The words that `partner` chooses from, without a hyphen so that they can be split."""
        right = _without_h(word.affix)
        return [
            other
            for other in self.roots[word.root]
            if _without_h(other.affix) != right and "-" not in other.form
        ]

    def _wrong_forms(self, rng: Random, word: Word) -> list[str]:
        """Misplaced affixes and the root's other words, mixed."""
        bare, root = word.affix.replace("-", "").replace(" ", ""), word.root
        at = first_vowel(root)
        misplaced = {
            bare + root,
            root + bare,
            root[: at + 1] + bare + root[at + 1 :],
            root[:-1] + bare + root[-1:],
        }
        right = _without_h(word.affix)
        real = [w.form for w in self.roots[root] if _without_h(w.affix) != right]
        hyphenless = word.form.replace("-", "")  # a misspelling of the right word is no lure
        lures = sorted(form for form in misplaced if form != hyphenless)
        rng.shuffle(lures)
        rng.shuffle(real)
        mixed = [form for pair in zip(lures, real, strict=False) for form in pair]
        return _allowed([*mixed, *lures, *real], word)

    def _wrong_roots(self, rng: Random, word: Word) -> list[str]:
        """Pieces of the word that are not the root, and the root with its end cut or doubled."""
        form, root = word.form.replace("-", ""), word.root
        pieces = {form[i:] for i in range(1, 4)} | {form[:-i] for i in range(1, 4)}
        pieces |= {form[1:-1], form[2:-2], root[1:], root[:-1], form}
        usable = sorted(p for p in pieces if len(p) >= 3 and p != root and p not in self.roots)
        rng.shuffle(usable)
        return usable


def _without_h(affix: str) -> str:
    """-han and -an, -hin and -in are one affix each in two spellings."""
    return affix.replace("-h", "-")


def _allowed(forms: list[str], word: Word) -> list[str]:
    """The forms that are no spelling of the word's root with the word's affix, or its variant."""
    right = set(attach(word.root, word.affix)) | set(attach(word.root, _without_h(word.affix)))
    return [form for form in forms if form not in right]
